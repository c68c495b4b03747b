"""Running one cell, and the file that keeps what it gave.

The file appears whole when the cell is done, so that a cell is run once whatever stops the study; a network in training
goes on from its checkpoint in `work/`. The validation part chooses among the trials; scores of the test part are
computed when all is chosen. If every trial diverges, the cell is a failure with the predictions of the mean predictor.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.errors import MesomerError
from mesomer.files import atomic_write, remove
from mesomer.metrics import METRICS
from mesomer.studies.arms import ARMS, Arm, Job, Predicted
from mesomer.studies.arms.base import Setting
from mesomer.studies.arms.mean import MEAN
from mesomer.studies.design import Cell
from mesomer.studies.molecules import Source, StudyData, opened
from mesomer.studies.scoring import Labels, headline
from mesomer.training.ledger import Diverged
from mesomer.uncertainty import nearest_similarity

CELLS, WORK = "cells", "work"


@dataclass(frozen=True)
class Training:
    """How long and how often every arm may try."""

    trials: int
    epochs: int
    batch_size: int
    patience: int
    settings: tuple[Setting, ...] = ()
    """What networks try, where it is not their usual settings."""


@dataclass(frozen=True)
class Task:
    """What a process needs to know to run a cell."""

    cell: Cell
    source: Source
    splits: tuple[str, ...]
    coordinates: bool
    training: Training
    folder: Path
    """Where `cells/` and `work/` are: the study folder, or that of a part."""


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a cell's result lies."""
    return folder / CELLS / cell.split / f"{cell.name}.json"


def read_cell(path: Path) -> dict[str, Any] | None:
    """A finished cell; None if it is not finished."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise MesomerError(f"{path} cannot be read: {error}.", "Remove it: the study runs that cell again.") from error
    return found


def run_cell(task: Task) -> dict[str, Any]:
    """Runs a cell unless its file is there; returns what the file holds."""
    path = cell_path(task.folder, task.cell)
    known = read_cell(path)
    if known is not None:
        return known
    study = opened(task.source, task.splits, task.coordinates)
    work = task.folder / WORK / task.cell.name
    found = evaluate(study, task.cell, task.training, work)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")
    remove(work)
    return found


def evaluate(study: StudyData, cell: Cell, training: Training, work: Path | None = None) -> dict[str, Any]:
    """All trials of a cell, the chosen one and its predictions, as JSON."""
    arm, split = ARMS[cell.arm], study.split_of(cell)
    labels = Labels(study.data.targets, study.data.y)
    job = Job(study, split, training.epochs, training.batch_size, training.patience, work)
    arm.prepare(job)
    started = time.monotonic()
    tried = arm.settings_of(training.settings)[: training.trials]
    trials = [_trial(arm, job, setting, number, labels) for number, setting in enumerate(tried)]
    best = _best(trials, labels)
    chosen = MEAN.fit(job, {}, 0) if best is None else trials[best][1]
    assert chosen is not None
    default = trials[0][1] if len(trials) > 1 else None
    similarity = nearest_similarity(study.data.fingerprints[split.test], study.data.fingerprints[split.train])
    return {
        **cell._asdict(),
        "seconds": time.monotonic() - started,
        "failed": "" if best is not None else trials[0][0]["failed"],
        "setting": None if best is None else trials[best][0]["setting"],
        "trials": [notes for notes, _ in trials],
        "parameters": chosen.parameters,
        "sizes": {part: len(rows) for part, rows in split.parts.items()},
        "rows": [study.data.rows[at] for at in split.test],
        "predicted": _short(chosen.test),
        "default": None if default is None else _short(default.test),
        "similarity": [round(float(value), 4) for value in similarity],
    }


def _trial(
    arm: Arm, job: Job, setting: Setting, number: int, labels: Labels
) -> tuple[dict[str, Any], Predicted | None]:
    """What is kept of one trial, and its predictions unless it diverged."""
    notes: dict[str, Any] = {"setting": dict(setting), "valid": None, "failed": ""}
    started = time.monotonic()
    try:
        found = arm.fit(job, setting, number)
        if not (np.isfinite(found.valid).all() and np.isfinite(found.test).all()):
            raise Diverged(f"The predictions of {arm.name} are not finite.")
    except Diverged as error:
        return notes | {"failed": error.message, "seconds": time.monotonic() - started}, None
    value = headline(labels, job.split.valid, found.valid)
    notes |= {"valid": value if math.isfinite(value) else None, "seconds": time.monotonic() - started, **found.more}
    return notes, found


def _best(trials: Sequence[tuple[Mapping[str, Any], Predicted | None]], labels: Labels) -> int | None:
    """The trial with the best validation score; the first that ended, where none has a score; None if none ended."""
    turn = 1.0 if METRICS[labels.task][labels.metric].better == "max" else -1.0
    ended = [at for at, (_, found) in enumerate(trials) if found is not None]
    scored = [at for at in ended if trials[at][0]["valid"] is not None]
    if scored:
        return max(scored, key=lambda at: (turn * trials[at][0]["valid"], -at))
    return ended[0] if ended else None


def _short(values: NDArray[np.float64]) -> list[list[float]]:
    """Seven digits are those of float32."""
    return [[float(f"{value:.7g}") for value in row] for row in values]
