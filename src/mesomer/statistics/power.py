"""What a design can and cannot show, before hours are spent on it.

The smallest detectable difference (MDE) is the true difference that the corrected t finds with a probability of 80 %
at the two-sided level of 5 %. It is a multiple of s, the standard deviation of the paired fold differences, which a
cheap pilot on the same folds estimates. The multiple hardly falls with more repeats, because test/train stays.
Decided: power is that of a non-central t with nu = J - 1 and non-centrality delta / (s sqrt(1/J + n_test/n_train)).
Where a design other than the pilot's is asked about, s is scaled by the size of the test parts, s ~ n_test^-1/2: an
approximation (measured: ten folds against five 1.43, the square root of two is 1.41), so such figures are a guide.
Units: spreads, effects and zones are in the unit of the score.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mesomer.errors import MesomerError
from mesomer.statistics.inputs import Array, positive, share, whole
from mesomer.statistics.resampled import LEVEL, fold_ratio, paired_gains, resampled_t

POWER = 0.8
MOST_REPEATS = 100


class Design(NamedTuple):
    """J overlapping splits with n_test / n_train; `folds` is None for drawn splits."""

    splits: int
    test_to_train: float
    folds: int | None = None

    @property
    def error_factor(self) -> float:
        """Corrected standard error of the mean in units of s: sqrt(1/J + n_test/n_train)."""
        return math.sqrt(1 / self.splits + self.test_to_train)

    @property
    def repeats(self) -> int | None:
        """How often the folds were drawn; None for drawn splits."""
        return None if self.folds is None else self.splits // self.folds

    def __str__(self) -> str:
        if self.folds is None:
            return f"{self.splits} drawn splits"
        return f"{self.repeats} x {self.folds} folds"


class Pilot(NamedTuple):
    """Spread of paired fold differences: the estimate and its 95 % interval, in the unit of the score."""

    spread: float
    low: float
    high: float
    design: Design


class Outlook(NamedTuple):
    """What a design can show, given a spread."""

    design: Design
    detectable: float
    """Smallest detectable difference."""
    detectable_low: float
    detectable_high: float
    """The same at the ends of the interval of the pilot's spread."""
    half_width: float
    """Half the interval to expect."""
    can_show_equality: bool
    """Whether an interval of the expected width fits into the zone at all."""
    half_width_low: float
    half_width_high: float
    """Half the interval at the ends of the interval of the pilot's spread."""


class Needed(NamedTuple):
    """What would bring the smallest detectable difference down to an effect; None where nothing of that kind does."""

    repeats: int | None
    folds: int | None
    molecules: int | None


def cross_validation(repeats: int, folds: int) -> Design:
    """`repeats` x `folds` cross-validation. Raises `MesomerError` for no repeat or fewer than two folds."""
    folds = whole(folds, "The number of folds", 2)
    return Design(whole(repeats, "The number of repeats", 1) * folds, fold_ratio(folds), folds)


def drawn_splits(splits: int, test_share: float = 0.1, train_share: float = 0.8) -> Design:
    """`splits` independent draws of a test and a training part, as shares of all molecules."""
    ratio = share(test_share, "The share of the test part") / share(train_share, "The share of the training part")
    if test_share + train_share > 1:
        raise MesomerError("Test and training part overlap.", "Their shares must not exceed 1 together.")
    return Design(whole(splits, "The number of splits", 2), ratio)


DESIGNS = (
    drawn_splits(3),
    drawn_splits(10),
    *(
        cross_validation(repeats, folds)
        for repeats, folds in ((1, 5), (3, 5), (5, 5), (10, 5), (1, 10), (5, 10), (10, 10))
    ),
)
"""Designs in use, for a table of what each can detect."""


def power(effect: float, spread: float, design: Design, level: float = LEVEL) -> float:
    """Probability that the corrected t rejects "no difference" if the true difference is `effect` (either sign).

    P(|T'| > t_crit) with T' non-central t of J - 1 degrees and non-centrality |effect| / (s sqrt(1/J + ratio)).
    Raises `MesomerError` for a spread that is not above zero.
    """
    shift = abs(effect) / (positive(spread, "The spread of paired differences") * design.error_factor)
    return _power_of_shift(shift, design.splits - 1, share(level, "The level"))


def smallest_detectable(spread: float, design: Design, target: float = POWER, level: float = LEVEL) -> float:
    """The true difference that is found with probability `target`, in the unit of `spread`; 0 for a spread of 0."""
    spread = positive(spread, "The spread of paired differences", zero=True)
    return spread * design.error_factor * _shift_for(design.splits - 1, target, level)


def pilot_spread(first: ArrayLike, second: ArrayLike, better: str, design: Design, level: float = LEVEL) -> Pilot:
    """Spread of the paired differences of two cheap arms on the folds of `design`, with its interval.

    (J - 1) s^2 / sigma^2 is chi-squared with J - 1 degrees if the differences are equally correlated normal ones, the
    correlation itself drops out. Two seeds of one method give a lower bound: arms that differ in more spread farther,
    see `widened`. Raises `MesomerError` if the scores are not one for each split of the design.
    """
    from scipy.special import chdtri

    found = resampled_t(paired_gains(first, second, better), design.test_to_train)
    if found.splits != design.splits:
        raise MesomerError(
            f"The pilot has {found.splits} scores, its design {design.splits} splits.", "Score every split once."
        )
    tail = (1 - share(level, "The level of an interval")) / 2
    low, high = (found.spread * math.sqrt(found.degrees / float(chdtri(found.degrees, p))) for p in (tail, 1 - tail))
    return Pilot(found.spread, low, high, design)


