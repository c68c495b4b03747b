"""How estimators speak: warnings that point at the caller's line, and errors in the words of Python, not of a shell."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sklearn

from mesomer.errors import MesomerError, unknown_name

_FOLDERS = (Path(__file__).resolve().parent.parent, Path(sklearn.__file__).parent)
_PACKAGES = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)
_OTHER_NAMES = {"seed": "random_state"}
_SHOWN = 3


@contextmanager
def python_words() -> Iterator[None]:
    """Errors name arguments instead of the options of a command: `epochs` for `--epochs`."""
    try:
        yield
    except MesomerError as error:
        error.message, error.hint = in_python(error.message), in_python(error.hint)
        error.args = (error.message,)
        raise


def in_python(text: str) -> str:
    """A sentence with the names of arguments in place of options."""
    return re.sub(r"--([a-z]\w*)", lambda found: _OTHER_NAMES.get(found[1], found[1]), text)


def warn(text: str) -> None:
    """A warning at the line outside Mesomer and scikit-learn that called."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGES):
        frame, level = frame.f_back, level + 1
    warnings.warn(in_python(text), UserWarning, stacklevel=level)


def unusable(reasons: Sequence[str | None], what: str, on_error: str) -> None:
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
