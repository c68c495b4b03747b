"""Scores for each target and their mean; the zone."""

from __future__ import annotations

import numpy as np
import pytest

from mesomer.errors import MesomerError
from mesomer.metrics import rmse, roc_auc
from mesomer.studies.scoring import Labels, headline, scores, zone_of
from mesomer.training.predictor import Target

NAN = float("nan")


def test_the_mean_over_regression_targets_is_in_deviations_of_their_labels():
    y = np.array([[0.0, 100.0], [1.0, 300.0], [2.0, NAN], [3.0, 200.0]])
    labels = Labels([Target("a", "regression"), Target("b", "regression")], y)
    predicted = np.array([[0.5, 110.0], [1.5, 290.0], [2.5, 0.0], [2.5, 210.0]])
    found = scores(labels, np.arange(4), predicted)
    present = ~np.isnan(y[:, 1])
    b = rmse(y[present, 1], predicted[present, 1])
    assert found["a"]["rmse"] == pytest.approx(0.5) and found["b"]["rmse"] == pytest.approx(b)
    deviations = y[:, 0].std(), y[present, 1].std()
    assert found["mean"]["rmse"] == pytest.approx((0.5 / deviations[0] + b / deviations[1]) / 2)
    assert found["mean"]["spearman"] == pytest.approx((found["a"]["spearman"] + found["b"]["spearman"]) / 2)
    assert headline(labels, np.arange(4), predicted) == found["mean"]["rmse"]
    assert zone_of(labels, None, None)["value"] == pytest.approx(0.05)
    with pytest.raises(MesomerError, match="there are several targets"):
        zone_of(labels, None, 5.0)


def test_one_target_is_its_own_mean_and_keeps_its_unit():
    y = np.array([[1.0], [2.0], [4.0]])
    labels = Labels([Target("a", "regression")], y)
    found = scores(labels, np.array([2, 0]), np.array([[3.0], [1.0]]))
    assert found["a"] == found["mean"] and found["a"]["rmse"] == pytest.approx(np.sqrt(0.5))
    assert zone_of(labels, None, None)["value"] == pytest.approx(0.05 * y.std())
    assert zone_of(labels, None, 0.3)["value"] == pytest.approx(0.03)
    assert zone_of(labels, 0.2, 0.3) == {"value": 0.2, "metric": "rmse", "source": "given"}
    with pytest.raises(MesomerError, match="--zone"):
        zone_of(labels, 0.0, None)


def test_a_class_that_is_absent_leaves_its_target_out_of_the_mean():
    y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    targets = [Target("a", "binary", ("no", "yes")), Target("b", "binary", ("no", "yes"))]
    labels, predicted = Labels(targets, y), np.array([[0.2, 0.1], [0.1, 0.2], [0.9, 0.3], [0.3, 0.4]])
    found = scores(labels, np.arange(3), predicted[:3])
    assert np.isnan(found["b"]["roc_auc"]) and found["mean"]["roc_auc"] == found["a"]["roc_auc"]
    assert found["a"]["roc_auc"] == roc_auc(y[:3, 0], predicted[:3, 0])
    assert (labels.metric, labels.better) == ("roc_auc", "max") and zone_of(labels, None, None)["value"] == 0.02
    with pytest.raises(MesomerError, match="these are classes"):
        zone_of(labels, None, 0.1)


def test_several_classes_are_judged_by_accuracy():
    labels = Labels([Target("a", "multiclass", ("x", "y", "z"))], np.array([[0.0], [1.0], [2.0]]))
    predicted = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.0, 0.2, 0.8]])
    assert headline(labels, np.arange(3), predicted) == pytest.approx(2 / 3)
    assert zone_of(labels, None, None)["metric"] == "accuracy"


def test_a_target_called_mean_is_refused():
    with pytest.raises(MesomerError, match="Rename"):
        scores(Labels([Target("mean", "regression")], np.ones((2, 1))), np.arange(2), np.ones((2, 1)))
