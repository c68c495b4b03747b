"""Planning figures against the table of the protocol, scipy's non-central t, and simulated draws."""

import math

import numpy as np
import pytest
from scipy import stats

from mesomer.errors import MesomerError
from mesomer.statistics import (
    DESIGNS,
    Design,
    cross_validation,
    drawn_splits,
    needed,
    outlook,
    pilot_spread,
    power,
    smallest_detectable,
    widened,
)

FIVE = cross_validation(5, 5)
PUBLISHED = {  # design: error by s, smallest detectable difference by s
    "3 drawn splits": (0.677, 3.83),
    "10 drawn splits": (0.474, 1.49),
    "1 x 5 folds": (0.671, 2.52),
    "3 x 5 folds": (0.563, 1.70),
    "5 x 5 folds": (0.539, 1.57),
    "10 x 5 folds": (0.520, 1.49),
    "1 x 10 folds": (0.459, 1.45),
    "5 x 10 folds": (0.362, 1.03),
    "10 x 10 folds": (0.348, 0.98),
}


def test_designs_have_the_factors_of_the_protocol():
    found = {str(design): (design.error_factor, smallest_detectable(1.0, design)) for design in DESIGNS}
    assert found.keys() == PUBLISHED.keys()
    for name, expected in PUBLISHED.items():
        # 10 x 10: the protocol's table has 0.98, the non-central t gives 0.985
        assert found[name] == pytest.approx(expected, abs=0.0061), name


@pytest.mark.parametrize("splits", [3, 5, 25, 100])
@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0, 4.0])
def test_power_is_that_of_the_non_central_t(splits, shift):
    design = Design(splits, 0.25)
    critical = stats.t.ppf(0.975, splits - 1)
    expected = stats.nct.sf(critical, splits - 1, shift) + stats.nct.cdf(-critical, splits - 1, shift)
    assert power(shift * 0.3 * design.error_factor, 0.3, design) == pytest.approx(expected, abs=1e-6)


def test_two_splits_by_hand():
    """One degree of freedom: |Z + shift| > 12.7062 |Z'|; simulated with 200,000 draws, error 0.001."""
    shift = smallest_detectable(1.0, Design(2, 0.25)) / Design(2, 0.25).error_factor
    z, other = np.random.default_rng(0).normal(size=(2, 200_000))
    assert np.mean(np.abs(z + shift) > 12.7062 * np.abs(other)) == pytest.approx(0.8, abs=0.004)


def test_power_at_no_effect_is_the_level_and_grows():
    assert power(0.0, 0.02, FIVE) == pytest.approx(0.05, abs=1e-6)
    assert power(0.03, 0.02, FIVE) == power(-0.03, 0.02, FIVE)
    assert power(smallest_detectable(0.02, FIVE), 0.02, FIVE) == pytest.approx(0.8, abs=1e-9)
    assert smallest_detectable(0.0, FIVE) == 0
    assert smallest_detectable(0.02, FIVE, target=0.9) > smallest_detectable(0.02, FIVE)


def test_pilot_interval_covers_the_spread_of_equally_correlated_folds():
    """The correlation of folds drops out: 1000 pilots, coverage 0.95 ± 4 errors of 0.007."""
    generator = np.random.default_rng(4)
    covered, spread = 0, 0.02 * math.sqrt(1 - 0.2)
    for _ in range(1000):
        gains = 0.02 * (math.sqrt(0.2) * generator.normal() + math.sqrt(0.8) * generator.normal(size=25))
        pilot = pilot_spread(gains, np.zeros(25), "max", FIVE)
        covered += pilot.low < spread < pilot.high
    assert 0.92 < covered / 1000 < 0.98


def test_outlook_says_when_equality_cannot_be_shown():
    gains = np.random.default_rng(5).normal(0, 0.012, 25)
    pilot = pilot_spread(gains, np.zeros(25), "max", FIVE)
    found = outlook(pilot, FIVE, zone=0.02)
    assert found.detectable == pytest.approx(1.57 * pilot.spread, rel=0.003)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 24) * FIVE.error_factor * pilot.spread)
    # half the interval is the smallest detectable difference by 1.4
    assert found.detectable / found.half_width == pytest.approx(1.41, abs=0.01)
    assert found.can_show_equality == (found.half_width <= 0.02)
    assert not outlook(pilot, FIVE, zone=found.half_width * 0.99).can_show_equality
    assert outlook(pilot, FIVE, zone=found.half_width * 1.01).can_show_equality
    assert found.detectable_low < found.detectable < found.detectable_high
    more = outlook(pilot, FIVE, zone=0.02, comparisons=4)
    assert more.half_width > found.half_width and more.detectable > found.detectable
    # ten folds have test parts of half the size: s grows by the square root of two
    ten = outlook(pilot, cross_validation(5, 10), zone=0.02)
    assert ten.detectable == pytest.approx(math.sqrt(2) * 1.03 * pilot.spread, rel=0.01)


def test_a_range_of_what_can_be_shown_and_arms_that_spread_farther():
    pilot = pilot_spread(np.random.default_rng(5).normal(0, 0.012, 5), np.zeros(5), "max", cross_validation(1, 5))
    found = outlook(pilot, FIVE, zone=0.02)
    ends = [found.half_width * value / pilot.spread for value in (pilot.low, pilot.high)]
    assert [found.half_width_low, found.half_width_high] == pytest.approx(ends)
    # five folds: chi-squared with four degrees leaves 0.60 to 2.87 times the spread
    assert [pilot.low / pilot.spread, pilot.high / pilot.spread] == pytest.approx([0.599, 2.874], abs=1e-3)
    wide = widened(pilot, 4, 10)
    assert (wide.spread, wide.low, wide.high) == (4 * pilot.spread, pilot.low, 10 * pilot.high)
    with pytest.raises(MesomerError, match="as far"):
        widened(pilot, 4, 2)


def test_what_is_needed():
    found = needed(0.02, 0.02, FIVE, molecules=1000)
    now = smallest_detectable(0.02, FIVE)
    assert found.molecules == math.ceil(1000 * (now / 0.02) ** 2)
    assert found.repeats is None  # test/train stays: no number of repeats gets below 1.40 s
    slightly = needed(0.97 * now, 0.02, FIVE, molecules=1000)
    assert slightly.repeats is not None and slightly.repeats > 5
    assert smallest_detectable(0.02, cross_validation(slightly.repeats, 5)) <= 0.97 * now
    assert smallest_detectable(0.02, cross_validation(slightly.repeats - 1, 5)) > 0.97 * now
    assert needed(2 * now, 0.02, FIVE, molecules=1000) == (5, 5, 1000)
    assert needed(0.02, 0.02, drawn_splits(10), molecules=100)[:2] == (None, None)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cross_validation(0, 5), "repeats"),
        (lambda: cross_validation(5, 1), "folds"),
        (lambda: drawn_splits(3, 0.5, 0.8), "overlap"),
        (lambda: power(0.1, 0.0, FIVE), "above zero"),
        (lambda: smallest_detectable(0.1, FIVE, target=0.01), "power of 0.01"),
        (lambda: smallest_detectable(0.1, FIVE, level=5), "between 0 and 1"),
        (lambda: pilot_spread([0.1, 0.2], [0.1, 0.1], "max", FIVE), "2 scores"),
        (lambda: needed(0.0, 0.1, FIVE, 100), "above zero"),
        (lambda: needed(0.1, 0.1, FIVE, 0), "molecules"),
    ],
)
def test_wrong_input_is_a_sentence(call, said):
    with pytest.raises(MesomerError, match=said):
        call()
