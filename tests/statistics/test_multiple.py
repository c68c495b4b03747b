"""Many arms: Holm and Tukey against hand-computed numbers, scipy, and statsmodels (its stored numbers, or itself)."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mesomer.errors import MesomerError
from mesomer.statistics import against_reference, holm, resampled_t, tukey
from mesomer.statistics.multiple import tukey_error

SCORES = {
    name: np.random.default_rng(6).normal(size=(25, 4))[:, column] * 0.02 + 0.8 + 0.02 * (name == "good")
    for column, name in enumerate(["twin", "good", "forest", "linear"])
}


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 -> 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # ties and the cap; the same from statsmodels 0.15 multipletests(method="holm")
    assert holm([0.01, 0.02, 0.5, 0.02, 0.9]) == pytest.approx([0.05, 0.08, 1.0, 0.08, 1.0])
    assert holm([0.03]) == pytest.approx([0.03])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all() and (adjusted <= np.minimum(1, len(p) * np.array(p))).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(9) ** 2
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_every_arm_against_the_twin():
    found = against_reference(SCORES, "twin", 0.25, "max", zone=0.02)
    assert [contrast.arm for contrast in found] == ["good", "forest", "linear"]
    alone = [resampled_t(SCORES[contrast.arm] - SCORES["twin"], 0.25) for contrast in found]
    assert [contrast.result for contrast in found] == alone
    assert [contrast.p_holm for contrast in found] == pytest.approx(holm([one.p for one in alone]))
    for contrast, one in zip(found, alone, strict=True):
        half = stats.t.ppf(1 - 0.05 / 6, 24) * one.error
        assert (contrast.low, contrast.high) == pytest.approx((one.mean - half, one.mean + half))
        assert contrast.posterior == one.posterior(0.02)
    errors = {name: -scores for name, scores in SCORES.items()}
    for lower, higher in zip(against_reference(errors, "twin", 0.25, "min", 0.02), found, strict=True):
        assert (lower.low, lower.high) == pytest.approx((higher.low, higher.high))
        assert lower.verdict == higher.verdict


def test_tukey_of_two_arms_is_the_corrected_t():
    two = {name: SCORES[name] for name in ("good", "twin")}
    found, one = tukey(two, 0.25, "max").pairs[0], resampled_t(SCORES["good"] - SCORES["twin"], 0.25)
    assert (found.difference, found.p) == pytest.approx((one.mean, one.p), rel=1e-6)
    assert (found.low, found.high) == pytest.approx(one.interval(), rel=1e-5)


def test_tukey_by_hand():
    """Three arms, two splits: residuals ±0.5, 0, ∓0.5, sum of squares 1, MS 1/2; error sqrt(1/2 (1/2 + 1/4))."""
    degrees, error = tukey_error([[1.0, 2.0, 3.0], [3.0, 3.0, 3.0]], 0.25)
    assert (degrees, error) == (2, pytest.approx(math.sqrt(0.375)))
    found = tukey({"a": [1, 3], "b": [2, 3], "c": [3, 3]}, 0.25, "min")
    assert found.means == {"a": 2.0, "b": 2.5, "c": 3.0}
    assert [(pair.first, pair.second, pair.difference) for pair in found.pairs] == [
        ("a", "b", 0.5),
        ("a", "c", 1.0),
        ("b", "c", 0.5),
    ]
    # tables of the studentised range: q(0.05; 3 means, 2 degrees) = 8.33
    assert found.half_width / error == pytest.approx(8.33, abs=0.005)
    assert found.half_bar == found.half_width / 2
    assert found.pairs[1].p == pytest.approx(stats.studentized_range.sf(1 / error, 3, 2))


def test_mean_square_is_that_of_statsmodels_anova():
    anova = pytest.importorskip("statsmodels.stats.anova")
    frames = pytest.importorskip("pandas")
    table = np.stack(list(SCORES.values()), 1)
    long = frames.DataFrame(
        [(split, arm, table[split, arm]) for split in range(25) for arm in range(4)], columns=["split", "arm", "y"]
    )
    f = float(anova.AnovaRM(long, "y", "split", within=["arm"]).fit().anova_table["F Value"].iloc[0])
    degrees, error = tukey_error(table, 0.0)
    assert degrees == 72
    assert 25 * table.mean(0).var(ddof=1) / (25 * error**2) == pytest.approx(f)


def test_bars_of_half_the_width_overlap_where_arms_do_not_differ():
    found = tukey(SCORES, 0.25, "max")
    assert len(found.pairs) == len(list(combinations(SCORES, 2)))
    for pair in found.pairs:
        apart = abs(found.means[pair.first] - found.means[pair.second]) > 2 * found.half_bar
        assert apart == (pair.p < 0.05) == (pair.low > 0 or pair.high < 0)


def test_equal_arms_have_p_one():
    found = tukey({"a": [0.1, 0.2, 0.3], "b": [0.1, 0.2, 0.3]}, 0.25, "max").pairs[0]
    assert (found.difference, found.p) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: holm([0.1, 1.2]), "between 0 and 1"),
        (lambda: holm([]), "at least 1"),
        (lambda: against_reference(SCORES, "twim", 0.25, "max", 0.02), "Did you mean twin"),
        (lambda: against_reference({"twin": [1, 2]}, "twin", 0.25, "max", 0.02), "at least 2"),
        (lambda: against_reference({"a": [1, 2], "b": [1, 2, 3]}, "a", 0.25, "max", 0.02), "3 against 2"),
        (lambda: against_reference(SCORES, "twin", 0.25, "max", 0.0), "above zero"),
        (lambda: tukey({"a": [1, 2], "b": [1, 2, 3]}, 0.25, "max"), "a 2, b 3"),
        (lambda: tukey({"a": [1, 2]}, 0.25, "max"), "at least 2"),
        (lambda: tukey({"a": [1, 2], "b": [1, math.inf]}, 0.25, "max"), "Scores of b are not finite"),
        (lambda: tukey(SCORES, 0.25, "best"), "'best'"),
    ],
)
def test_wrong_input_is_a_sentence(call, said):
    with pytest.raises(MesomerError, match=said):
        call()
