"""Meta-analysis against hand-computed numbers, statsmodels (its stored numbers, or itself), and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from mesomer.errors import MesomerError
from mesomer.statistics import meta_analysis, wilcoxon_over_sets

GAINS = [0.031, 0.012, -0.008, 0.025, 0.060, 0.002]
ERRORS = [0.011, 0.015, 0.012, 0.020, 0.016, 0.009]
STORED = {  # statsmodels 0.15 combine_effects: tau², mean, Knapp-Hartung error
    "paule-mandel": (0.00038846940363232896, 0.018659635586332497, 0.009795945097578515),
    "dersimonian-laird": (0.0003652013276016558, 0.018589743027533332, 0.009789406866786868),
}


def test_two_sets_by_hand():
    """m = 0, 4, se = 1: Q = 8, tau² = (8 - 1) / (2 - 1) = 7; weights 1/8; factor 8/8 = 1; error² = 8/2 = 4."""
    for method in STORED:
        found = meta_analysis([0.0, 4.0], [1.0, 1.0], method)
        assert (found.mean, found.tau, found.error) == pytest.approx((2.0, math.sqrt(7), 2.0))
        assert found.heterogeneity == pytest.approx(7 / 8)
        # t of one degree: quantile 12.7062, P(|T| > 1) = 1/2
        assert (found.high - found.mean, found.p) == pytest.approx((25.4124, 0.5), rel=1e-5)
        assert found.predicted is None


@pytest.mark.parametrize("method", STORED)
def test_six_sets_as_in_statsmodels(method):
    found = meta_analysis(GAINS, ERRORS, method, widen=False)
    assert (found.tau**2, found.mean, found.error) == pytest.approx(STORED[method], rel=1e-6)
    assert found.heterogeneity == pytest.approx(0.688975076377884)
    half = stats.t.ppf(0.975, 5) * found.error
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))
    reach = stats.t.ppf(0.975, 4) * math.sqrt(found.tau**2 + found.error**2)
    assert found.predicted == pytest.approx((found.mean - reach, found.mean + reach))


def test_other_sets_as_in_statsmodels():
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    generator = np.random.default_rng(7)
    # sets that differ much: theirs stops after 50 steps, too early where tau² is near 0
    m, error = generator.normal(0.01, 0.1, 9), generator.uniform(0.005, 0.03, 9)
    for method, theirs in (
        ("paule-mandel", {"method_re": "iterated", "atol": 1e-12}),
        ("dersimonian-laird", {"method_re": "chi2"}),
    ):
        other = meta.combine_effects(m, error**2, use_t=True, **theirs)
        found = meta_analysis(m, error, method, widen=False)
        assert (found.tau**2, found.mean, found.error) == pytest.approx(
            (other.tau2, other.mean_effect_re, other.sd_eff_w_re_hksj), rel=1e-6
        )


def test_paule_mandel_solves_its_equation():
    generator = np.random.default_rng(9)
    for _ in range(20):
        m, error = generator.normal(0, 0.03, 7), generator.uniform(0.005, 0.03, 7)
        found = meta_analysis(m, error)
        weights = 1 / (error**2 + found.tau**2)
        excess = weights @ (m - weights @ m / weights.sum()) ** 2
        assert excess == pytest.approx(6) if found.tau > 0 else excess <= 6


def test_sets_that_agree_by_chance_do_not_narrow_the_interval():
    found = meta_analysis([0.01, 0.01, 0.01], [0.02, 0.02, 0.02])
    assert (found.tau, found.heterogeneity) == (0.0, 0.0)
    assert found.error == pytest.approx(0.02 / math.sqrt(3))
    assert meta_analysis([0.01] * 3, [0.02] * 3, widen=False).error == pytest.approx(0.0, abs=1e-12)


def test_interval_and_prediction_cover():
    """Eight sets with true differences of mean 0.01, sd 0.02, 500 studies: the mean 0.95 ± 4 errors of 0.01; a new
    set less often, as the spread between few sets is often estimated as zero."""
    generator = np.random.default_rng(8)
    mean_covered = new_covered = 0
    for _ in range(500):
        error = generator.uniform(0.01, 0.03, 8)
        true = generator.normal(0.01, 0.02, 9)
        found = meta_analysis(true[:8] + error * generator.normal(size=8), error)
        mean_covered += found.low < 0.01 < found.high
        new_covered += found.predicted[0] < true[8] < found.predicted[1]
    assert 0.91 < mean_covered / 500 < 0.99
    assert 0.85 < new_covered / 500 < 0.99


def test_wilcoxon_needs_six_sets():
    assert wilcoxon_over_sets([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    with pytest.raises(MesomerError, match="5 data sets"):
        wilcoxon_over_sets([0.1, 0.2, 0.3, 0.4, 0.5, 0.0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: meta_analysis([0.1], [0.1]), "at least 2"),
        (lambda: meta_analysis([0.1, 0.2], [0.1]), "at least 2"),
        (lambda: meta_analysis([0.1, 0.2, 0.3], [0.1, 0.1]), "3 against 2"),
        (lambda: meta_analysis([0.1, 0.2], [0.1, 0.0]), "position 1"),
        (lambda: meta_analysis([0.1, 0.2], [0.1, 0.1], "paule"), "Did you mean paule-mandel"),
        (lambda: meta_analysis([0.1, 0.2], [0.1, 0.1], level=95), "between 0 and 1"),
    ],
)
def test_wrong_input_is_a_sentence(call, said):
    with pytest.raises(MesomerError, match=said):
        call()
