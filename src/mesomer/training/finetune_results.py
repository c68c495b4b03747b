"""What a fine-tuning found: out-of-fold predictions, figures for each target, split and member; their tables.

Decided: an out-of-fold prediction of a split is the mean over its ensemble members; means and deviations are taken over
splits of that. The half-width of the 90 % interval comes from the residuals of these predictions.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.data.splits import Split
from mesomer.data.splits.base import one_test_part
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.metrics import METRICS, mean_and_sd, score
from mesomer.training.finetune_cell import CellResult
from mesomer.training.finetune_plan import PropertyData
from mesomer.training.predictor import Target, class_columns
from mesomer.uncertainty import conformal_half_width, nearest_similarity

ENSEMBLE = "ensemble"


@dataclass
class OutOfFold:
    """Test predictions of all splits, one below the other; N = sum of the test parts."""

    split: NDArray[np.int64]  # [N]
    molecule: NDArray[np.int64]  # [N], position in the data
    predicted: NDArray[np.float64]  # [N, T'], mean over members
    deviation: NDArray[np.float64] | None  # [N, T'] over members; None with a single one
    similarity: NDArray[np.float32]  # [N], to the nearest molecule of the split's training part


def out_of_fold(data: PropertyData, splits: Sequence[Split], results: Sequence[CellResult]) -> OutOfFold:
    """Gathers the test predictions of every split."""
    numbers, molecules, means, deviations, similarities = [], [], [], [], []
    for number, split in enumerate(splits):
        members = np.stack([result.predicted["test"] for result in results if result.cell.split == number])
        numbers.append(np.full(len(split.test), number))
        molecules.append(split.test)
        means.append(members.mean(0))
        deviations.append(members.std(0) if len(members) > 1 else np.full(members[0].shape, np.nan))
        similarities.append(nearest_similarity(data.fingerprints[split.test], data.fingerprints[split.train]))
    deviation = np.concatenate(deviations)
    return OutOfFold(
        np.concatenate(numbers),
        np.concatenate(molecules),
        np.concatenate(means),
        None if np.isnan(deviation).all() else deviation,
        np.concatenate(similarities),
    )


def figures(data: PropertyData, splits: Sequence[Split], results: Sequence[CellResult]) -> list[dict[str, Any]]:
    """A row for each target, split, part and member (and `ensemble`, where there are several)."""
    rows = []
    for number, split in enumerate(splits):
        own = [result for result in results if result.cell.split == number]
        for part in ("valid", "test"):
            predictions = {str(result.cell.member): result.predicted[part] for result in own}
            if len(own) > 1:
                predictions[ENSEMBLE] = np.mean(list(predictions.values()), axis=0)
            for at, (target, columns) in enumerate(class_columns(data.targets)):
                truth = data.y[split.parts[part], at]
                for member, predicted in predictions.items():
                    values = predicted[:, columns] if target.type == "multiclass" else predicted[:, columns][:, 0]
                    rows.append(
                        {"target": target.name, "type": target.type, "repeat": split.repeat, "fold": split.fold,
                         "split": number, "member": member, "part": part, **score(target.type, truth, values)}
                    )  # fmt: skip
    return rows


def judged(rows: Sequence[Mapping[str, Any]], target: str, part: str = "test") -> list[Mapping[str, Any]]:
    """The rows that count for a target: of each split the ensemble, or its only member."""
    own = [row for row in rows if row["target"] == target and row["part"] == part]
    several = {row["split"] for row in own if row["member"] == ENSEMBLE}
    return [row for row in own if row["member"] == ENSEMBLE or row["split"] not in several]


def over_splits(values: Sequence[float], splits: Sequence[Split]) -> tuple[float, float]:
    """Mean and deviation of a figure over splits; the same figure of the same test part again and again has none."""
    mean, deviation = mean_and_sd(values)
    return mean, float("nan") if deviation == 0 and one_test_part(splits) else deviation


def summary(
    data: PropertyData, rows: Sequence[Mapping[str, Any]], splits: Sequence[Split]
) -> dict[str, dict[str, dict[str, Any]]]:
    """For each target and metric: mean and sample standard deviation over splits, and the values."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for target in data.targets:
        own = judged(rows, target.name)
        found[target.name] = {}
        for name in METRICS[target.type]:
            values = [row[name] for row in own]
            mean, deviation = over_splits(values, splits)
            found[target.name][name] = {"mean": mean, "sd": deviation, "values": values}
    return found


