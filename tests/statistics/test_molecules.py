"""Bootstrap of molecules, DeLong and Cliff's delta against their definitions over all pairs."""

import itertools

import numpy as np
import pytest

from mesomer.errors import MesomerError
from mesomer.metrics import rmse, roc_auc
from mesomer.statistics import bootstrap_molecules, cliffs_delta, delong


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


def test_a_scaffold_is_drawn_as_a_whole():
    """Twenty copies of each of ten molecules: drawn alone they look like 200 witnesses, as groups like ten."""
    generator = np.random.default_rng(1)
    gain = np.repeat(generator.normal(0, 1, 10), 20)
    truth, groups = [np.zeros(200)], [np.repeat(np.arange(10), 20)]

    def width(**options):
        low, high = bootstrap_molecules(truth, [gain], [0 * gain], lambda y, p: p.mean(), "max", **options)
        return high - low

    assert width(groups=groups) / width() == pytest.approx(np.sqrt(20), rel=0.15)
    # 95 % of the mean of ten
    assert width(groups=groups) == pytest.approx(3.92 * gain.std() / np.sqrt(10), rel=0.15)


def test_a_class_too_rare_to_be_drawn_is_said():
    truth = [np.array([1.0] + [0.0] * 30)]
    with pytest.raises(MesomerError, match="undefined"):
        bootstrap_molecules(truth, truth, truth, roc_auc, "max", draws=200)


def test_delong_is_its_definition_over_all_pairs():
    generator = np.random.default_rng(2)
    y = (generator.random(60) < 0.4).astype(float)
    a = np.round(y + generator.normal(0, 1.0, 60), 1)  # rounded: ties
    b = np.round(y + generator.normal(0, 1.5, 60), 1)
    wins = [np.array([[(p > q) + 0.5 * (p == q) for q in arm[y == 0]] for p in arm[y == 1]], float) for arm in (a, b)]
    difference = wins[0] - wins[1]
    rows, columns = difference.mean(1), difference.mean(0)
    error = np.sqrt(rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns))
    found = delong(y, a, b)
    assert (found.first, found.second) == pytest.approx((roc_auc(y, a), roc_auc(y, b)))
    assert (found.difference, found.error) == pytest.approx((difference.mean(), error))
    assert (found.high - found.low) / found.error == pytest.approx(2 * 1.959964)
    back = delong(1 - y, -b, -a)
    assert (back.difference, back.error, back.p) == pytest.approx((-found.difference, found.error, found.p))
    assert delong(y, a, a).p == 1.0


def test_cliffs_delta_is_the_share_of_pairs():
    generator = np.random.default_rng(3)
    a, b = np.round(generator.random(17), 1), np.round(generator.random(23) + 0.1, 1)
    pairs = [(x < z) * 1.0 - (x > z) * 1.0 for x, z in itertools.product(a, b)]
    assert cliffs_delta(a, b) == pytest.approx(np.mean(pairs))
    assert cliffs_delta([0, 1], [2, 3]) == 1.0
    assert cliffs_delta([2, 3], [0, 1]) == -1.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: delong([0, 1, 2, 1], [0] * 4, [0] * 4), "0 and 1"),
        (lambda: delong([0, 0, 0, 1], [0] * 4, [0] * 4), "two test molecules"),
        (lambda: delong([0, 0, 1, 1], [0] * 3, [0] * 4), "3 against 4"),
        (lambda: cliffs_delta([], [1.0]), "at least 1"),
        (lambda: bootstrap_molecules([], [], [], rmse, "min"), "splits"),
        (lambda: bootstrap_molecules([np.zeros(3)], [np.zeros(2)], [np.zeros(3)], rmse, "min"), "2 against 3"),
        (lambda: bootstrap_molecules([np.zeros(3)], [np.zeros(3)], [np.zeros(3)], rmse, "low"), "'low'"),
    ],
)
def test_wrong_input_is_a_sentence(call, said):
    with pytest.raises(MesomerError, match=said):
        call()
