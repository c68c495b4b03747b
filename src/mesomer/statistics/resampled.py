"""The corrected resampled t: how far do two arms differ, when their scores come from overlapping splits?

Decided: the interval is the headline, p is beside it. Training parts of repeated cross-validation overlap, so that a
plain paired t over 25 folds rejects a true null many times too often; the correction of Nadeau and Bengio
adds test/train to the variance of the mean and brings that back to 5 %. The Bayesian reading has the same location,
scale and degrees of freedom, so one formula serves both and nothing is sampled. Differences that are all the same, and
not zero, have no spread to judge by: a t of infinity would be certain after two folds. There is no interval then (NaN).
Sources: C. Nadeau, Y. Bengio, Machine Learning 52 (2003) 239; G. Corani, A. Benavoli, Machine Learning 100 (2015) 285.
Units: all differences are in the unit of the score (ROC-AUC as a share, RMSE in the unit of the label), oriented so
that positive favours the first arm. Not here: many arms (`multiple`), many data sets (`across_sets`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mesomer.statistics.inputs import Array, numbers, positive, same_length, share, sign, whole

LEVEL = 0.95
FLAT = 1e-7
"""Spread, as a share of the largest difference, up to which differences are equal: scores are kept with 9 digits."""


class Posterior(NamedTuple):
    """Probabilities that the first arm is better by more than the zone, equal within it, worse by more; sum 1."""

    better: float
    equal: float
    worse: float


@dataclass(frozen=True)
class ResampledT:
    """Paired differences over J splits, summarised; s = 0 leaves no interval unless all are zero."""

    mean: float
    spread: float
    """Standard deviation s of the paired differences, divisor J - 1."""
    splits: int
    test_to_train: float
    wins: int
    """Splits in which the first arm scored better; ties count for neither."""

    @property
    def error(self) -> float:
        """Corrected standard error of the mean: s sqrt(1/J + n_test/n_train)."""
        return self.spread * math.sqrt(1 / self.splits + self.test_to_train)

    @property
    def degrees(self) -> int:
        """Degrees of freedom, J - 1."""
        return self.splits - 1

    @property
    def t(self) -> float:
        """mean / error; 0 where both are 0, infinite where only the error is."""
        if self.error == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / self.error

    @property
    def p(self) -> float:
        """Two-sided p of "the true difference is zero": 2 P(T_nu > |t|); 1 where there is no spread to judge by."""
        from scipy.special import stdtr

        return float(2 * stdtr(self.degrees, -abs(self.t))) if math.isfinite(self.t) else 1.0

    @property
    def effect_size(self) -> float:
        """d_z = mean / s, without unit; 0 where both are 0. It says how steady a difference is, not how large."""
        if self.spread == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / self.spread

    @property
    def share_won(self) -> float:
        """Share of the splits that the first arm won."""
        return self.wins / self.splits

    def half_width(self, level: float = LEVEL, comparisons: int = 1) -> float:
        """Half the interval: T_nu quantile of 1 - (1 - level) / (2 comparisons), times the error.

        `comparisons` above 1 gives the Bonferroni width, so that all intervals together hold with probability `level`.
        """
        from scipy.special import stdtrit

        outside = (1 - share(level, "The level of an interval")) / whole(comparisons, "The number of comparisons", 1)
        return float(stdtrit(self.degrees, 1 - outside / 2)) * self.error

    def interval(self, level: float = LEVEL, comparisons: int = 1) -> tuple[float, float]:
        """Interval of the true difference, mean ± half width; NaN where there is no spread to judge by."""
        half = self.half_width(level, comparisons)
        if not math.isfinite(self.t):
            return math.nan, math.nan
        return self.mean - half, self.mean + half

    def posterior(self, zone: float) -> Posterior:
        """Bayesian reading: the true difference is mean + error T_nu; shares above zone, within ± zone, below -zone.

        This is the correlated t with the correlation rho = n_test / (n_train + n_test), because rho / (1 - rho) is
        test/train. `zone` is in the unit of the score. NaN where there is no spread to judge by.
        """
        from scipy.special import stdtr

        zone = positive(zone, "The zone of practical equivalence", zero=True)
        if not math.isfinite(self.t):
            return Posterior(math.nan, math.nan, math.nan)
        if self.error == 0:
            return Posterior(0.0, 1.0, 0.0)
        better = float(stdtr(self.degrees, (self.mean - zone) / self.error))
        worse = float(stdtr(self.degrees, (-zone - self.mean) / self.error))
        return Posterior(better, max(0.0, 1 - better - worse), worse)


def paired_gains(first: ArrayLike, second: ArrayLike, better: str) -> Array:
    """Score of the first arm minus that of the second on every split, turned so that positive favours the first.

    `better` is "max" or "min". Raises `MesomerError` for scores that are not finite or do not pair.
    """
    a, b = numbers(first, "The first arm's scores"), numbers(second, "The second arm's scores")
    same_length(a, b, "The scores")
    return sign(better) * (a - b)


def resampled_t(gains: ArrayLike, test_to_train: float) -> ResampledT:
    """Corrected resampled t of paired differences over splits.

    `test_to_train` is n_test / n_train: `fold_ratio(K)` for K folds, 1/8 for 80/10/10. Raises `MesomerError` for fewer
    than two differences, for such that are not finite, and for a ratio below zero (zero is the plain paired t).
    """
    d = numbers(gains, "Paired differences", least=2)
    ratio = positive(test_to_train, "Test size by training size", zero=True)
    spread = float(d.std(ddof=1))
    flat = spread <= FLAT * float(np.abs(d).max())
    return ResampledT(float(d.mean()), 0.0 if flat else spread, len(d), ratio, int((d > 0).sum()))


def fold_ratio(folds: int) -> float:
    """n_test / n_train of K-fold cross-validation, 1/(K - 1); the inner validation part counts as training."""
    return 1 / (whole(folds, "The number of folds", 2) - 1)


def mean_ratio(test_sizes: Sequence[int], train_sizes: Sequence[int]) -> float:
    """Mean of n_test / n_train over unequal splits. Raises `MesomerError` for empty parts and unequal lists."""
    test = numbers(test_sizes, "Test sizes")
    train = numbers(train_sizes, "Training sizes")
    same_length(test, train, "Sizes of test and training parts")
    for value in (*test, *train):
        positive(value, "The size of a part")
    return float(np.mean(test / train))
