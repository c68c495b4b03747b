"""Running one cell of the comparison, and the file that keeps what it gave.

A cell's file appears whole when the cell is done; a network in training goes on from its checkpoint in `work/`. The
training part alone teaches; the validation part chooses the epoch, or the penalty of a linear model. The scores of the
test part are kept, and looked at by the tables alone.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from labelled_sets import part_score, read_set
from numpy.typing import NDArray
from worth_design import ARMS, SEEDS, SPLIT, Cell, Facts, digest, options_of

from mesomer.baselines import BASELINES, run_baseline
from mesomer.baselines.boosting import finite
from mesomer.data.computed import computed_descriptors
from mesomer.data.labels import Labelled
from mesomer.data.splits import Split, splits_for
from mesomer.errors import MesomerError
from mesomer.files import atomic_write, remove
from mesomer.metrics import PRIMARY
from mesomer.settings import json_ready
from mesomer.training.checkpoint import encoder_of, load_model
from mesomer.training.context import Context
from mesomer.training.finetune_cell import Cells
from mesomer.training.finetune_plan import PropertyData, plan_cells
from mesomer.training.predictor import RDKIT_DESCRIPTORS, trainable_parameters


@dataclass(frozen=True)
class SplitSet:
    """A set with its five splits."""

    labelled: Labelled
    data: PropertyData
    splits: list[Split]


@dataclass(frozen=True)
class Task:
    """What a process needs to know to run a cell."""

    cell: Cell
    facts: Facts
    folder: Path


@lru_cache(maxsize=8)
def split_set(name: str) -> SplitSet:
    """Reads, featurises and splits a set, once in each process."""
    labelled, data = read_set(name)
    return SplitSet(labelled, data, splits_for(SPLIT, labelled.mols, len(SEEDS), SEEDS[0], together=True))


def cell_path(folder: Path, cell: Cell, facts: Facts) -> Path:
    """Where a cell's result lies."""
    setting = f"-{cell.setting}" if cell.setting else ""
    return folder / "cells" / cell.set / cell.arm / f"seed{cell.seed}{setting}-{digest(cell, facts)}.json"


def read_cell_file(path: Path) -> dict[str, Any] | None:
    """A finished cell; None if it is not finished."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise MesomerError(f"{path} cannot be read: {error}.", "Remove it to run that cell again.") from error
    return found


def run_cell(task: Task) -> dict[str, Any]:
    """Runs a cell unless its file is there; returns what the file holds."""
    path = cell_path(task.folder, task.cell, task.facts)
    known = read_cell_file(path)
    if known is not None:
        return known
    started = time.monotonic()
    chosen = split_set(task.cell.set)
    found = _baseline(task, chosen) if ARMS[task.cell.arm].kind == "baseline" else _network(task, chosen)
    predicted, more = found
    split = chosen.splits[task.cell.seed]
    metric = PRIMARY[chosen.data.targets[0].type]
    result = {
        **task.cell._asdict(),
        "metric": metric,
        "valid": part_score(chosen.data, split.valid, predicted["valid"], metric),
        "test": part_score(chosen.data, split.test, predicted["test"], metric),
        "sizes": {part: len(rows) for part, rows in split.parts.items()},
        "seconds": time.monotonic() - started,
        **more,
        "targets": [target.name for target in chosen.data.targets],
        "rows": {part: [chosen.data.rows[at] for at in split.parts[part]] for part in ("valid", "test")},
        "predicted": {part: _short(values) for part, values in predicted.items()},
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(json_ready(result)) + "\n", encoding="utf-8")
    remove(_work_folder(path, task))
    return json_ready(result)


def _network(task: Task, chosen: SplitSet) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    cell, arm, facts = task.cell, ARMS[task.cell.arm], task.facts
    folder = load_model(facts.model)
    if folder.sha256 != facts.weights_sha256:
        raise MesomerError(
            f"The weights of {facts.model} have changed while cells were running.",
            "Start the command again: it takes the new weights and keeps what does not depend on them.",
        )
    data = with_descriptors(chosen, task) if arm.descriptors else chosen.data
    options = options_of(cell, len(chosen.splits[cell.seed].train))
    cells = Cells(
        data,
        chosen.splits,
        encoder_of(folder),
        options,
        Context.start("cpu", facts.precision if arm.kind == "network" else "32"),
    )
    plan = plan_cells(chosen.splits, options)[cell.seed]
    work = None if arm.kind == "linear" else _work_folder(cell_path(task.folder, cell, facts), task)
    found = cells.run(plan, work)
    if arm.kind == "linear":
        return found.predicted, {
            "parameters": sum(found.state[f"linear.{name}"].numel() for name in ("weight", "bias"))
        }
    return found.predicted, {
        "parameters": trainable_parameters(cells.network(plan)),
        "epochs": len(found.curve),
        "best_epoch": found.best_epoch,
        "stopped": found.stopped,
        "curve": found.curve,
    }


def _baseline(task: Task, chosen: SplitSet) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """The baseline judged on the validation part as well: it learns from neither."""
    cell, arm = task.cell, ARMS[task.cell.arm]
    split = chosen.splits[cell.seed]
    features = (
        finite(stored_descriptors(chosen, task.facts.data_sha256[cell.set], task.folder))
        if arm.descriptors
        else BASELINES[arm.baseline].features(chosen.labelled.mols)
    )
    both = replace(split, test=np.concatenate([split.valid, split.test]))
    found = run_baseline(arm.baseline, features, chosen.data.y, chosen.data.targets, [both]).predicted[0]
    return {"valid": found[: len(split.valid)], "test": found[len(split.valid) :]}, {"parameters": None}


def stored_descriptors(chosen: SplitSet, data_sha256: str, folder: Path, workers: int = 1) -> NDArray[np.float32]:
    """The 200 descriptors of a set, computed once for each run folder."""
    path = folder / "descriptors" / f"{data_sha256[:16]}.npy"
    if path.exists():
        found: NDArray[np.float32] = np.load(path)
        if found.shape == (len(chosen.labelled), 200):
            return found
    found = computed_descriptors(chosen.labelled.mols, workers)
    with atomic_write(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, found)
    return found


def with_descriptors(chosen: SplitSet, task: Task) -> PropertyData:
    """The set with the descriptors as extra features."""
    values = stored_descriptors(chosen, task.facts.data_sha256[task.cell.set], task.folder).astype(np.float64)
    return replace(chosen.data, descriptors=values, descriptor_names=(RDKIT_DESCRIPTORS,))


def _work_folder(path: Path, task: Task) -> Path:
    return task.folder / "work" / f"{task.cell.set}-{task.cell.arm}-{path.stem}"


def _short(values: NDArray[np.float64]) -> list[list[float]]:
    """Seven digits are those of float32."""
    return [[float(f"{value:.7g}") for value in row] for row in values]
