"""The report of a fine-tuning: how good, how sure, where it fails; the format is in the package docstring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.report import figures as fig
from mesomer.report.page import check_keys, number, render, value, worst_molecules

FIGURED_TARGETS = 12
_REQUIRED = ("title", "summary", "warnings", "metrics", "curves", "targets", "costs", "method", "files", "next")
_TARGET = ("name", "type", "unit", "smiles", "row", "split", "truth", "prediction")
_NOMINAL = np.arange(0.1, 0.96, 0.1)


def finetune_report(data: Mapping[str, Any]) -> str:
    """The HTML report of a fine-tuning."""
    check_keys("report", data, _REQUIRED)
    for row in data["metrics"]:
        check_keys("metrics", row, ("target", "metric", "mean", "sd", "n"), ("trivial",))
    for curve in data["curves"]:
        check_keys("curves", curve, ("label", "epoch", "train_loss", "valid_loss"), ("best_epoch",))
    for target in data["targets"]:
        check_keys("targets", target, _TARGET, ("similarity", "low", "high", "classes"))
    shown = data["targets"][:FIGURED_TARGETS]
    warnings = list(data["warnings"])
    if len(shown) < len(data["targets"]):
        number_of_targets = len(data["targets"])
        warnings.append(f"Figures show the first {len(shown)} of {number_of_targets} targets; the table has all.")
    values = {key: data[key] for key in ("title", "summary", "costs", "method", "files", "next")}
    values |= _metrics_table(data["metrics"])
    curves = data["curves"]
    values["curves"] = [fig.loss_curves("Loss during training", {"": curves})] if curves else []
    values["targets"] = [_target_section(target) for target in shown]
    return render("finetune.html", values | {"warnings": warnings})


def _metrics_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    trivial = any(row.get("trivial") is not None for row in rows)
    head = ["Target", "Metric", "Mean", "SD", "Splits"] + (["Without a model"] if trivial else [])
    body = []
    for row in rows:
        cells = [row["target"], row["metric"], number(row["mean"]), number(row["sd"]), f"{row['n']}"]
        body.append(cells + ([number(row.get("trivial"))] if trivial else []))
    caption = "On molecules that the model has not seen; mean and sample standard deviation (n - 1) over the splits."
    if trivial:
        caption += " Without a model: the mean of the training labels or the most frequent class, for all molecules."
    return {"metrics_caption": caption, "metrics_head": head, "metrics_rows": body}


def _target_section(target: Mapping[str, Any]) -> dict[str, Any]:
    truth = np.asarray(target["truth"], float)
    prediction = np.asarray(target["prediction"], float)
    present = ~np.isnan(truth)
    prediction_ok = np.isfinite(prediction) if prediction.ndim == 1 else np.isfinite(prediction).all(1)
    keep = np.flatnonzero(present & prediction_ok)
    view = {
        key: np.asarray(target[key])[keep]
        for key in ("smiles", "row", "split", "similarity", "low", "high")
        if target.get(key) is not None
    }
    truth, prediction = truth[keep], prediction[keep]
    unit = target["unit"]
    kinds = {"regression": _regression, "binary": _binary, "multiclass": _multiclass}
    plots, error, lines, error_label = kinds[target["type"]](target, truth, prediction, view)
    if "similarity" in view and len(keep):
        plots.append(fig.applicability("Applicability domain", view["similarity"], error, error_label))
    worst = worst_molecules([str(s) for s in view["smiles"]], view["row"].tolist(), error, lines)
    heading = fig.with_unit(target["name"], unit)
    return {
        "heading": heading,
        "figures": plots,
        "worst": worst,
        "worst_title": f"The {len(worst)} largest errors of {target['name']}",
    }


def _regression(target: Mapping[str, Any], truth: NDArray, prediction: NDArray, view: dict[str, NDArray]) -> tuple:
    unit = target["unit"]
    error = np.abs(truth - prediction)
    plots = [fig.parity("Prediction against truth", truth, prediction, unit)]
    if len(truth) >= 20:
        observed, how = interval_coverage(prediction - truth, view["split"])
        plots.append(
            fig.calibration(
                "Calibration of intervals",
                _NOMINAL,
                observed,
                xlabel="Wanted share inside the interval",
                ylabel="Observed share",
                caption=f"Intervals of constant width from the residuals {how}.",
            )
        )
    lines = [[f"measured {value(t)}", f"predicted {value(p)}"] for t, p in zip(truth, prediction, strict=True)]
    if "low" in view and "high" in view:
        for line, low, high in zip(lines, view["low"], view["high"], strict=True):
            line.append(f"90 %: {value(low)} to {value(high)}")
    return plots, error, lines, fig.with_unit("Absolute error", unit)


def _binary(target: Mapping[str, Any], truth: NDArray, prediction: NDArray, view: dict[str, NDArray]) -> tuple:
    name, classes = target["name"], target["classes"]
    plots = [
        fig.roc("ROC curve", {name: (truth, prediction)}),
        fig.precision_recall("Precision and recall", {name: (truth, prediction)}),
    ]
    if len(truth) >= 20:
        expected, observed = reliability(truth, prediction)
        plots.append(
            fig.calibration(
                "Calibration of probabilities",
                expected,
                observed,
                xlabel=f"Predicted probability of {classes[1]}",
                ylabel=f"Observed share of {classes[1]}",
                caption="Up to ten groups of equally many molecules, by predicted probability.",
            )
        )
    lines = [
        [f"label {classes[int(t)]}", f"probability of {classes[1]}: {p:.2f}"]
        for t, p in zip(truth, prediction, strict=True)
    ]
    return plots, np.abs(truth - prediction), lines, "Error of the probability"


def _multiclass(target: Mapping[str, Any], truth: NDArray, prediction: NDArray, view: dict[str, NDArray]) -> tuple:
    classes, codes = target["classes"], truth.astype(int)
    chosen = prediction.argmax(1)
    sure, right = prediction[np.arange(len(chosen)), chosen], (chosen == codes).astype(float)
    plots = [fig.confusion("Confusion matrix", codes, chosen, classes)]
    if len(truth) >= 20:
        expected, observed = reliability(right, sure)
        plots.append(
            fig.calibration(
                "Calibration of probabilities",
                expected,
                observed,
                xlabel="Probability of the predicted class",
                ylabel="Share that was right",
                caption="Up to ten groups of equally many molecules, by predicted probability.",
            )
        )
    error = 1 - prediction[np.arange(len(codes)), codes]
    lines = [
        [f"label {classes[t]}", f"predicted {classes[c]} ({p:.2f})"]
        for t, c, p in zip(codes, chosen, sure, strict=True)
    ]
    return plots, error, lines, "1 - probability of the true class"


def interval_coverage(residuals: NDArray, splits: NDArray) -> tuple[NDArray, str]:
    """How many residuals of each split lie inside intervals made from the others, for the nominal shares 0.1 to 0.9.

    With one split its molecules are halved (every other one), and each half judges the other.
    """
    names = np.unique(splits)
    groups = [splits == name for name in names]
    how = "of the other splits"
    if len(groups) == 1:
        even = np.arange(len(residuals)) % 2 == 0
        groups, how = [even, ~even], "of the other half of the test molecules"
    size = np.abs(residuals)
    inside = np.zeros(len(_NOMINAL))
    for group in groups:
        inside += (size[group][:, None] <= np.quantile(size[~group], _NOMINAL)).sum(0)
    return inside / len(residuals), how


def reliability(truth: NDArray, probability: NDArray, groups: int = 10) -> tuple[NDArray, NDArray]:
    """Mean predicted and mean observed probability in groups of equally many molecules."""
    parts = np.array_split(np.argsort(probability, kind="stable"), min(groups, max(2, len(truth) // 10)))
    return np.array([probability[p].mean() for p in parts]), np.array([truth[p].mean() for p in parts])
