"""What the test molecules alone say about given models: bootstrap over molecules, DeLong, Cliff's delta.

Decided: these take the trained models as given, so they miss the chance in the training part and are reported beside
the corrected t, never instead. Molecules are drawn, never folds (drawing folds says "different" in 35 to 60 % of
equal cases). Molecules of one scaffold are no independent witnesses: with `groups` whole groups are drawn.
Units: differences in the unit of the score, positive favours the first arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesomer.errors import MesomerError
from mesomer.metrics import mean_ranks
from mesomer.statistics.inputs import Array, numbers, same_length, share, sign, whole
from mesomer.statistics.resampled import LEVEL

DRAWS = 2000
MOST_UNDEFINED = 0.05
"""Share of draws in which the metric may be undefined (one class only) before the interval is refused."""


class DeLong(NamedTuple):
    """Two ROC-AUC on the same test molecules, their difference and its interval."""

    first: float
    second: float
    difference: float
    error: float
    low: float
    high: float
    p: float


def bootstrap_molecules(
    truth: Sequence[NDArray[np.floating]],
    first: Sequence[NDArray[np.floating]],
    second: Sequence[NDArray[np.floating]],
    metric: Callable[[NDArray, NDArray], float],
    better: str,
    seed: int = 0,
    draws: int = DRAWS,
    groups: Sequence[ArrayLike] | None = None,
) -> tuple[float, float]:
    """95 % percentile interval of the mean gain over splits when test molecules are drawn anew within each split.

    Every argument holds one array for each split (or, for pooled out-of-fold predictions, for each repeat); `groups`
    are scaffolds. Both arms are judged on the same drawn molecules. Draws with one class only, where the metric is NaN,
    are left out. Raises `MesomerError` for unpaired arrays, and if more than 5 % of the draws are left out.
    """
    turn, draws = sign(better), whole(draws, "The number of draws", 1)
    parts = [truth, first, second] + ([] if groups is None else [groups])  # type: ignore[list-item]
    if len({len(part) for part in parts}) > 1 or not len(truth):
        raise MesomerError("Truth and predictions have different numbers of splits.", "Give one array for each split.")
    generator = np.random.default_rng(seed)
    gains = np.zeros(draws)
    for split, (y, a, b) in enumerate(zip(truth, first, second, strict=True)):
        same_length(a, y, f"Predictions and labels of split {split}")
        same_length(b, y, f"Predictions and labels of split {split}")
        for draw, rows in enumerate(_drawn_rows(len(y), draws, generator, None if groups is None else groups[split])):
            gains[draw] += turn * (metric(y[rows], a[rows]) - metric(y[rows], b[rows]))
    defined = gains[np.isfinite(gains)]
    if len(defined) < (1 - MOST_UNDEFINED) * draws:
        raise MesomerError(
            f"The metric is undefined in {draws - len(defined)} of {draws} draws of the test molecules.",
            "Pool the predictions of all folds of a repeat, so that both classes occur.",
        )
    low, high = np.quantile(defined / len(truth), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def delong(truth: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> DeLong:
    """ROC-AUC of two arms on one fixed test set, with the paired test of DeLong.

    V_i is the share of negatives ranked below positive i, V_j that of positives ranked above negative j (ties count
    half): variance of the difference = var(V_i,a - V_i,b) / P + var(V_j,a - V_j,b) / N, compared with a normal
    distribution. For predefined or time splits with a single test set. Source: E. DeLong, D. DeLong,
    D. Clarke-Pearson, Biometrics 44 (1988) 837; ranks as by X. Sun, W. Xu, IEEE Signal Process. Lett. 21 (2014) 1389.
    Raises `MesomerError` for labels other than 0 and 1 and for fewer than two molecules of a class.
    """
    from scipy.special import ndtr, ndtri

    y = numbers(truth, "Labels", least=4)
    a, b = numbers(first, "The first arm's predictions"), numbers(second, "The second arm's predictions")
    same_length(a, y, "Predictions and labels")
    same_length(b, y, "Predictions and labels")
    if not np.isin(y, (0, 1)).all():
        raise MesomerError("Labels of a ROC-AUC must be 0 and 1.", "Give the positive class as 1.")
    if min((y == 1).sum(), (y == 0).sum()) < 2:
        raise MesomerError("Both classes need two test molecules at least.", "Use a larger test set.")
    outside = (1 - share(level, "The level of an interval")) / 2
    (a_positive, a_negative), (b_positive, b_negative) = _placements(y, a), _placements(y, b)
    variance = sum(
        float(np.var(one - other, ddof=1)) / len(one)
        for one, other in ((a_positive, b_positive), (a_negative, b_negative))
    )
    error = math.sqrt(variance)
    area_a, area_b = float(a_positive.mean()), float(b_positive.mean())
    difference = area_a - area_b
    p = float(2 * ndtr(-abs(difference) / error)) if error > 0 else float(difference == 0)
    half = float(ndtri(1 - outside)) * error
    return DeLong(area_a, area_b, difference, error, difference - half, difference + half, p)


def cliffs_delta(first_losses: ArrayLike, second_losses: ArrayLike) -> float:
    """P(a loss of the first arm is below one of the second) minus P(it is above); -1 to 1, ties count for neither.

    Losses are per molecule; all pairs are compared, by ranks. Source: N. Cliff, Psychol. Bull. 114 (1993) 494.
    """
    a, b = numbers(first_losses, "The first arm's losses"), numbers(second_losses, "The second arm's losses")
    rank_sum = float(mean_ranks(np.concatenate([a, b]))[: len(a)].sum())
    larger = (rank_sum - len(a) * (len(a) + 1) / 2) / (len(a) * len(b))
    return 1 - 2 * larger


def _drawn_rows(count: int, draws: int, generator: np.random.Generator, groups: ArrayLike | None) -> list[NDArray]:
    if groups is None:
        return list(generator.integers(0, count, (draws, count)))
    of = np.asarray(groups)
    same_length(of, np.empty(count), "Groups and labels")
    _, index = np.unique(of, return_inverse=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    chosen = generator.integers(0, len(members), (draws, len(members)))
    return [np.concatenate([members[group] for group in draw]) for draw in chosen]


def _placements(truth: Array, predicted: Array) -> tuple[Array, Array]:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    is_positive = truth == 1
    positives, negatives = predicted[is_positive], predicted[~is_positive]
    ranks = mean_ranks(predicted)
    above = (ranks[is_positive] - mean_ranks(positives)) / len(negatives)
    below = 1 - (ranks[~is_positive] - mean_ranks(negatives)) / len(positives)
    return above, below
