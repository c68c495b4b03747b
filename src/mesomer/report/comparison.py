"""The report of a comparison: opens with one honest sentence; the format is in the package docstring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mesomer.report import figures as fig
from mesomer.report.page import NONE, check_keys, duration, number, render, signed, value, worst_molecules

_REQUIRED = (
    "title",
    "sentence",
    "limits",
    "target",
    "metric",
    "arms",
    "splits",
    "differences",
    "curves",
    "predictions",
    "summary",
    "warnings",
    "costs",
    "method",
    "files",
    "next",
)


def comparison_report(data: Mapping[str, Any]) -> str:
    """The HTML report of a comparison of arms on the same splits."""
    check_keys("report", data, _REQUIRED, ("molecules",))
    check_keys("target", data["target"], ("name", "unit"))
    check_keys("metric", data["metric"], ("key", "label", "unit", "better"))
    for arm in data["arms"]:
        check_keys("arms", arm, ("name", "label", "scores", "seconds", "parameters", "other"))
    for row in data["differences"]:
        check_keys("differences", row, ("label", "mean", "low", "high", "boot_low", "boot_high", "wins"))
    values = {
        key: data[key]
        for key in ("title", "sentence", "limits", "summary", "warnings", "costs", "method", "files", "next")
    }
    values |= _arms_table(data) | _differences_table(data)
    values |= {"paired": _paired(data), "parity": _parity(data), "curves": _curves(data)}
    worst = _worst(data)
    label = _label(data, data["arms"][0]["name"])
    values |= {"worst": worst, "worst_title": f"The {len(worst)} largest errors of {label}"}
    return render("comparison.html", values)


def _label(data: Mapping[str, Any], name: str) -> str:
    return next(arm["label"] for arm in data["arms"] if arm["name"] == name)


def _arms_table(data: Mapping[str, Any]) -> dict[str, Any]:
    metric, arms, splits = data["metric"], data["arms"], data["splits"]
    other = list(dict.fromkeys(label for arm in arms for label in arm["other"]))
    several = len(splits) > 1
    head = ["Method", metric["label"], *(splits if several else []), *other, "Time", "Parameters"]
    rows = []
    for arm in arms:
        scores = [number(score) for score in arm["scores"]] if several else []
        parameters = NONE if arm["parameters"] is None else f"{arm['parameters']:,}"
        more = [number(arm["other"].get(label)) for label in other]
        rows.append(
            [arm["label"], number(np.mean(arm["scores"])), *scores, *more, duration(arm["seconds"]), parameters]
        )
    mean = "mean and each split" if several else "one split"
    caption = (
        f"{fig.with_unit(metric['label'], metric['unit'])} on held-out molecules, {metric['better']} is better; "
        f"{mean}. Time: training and predicting, all splits."
    )
    return {"arms_caption": caption, "arms_head": head, "arms_rows": rows}


def _differences_table(data: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for row in data["differences"]:
        split_interval = NONE if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}"
        rows.append(
            [
                row["label"],
                signed(row["mean"]),
                split_interval,
                f"{signed(row['boot_low'])} to {signed(row['boot_high'])}",
                row["wins"],
            ]
        )
    metric = data["metric"]
    favour = "Negative" if metric["better"] == "lower" else "Positive"
    caption = (
        f"Differences of {fig.with_unit(metric['label'], metric['unit'])}. {favour} favours the first. Over splits: "
        "corrected resampled t, which counts the choice of training molecules. Over molecules: paired bootstrap of the "
        "test molecules; it takes the trained models as given, and so says nothing about training on other molecules."
    )
    head = ["Difference", "Mean", "95 % interval over splits", "95 % over molecules only", "Splits won"]
    return {"differences_caption": caption, "differences_head": head, "differences_rows": rows}


def _paired(data: Mapping[str, Any]) -> list[fig.Figure]:
    metric = data["metric"]
    label = fig.with_unit(metric["label"], metric["unit"])
    arms = data["arms"]
    plots = [
        fig.paired_scores(
            f"{metric['label']} on each split",
            [a["label"] for a in arms],
            [a["scores"] for a in arms],
            data["splits"],
            label,
        )
    ]
    rows = []
    for row in data["differences"]:
        lines = row["label"].replace(" minus ", "\nminus ")
        if row["low"] is not None:
            rows.append((lines + "\n(splits)", row["mean"], row["low"], row["high"], fig.COLOURS[0]))
        rows.append((lines + "\n(molecules)", row["mean"], row["boot_low"], row["boot_high"], fig.GREY))
    favour = "Left" if metric["better"] == "lower" else "Right"
    caption = f"{favour} of zero favours the first. Blue: 95 % interval over splits. Grey: over test molecules only."
    return [*plots, fig.intervals("Differences with intervals", rows, f"Difference of {label}", caption)]


def _parity(data: Mapping[str, Any]) -> list[fig.Figure]:
    predictions, unit = data["predictions"], data["target"]["unit"]
    limits = fig.parity_limits(*(values[key] for values in predictions.values() for key in ("truth", "prediction")))
    return [
        fig.parity(_label(data, name), values["truth"], values["prediction"], unit, limits=limits, colour=colour)
        for (name, values), colour in zip(predictions.items(), fig.COLOURS, strict=False)
    ]


def _curves(data: Mapping[str, Any]) -> list[fig.Figure]:
    arms = {_label(data, name): curves for name, curves in data["curves"].items() if curves}
    return [fig.loss_curves("Loss during training", arms)] if arms else []


def _worst(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    molecules = data.get("molecules")
    if not molecules:
        return []
    truth, prediction = np.asarray(molecules["truth"], float), np.asarray(molecules["prediction"], float)
    lines = [[f"measured {value(t)}", f"predicted {value(p)}"] for t, p in zip(truth, prediction, strict=True)]
    return worst_molecules(molecules["smiles"], molecules["row"], np.abs(truth - prediction), lines)
