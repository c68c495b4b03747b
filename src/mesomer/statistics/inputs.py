"""What the statistics accept: finite numbers, enough of them, in the right shape; anything else is a `MesomerError`.

Decided: a score that is missing or not finite is refused, never left out. A diverged run is a result; dropping its
fold would favour the arm that failed.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesomer.errors import MesomerError

Array = NDArray[np.float64]


def numbers(values: ArrayLike, what: str, least: int = 1, dimensions: int = 1) -> Array:
    """`values` as finite float64 numbers, at least `least` of them along the first axis.

    Raises `MesomerError` for text, another number of dimensions, too few values, NaN and infinity (positions from 0).
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MesomerError(f"{what} are not numbers: {error}.", "Give one number for each split.") from error
    if array.ndim != dimensions:
        raise MesomerError(f"{what} have {array.ndim} dimensions instead of {dimensions}.", "Check the shape.")
    if len(array) < least:
        raise MesomerError(f"{what}: {len(array)} given, at least {least} are needed.", "Run more of them.")
    broken = np.unique(np.argwhere(~np.isfinite(array))[:, 0]) if array.size else np.zeros(0, int)
    if len(broken):
        places = ", ".join(map(str, broken[:5])) + (", …" if len(broken) > 5 else "")
        raise MesomerError(
            f"{what} are not finite at position {places}.",
            "A failed run counts: give it the score of the mean predictor, or repeat it for every arm.",
        )
    return array


def same_length(first: Sized, second: Sized, what: str) -> None:
    """Raises `MesomerError` unless both have the same length."""
    if len(first) != len(second):
        raise MesomerError(
            f"{what} do not pair: {len(first)} against {len(second)}.", "Both must come from the very same splits."
        )


def sign(better: str) -> float:
    """1 where higher is better ("max"), -1 where lower is ("min"); any other word is a `MesomerError`."""
    if better not in ("max", "min"):
        raise MesomerError(f"A metric's better direction is max or min, not {better!r}.", "Give max or min.")
    return 1.0 if better == "max" else -1.0


def positive(value: float, what: str, zero: bool = False) -> float:
    """`value` if it is finite and above zero (with `zero`: or zero), else a `MesomerError`."""
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        bound = "zero or more" if zero else "above zero"
        raise MesomerError(f"{what} must be {bound}, not {value}.", "Give a finite number.")
    return float(value)


def share(value: float, what: str) -> float:
    """`value` if it lies strictly between 0 and 1, else a `MesomerError`."""
    if not 0 < value < 1:
        raise MesomerError(f"{what} must lie between 0 and 1, not {value}.", "Write 95 % as 0.95.")
    return float(value)


def whole(value: int, what: str, least: int) -> int:
    """`value` if it is a whole number of at least `least`, else a `MesomerError`."""
    if int(value) != value or value < least:
        raise MesomerError(f"{what} must be a whole number of at least {least}, not {value}.", "Give a larger one.")
    return int(value)


def names(values: Sequence[str], what: str, least: int) -> list[str]:
    """`values` if there are at least `least` and no two are equal, else a `MesomerError`."""
    if len(values) < least or len(set(values)) != len(values):
        raise MesomerError(
            f"{what}: at least {least} different names are needed, given: {', '.join(values) or 'none'}.",
            "Name every one once.",
        )
    return list(values)
