"""From the cells to the tables: `results.csv` and `predictions.csv`, made anew from what is finished.

Decided: scores are computed here and nowhere else, from the stored predictions and `molecules.csv`; so they can be made
again without training. Cells of parts that lie beside each other in one folder are read together. A row of a cell that
is gone stays in the tables: without cells a study is reported from them alone, and no table is replaced by less.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.studies.cells import cell_path, read_cell
from mesomer.studies.design import Cell, Design, cells_of
from mesomer.studies.scoring import Labels, Scores, scores
from mesomer.training.predictor import Target, class_columns

FORMAT = 1
COLUMNS = (
    "split", "repeat", "fold", "arm", "label_count", "target", "metric", "value", "value_novel", "n_train", "n_valid",
    "n_test", "n_novel", "seconds", "trials", "setting", "failed", "value_default",
)  # fmt: skip
PREDICTION_COLUMNS = (
    "split", "repeat", "fold", "arm", "label_count", "row", "target", "truth", "predicted", "similarity",
    "probabilities",
)  # fmt: skip
"""`probabilities` are those of a multiclass target's classes, in the order of `classes` in study.json."""
LARGE_TABLE = 50_000
"""Predictions from which on their table is compressed."""
LEAST_NOVEL = 10
"""Test molecules outside the corpus that a score needs."""


@dataclass(frozen=True)
class Molecules:
    """What `molecules.csv` says."""

    rows: list[int]
    labels: Labels

    @property
    def places(self) -> dict[int, int]:
        """Position of each row."""
        return {row: at for at, row in enumerate(self.rows)}


def read_json(path: Path) -> Any:
    """A JSON file of the study folder; None if it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise MesomerError(f"{path} cannot be read: {error}.", "Restore it, or start the study anew.") from error


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """`study.json` of a study folder."""
    facts = read_json(folder / "study.json")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise MesomerError(f"{folder} is not a study folder: it has no study.json.", "Give the --output of a study.")
    return facts


def targets_json(labels: Labels, units: Sequence[str]) -> list[dict[str, Any]]:
    """Targets as `study.json` has them: how many labels there are, of classes how many of each; a unit if known."""
    found = []
    for target, unit, y in zip(labels.targets, units, labels.y.T, strict=True):
        one = {"name": target.name, "task": target.type, "classes": list(target.classes), "labels": int((y == y).sum())}
        if target.type == "regression":
            one["deviation"] = float(np.nanstd(y))
        if target.classes:
            one["class_counts"] = [int((y == at).sum()) for at in range(len(target.classes))]
        found.append(one | ({"unit": unit} if unit else {}))
    return found


def stored_targets(facts: Mapping[str, Any]) -> list[Target]:
    """The reverse of `targets_json`."""
    return [Target(one["name"], one["task"], tuple(one["classes"])) for one in facts["data"]["targets"]]


def read_stored_molecules(path: Path, targets: Sequence[Target]) -> Molecules:
    """Rows and labels of `molecules.csv`."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            _, *lines = csv.reader(handle)
        rows = [int(line[0]) for line in lines]
        y = np.array([[float(cell) if cell else np.nan for cell in line[3:]] for line in lines])
        if y.shape != (len(rows), len(targets)):
            raise ValueError("its columns are not those of study.json")
    except (OSError, ValueError) as error:
        raise MesomerError(f"{path} cannot be read: {error}.", "Restore it, or start the study anew.") from error
    return Molecules(rows, Labels(targets, y))


def part_folders(folder: Path) -> list[Path]:
    """The study folder, and those of parts in it."""
    return [folder, *sorted(path for path in folder.glob("part-*-of-*") if path.is_dir())]


def finished_cells(folder: Path, design: Design) -> dict[Cell, dict[str, Any]]:
    """What the finished cells gave, in running order of the design."""
    folders = part_folders(folder)
    found = {}
    for cell in cells_of(design, lambda cell: 0.0):
        for place in folders:
            if (one := read_cell(cell_path(place, cell))) is not None:
                found[cell] = one
                break
    return found


def write_tables(folder: Path) -> dict[str, Any]:
    """Makes both tables from the finished cells, and notes in `study.json` how many there are; returns that file."""
    facts = read_facts(folder)
    design = Design.from_json(facts["design"])
    found = finished_cells(folder, design)
    lost = _tabled(folder, {_key(cell) for cell in found})
    if found:
        molecules = read_stored_molecules(folder / "molecules.csv", stored_targets(facts))
        overlap = read_json(folder / "overlap.json")
        known = None if overlap is None else set(overlap["skeleton"])
        results, predictions = _result_rows(found, molecules, known), _prediction_rows(found, molecules)
        count = sum(len(one["rows"]) for one in found.values()) * len(molecules.labels.targets)
    else:
        results, predictions, count = iter(()), iter(()), 0
    if found or any(place != folder for place in lost.values()):
        _write_csv(folder / "results.csv", COLUMNS, chain(results, _kept(folder, "results", COLUMNS, lost)))
        kept = _kept(folder, "predictions", PREDICTION_COLUMNS, lost)
        _write_predictions(folder, chain(predictions, kept), count)
    elif not (folder / "results.csv").exists():
        _write_csv(folder / "results.csv", COLUMNS, results)
    parameters: dict[str, int] = {}
    for cell, one in found.items():
        if one["parameters"] is not None and cell.labels is None:
            parameters[cell.arm] = max(one["parameters"], parameters.get(cell.arm, 0))
    arms = [arm | {"parameters": parameters.get(arm["name"], arm.get("parameters"))} for arm in facts["arms"]]
    planned = cells_of(design, lambda cell: 0.0)
    finished = sum(cell in found or _key(cell) in lost for cell in planned)
    facts |= {"arms": arms, "cells": {"planned": len(planned), "finished": finished}}
    write_json(folder / "study.json", facts)
    return facts


