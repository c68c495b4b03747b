"""What is said of rows that are no molecules: one warning at the caller's line, or an error at the first such row."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from mesomer.errors import InputError, unknown_name

_LIBRARIES = [spec for name in ("sklearn", "joblib") if (spec := find_spec(name)) is not None]
_FOLDERS = (
    Path(__file__).resolve().parent.parent,
    *(folder for spec in _LIBRARIES for folder in spec.submodule_search_locations or ()),
)
_PASSED_OVER = (contextlib.__file__, *(f"{folder}{os.sep}" for folder in _FOLDERS))
_SHOWN = 3
_CHARACTERS = 30


def warn(text: str) -> None:
    """A warning at the line outside Mesomer, scikit-learn and joblib that called."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


@dataclass
class Unusable:
    """The rows that are no molecules, collected part by part: why, and what was given."""

    rows: int = 0
    """Rows looked at."""
    found: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    """(reason, text) of the unusable ones by their position, counted from 0."""

    def add(self, reasons: Sequence[str | None], texts: Sequence[str | None]) -> None:
        """The next rows; a reason of None is a good row's."""
        for at, (reason, text) in enumerate(zip(reasons, texts, strict=True), self.rows):
            if reason is not None:
                self.found[at] = (reason, text)
        self.rows += len(reasons)

    def tell(self, what: str, on_error: str = "nan") -> None:
        """One warning that counts and names the reasons, or an error at the first row; nothing if there are none."""
        if not self.found:
            return
        if on_error == "raise":
            first = min(self.found)
            reason, text = self.found[first]
            more = f"; {len(self.found) - 1} more rows are not either" if len(self.found) > 1 else ""
            raise InputError(
                f"Row {first} (counted from 0) is no usable molecule: {reason}{_in_brackets(text)}{more}.",
                "Leave such rows out, or say on_error='nan' to keep their places.",
            )
        warn(f"{self.sentence()}; {what}.")

    def sentence(self) -> str:
        """`3 of 40 rows are no usable molecules: 2 cannot parse (rows 4: 'C(C', 9: 'xx'), 1 empty (row 17), counted
        from 0`.
        """
        counts = Counter(reason for reason, _ in self.found.values())
        parts = []
        for reason, count in counts.most_common():
            own = [(at, text) for at, (found, text) in sorted(self.found.items()) if found == reason][:_SHOWN]
            rows = ", ".join(f"{at}: {_short(text)}" if _short(text) else str(at) for at, text in own)
            more = ", …" if count > _SHOWN else ""
            parts.append(f"{count:,} {reason} (row{'s' if count > 1 else ''} {rows}{more})")
        total = sum(counts.values())
        verb = "rows are no usable molecules" if total > 1 else "rows is no usable molecule"
        return f"{total:,} of {self.rows:,} {verb}: {', '.join(parts)}, counted from 0"


def _short(text: str | None) -> str:
    """A cell in quotation marks, cut where it is long; nothing where it is empty."""
    if text is None or not text.strip():
        return ""
    return repr(text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}...")


def _in_brackets(text: str | None) -> str:
    return f" ({_short(text)})" if _short(text) else ""


def check_on_error(on_error: str) -> None:
    """Stops at a value that `on_error` does not have."""
    if on_error not in ("nan", "raise"):
        raise unknown_name("value of on_error", str(on_error), ("nan", "raise"))
