"""Several data sets: does it help in general, and what is to be expected on a new set?

Random-effects meta-analysis of the mean difference m_i and corrected standard error se_i of each set: the true
difference of a set is drawn around the mean mu with variance tau^2. Decided: tau^2 by Paule and Mandel, or by
DerSimonian and Laird on request; the interval of mu by Knapp and Hartung with t of k - 1 degrees, whose factor is not
let below 1, because else a few sets that agree by chance give an interval narrower than their own errors allow. The
prediction interval tells where the true difference of a further such set lies; with few sets it is too narrow, as the
spread between sets is then often estimated as zero (eight sets, tau as large as their errors: 0.88 instead of 0.95).
Sources: R. DerSimonian, N. Laird, Control. Clin. Trials 7 (1986) 177; R. Paule, J. Mandel, J. Res. Natl. Bur. Stand.
87 (1982) 377; G. Knapp, J. Hartung, Stat. Med. 22 (2003) 2693; C. Röver et al., BMC Med. Res. Methodol. 15 (2015) 99
(the factor); J. Higgins et al., J. R. Stat. Soc. A 172 (2009) 137 (prediction).
Not here: ranks over sets (Friedman, Nemenyi), which lose the size of a difference.
Units: all differences in one unit, or without: ROC-AUC as it is, RMSE in standard deviations of each set's labels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mesomer.errors import MesomerError, unknown_name
from mesomer.statistics.inputs import Array, numbers, same_length, share
from mesomer.statistics.resampled import LEVEL

LEAST_FOR_WILCOXON = 6
METHODS = ("paule-mandel", "dersimonian-laird")


class MetaAnalysis(NamedTuple):
    """Mean difference over data sets, its interval, and the spread between sets."""

    mean: float
    error: float
    low: float
    high: float
    p: float
    """Two-sided p of "the mean difference over all such sets is zero"."""
    tau: float
    """Standard deviation of the true difference between sets."""
    heterogeneity: float
    """I^2 = (Q - (k - 1)) / Q, at least 0: the share of the observed variance that is not error of the sets."""
    predicted: tuple[float, float] | None
    """Where the true difference of a new set lies; holds less often than `level` with few sets; None with two."""
    sets: int


def meta_analysis(
    differences: ArrayLike,
    errors: ArrayLike,
    method: str = "paule-mandel",
    level: float = LEVEL,
    widen: bool = True,
) -> MetaAnalysis:
    """Random-effects meta-analysis over data sets.

    w_i = 1 / (se_i^2 + tau^2), mu = sum w m / sum w, error^2 = max(1, sum w (m - mu)^2 / (k - 1)) / sum w; interval
    mu ± T_(k-1) error, prediction mu ± T_(k-2) sqrt(tau^2 + error^2). `widen=False` leaves the maximum out (plain Knapp
    and Hartung). Raises `MesomerError` for fewer than two sets, unpaired lists, and errors that are not above zero.
    """
    from scipy.special import stdtr, stdtrit

    m, variance = _checked(differences, errors)
    outside = (1 - share(level, "The level of an interval")) / 2
    if method not in METHODS:
        raise unknown_name("method of meta-analysis", method, METHODS)
    count = len(m)
    tau_squared = paule_mandel(m, variance) if method == "paule-mandel" else dersimonian_laird(m, variance)
    weights = 1 / (variance + tau_squared)
    mean = float(weights @ m / weights.sum())
    factor = float(weights @ (m - mean) ** 2) / (count - 1)
    error = math.sqrt((max(1.0, factor) if widen else factor) / float(weights.sum()))
    half = float(stdtrit(count - 1, 1 - outside)) * error
    p = float(2 * stdtr(count - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    predicted = None
    if count > 2:
        reach = float(stdtrit(count - 2, 1 - outside)) * math.sqrt(tau_squared + error**2)
        predicted = (mean - reach, mean + reach)
    q = _excess(0.0, m, variance)
    heterogeneity = max(0.0, (q - (count - 1)) / q) if q > 0 else 0.0
    return MetaAnalysis(
        mean, error, mean - half, mean + half, p, math.sqrt(tau_squared), heterogeneity, predicted, count
    )


def dersimonian_laird(differences: Array, variances: Array) -> float:
    """tau^2 = max(0, (Q - (k - 1)) / (sum w - sum w^2 / sum w)) with w = 1 / se^2, Q = sum w (m - mu)^2."""
    weights = 1 / variances
    total = float(weights.sum())
    excess = _excess(0.0, differences, variances) - (len(differences) - 1)
    return max(0.0, excess / (total - float((weights**2).sum()) / total))


def paule_mandel(differences: Array, variances: Array) -> float:
    """The tau^2 at which sum (m - mu)^2 / (se^2 + tau^2) is k - 1; 0 where it is less already without."""
    from scipy.optimize import brentq

    target = len(differences) - 1
    if _excess(0.0, differences, variances) <= target:
        return 0.0
    most = float(np.ptp(differences)) ** 2 * len(differences)
    return float(brentq(lambda tau2: _excess(tau2, differences, variances) - target, 0.0, most, xtol=1e-14 * most))


def wilcoxon_over_sets(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed rank test over data sets; sets without any difference are left out of it.

    For data sets only: the folds or repeats of one set use the same molecules again, which breaks its level. Raises
    `MesomerError` below six sets that differ, where no outcome can reach 0.05.
    """
    from scipy.stats import wilcoxon

    d = numbers(differences, "Mean differences of data sets")
    d = d[d != 0]
    if len(d) < LEAST_FOR_WILCOXON:
        raise MesomerError(
            f"Wilcoxon's test over {len(d)} data sets that differ can never reach 0.05.",
            f"Use at least {LEAST_FOR_WILCOXON} sets, or the meta-analysis.",
        )
    return float(wilcoxon(d).pvalue)


def _checked(differences: ArrayLike, errors: ArrayLike) -> tuple[Array, Array]:
    m = numbers(differences, "Mean differences of data sets", least=2)
    error = numbers(errors, "Standard errors of data sets", least=2)
    same_length(m, error, "Differences and errors of data sets")
    if (error <= 0).any():
        place = int(np.argmax(error <= 0))
        raise MesomerError(
            f"The standard error at position {place} is {error[place]}.",
            "A set whose arms scored the same on every split has no weight to give; report it beside the others.",
        )
    return m, error**2


def _excess(tau_squared: float, differences: Array, variances: Array) -> float:
    weights = 1 / (variances + tau_squared)
    mean = weights @ differences / weights.sum()
    return float(weights @ (differences - mean) ** 2)
