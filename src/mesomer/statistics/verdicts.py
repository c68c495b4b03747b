"""From an interval to a verdict: helps, hurts, no practical difference, or undecided.

Decided: "no practical difference" needs the whole interval inside the zone, so it is a finding and not the lack of
one; an interval that crosses zero and leaves the zone is undecided. The first rule that holds decides, so that an
interval inside the zone but beside zero is no practical difference, "detectable but small". A verdict depends on the
zone, so it is repeated for half and twice the zone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mesomer.errors import MesomerError
from mesomer.statistics.inputs import positive

EQUAL, HELPS, HURTS, UNDECIDED = "no practical difference", "helps", "hurts", "undecided"
AREA_ZONE = 0.02
"""Zone for ROC-AUC and average precision. 0.01 is the custom, but one data set can hardly ever show that."""
ZONE_SHARE = 0.05
"""Zone for RMSE and MAE, in standard deviations of the labels."""
REPEAT_ERROR_SHARE = 0.1
"""Zone for RMSE and MAE where the assay's repeat error is known, as a share of it."""
FACTORS = (0.5, 1.0, 2.0)
NO_SPREAD = "all folds differ by the same amount: no spread to judge by"


class Verdict(NamedTuple):
    """One of the four verdicts, what is added to it, and the zone that it holds for."""

    name: str
    addition: str
    """"detectable but small", "by more than the zone", why there is no interval, or empty."""
    zone: float

    def __str__(self) -> str:
        return f"{self.name} ({self.addition})" if self.addition else self.name


def verdict(low: float, high: float, zone: float) -> Verdict:
    """The verdict on an interval [low, high] of a difference, where positive is better; all in the unit of the score.

    -zone <= low and high <= zone: no practical difference; else low > 0: helps; else high < 0: hurts; else undecided.
    NaN for both ends, where there is no interval: undecided. Raises `MesomerError` for an interval that is not one and
    for a zone that is not above zero.
    """
    zone = positive(zone, "The zone of practical equivalence")
    if math.isnan(low) and math.isnan(high):
        return Verdict(UNDECIDED, NO_SPREAD, zone)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise MesomerError(f"[{low}, {high}] is not an interval.", "Give finite ends, the lower one first.")
    beside_zero = low > 0 or high < 0
    if -zone <= low and high <= zone:
        return Verdict(EQUAL, "detectable but small" if beside_zero else "", zone)
    if beside_zero:
        beyond = low > zone or high < -zone
        return Verdict(HELPS if low > 0 else HURTS, "by more than the zone" if beyond else "", zone)
    return Verdict(UNDECIDED, "", zone)


def verdicts_by_zone(low: float, high: float, zone: float) -> list[Verdict]:
    """The verdicts for half the zone, the zone, and twice the zone, in this order."""
    return [verdict(low, high, factor * zone) for factor in FACTORS]


def default_zone(metric: str, label_deviation: float | None = None, repeat_error: float | None = None) -> float:
    """The smallest difference that matters, by default, in the unit of the score.

    ROC-AUC and average precision: 0.02. RMSE and MAE: a tenth of the assay's repeat error if given, else 0.05 standard
    deviations of the labels (both in the unit of the labels). Other metrics: `MesomerError`, the user must say it.
    """
    if metric in ("roc_auc", "average_precision"):
        return AREA_ZONE
    if metric not in ("rmse", "mae"):
        raise MesomerError(f"There is no usual zone for {metric}.", "Say which difference would matter to you.")
    if repeat_error is not None:
        return REPEAT_ERROR_SHARE * positive(repeat_error, "The repeat error of the assay")
    if label_deviation is None:
        raise MesomerError(f"The zone for {metric} needs the spread of the labels.", "Give their standard deviation.")
    return ZONE_SHARE * positive(label_deviation, "The standard deviation of the labels")
