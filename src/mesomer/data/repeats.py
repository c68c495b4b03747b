"""Rows of one molecule: which become one example, and which must not be used at all.

Rows are repeats of one example if they have the same canonical SMILES and the same conditions (descriptor columns such
as the pH). Where a column of the table decides the split, no label may wander across it: a molecule that lies in
several parts is used in test only (else in valid only), one with several times at its earliest time only. Its other
rows are left out and counted: averaged in they would carry test labels into training, kept they would leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mesomer.data.splits.given import read_parts, read_times
from mesomer.data.tasks import to_number
from mesomer.errors import MesomerError

_PARTS = ("test", "valid", "train")


@dataclass(frozen=True)
class SplitColumn:
    """The column that will decide the split."""

    name: str
    rule: Literal["column", "time"] = "column"
    strict: bool = True
    """Whether cells that the rule cannot read are an error, or only a warning and then no row is left out."""


def condition_key(cell: Any) -> float | str:
    """Equal for cells that mean the same condition: `7` and `7.0`, or all words for a missing value."""
    from mesomer.chem.parse import is_missing

    text = "" if cell is None or cell != cell else str(cell).strip()
    if is_missing(text):
        return ""
    number = to_number(text)
    return text if number is None else number


def example_groups(
    canonical: Sequence[str], usable: np.ndarray, conditions: Sequence[Sequence[Any]] = ()
) -> list[list[int]]:
    """Positions of the usable rows of each example, in order of the first."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at in np.flatnonzero(usable).tolist():
        key = (canonical[at], *(condition_key(cells[at]) for cells in conditions))
        groups.setdefault(key, []).append(at)
    return list(groups.values())


def outside_own_part(
    canonical: Sequence[str], usable: np.ndarray, cells: Sequence[Any], rows: Sequence[int], column: SplitColumn
) -> tuple[np.ndarray, str | None]:
    """(usable rows that must be left out, what to say about them)."""
    at_row = np.flatnonzero(usable).tolist()
    values = [cells[at] for at in at_row]
    places: list[float]
    try:
        if column.rule == "time":
            places = read_times(values, column.name, lambda at: f"row {rows[at_row[at]]}")
        else:
            parts = read_parts(values, column.name, lambda at: f"row {rows[at_row[at]]}")
            places = [_PARTS.index(part) for part in parts]
    except MesomerError as error:
        if column.strict:
            raise
        return np.zeros(len(usable), dtype=bool), error.message
    own: dict[str, float] = {}
    for at, place in zip(at_row, places, strict=True):
        own[canonical[at]] = min(place, own.get(canonical[at], place))
    out = np.zeros(len(usable), dtype=bool)
    for at, place in zip(at_row, places, strict=True):
        out[at] = place != own[canonical[at]]
    moved = {canonical[at] for at in np.flatnonzero(out).tolist()}
    return out, _sentence(column, len(moved), int(out.sum()))


def _sentence(column: SplitColumn, molecules: int, rows: int) -> str | None:
    if not rows:
        return None
    who = f"{molecules:,} molecule has" if molecules == 1 else f"{molecules:,} molecules have"
    those = f"{rows:,} other row is" if rows == 1 else f"{rows:,} other rows are"
    if column.rule == "time":
        return (
            f"{who} rows of different times in {column.name!r}: only the rows of the earliest time are used, with "
            f"their labels; {those} left out."
        )
    return (
        f"{who} rows in several parts of {column.name!r}: used only in test, else in valid; {those} left out, so "
        "that no test molecule is trained on."
    )
