"""What is said of rows that are no molecules: one warning at the caller's line, or an error at the first such row."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mesomer.errors import MesomerError, unknown_name

_SKLEARN = find_spec("sklearn")
_FOLDERS = (Path(__file__).resolve().parent.parent, *((_SKLEARN and _SKLEARN.submodule_search_locations) or ()))
_PASSED_OVER = (contextlib.__file__, *(f"{folder}{os.sep}" for folder in _FOLDERS))
_SHOWN = 3


def warn(text: str) -> None:
    """A warning at the line outside Mesomer and scikit-learn that called."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


def unusable(reasons: Sequence[str | None], what: str, on_error: str = "nan") -> None:
    """One warning that counts and names the reasons, or an error at the first such row; nothing if there are none."""
    bad = [at for at, reason in enumerate(reasons) if reason is not None]
    if not bad:
        return
    if on_error == "raise":
        raise MesomerError(
            f"Row {bad[0]} (counted from 0) is no usable molecule: {reasons[bad[0]]}"
            + (f"; {len(bad) - 1} more rows are not either." if len(bad) > 1 else "."),
            "Leave such rows out, or say on_error='nan' to keep their places.",
        )
    warn(f"{rows_sentence(reasons)}; {what}.")


def rows_sentence(reasons: Sequence[str | None]) -> str:
    """`3 of 40 rows are no usable molecules: 2 cannot parse (rows 4, 9), 1 empty (row 17), counted from 0`."""
    counts = Counter(reason for reason in reasons if reason is not None)
    parts = []
    for reason, count in counts.most_common():
        rows = [str(at) for at, found in enumerate(reasons) if found == reason][:_SHOWN]
        more = ", …" if count > _SHOWN else ""
        parts.append(f"{count:,} {reason} (row{'s' if count > 1 else ''} {', '.join(rows)}{more})")
    total = sum(counts.values())
    verb = "rows are no usable molecules" if total > 1 else "rows is no usable molecule"
    return f"{total:,} of {len(reasons):,} {verb}: {', '.join(parts)}, counted from 0"


def check_on_error(on_error: str) -> None:
    """Stops at a value that `on_error` does not have."""
    if on_error not in ("nan", "raise"):
        raise unknown_name("value of on_error", str(on_error), ("nan", "raise"))
