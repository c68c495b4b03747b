"""Reading a study folder: what was planned, every score, the data checks; the format is checked here and nowhere else.

Decided: `results.csv` may be several files joined end to end (parts run on several machines), so repeated header lines
and repeated cells are accepted; of a cell that was run twice the first counts, and the report says how many there were.
`value_default` (the score of the setting without search) is optional, as are `similarity` and `probabilities`.
Scores of further metrics are kept only for the mean over targets: a set with 600 targets would fill the memory else.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.errors import MesomerError

FORMAT = 1
MEAN = "mean"
"""The target name of the macro average over targets, and the kind of the mean predictor."""
COLUMNS = (
    "split", "repeat", "fold", "arm", "label_count", "target", "metric", "value", "value_novel", "n_train", "n_valid",
    "n_test", "n_novel", "seconds", "trials", "setting", "failed",
)  # fmt: skip
_FACTS = ("format", "data", "model", "design", "zone", "arms", "metric", "greater_is_better")
Fold = tuple[int, int]
"""Repeat and fold."""


class Arm(NamedTuple):
    """One way to train, as planned."""

    name: str
    label: str
    kind: str
    reference: bool
    """Whether it is a baseline that the pre-trained network is held against."""
    twin_of: str | None
    """The pre-trained arm whose twin with random weights this is."""
    parameters: int | None


class Cell(NamedTuple):
    """One training: an arm on a fold; `labels` is None for all labels of the training part."""

    split: str
    repeat: int
    fold: int
    arm: str
    labels: int | None


class Run(NamedTuple):
    """What a cell was trained on, what it cost, and why it failed (empty if it did not)."""

    train: int
    valid: int
    test: int
    novel: int | None
    seconds: float
    failed: str


class Score(NamedTuple):
    """One score of a cell; NaN where there is none."""

    value: float
    novel: float = math.nan
    """On test molecules outside the pre-training corpus."""
    default: float = math.nan
    """With the first setting, without search."""


@dataclass(frozen=True)
class Study:
    """A study as far as it got."""

    folder: Path
    facts: Mapping[str, Any]
    arms: Mapping[str, Arm]
    runs: Mapping[Cell, Run]
    scores: Mapping[tuple[Cell, str, str], Score]
    """By cell, target and metric."""
    checks: list[dict[str, Any]] | None
    pilot: Mapping[str, Any] | None
    repeated_cells: int

    @property
    def metric(self) -> str:
        """The metric that the study is about."""
        return str(self.facts["metric"])

    @property
    def better(self) -> str:
        """ "max" or "min"."""
        return "max" if self.facts["greater_is_better"] else "min"

    @property
    def zone(self) -> float:
        """The smallest difference that matters, in the unit of the metric."""
        return float(self.facts["zone"]["value"])

    @property
    def missing_parts(self) -> list[tuple[int, int]]:
        """Parts whose folders are not beside those of the others, of how many, while cells are missing."""
        cells = self.facts.get("cells", {})
        names = [path.name.split("-") for path in self.folder.glob("part-*-of-*") if path.is_dir()]
        there = {(int(at), int(of)) for _, at, _, of in names if at.isdecimal() and of.isdecimal()}
        if cells.get("finished", 0) >= cells.get("planned", 0) or len({of for _, of in there}) != 1:
            return []
        of = min(of for _, of in there)
        return [(at, of) for at in range(1, of + 1) if (at, of) not in there]

    @property
    def splits(self) -> list[str]:
        """Kinds of split, as planned."""
        return [str(name) for name in self.facts["design"]["splits"]]

    def rule(self, split: str) -> str:
        """The rule behind a kind of split."""
        return str(self.facts["design"]["rules"][split])

    def folded(self, split: str) -> bool:
        """Whether a kind of split divides all molecules into folds; others draw one division a repeat."""
        from mesomer.data.splits import find_rule

        return find_rule(self.rule(split)).folded

    def fixed(self, split: str) -> bool:
        """Whether all repeats have the same parts, so that they differ in the training alone."""
        from mesomer.data.splits import find_rule

        return not find_rule(self.rule(split)).seeded

    def divisions(self, split: str) -> str:
        """How the molecules are divided: `5 x 5 folds`, `5 drawn divisions`, `one division, 5 trainings`."""
        from mesomer.data.splits import find_rule

        design = self.facts["design"]
        return find_rule(self.rule(split)).divisions(int(design["repeats"]), int(design["folds"]))

    def folds_of(self, split: str) -> int:
        """Folds of each repeat."""
        return int(self.facts["design"]["folds"]) if self.folded(split) else 1

    def planned_folds(self, split: str) -> int:
        """Repeats times folds."""
        return int(self.facts["design"]["repeats"]) * self.folds_of(split)

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return [str(target["name"]) for target in self.facts["data"]["targets"]]

    @property
    def headline_target(self) -> str:
        """The mean over targets, or the only one."""
        return self.targets[0] if len(self.targets) == 1 else MEAN

    def target(self, name: str) -> Mapping[str, Any]:
        """What study.json says of one target."""
        return next(entry for entry in self.facts["data"]["targets"] if str(entry["name"]) == name)

    def named(self, name: str) -> str:
        """A target with its unit, unless its name says that already."""
        unit = tidy(self.target(name).get("unit") or "")
        return f"{tidy(name)} ({unit})" if unit and unit not in name else tidy(name)

    @property
    def label_counts(self) -> list[int]:
        """Label counts of the learning curve that were run, without "all"."""
        return sorted({cell.labels for cell in self.runs if cell.labels is not None})

    @property
    def twins(self) -> dict[str, str]:
        """Pre-trained arm -> its twin with random weights; the first pair is what the headline is about."""
        return {arm.twin_of: arm.name for arm in self.arms.values() if arm.twin_of is not None}

    @property
    def main(self) -> str | None:
        """The pre-trained arm of the headline: the first trained network with a twin, else the first arm with one."""
        able = [arm for arm in self.arms.values() if arm.name in self.twins]
        return next((arm.name for arm in sorted(able, key=lambda arm: arm.kind != "network")), None)


def read_study(folder: str | Path) -> Study:
    """Reads a study folder; raises `MesomerError` where something is missing, broken or does not fit together."""
    folder = Path(folder)
    facts = _json(folder / "study.json")
    if facts is None:
        raise MesomerError(f"{folder} is not a study folder: it has no study.json.", "Give the folder of a study.")
    _check(folder, facts)
    arms = {}
    for entry in facts["arms"]:
        name = str(entry["name"])
        arms[name] = Arm(
            name, tidy(entry.get("label") or name), str(entry.get("kind", "")), bool(entry.get("reference")),
            entry.get("twin_of"), entry.get("parameters"),
        )  # fmt: skip
    for arm in arms.values():
        if arm.twin_of is not None and arm.twin_of not in arms:
            raise MesomerError(f"{folder}/study.json: {arm.name} is the twin of {arm.twin_of}, which is not an arm.")
    runs, scores, repeated = _results(folder / "results.csv", facts, arms)
    pilot, checks = _json(folder / "pilot.json"), _json(folder / "checks.json")
    return Study(folder, facts, arms, runs, scores, checks, pilot, repeated)


def tidy(text: Any) -> str:
    """A name in one line without control characters, which break drawings."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _json(path: Path) -> Any:
    """The contents of a JSON file, None where it is absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise MesomerError(f"{path} is not a JSON file: {error}.", "Was it edited? Run the study again.") from error


def _check(folder: Path, facts: Any) -> None:
    missing = [key for key in _FACTS if not isinstance(facts, dict) or key not in facts]
    if missing:
        raise MesomerError(f"{folder}/study.json has no {', '.join(missing)}.", "Is it the folder of a study?")
    if facts["format"] != FORMAT:
        raise MesomerError(
            f"{folder} was written in format {facts['format']}, this version reads {FORMAT}.", "Update Mesomer."
        )
    value = facts["zone"].get("value")
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise MesomerError(f"{folder}/study.json: the zone {value!r} is not a number above zero.", "Correct `zone`.")


def _results(
    path: Path, facts: Mapping[str, Any], arms: Mapping[str, Arm]
) -> tuple[dict[Cell, Run], dict[tuple[Cell, str, str], Score], int]:
    """Runs and scores of results.csv, and how many cells were given more than once."""
    runs: dict[Cell, Run] = {}
    scores: dict[tuple[Cell, str, str], Score] = {}
    again: set[Cell] = set()
    single = len(facts["data"]["targets"]) == 1
    if not path.is_file():
        return runs, scores, 0
    with open(path, encoding="utf-8", newline="") as handle:
        lines = csv.reader(handle)
        head = next(lines, [])
        absent = [name for name in COLUMNS if name not in head]
        if absent:
            raise MesomerError(f"{path} has no column {', '.join(absent)}.", "Is it complete?")
        for cells in lines:
            if cells == head or not cells:
                continue
            if len(cells) != len(head):
                raise MesomerError(
                    f"{path}, line {lines.line_num}: {len(cells)} cells instead of {len(head)}.",
                    "Remove the line; the study runs that cell again.",
                )
            row = dict(zip(head, cells, strict=True))
            try:
                cell, run = _cell(row), _run(row)
                figures = Score(*(_number(row.get(name, "")) for name in ("value", "value_novel", "value_default")))
            except ValueError as error:
                raise MesomerError(f"{path}, line {lines.line_num}: {error}.", "Remove the line.") from error
            if cell.arm not in arms:
                raise MesomerError(
                    f"{path}, line {lines.line_num}: no arm {cell.arm!r} in study.json.",
                    "Join only parts of one study.",
                )
            first = runs.setdefault(cell, run)
            key = (cell, row["target"], row["metric"])
            if first != run or key in scores:
                again.add(cell)
            elif row["metric"] == facts["metric"] or row["target"] == MEAN or single:
                scores[key] = figures
    return runs, scores, len(again)


def _cell(row: Mapping[str, str]) -> Cell:
    labels = int(row["label_count"]) if row["label_count"] else None
    return Cell(row["split"], int(row["repeat"]), int(row["fold"]), row["arm"], labels)


def _run(row: Mapping[str, str]) -> Run:
    failed = row["failed"].strip()
    failed = "" if failed.lower() in ("", "0", "false") else "failed" if failed.lower() in ("1", "true") else failed
    novel = int(row["n_novel"]) if row["n_novel"] else None
    train, valid, test = (int(row[name] or 0) for name in ("n_train", "n_valid", "n_test"))
    return Run(train, valid, test, novel, _number(row["seconds"]), tidy(failed))


def _number(text: str) -> float:
    """A cell as a number, NaN where it is empty; infinite scores count as none."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else math.nan