def _key(cell: Cell) -> tuple[str, ...]:
    """A cell as the tables name it."""
    return (cell.split, str(cell.repeat), str(cell.fold), cell.arm, "" if cell.labels is None else str(cell.labels))


def _tabled(folder: Path, found: Container[tuple[str, ...]]) -> dict[tuple[str, ...], Path]:
    """Cells that stand in a table but are not found, and the first folder in whose table they stand."""
    lost: dict[tuple[str, ...], Path] = {}
    for place in part_folders(folder):
        for key, _ in _table_rows(place / "results.csv"):
            if key not in found:
                lost.setdefault(key, place)
    return lost


def _kept(folder: Path, name: str, columns: Sequence[str], lost: Mapping[tuple[str, ...], Path]) -> Iterator[list[Any]]:
    """The rows of the lost cells in `results` or `predictions`."""
    for place in part_folders(folder):
        if place not in lost.values():
            continue
        path = next((p for p in (place / f"{name}.csv.gz", place / f"{name}.csv") if p.is_file()), None)
        for key, row in () if path is None else _table_rows(path):
            if lost.get(key) == place:
                yield [row.get(column, "") for column in columns]


def _table_rows(path: Path) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """Cell and row of each line of a table, which may be several files joined end to end."""
    if not path.is_file():
        return
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as handle:
            lines = csv.reader(handle)
            head = next(lines, [])
            for line in lines:
                if not line or line == head:
                    continue
                row = dict(zip(head, line, strict=True))
                yield tuple(row[name] for name in COLUMNS[:5]), row
    except (OSError, EOFError, ValueError, KeyError, csv.Error) as error:
        raise MesomerError(
            f"{path} cannot be read: {error}.", "Restore it; or remove it, if the folder has all its cells."
        ) from error


def _result_rows(
    found: Mapping[Cell, Mapping[str, Any]], molecules: Molecules, known: set[int] | None
) -> Iterator[list[Any]]:
    places, labels = molecules.places, molecules.labels
    for cell, one in found.items():
        positions = np.array([places[row] for row in one["rows"]])
        predicted = np.array(one["predicted"])
        whole = scores(labels, positions, predicted)
        novel = None if known is None else np.array([row not in known for row in one["rows"]])
        outside = _part_scores(labels, positions, predicted, novel)
        default = None if one["default"] is None else scores(labels, positions, np.array(one["default"]))
        sizes = one["sizes"]
        for target, figures in whole.items():
            for metric, value in figures.items():
                yield [
                    *_key(cell), target, metric, _number(value),
                    "" if outside is None else _number(outside[target][metric]), sizes["train"], sizes["valid"],
                    sizes["test"], "" if novel is None else int(novel.sum()), f"{one['seconds']:.3f}",
                    len(one["trials"]), "" if one["setting"] is None else json.dumps(one["setting"], sort_keys=True),
                    one["failed"], "" if default is None else _number(default[target][metric]),
                ]  # fmt: skip


def _part_scores(
    labels: Labels, positions: NDArray[np.integer], predicted: NDArray[np.float64], part: NDArray[np.bool_] | None
) -> Scores | None:
    if part is None or part.sum() < LEAST_NOVEL:
        return None
    return scores(labels, positions[part], predicted[part])


def _write_predictions(folder: Path, rows: Iterator[list[Any]], count: int) -> None:
    plain, packed = folder / "predictions.csv", folder / "predictions.csv.gz"
    wanted, other = (packed, plain) if count > LARGE_TABLE else (plain, packed)
    _write_csv(wanted, PREDICTION_COLUMNS, rows)
    other.unlink(missing_ok=True)


def _prediction_rows(found: Mapping[Cell, Mapping[str, Any]], molecules: Molecules) -> Iterator[list[Any]]:
    places, labels = molecules.places, molecules.labels
    columns = class_columns(labels.targets)
    for cell, one in found.items():
        head = _key(cell)
        for row, values, similarity in zip(one["rows"], one["predicted"], one["similarity"], strict=True):
            truth = labels.y[places[row]]
            for at, (target, place) in enumerate(columns):
                if np.isnan(truth[at]):
                    continue
                own = values[place]
                several = target.type == "multiclass"
                value, each = (int(np.argmax(own)), " ".join(map(_number, own))) if several else (own[0], "")
                yield [*head, row, target.name, _number(truth[at]), _number(value), similarity, each]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterator[list[Any]]) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as raw:
        # without a time in its head a compressed file of the same results is the same file
        packed = gzip.GzipFile(path.stem, "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)


def _number(value: float) -> str:
    return "" if value != value else f"{value:.9g}"
