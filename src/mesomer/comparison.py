"""Is one method better than another on these data? Paired statistics over splits and molecules, and the wording.

Decided: the interval over splits is the corrected resampled t of Nadeau and Bengio, because training parts overlap and
the plain t over folds says "different" far too often. The bootstrap over test molecules takes the trained models as
given; it is offered beside, never instead. An interval that includes zero is "undecided", never "no difference"; that
verdict needs the whole interval inside the zone of practical equivalence. Not here: many arms, many data sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
POWER = 0.8
DRAWS = 2000
ZONE_SHARE = 0.05
"""Half-width of the zone of practical equivalence for RMSE and MAE, in standard deviations of the labels."""


class Difference(NamedTuple):
    """Paired differences, oriented so that positive favours the first method; the interval is None with one split."""

    mean: float
    low: float | None
    high: float | None
    detectable: float | None
    """Smallest true difference that this design finds with a probability of 80 %, given the spread seen here."""
    wins: int
    splits: int


def compare(first: Sequence[float], second: Sequence[float], test_to_train: float, better: str) -> Difference:
    """Compares two methods by their scores on the same splits.

    test_to_train: test size by training size; `better` is "min" or "max".
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    gains = b - a if better == "min" else a - b
    count, wins = len(gains), int((gains > 0).sum())
    if count < 2:
        return Difference(float(gains.mean()), None, None, None, wins, count)
    from scipy.stats import t

    error = standard_error(gains, test_to_train)
    half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * error
    mean = float(gains.mean())
    return Difference(mean, mean - half, mean + half, detectable(error, count), wins, count)


def standard_error(differences: NDArray[np.floating], test_to_train: float) -> float:
    """Corrected standard error of the mean of paired differences over J splits: s sqrt(1/J + test/train)."""
    return float(differences.std(ddof=1)) * math.sqrt(1 / len(differences) + test_to_train)


def detectable(error: float, count: int) -> float:
    """The true difference that a two-sided test at 5 % finds with 80 % probability (non-central t)."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if error == 0:
        return 0.0
    critical = float(t.ppf(0.5 + LEVEL / 2, count - 1))
    return error * float(brentq(lambda shift: nct.sf(critical, count - 1, shift) - POWER, 0.0, 60.0))


def bootstrap_molecules(
    truth: Sequence[NDArray[np.floating]],
    first: Sequence[NDArray[np.floating]],
    second: Sequence[NDArray[np.floating]],
    metric: Callable[[NDArray, NDArray], float],
    better: str,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[float, float]:
    """95 % percentile interval of the mean gain over splits when test molecules are drawn anew within each split.

    Every argument holds one array for each split. Both methods are judged on the same drawn molecules.
    """
    generator = np.random.default_rng(seed)
    gains = np.zeros(draws)
    for y, a, b in zip(truth, first, second, strict=True):
        chosen = generator.integers(0, len(y), (draws, len(y)))
        for draw, rows in enumerate(chosen):
            gain = metric(y[rows], b[rows]) - metric(y[rows], a[rows])
            gains[draw] += gain if better == "min" else -gain
    low, high = np.quantile(gains / len(truth), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def verdict(difference: Difference, zone: float) -> str:
    """`no practical difference`, `helps`, `hurts` or `undecided`; the first whose rule holds."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return "undecided"
    if -zone <= low and high <= zone:
        return "no practical difference"
    if low > 0:
        return "helps"
    return "hurts" if high < 0 else "undecided"


def in_words(difference: Difference, zone: float, metric: str, better: str) -> str:
    """The difference of the first method to the second: "an RMSE lower by 0.020 (95 % interval 0.005 to 0.035)".

    Signs are spelt out: an interval across zero reads "0.010 higher to 0.030 lower".
    """
    good, bad = ("lower", "higher") if better == "min" else ("higher", "lower")
    mean, low, high = difference.mean, difference.low, difference.high
    article = "an" if metric[:1] in "AEFHILMNORSX" else "a"
    size = f"{article} {metric} {good if mean >= 0 else bad} by {abs(mean):.3f}"
    if low is None or high is None:
        return f"{size} (one split: no interval)"
    if low < 0 < high:
        interval = f"{-low:.3f} {bad} to {high:.3f} {good}"
    else:
        smaller, larger = sorted((abs(low), abs(high)))
        interval = f"{smaller:.3f} to {larger:.3f}"
    ends = {
        "undecided": "so the question stays open",
        "no practical difference": f"all of it inside the ±{zone:.3f} that count as no practical difference",
    }
    tail = ends.get(verdict(difference, zone), "")
    return f"{size} (95 % interval {interval}" + (f", {tail})" if tail else ")")
