"""The sentence on two arms: by how much one method is better than another on the same splits, in words.

Decided: the interval is that of the corrected resampled t. An interval that includes zero is "undecided", never "no
difference"; that verdict needs the whole interval inside the zone of practical equivalence. The numbers come from
`mesomer.statistics`; here are one split, which has no interval, and the wording.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mesomer import statistics
from mesomer.statistics import paired_gains, resampled_t


class Difference(NamedTuple):
    """Paired differences, oriented so that positive favours the first method; the interval is None without a spread."""

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
    gains = paired_gains(first, second, better)
    if len(gains) == 1:
        return Difference(float(gains[0]), None, None, None, int(gains[0] > 0), 1)
    found = resampled_t(gains, test_to_train)
    low, high = found.interval()
    if low != low:
        return Difference(found.mean, None, None, None, found.wins, found.splits)
    design = statistics.Design(found.splits, test_to_train)
    smallest = statistics.smallest_detectable(found.spread, design)
    return Difference(found.mean, low, high, smallest, found.wins, found.splits)


def verdict(difference: Difference, zone: float) -> str:
    """`no practical difference`, `helps`, `hurts` or `undecided`; the first whose rule holds."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return "undecided"
    return statistics.verdict(low, high, zone).name


def in_words(difference: Difference, zone: float, metric: str, better: str) -> str:
    """The difference of the first method to the second: "an RMSE lower by 0.020 (95 % interval 0.005 to 0.035)".

    Signs are spelt out: an interval across zero reads "0.010 higher to 0.030 lower".
    """
    good, bad = ("lower", "higher") if better == "min" else ("higher", "lower")
    mean, low, high = difference.mean, difference.low, difference.high
    article = "an" if metric[:1] in "AEFHILMNORSX" else "a"
    size = f"{article} {metric} {good if mean >= 0 else bad} by {abs(mean):.3f}"
    if low is None or high is None:
        why = "one split" if difference.splits == 1 else "all splits differ by the same amount"
        return f"{size} ({why}: no interval)"
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