def widened(pilot: Pilot, usual: float, most: float) -> Pilot:
    """The spread to expect of arms that differ in more than the pilot's: `usual` times as far, and up to `most` times.

    The lower end stays where it is: no two arms were seen closer. Raises `MesomerError` unless 1 <= usual <= most.
    """
    if not 1 <= usual <= most:
        raise MesomerError(f"Arms cannot spread {usual:g} to {most:g} times as far.", "Give 1 or more, in order.")
    return pilot._replace(spread=usual * pilot.spread, high=most * pilot.high)


def outlook(pilot: Pilot, design: Design, zone: float, comparisons: int = 1, level: float = LEVEL) -> Outlook:
    """What `design` can show on the pilot's data: smallest detectable difference, width, and whether equality can.

    The half width is T_nu quantile x s x sqrt(1/J + ratio), at Bonferroni width for several comparisons; equality can
    be shown only if it is at most the zone. `comparisons` narrows the level of the detectable difference likewise.
    """
    from scipy.special import stdtrit

    zone = positive(zone, "The zone of practical equivalence")
    each = 1 - (1 - share(level, "The level of an interval")) / whole(comparisons, "The number of comparisons", 1)
    spread, low, high = (scaled_spread(value, pilot.design, design) for value in (pilot.spread, pilot.low, pilot.high))
    quantile = float(stdtrit(design.splits - 1, (1 + each) / 2))
    half, half_low, half_high = (quantile * value * design.error_factor for value in (spread, low, high))
    found, at_low, at_high = (smallest_detectable(value, design, level=each) for value in (spread, low, high))
    return Outlook(design, found, at_low, at_high, half, half <= zone, half_low, half_high)


def scaled_spread(spread: float, seen: Design, planned: Design) -> float:
    """The spread to expect under another design: s ~ n_test^-1/2, the share of the test part being the only change."""
    return spread * math.sqrt(_test_share(seen) / _test_share(planned))


def needed(effect: float, spread: float, design: Design, molecules: int) -> Needed:
    """What would make `effect` detectable, each change alone: more repeats, more folds, or more molecules.

    Molecules by s ~ n^-1/2: n (MDE / effect)^2. Repeats are None where even 100 do not do it, because test/train stays;
    folds are searched up to 20 with s scaled as above; both are None for drawn splits. Raises `MesomerError` for an
    effect, a spread or a number of molecules that is not above zero.
    """
    effect = positive(effect, "The difference to detect")
    spread = positive(spread, "The spread of paired differences")
    molecules = whole(molecules, "The number of molecules", 1)
    now = smallest_detectable(spread, design)
    enough = max(molecules, math.ceil(molecules * (now / effect) ** 2))
    if design.folds is None or design.repeats is None:
        return Needed(None, None, enough)
    here, folds_now = design.repeats, design.folds
    if now <= effect:
        return Needed(here, folds_now, enough)

    def reached(repeats: int, folds: int) -> bool:
        other = cross_validation(repeats, folds)
        return smallest_detectable(scaled_spread(spread, design, other), other) <= effect

    more = range(here + 1, MOST_REPEATS + 1) if reached(MOST_REPEATS, folds_now) else range(0)
    repeats = next((r for r in more if reached(r, folds_now)), None)
    folds = next((k for k in range(folds_now + 1, 21) if reached(here, k)), None)
    return Needed(repeats, folds, enough)


def _test_share(design: Design) -> float:
    return design.test_to_train / (1 + design.test_to_train)


def _power_of_shift(shift: float, degrees: int, level: float) -> float:
    """P(|T'| > t_crit) as the mean of Phi(shift - t_crit S) + Phi(-shift - t_crit S) over S = sqrt(chi2_nu / nu).

    scipy's non-central t gives NaN for one degree of freedom (1.17); this sum agrees with it to 1e-7 elsewhere.
    """
    from scipy.special import ndtr, stdtrit

    weights, spreads = _chi_nodes(degrees)
    limits = float(stdtrit(degrees, 0.5 + level / 2)) * spreads
    return float(weights @ (ndtr(shift - limits) + ndtr(-shift - limits)))


@lru_cache(maxsize=256)
def _chi_nodes(degrees: int) -> tuple[Array, Array]:
    """Weights and values of sqrt(chi2_nu / nu) at Gauss-Legendre nodes of its probability."""
    from scipy.special import chdtri

    nodes, weights = _legendre()
    return weights / 2, np.sqrt(chdtri(degrees, (1 - nodes) / 2) / degrees)


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(400)


@lru_cache(maxsize=1024)
def _shift_for(degrees: int, target: float, level: float) -> float:
    from scipy.optimize import brentq

    share(level, "The level")
    if not 1 - level < target < 1:
        raise MesomerError(f"A power of {target} is not between the error rate and 1.", "The usual one is 0.8.")
    upper = 4.0
    while not _power_of_shift(upper, degrees, level) >= target:
        upper *= 2
        if upper > 1e4:
            raise MesomerError(f"No power of {target} with {degrees} degrees of freedom.", "Use more splits.")
    return float(brentq(lambda shift: _power_of_shift(shift, degrees, level) - target, 0.0, upper))