class Predictions(NamedTuple):
    """Out-of-fold predictions with all labels, one entry for each split, repeat, arm, molecule and target."""

    split: NDArray
    repeat: NDArray
    arm: NDArray
    row: NDArray
    target: NDArray
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    similarity: NDArray[np.float64] | None
    probabilities: NDArray[np.float64] | None
    """Of each class of a multiclass target, NaN beyond its classes; None where the file has none, as older ones."""

    def where(self, split: str, arm: str) -> Predictions:
        """Those of one arm on one kind of split."""
        chosen = (self.split == split) & (self.arm == arm)
        return Predictions(*(None if column is None else column[chosen] for column in self))  # type: ignore[arg-type]


def read_predictions(folder: Path, arms: Iterable[str]) -> Predictions | None:
    """Predictions of some arms from `predictions.csv.gz` or `.csv`; None where the study kept none."""
    import pyarrow as pa
    from pyarrow import compute, csv

    path = next((p for p in (folder / "predictions.csv.gz", folder / "predictions.csv") if p.is_file()), None)
    if path is None:
        return None
    texts = ("split", "repeat", "fold", "arm", "label_count", "row", "target", "truth", "predicted")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as handle:
            types = dict.fromkeys((*texts, "similarity", "probabilities"), pa.string())
            table = csv.read_csv(handle, convert_options=csv.ConvertOptions(column_types=types))
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise MesomerError(f"{path} cannot be read: {error}.", "Remove it: scores stand in results.csv.") from error
    absent = [name for name in texts if name not in table.column_names]
    if absent:
        raise MesomerError(f"{path} has no column {', '.join(absent)}.", "Remove it: scores stand in results.csv.")
    chosen = compute.and_(
        compute.is_in(table["arm"], pa.array(sorted(set(arms)), pa.string())), compute.equal(table["label_count"], "")
    )
    table = table.filter(compute.and_(chosen, compute.not_equal(table["split"], "split")))

    def floats(name: str) -> NDArray[np.float64]:
        column = compute.if_else(compute.equal(table[name], ""), None, table[name])
        return np.asarray(compute.fill_null(column.cast(pa.float64()), math.nan))

    def words(name: str) -> NDArray:
        return np.asarray(table[name].to_numpy(), dtype=str)

    try:
        return Predictions(
            words("split"), words("repeat").astype(int), words("arm"), words("row").astype(int), words("target"),
            floats("truth"), floats("predicted"),
            floats("similarity") if "similarity" in table.column_names else None,
            _probabilities(words("probabilities")) if "probabilities" in table.column_names else None,
        )  # fmt: skip
    except (pa.ArrowInvalid, ValueError) as error:
        raise MesomerError(f"{path}: {error}.", "Remove it: scores stand in results.csv.") from error


def _probabilities(cells: NDArray) -> NDArray[np.float64] | None:
    """[predictions, classes] of cells such as `0.2 0.5 0.3`; None where all are empty."""
    rows = [cell.split() for cell in cells.tolist()]
    most = max(map(len, rows), default=0)
    padded = [row + ["nan"] * (most - len(row)) for row in rows]
    return np.array(padded, dtype=np.float64) if most else None
