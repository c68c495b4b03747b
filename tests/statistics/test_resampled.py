"""The corrected resampled t against hand-computed numbers, its formula, and the direct form of the Bayesian reading."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from mesomer.errors import MesomerError
from mesomer.statistics import fold_ratio, mean_ratio, paired_gains, resampled_t, verdict


def test_five_splits_of_80_10_10_by_hand():
    """d = 0.01 … 0.05: mean 0.03, s² = 0.00025; sqrt(0.00025 (1/5 + 1/8)) = 0.00901388; t of 4 degrees 2.7764451."""
    found = resampled_t([0.01, 0.02, 0.03, 0.04, 0.05], 1 / 8)
    assert found.mean == pytest.approx(0.03)
    assert found.spread == pytest.approx(math.sqrt(0.00025))
    assert found.error == pytest.approx(0.00901388, abs=1e-8)
    assert found.t == pytest.approx(3.32820, abs=1e-5)
    assert found.interval() == pytest.approx((0.03 - 0.02502654, 0.03 + 0.02502654), abs=1e-8)
    assert (found.degrees, found.wins, found.share_won) == (4, 5, 1.0)
    assert found.effect_size == pytest.approx(1.8973666)
    # four degrees have a closed form: P(|T| > t) = 1 - u (3 - u²) / 2 with u = t / sqrt(t² + 4)
    u = found.t / math.sqrt(found.t**2 + 4)
    assert found.p == pytest.approx(1 - u * (3 - u**2) / 2, rel=1e-9)


def test_five_times_five_folds_have_the_factor_of_the_protocol():
    generator = np.random.default_rng(1)
    found = resampled_t(generator.normal(size=25), fold_ratio(5))
    assert found.error / found.spread == pytest.approx(0.5385, abs=1e-4)  # sqrt(1/25 + 1/4); the plain t has 0.2


def test_without_correction_it_is_the_paired_t_of_scipy():
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(2, 12))
    found, other = resampled_t(paired_gains(a, b, "max"), 0.0), stats.ttest_rel(a, b)
    assert (found.t, found.p) == pytest.approx((other.statistic, other.pvalue))
    assert found.interval(0.9) == pytest.approx(tuple(other.confidence_interval(0.9)))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30).filter(lambda d: np.std(d) > 1e-6), st.floats(0.0, 1.0))
def test_posterior_sums_to_one_and_its_tail_is_half_p(gains, zone):
    found = resampled_t(gains, 0.25)
    read = found.posterior(zone)
    assert sum(read) == pytest.approx(1)
    assert min(read) >= 0
    at_zero = found.posterior(0.0)
    assert min(at_zero.better, at_zero.worse) == pytest.approx(found.p / 2, abs=1e-12)


def test_posterior_is_the_integral_of_the_correlated_t():
    """Corani and Benavoli write the scale by the correlation rho = n_test / n: (1/J + rho / (1 - rho)) s²."""
    d = np.random.default_rng(3).normal(0.02, 0.03, 25)
    rho = 1 / 5
    scale = math.sqrt((1 / 25 + rho / (1 - rho)) * d.var(ddof=1))
    density = stats.t(24, d.mean(), scale).pdf
    expected = (
        integrate.quad(density, 0.02, 1)[0],
        integrate.quad(density, -0.02, 0.02)[0],
        integrate.quad(density, -1, -0.02)[0],
    )
    assert tuple(resampled_t(d, 0.25).posterior(0.02)) == pytest.approx(expected, abs=1e-8)


def test_bonferroni_width_is_the_level_shared_out():
    found = resampled_t([0.1, 0.2, 0.25, 0.4], 0.25)
    assert found.half_width(0.95, comparisons=5) == pytest.approx(found.half_width(0.99))
    assert found.half_width(0.95, comparisons=5) > found.half_width(0.95)


def test_equal_scores_on_every_split():
    found = resampled_t([0.0] * 5, 0.25)
    assert (found.p, found.t, found.effect_size, found.interval()) == (1.0, 0.0, 0.0, (0.0, 0.0))
    assert tuple(found.posterior(0.01)) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("gains", [[0.64] * 3, [0.9 - 0.26, 0.8 - 0.16, 0.7 - 0.06], [-0.1] * 2])
def test_a_difference_without_spread_is_no_certainty(gains):
    found = resampled_t(gains, 0.5)
    assert (found.spread, found.p, abs(found.t), abs(found.effect_size)) == (0.0, 1.0, math.inf, math.inf)
    assert all(math.isnan(value) for value in (*found.interval(), *found.posterior(0.01)))
    said = str(verdict(*found.interval(), 0.01))
    assert said == "undecided (all folds differ by the same amount: no spread to judge by)"


def test_gains_favour_the_first_whatever_the_direction():
    assert paired_gains([0.5, 0.4], [0.6, 0.6], "min") == pytest.approx([0.1, 0.2])
    assert paired_gains([0.5, 0.4], [0.6, 0.6], "max") == pytest.approx([-0.1, -0.2])


def test_ratios():
    assert fold_ratio(5) == 0.25
    assert mean_ratio([20, 30], [80, 60]) == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: resampled_t([0.1], 0.25), "at least 2"),
        (lambda: resampled_t([0.1, float("nan")], 0.25), "position 1"),
        (lambda: resampled_t([0.1, 0.2], -0.1), "zero or more"),
        (lambda: resampled_t([[0.1, 0.2]], 0.25), "dimensions"),
        (lambda: resampled_t(["a", "b"], 0.25), "not numbers"),
        (lambda: resampled_t([0.1, 0.2], 0.25).interval(95), "between 0 and 1"),
        (lambda: resampled_t([0.1, 0.2], 0.25).interval(0.95, 0), "at least 1"),
        (lambda: resampled_t([0.1, 0.2], 0.25).posterior(-1), "zone"),
        (lambda: paired_gains([0.1, 0.2], [0.1], "max"), "2 against 1"),
        (lambda: paired_gains([0.1], [0.1], "up"), "'up'"),
        (lambda: fold_ratio(1), "at least 2"),
        (lambda: mean_ratio([1, 0], [5, 5]), "above zero"),
    ],
)
def test_wrong_input_is_a_sentence(call, said):
    with pytest.raises(MesomerError, match=said):
        call()
