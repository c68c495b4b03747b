"""Metrics: equal to scikit-learn and scipy wherever these are defined, NaN where nothing is."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer import metrics
from mesomer.errors import MesomerError

labels = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(labels)
def test_ranking_metrics_equal_scikit_learn_with_ties(pairs):
    truth = np.array([a for a, _ in pairs], float)
    predicted = np.array([b for _, b in pairs], float) / 6
    if 0 < truth.sum() < len(truth):
        assert metrics.roc_auc(truth, predicted) == pytest.approx(sk.roc_auc_score(truth, predicted))
    else:
        assert math.isnan(metrics.roc_auc(truth, predicted))
    if truth.sum():
        assert metrics.average_precision(truth, predicted) == pytest.approx(
            sk.average_precision_score(truth, predicted)
        )
    else:
        assert math.isnan(metrics.average_precision(truth, predicted))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=30))
def test_class_metrics_equal_scikit_learn(pairs):
    truth, guess = np.array(pairs, dtype=float).T
    probabilities = np.eye(3)[guess.astype(int)] * 0.8 + 0.1 / 1.5
    assert metrics.accuracy(truth, probabilities) == pytest.approx(sk.accuracy_score(truth, guess))
    assert metrics.macro_f1(truth, probabilities) == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    value = metrics.mcc(truth, probabilities)
    if len(set(truth)) > 1 and len(set(guess)) > 1:
        assert value == pytest.approx(sk.matthews_corrcoef(truth, guess))
    else:
        assert math.isnan(value)
    assert metrics.log_loss(truth, probabilities) == pytest.approx(
        -np.mean(np.log(probabilities[np.arange(len(truth)), truth.astype(int)]))
    )


def test_regression_metrics_equal_references():
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=50).round(1), rng.normal(size=50).round(1)
    assert metrics.rmse(truth, predicted) == pytest.approx(sk.root_mean_squared_error(truth, predicted))
    assert metrics.mae(truth, predicted) == pytest.approx(sk.mean_absolute_error(truth, predicted))
    assert metrics.r2(truth, predicted) == pytest.approx(sk.r2_score(truth, predicted))
    assert metrics.pearson(truth, predicted) == pytest.approx(scipy.stats.pearsonr(truth, predicted)[0])
    assert metrics.spearman(truth, predicted) == pytest.approx(scipy.stats.spearmanr(truth, predicted)[0])


def test_what_labels_cannot_define_is_nan():
    same = np.ones(4)
    assert math.isnan(metrics.r2(same, np.arange(4.0)))
    assert math.isnan(metrics.pearson(np.arange(4.0), same))
    assert math.isnan(metrics.pearson(np.arange(6.0), np.full(6, 0.1)))  # whose mean is not quite 0.1
    empty = metrics.score("regression", np.full(3, np.nan), np.zeros(3))
    assert empty["labels"] == 0 and math.isnan(empty["rmse"])


def test_score_ignores_missing_labels():
    truth = np.array([1.0, np.nan, 0.0, 1.0])
    predicted = np.array([0.9, 0.1, 0.2, 0.8])
    figures = metrics.score("binary", truth, predicted)
    assert figures["labels"] == 3 and figures["roc_auc"] == 1.0 and figures["accuracy"] == 1.0


def test_means_ignore_nan():
    assert metrics.mean_and_sd([1.0, float("nan"), 3.0]) == (2.0, math.sqrt(2))
    assert math.isnan(metrics.mean_and_sd([])[0])
    mean, deviation = metrics.mean_and_sd([5.0, float("nan")])
    assert mean == 5.0 and math.isnan(deviation)
    assert metrics.mean_over_targets({"a": {"rmse": 1.0}, "b": {"rmse": 2.0}, "c": {}}, "rmse") == 1.5


def test_unknown_metric_names_the_nearest():
    with pytest.raises(MesomerError, match="roc_auc"):
        metrics.metric_for("binary", "roc-auc")
    assert metrics.metric_for("regression")[0] == "rmse"
