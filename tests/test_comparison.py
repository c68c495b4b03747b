"""Paired statistics against their formulas, published factors, and simulated truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mesomer.comparison import (
    Difference,
    bootstrap_molecules,
    compare,
    detectable,
    in_words,
    standard_error,
    verdict,
)
from mesomer.metrics import rmse


def test_corrected_interval_is_the_formula():
    a, b = [0.50, 0.52, 0.47, 0.55, 0.51], [0.53, 0.56, 0.48, 0.60, 0.50]
    found = compare(a, b, 0.25, "min")
    d = np.subtract(b, a)
    error = d.std(ddof=1) * math.sqrt(1 / 5 + 0.25)
    half = stats.t.ppf(0.975, 4) * error
    assert found.mean == pytest.approx(d.mean())
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert (found.wins, found.splits) == (4, 5)


def test_five_splits_of_80_10_10_by_hand():
    """d = 0.01 … 0.05: mean 0.03, s² = 0.00025; sqrt(0.00025 (1/5 + 1/8)) = 0.00901388; t of 4 degrees 2.7764451."""
    found = compare([0.61, 0.62, 0.63, 0.64, 0.65], [0.6] * 5, 1 / 8, "max")
    assert found.mean == pytest.approx(0.03)
    assert (found.low, found.high) == pytest.approx((0.03 - 0.02502654, 0.03 + 0.02502654), abs=1e-8)
    lower = compare([0.6] * 5, [0.61, 0.62, 0.63, 0.64, 0.65], 1 / 8, "min")
    assert (lower.mean, lower.low, lower.high) == pytest.approx((found.mean, found.low, found.high))


def test_five_overlapping_splits_keep_the_level_with_the_ratio_of_test_to_training_size():
    """Two equally good ridge learners on five drawn 80/10/10 splits: zero lies outside in a twentieth of the sets."""
    generator = np.random.default_rng(5)
    plain, corrected, sets = 0, 0, 400
    for _ in range(sets):
        features = generator.normal(size=(150, 10))
        y = features.sum(1) + 3 * generator.normal(size=150)
        errors = np.zeros((5, 2))
        for row in errors:
            order = generator.permutation(150)
            test, train = order[:15], order[30:]
            row[:] = [_ridge_error(features[:, half], y, train, test) for half in (slice(0, 5), slice(5, 10))]
        found = compare(errors[:, 0], errors[:, 1], 1 / 8, "min")
        corrected += found.low > 0 or found.high < 0
        uncorrected = compare(errors[:, 0], errors[:, 1], 0.0, "min")
        plain += uncorrected.low > 0 or uncorrected.high < 0
    assert 0.01 < corrected / sets < 0.09
    assert plain / sets > 1.5 * corrected / sets


def test_positive_favours_the_first_whatever_the_direction():
    assert compare([0.4, 0.5], [0.6, 0.6], 0.25, "min").mean > 0
    assert compare([0.4, 0.5], [0.6, 0.6], 0.25, "max").mean < 0


@pytest.mark.parametrize(
    ("count", "ratio", "factor"), [(3, 1 / 8, 3.83), (10, 1 / 8, 1.49), (5, 1 / 4, 2.52), (25, 1 / 4, 1.57)]
)
def test_detectable_difference_has_the_factors_of_the_protocol(count, ratio, factor):
    assert detectable(math.sqrt(1 / count + ratio), count) == pytest.approx(factor, abs=0.006)


def test_the_correction_keeps_its_level_where_the_plain_t_does_not():
    """Two equally good ridge learners on 5 folds repeated 5 times: the plain t errs in a large share of the sets."""
    generator = np.random.default_rng(3)
    plain, corrected, sets = 0, 0, 150
    for _ in range(sets):
        features = generator.normal(size=(120, 10))
        y = features.sum(1) + 3 * generator.normal(size=120)
        differences = []
        for _ in range(5):
            order = generator.permutation(120)
            for fold in range(5):
                test = order[fold::5]
                train = np.setdiff1d(order, test)
                errors = [_ridge_error(features[:, half], y, train, test) for half in (slice(0, 5), slice(5, 10))]
                differences.append(errors[0] - errors[1])
        d = np.array(differences)
        critical = stats.t.ppf(0.975, 24)
        plain += abs(d.mean()) > critical * d.std(ddof=1) / 5
        corrected += abs(d.mean()) > critical * standard_error(d, 0.25)
    assert plain / sets > 0.25
    assert corrected / sets < 0.12


def _ridge_error(x, y, train, test):
    weights = np.linalg.solve(x[train].T @ x[train] + np.eye(x.shape[1]), x[train].T @ y[train])
    return rmse(y[test], x[test] @ weights)


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


def test_bootstrap_covers_the_gain_and_is_paired():
    generator = np.random.default_rng(0)
    truth = [generator.normal(size=150) for _ in range(3)]
    noise = [generator.normal(size=150) for _ in range(3)]
    first = [y + 0.5 * e for y, e in zip(truth, noise, strict=True)]
    second = [y + 0.6 * e for y, e in zip(truth, noise, strict=True)]
    low, high = bootstrap_molecules(truth, first, second, rmse, "min", draws=400)
    gain = np.mean([rmse(y, b) - rmse(y, a) for y, a, b in zip(truth, first, second, strict=True)])
    assert low < gain < high
    # errors differ by a factor only: pairing leaves a tenth of the spread of independent draws
    assert high - low < 0.05
    assert bootstrap_molecules(truth, first, first, rmse, "min", draws=50) == (0.0, 0.0)
    assert bootstrap_molecules(truth, first, second, rmse, "min", draws=50) == bootstrap_molecules(
        truth, first, second, rmse, "min", draws=50
    )