def half_widths(data: PropertyData, found: OutOfFold) -> list[float | None]:
    """The half-width of the 90 % interval of each regression target; None for classes and where labels are too few."""
    widths: list[float | None] = []
    for at, (target, columns) in enumerate(class_columns(data.targets)):
        truth = data.y[found.molecule, at]
        present = ~np.isnan(truth)
        residuals = truth[present] - found.predicted[present, columns.start]
        width = conformal_half_width(residuals, found.molecule[present]) if target.type == "regression" else math.inf
        widths.append(width if math.isfinite(width) else None)
    return widths


def write_figures(path: Path, data: PropertyData, rows: Sequence[Mapping[str, Any]], splits: Sequence[Split]) -> None:
    """`metrics.csv`: all rows, then mean and sd over splits for each target and part."""
    names = list(dict.fromkeys(name for target in data.targets for name in METRICS[target.type]))
    columns = ["target", "type", "repeat", "fold", "split", "member", "part", "labels", *names]
    table = [dict(row) for row in rows]
    for target in data.targets:
        for part in ("valid", "test"):
            own = judged(rows, target.name, part)
            for word, place in (("mean", 0), ("sd", 1)):
                line: dict[str, Any] = {"target": target.name, "type": target.type, "split": word, "part": part}
                line |= {name: over_splits([row[name] for row in own], splits)[place] for name in METRICS[target.type]}
                table.append(line)
    write_csv(path, columns, table)


def prediction_columns(targets: Sequence[Target]) -> list[str]:
    """The columns of `predictions.csv`; stops where two would have one name."""
    columns = ["row", "smiles", "repeat", "fold"]
    for target in targets:
        columns += [target.name, f"{target.name}_pred", f"{target.name}_pred_std"]
        if target.type == "multiclass":
            columns += [f"{target.name}_prob_{name}" for name in target.classes]
    columns.append("similarity")
    twice = next((name for at, name in enumerate(columns) if name in columns[:at]), None)
    if twice is not None:
        raise MesomerError(
            f"Two columns of the predictions would be named {twice!r}.", "Rename the target column that gives it."
        )
    return columns


def write_predictions(path: Path, data: PropertyData, splits: Sequence[Split], found: OutOfFold) -> None:
    """`predictions.csv`: every test molecule of every split, truth beside prediction."""
    columns, table = prediction_columns(data.targets), []
    for number in range(len(found.molecule)):
        molecule, split = int(found.molecule[number]), splits[int(found.split[number])]
        line: dict[str, Any] = {
            "row": data.rows[molecule], "smiles": data.smiles[molecule], "repeat": split.repeat, "fold": split.fold,
            "similarity": round(float(found.similarity[number]), 4),
        }  # fmt: skip
        for at, (target, place) in enumerate(class_columns(data.targets)):
            truth, predicted = data.y[molecule, at], found.predicted[number, place]
            chosen = int(predicted.argmax())
            known = not np.isnan(truth)
            if target.type == "multiclass":
                line[target.name] = target.classes[int(truth)] if known else None
                line[f"{target.name}_pred"] = target.classes[chosen]
                line |= {f"{target.name}_prob_{c}": float(p) for c, p in zip(target.classes, predicted, strict=True)}
            else:
                word = target.classes[int(truth)] if target.classes and known else truth
                line[target.name] = word if known else None
                line[f"{target.name}_pred"] = float(predicted[0])
            if found.deviation is not None:
                line[f"{target.name}_pred_std"] = float(found.deviation[number, place][chosen])
        table.append(line)
    write_csv(path, columns, table)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A small table, whole or not at all; NaN and None are empty, floats are short but exact to seven digits."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in columns])


def _cell(value: Any) -> Any:
    if value is None or value != value:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else value
