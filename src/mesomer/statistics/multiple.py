"""Many arms: each against the twin (Holm), and all pairs (Tukey with the variance of overlapping splits).

Decided: Holm with the corrected t is the test of "all against the twin"; the intervals beside it have Bonferroni
width, so that all hold together. Tukey's is the test of all pairs: its variance of a mean, MS/J, becomes
MS (1/J + n_test/n_train), without which four equal arms show a false pair in 7 of 10 data sets.
Sources: S. Holm, Scand. J. Statist. 6 (1979) 65; J. Tukey's studentised range; design and figures of J. Ash et al.,
J. Chem. Inf. Model. 65 (2025) 9398; the correction as in `resampled`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mesomer.errors import MesomerError, unknown_name
from mesomer.statistics.inputs import Array, names, numbers, positive, share, sign
from mesomer.statistics.resampled import LEVEL, Posterior, ResampledT, paired_gains, resampled_t
from mesomer.statistics.verdicts import Verdict, verdict


class Contrast(NamedTuple):
    """One arm against the reference; positive differences favour the arm."""

    arm: str
    result: ResampledT
    p_holm: float
    low: float
    high: float
    """Ends of the interval of Bonferroni width: all contrasts together hold with probability `level`."""
    posterior: Posterior
    verdict: Verdict


class Pair(NamedTuple):
    """Two arms of an all-pairs comparison; positive differences favour the first."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float


class AllPairs(NamedTuple):
    """Corrected Tukey comparison of all arms."""

    means: dict[str, float]
    """Mean score of every arm, in the metric's own direction."""
    half_width: float
    """Half the interval of every difference."""
    pairs: list[Pair]

    @property
    def half_bar(self) -> float:
        """Half the bar to draw around each mean, so that two arms differ exactly where their bars do not overlap."""
        return self.half_width / 2


def holm(p_values: ArrayLike) -> Array:
    """Holm's adjusted p: sorted ones times m, m - 1, …, 1, their cumulative maximum, at most 1; in the given order.

    Raises `MesomerError` for values outside [0, 1].
    """
    p = numbers(p_values, "p values", least=1)
    if (p < 0).any() or (p > 1).any():
        raise MesomerError("p values must lie between 0 and 1.", "Give the raw p values.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def against_reference(
    scores: Mapping[str, ArrayLike],
    reference: str,
    test_to_train: float,
    better: str,
    zone: float,
    level: float = LEVEL,
) -> list[Contrast]:
    """Every other arm against `reference` on the same splits, in the given order.

    Raises `MesomerError` for an unknown reference, fewer than two arms, scores that do not pair or are not finite.
    """
    arms = names(list(scores), "Arms", 2)
    if reference not in scores:
        raise unknown_name("arm", reference, arms)
    others = [arm for arm in arms if arm != reference]
    results = [resampled_t(paired_gains(scores[arm], scores[reference], better), test_to_train) for arm in others]
    adjusted = holm([result.p for result in results])
    contrasts = []
    for arm, result, p in zip(others, results, adjusted, strict=True):
        low, high = result.interval(level, comparisons=len(others))
        contrasts.append(Contrast(arm, result, float(p), low, high, result.posterior(zone), verdict(low, high, zone)))
    return contrasts


def tukey(scores: Mapping[str, ArrayLike], test_to_train: float, better: str, level: float = LEVEL) -> AllPairs:
    """All pairs of arms by Tukey's studentised range, over splits as blocks, with the corrected variance.

    Two-way layout split x arm without interaction: MS = sum of squared residuals / nu, nu = (J - 1)(a - 1);
    q = (m_i - m_j) / sqrt(MS (1/J + n_test/n_train)) against the range of a means with nu degrees of freedom. With two
    arms this is the corrected t. Raises `MesomerError` for fewer than two arms or splits, and unpaired scores.
    """
    arms = names(list(scores), "Arms", 2)
    columns = [numbers(scores[arm], f"Scores of {arm}", least=2) for arm in arms]
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{arm} {len(column)}" for arm, column in zip(arms, columns, strict=True))
        raise MesomerError(f"Arms have different numbers of splits: {counts}.", "All must be scored on the same ones.")
    table = np.stack(columns, 1)  # [J, a]
    turn = sign(better)
    degrees, error = tukey_error(table, test_to_train)
    means = table.mean(0)
    half = tukey_critical(len(arms), degrees, level) * error
    pairs = []
    for i, j in combinations(range(len(arms)), 2):
        gain = float(turn * (means[i] - means[j]))
        pairs.append(Pair(arms[i], arms[j], gain, gain - half, gain + half, _tukey_p(gain, error, len(arms), degrees)))
    return AllPairs(dict(zip(arms, means.tolist(), strict=True)), half, pairs)


def tukey_error(table: ArrayLike, test_to_train: float) -> tuple[int, float]:
    """Degrees of freedom and corrected standard error sqrt(MS (1/J + n_test/n_train)) of scores [J, a]."""
    y = numbers(table, "Scores", least=2, dimensions=2)
    ratio = positive(test_to_train, "Test size by training size", zero=True)
    splits, arms = y.shape
    if arms < 2:
        raise MesomerError("All pairs of one arm are none.", "Give two arms or more.")
    residuals = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
    degrees = (splits - 1) * (arms - 1)
    return degrees, math.sqrt(float((residuals**2).sum()) / degrees * (1 / splits + ratio))


@lru_cache(maxsize=256)
def tukey_critical(arms: int, degrees: int, level: float = LEVEL) -> float:
    """Quantile of the studentised range of `arms` means; kept, because each takes many integrals."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(share(level, "The level of an interval"), arms, degrees))


def _tukey_p(gain: float, error: float, arms: int, degrees: int) -> float:
    from scipy.stats import studentized_range

    if error == 0:
        return 0.0 if gain else 1.0
    return float(np.clip(studentized_range.sf(abs(gain) / error, arms, degrees), 0, 1))
