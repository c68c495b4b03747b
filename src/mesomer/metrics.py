"""Figures of merit for regression, binary and multi-class targets, on numpy arrays.

Decided: a figure that the labels cannot define (one class only, constant truth, nothing labelled) is NaN, never 0.5 or
0; means over targets ignore NaN. Ties are exact: ROC-AUC by mean ranks, average precision threshold by threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.errors import unknown_name

Array = NDArray[np.floating]


class Metric(NamedTuple):
    """How to compute a figure and in which direction it improves."""

    compute: Callable[[Array, Array], float]
    better: str  # "max" or "min"


def rmse(truth: Array, predicted: Array) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


def mae(truth: Array, predicted: Array) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(truth - predicted)))


def r2(truth: Array, predicted: Array) -> float:
    """Share of the variance explained; NaN if the truth is constant."""
    spread = np.sum((truth - truth.mean()) ** 2)
    return float(1 - np.sum((truth - predicted) ** 2) / spread) if spread > 0 else float("nan")


def pearson(truth: Array, predicted: Array) -> float:
    """Linear correlation; NaN if either side is constant."""
    # the mean of equal numbers can miss them by a rounding
    if (truth == truth[:1]).all() or (predicted == predicted[:1]).all():
        return float("nan")
    truth, predicted = truth - truth.mean(), predicted - predicted.mean()
    norm = np.sqrt(np.sum(truth**2) * np.sum(predicted**2))
    return float(np.sum(truth * predicted) / norm) if norm > 0 else float("nan")


def spearman(truth: Array, predicted: Array) -> float:
    """Rank correlation; NaN if either side is constant."""
    return pearson(mean_ranks(truth), mean_ranks(predicted))


def roc_auc(truth: Array, predicted: Array) -> float:
    """Probability that a positive is ranked above a negative, ties count half; NaN with one class only."""
    positives = int(np.sum(truth == 1))
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = mean_ranks(predicted)[truth == 1].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth: Array, predicted: Array) -> float:
    """Sum over thresholds of precision times gain in recall; NaN without a positive."""
    positives = np.sum(truth == 1)
    if positives == 0:
        return float("nan")
    order = np.argsort(-predicted, kind="stable")
    hits = np.cumsum(truth[order] == 1)
    last_of_tie = np.append(np.diff(predicted[order]) != 0, True)
    hits, taken = hits[last_of_tie], np.arange(1, len(truth) + 1)[last_of_tie]
    return float(np.sum(np.diff(hits, prepend=0) * hits / taken) / positives)


def accuracy(truth: Array, predicted: Array) -> float:
    """Share of right classes; predicted: probability of class 1 [n] (threshold 0.5) or of each class [n, C]."""
    return float(np.mean(_classes(predicted) == truth))


def mcc(truth: Array, predicted: Array) -> float:
    """Matthews correlation for any number of classes; NaN if the truth or the prediction has one class only."""
    guess = _classes(predicted)
    names = np.union1d(truth, guess)
    table = np.array([[np.sum((truth == a) & (guess == b)) for b in names] for a in names], dtype=float)
    true, given, n = table.sum(1), table.sum(0), table.sum()
    norm = np.sqrt((n**2 - np.sum(given**2)) * (n**2 - np.sum(true**2)))
    return float((np.trace(table) * n - true @ given) / norm) if norm > 0 else float("nan")


def macro_f1(truth: Array, predicted: Array) -> float:
    """Mean over the classes that occur (in truth or prediction) of the F1 score."""
    guess = _classes(predicted)
    scores = []
    for name in np.union1d(truth, guess):
        both = np.sum((truth == name) & (guess == name))
        scores.append(2 * both / (np.sum(truth == name) + np.sum(guess == name)))
    return float(np.mean(scores))


def log_loss(truth: Array, predicted: Array) -> float:
    """Mean negative log probability of the true class."""
    if predicted.ndim == 1:
        predicted = np.stack([1 - predicted, predicted], 1)
    chosen = predicted[np.arange(len(truth)), truth.astype(int)]
    return float(-np.mean(np.log(np.clip(chosen, np.finfo(np.float64).tiny, None))))


METRICS: dict[str, dict[str, Metric]] = {
    "regression": {
        "rmse": Metric(rmse, "min"),
        "mae": Metric(mae, "min"),
        "r2": Metric(r2, "max"),
        "pearson": Metric(pearson, "max"),
        "spearman": Metric(spearman, "max"),
    },
    "binary": {
        "roc_auc": Metric(roc_auc, "max"),
        "average_precision": Metric(average_precision, "max"),
        "accuracy": Metric(accuracy, "max"),
        "mcc": Metric(mcc, "max"),
        "log_loss": Metric(log_loss, "min"),
    },
    "multiclass": {
        "accuracy": Metric(accuracy, "max"),
        "macro_f1": Metric(macro_f1, "max"),
        "mcc": Metric(mcc, "max"),
        "log_loss": Metric(log_loss, "min"),
    },
}
PRIMARY = {"regression": "rmse", "binary": "roc_auc", "multiclass": "accuracy"}


def metric_for(task_type: str, name: str | None = None) -> tuple[str, Metric]:
    """The named metric of a task type, or its usual one."""
    name = name or PRIMARY[task_type]
    if name not in METRICS[task_type]:
        raise unknown_name(f"{task_type} metric", name, METRICS[task_type])
    return name, METRICS[task_type][name]


def score(task_type: str, truth: Array, predicted: Array) -> dict[str, float]:
    """All figures of a task over its present labels (NaN in `truth` is missing), and their number as `labels`.

    predicted: [n] value or probability of class 1, or [n, C] class probabilities.
    """
    present = ~np.isnan(truth)
    truth, predicted = truth[present].astype(np.float64), predicted[present].astype(np.float64)
    figures: dict[str, float] = {"labels": int(present.sum())}
    for name, metric in METRICS[task_type].items():
        figures[name] = metric.compute(truth, predicted) if len(truth) else float("nan")
    return figures


def mean_and_sd(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor n - 1) of what is not NaN.

    NaN where it is not defined: the mean of nothing, the deviation of fewer than two values.
    """
    present = np.array([value for value in values if not np.isnan(value)], dtype=np.float64)
    mean = float(present.mean()) if len(present) else float("nan")
    return mean, float(present.std(ddof=1)) if len(present) > 1 else float("nan")


def mean_over_targets(figures: Mapping[str, Mapping[str, float]], name: str) -> float:
    """Mean of one figure over targets, NaN ignored."""
    return mean_and_sd(figure.get(name, float("nan")) for figure in figures.values())[0]


def mean_ranks(values: Array) -> Array:
    """Ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _classes(predicted: Array) -> Array:
    return predicted.argmax(1) if predicted.ndim == 2 else (predicted >= 0.5).astype(int)
