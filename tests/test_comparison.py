"""The difference of two methods and its sentence: numbers by formula, words that never contradict them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mesomer.comparison import Difference, compare, in_words, verdict


def test_corrected_interval_is_the_formula():
    a, b = [0.50, 0.52, 0.47, 0.55, 0.51], [0.53, 0.56, 0.48, 0.60, 0.50]
    found = compare(a, b, 0.25, "min")
    d = np.subtract(b, a)
    error = d.std(ddof=1) * math.sqrt(1 / 5 + 0.25)
    half = stats.t.ppf(0.975, 4) * error
    assert found.mean == pytest.approx(d.mean())
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert (found.wins, found.splits) == (4, 5)
    # the factor of five folds: smallest detectable difference 2.52 standard deviations
    assert found.detectable == pytest.approx(2.52 * d.std(ddof=1), rel=0.002)


def test_five_splits_of_80_10_10_by_hand():
    """d = 0.01 … 0.05: mean 0.03, s² = 0.00025; sqrt(0.00025 (1/5 + 1/8)) = 0.00901388; t of 4 degrees 2.7764451."""
    found = compare([0.61, 0.62, 0.63, 0.64, 0.65], [0.6] * 5, 1 / 8, "max")
    assert found.mean == pytest.approx(0.03)
    assert (found.low, found.high) == pytest.approx((0.03 - 0.02502654, 0.03 + 0.02502654), abs=1e-8)
    lower = compare([0.6] * 5, [0.61, 0.62, 0.63, 0.64, 0.65], 1 / 8, "min")
    assert (lower.mean, lower.low, lower.high) == pytest.approx((found.mean, found.low, found.high))


def test_positive_favours_the_first_whatever_the_direction():
    assert compare([0.4, 0.5], [0.6, 0.6], 0.25, "min").mean > 0
    assert compare([0.4, 0.5], [0.6, 0.6], 0.25, "max").mean < 0


def test_splits_that_all_differ_by_the_same_amount_give_no_interval_and_no_verdict():
    difference = compare([0.26] * 3, [0.9] * 3, 0.5, "min")
    assert (difference.low, difference.high, difference.detectable) == (None, None, None)
    assert verdict(difference, 0.01) == "undecided"
    said = "an RMSE lower by 0.640 (all splits differ by the same amount: no interval)"
    assert in_words(difference, 0.01, "RMSE", "min") == said


def test_one_split_gives_no_interval_and_no_verdict():
    found = compare([0.5], [0.6], 0.125, "min")
    assert found.low is None and found.high is None and found.detectable is None
    assert verdict(found, 0.1) == "undecided"
    assert "no interval" in in_words(found, 0.1, "RMSE", "min")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.03, "helps"),
        (-0.03, -0.01, "hurts"),
        (-0.03, 0.2, "undecided"),
        (-0.04, 0.04, "no practical difference"),
        (0.001, 0.04, "no practical difference"),
        (-0.2, 0.01, "undecided"),
    ],
)
def test_verdicts(low, high, expected):
    zone = 0.05 if expected == "no practical difference" else 0.005
    assert verdict(Difference((low + high) / 2, low, high, 0.1, 3, 5), zone) == expected


@given(st.floats(-1, 1), st.floats(0.001, 1), st.sampled_from(["min", "max"]))
def test_words_never_contradict_the_numbers(mean, half, better):
    text = in_words(Difference(mean, mean - half, mean + half, 0.1, 3, 5), 0.01, "RMSE", better)
    good, bad = ("lower", "higher") if better == "min" else ("higher", "lower")
    assert text.startswith(f"an RMSE {good if mean >= 0 else bad} by {abs(mean):.3f}")
    crossing = mean - half < 0 < mean + half
    assert (f"{bad} to" in text and f" {good}" in text) == crossing
    assert "no difference" not in text.replace("no practical difference", "")
