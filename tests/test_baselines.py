"""Baselines learn from the training part alone, leave missing labels out, and speak the networks' columns."""

from types import SimpleNamespace

import numpy as np
import pytest

from mesomer import baselines
from mesomer.baselines import BASELINES, fragment_counts, run_baseline
from mesomer.data.splits import Split
from mesomer.errors import MesomerError
from mesomer.metrics import rmse

REGRESSION = SimpleNamespace(type="regression", classes=None)
BINARY = SimpleNamespace(type="binary", classes=["no", "yes"])
MULTICLASS = SimpleNamespace(type="multiclass", classes=["a", "b", "c"])


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(baselines.forest, "TREES", 30)


def _splits(count=90, number=2):
    generator = np.random.default_rng(0)
    found = []
    for seed in range(number):
        order = generator.permutation(count)
        parts = [np.sort(part) for part in np.split(order, [int(0.7 * count), int(0.8 * count)])]
        found.append(Split("random", "random", *parts, seed=seed, repeat=seed))
    return found


def _data(count=90):
    generator = np.random.default_rng(1)
    features = generator.poisson(1.0, (count, 12)).astype(np.float32)
    y = np.stack([features[:, 0] - features[:, 1], features[:, 0] > 0, np.minimum(features[:, 2], 2)], 1).astype(float)
    return features, y


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_columns_are_those_of_the_networks(name):
    features, y = _data()
    result = run_baseline(name, features, y, [REGRESSION, BINARY, MULTICLASS], _splits())
    for split, found in zip(_splits(), result.predicted, strict=True):
        assert found.shape == (len(split.test), 1 + 1 + 3)
        assert ((found[:, 1:] >= 0) & (found[:, 1:] <= 1)).all()
        assert found[:, 2:].sum(1) == pytest.approx(np.ones(len(found)))


def test_the_mean_is_that_of_the_training_labels():
    features, y = _data()
    splits = _splits()
    result = run_baseline("mean", features, y, [REGRESSION, BINARY, MULTICLASS], splits)
    train = y[splits[0].train]
    assert result.predicted[0][0, :2] == pytest.approx(train[:, :2].mean(0))
    assert result.predicted[0][0, 2:] == pytest.approx(np.bincount(train[:, 2].astype(int), minlength=3) / len(train))


def test_the_forest_learns_and_the_same_seed_gives_the_same_forest():
    features, y = _data(300)
    splits = _splits(300, 1)
    first = run_baseline("forest", features, y[:, :1], [REGRESSION], splits).predicted[0]
    again = run_baseline("forest", features, y[:, :1], [REGRESSION], splits, workers=2).predicted[0]
    mean = run_baseline("mean", features, y[:, :1], [REGRESSION], splits).predicted[0]
    truth = y[splits[0].test, :1]
    assert rmse(truth, first) < 0.7 * rmse(truth, mean)
    assert np.array_equal(first, again)


def test_boosting_learns_takes_missing_descriptors_and_repeats_itself():
    features, y = _data(300)
    features[::5, 3:] = np.nan
    (split,) = _splits(300, 1)
    first = run_baseline("boosting", features, y[:, :1], [REGRESSION], [split]).predicted[0]
    again = run_baseline("boosting", features, y[:, :1], [REGRESSION], [split]).predicted[0]
    assert rmse(y[split.test, :1], first) < 0.5 * y[split.test, 0].std()
    assert np.array_equal(first, again)


def test_boosting_with_one_class_in_the_training_part_predicts_it():
    features, y = _data()
    (split,) = _splits(number=1)
    labels = np.zeros((len(y), 1))
    labels[split.test] = 1
    assert (run_baseline("boosting", features, labels, [BINARY], [split]).predicted[0] == 0).all()


def test_each_baseline_makes_its_own_features():
    from mesomer.chem.parse import parse_smiles

    mols = [parse_smiles(text)[0] for text in ("CCO", "c1ccccc1", "[Na+].[Cl-]", "O")]
    for baseline in BASELINES.values():
        found = baseline.features(mols)
        assert len(found) == len(mols) and not np.isinf(found).any()
    assert BASELINES["boosting"].features(mols).shape[1] == 200


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_validation_and_test_labels_are_never_seen(name):
    features, y = _data()
    (split,) = _splits(number=1)
    spoilt = y.copy()
    spoilt[split.valid] = 1e6
    spoilt[split.test] = -1e6
    clean = run_baseline(name, features, y[:, :1], [REGRESSION], [split])
    dirty = run_baseline(name, features, spoilt[:, :1], [REGRESSION], [split])
    assert np.array_equal(clean.predicted[0], dirty.predicted[0])


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_missing_labels_are_left_out_target_by_target(name):
    features, y = _data()
    (split,) = _splits(number=1)
    missing = y[:, :2].copy()
    missing[split.train[::3], 0] = np.nan
    result = run_baseline(name, features, missing, [REGRESSION, BINARY], [split])
    assert np.isfinite(result.predicted[0]).all()
    whole = run_baseline(name, features, y[:, :2], [REGRESSION, BINARY], [split])
    assert np.array_equal(result.predicted[0][:, 1], whole.predicted[0][:, 1])


def test_a_class_that_the_training_part_lacks_gets_probability_zero():
    features, y = _data()
    (split,) = _splits(number=1)
    labels = np.where(y[:, 2:] == 2, 0, y[:, 2:])
    found = run_baseline("forest", features, labels, [MULTICLASS], [split]).predicted[0]
    assert found.shape[1] == 3 and (found[:, 2] == 0).all()


def test_an_unknown_name_is_told():
    with pytest.raises(MesomerError, match="Did you mean forest"):
        run_baseline("forrest", *_data(), [REGRESSION], _splits())


def test_fragment_counts_count():
    from mesomer.chem.parse import parse_smiles

    mols = [parse_smiles(text)[0] for text in ("CCO", "OCC", "CCCCCCCC")]
    counts = fragment_counts(mols)
    assert counts.shape == (3, 2048) and counts.dtype == np.float32
    assert np.array_equal(counts[0], counts[1])
    assert counts[2].max() >= 4
