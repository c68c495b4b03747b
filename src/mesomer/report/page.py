"""What both reports share: checking the dictionary, numbers as text, the worst molecules, the finished page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from mesomer.machine import versions
from mesomer.report.figures import draw_molecule

WORST = 12
MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


def check_keys(where: str, data: Mapping[str, Any], required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Stops at a missing or unknown key: the programmer's error, not the user's."""
    missing, unknown = set(required) - set(data), set(data) - set(required) - set(optional)
    if missing or unknown:
        raise ValueError(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def number(value: Any, digits: int = 3) -> str:
    """A figure for a table: fixed digits, large and tiny ones with significant digits, a dash where there is none."""
    if value is None or not math.isfinite(float(value)):
        return NONE
    value = float(value)
    fixed = value == 0 or 10.0**-digits <= abs(value) < 1e5
    return (f"{value:,.{digits}f}" if fixed else f"{value:.{digits}g}").replace("-", MINUS, 1 if fixed else 2)


def value(x: float) -> str:
    """A measured or predicted value: three significant digits, whatever its scale."""
    return f"{x:.3g}".replace("-", MINUS)


def signed(value: Any, digits: int = 3) -> str:
    """A difference with its sign, rounded to fixed digits; zero after rounding has none."""
    if value is None or not math.isfinite(float(value)):
        return NONE
    text = f"{float(value):+,.{digits}f}"
    return text[1:] if not text.strip("+-0.,") else text.replace("-", MINUS)


def counted(count: int, noun: str) -> str:
    """A number of things, such as 1 fold or 5 folds."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def worst_molecules(
    smiles: Sequence[str], rows: Sequence[int], errors: Any, lines: Sequence[Sequence[str]], count: int = WORST
) -> list[dict[str, Any]]:
    """The molecules with the largest errors, each once, drawn; `lines` are the texts below each drawing."""
    chosen: dict[int, int] = {}
    errors = np.asarray(errors, float)
    for at in np.argsort(-np.nan_to_num(errors, nan=-np.inf), kind="stable").tolist():
        if len(chosen) == count or not np.isfinite(errors[at]):
            break
        chosen.setdefault(int(rows[at]), at)
    return [{"svg": draw_molecule(smiles[at]), "lines": [f"Row {row:,}", *lines[at]]} for row, at in chosen.items()]


def render(template: str, values: Mapping[str, Any]) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mesomer", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template)
    return page.render(**values, version=versions().get("mesomer", "source"), written=date.today().isoformat())
