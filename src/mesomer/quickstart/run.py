"""The stages of the quickstart, each timed; both networks go through the code that `mesomer finetune` uses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mesomer.baselines import fragment_counts, run_baseline
from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.data.labels import Labelled, read_labels
from mesomer.data.splits import splits_for, write_splits
from mesomer.data.tables import open_table
from mesomer.encoders.base import Encoder
from mesomer.files import remove, sha256_of
from mesomer.machine import cores
from mesomer.quickstart.design import DEMO, TARGET, Arm, Outcome, QuickstartOptions
from mesomer.quickstart.results import summary, write_results
from mesomer.quickstart.training import train_side_by_side
from mesomer.run import RunFolder
from mesomer.training.checkpoint import ModelFolder, default_model, encoder_of, load_model
from mesomer.training.context import Context
from mesomer.training.finetune import run_cells
from mesomer.training.finetune_plan import property_data
from mesomer.training.model_keys import keys_of

NETWORKS = (("pretrained", "Pre-trained network", False), ("random", "Same network, random weights", True))
"""Name, label, and whether it starts from random weights."""


class Stages:
    """Wall time by stage; told as each one ends."""

    def __init__(self, run: RunFolder) -> None:
        self.seconds: dict[str, float] = {}
        self._run = run

    @contextmanager
    def __call__(self, name: str, begun: float | None = None) -> Iterator[None]:
        """Measures a block; `begun` is an earlier start on the clock of `time.perf_counter`."""
        started = time.perf_counter() if begun is None else begun
        yield
        self.seconds[name] = time.perf_counter() - started
        self._run.log(f"{name}: {self.seconds[name]:.1f} s")


def quickstart(
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
    options: QuickstartOptions | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    begun: float | None = None,
) -> dict[str, Any]:
    """Runs the comparison into a run folder and returns its summary.

    Args:
        output: Run folder.
        model: Pre-trained encoder; the bundled one if None.
        options: The design.
        workers: Processes that train side by side; as many as there are cores if None.
        overwrite: Replace another run in `output`.
        begun: When the command started, on the clock of `time.perf_counter`; imports then count as reading time.
    """
    begun = time.perf_counter() if begun is None else begun
    options = options or QuickstartOptions()
    model = model or default_model()
    folder = load_model(model)
    config = {"output": os.fspath(output), "model": model, **asdict(options)}
    inputs = {DEMO.name: sha256_of(DEMO), f"model {model}": folder.sha256}
    with RunFolder.open(output, "quickstart", config, inputs, overwrite) as run:
        if run.state == "finished":
            return run.summary | {"state": "finished"}
        stage = Stages(run)
        with stage("Starting, reading, splitting", begun):
            labelled = draw(read_labels(open_table(str(DEMO)), [TARGET]), options.molecules, options.seed)
            data = property_data(labelled)
            splits = splits_for("cv", labelled.mols, 1, options.seed, options.folds)
            write_splits(run.path / "splits.csv", splits, labelled.rows, labelled.smiles)
        outcome = Outcome(options, labelled, data, splits, [], {}, model, folder, "", stage.seconds)
        with stage("Training both networks"):
            _networks(outcome, run, workers or cores())
        with stage("Forest and mean"):
            _baselines(outcome, workers or cores())
        with stage("Statistics and report"):
            outcome.known = known_molecules(labelled, folder)
            found = write_results(run.path, outcome)
        found |= summary(run.path, outcome, time.perf_counter() - begun, run.state == "resumed")
        run.finish(found)
    remove(Path(output) / "cells")
    return found | {"state": "done"}


def draw(labelled: Labelled, count: int, seed: int) -> Labelled:
    """At most `count` molecules, drawn at random, in the order of the table."""
    if count >= len(labelled):
        return labelled
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labelled))[:count]).tolist()
    return replace(
        labelled,
        smiles=[labelled.smiles[at] for at in chosen],
        canonical=[labelled.canonical[at] for at in chosen],
        mols=[labelled.mols[at] for at in chosen],
        rows=[labelled.rows[at] for at in chosen],
        all_rows=[labelled.all_rows[at] for at in chosen],
        y=labelled.y[chosen],
    )


def known_molecules(labelled: Labelled, folder: ModelFolder) -> int | None:
    """How many molecules are, leaving stereo aside, in the corpus whose keys the model carries; None if it has none."""
    keys = keys_of(folder.path, folder.config)
    if keys is None:
        return None
    names = inchi_keys(labelled.mols, labelled.canonical)
    return int(keys.contains("skeleton", [skeleton(name) for name in names]).sum())


def _networks(outcome: Outcome, run: RunFolder, workers: int) -> None:
    """The two networks: equal in everything but the weights that the encoder starts from."""
    base: Encoder = encoder_of(outcome.folder)
    folder = run.path / "cells"
    settings = {name: outcome.options.training(scratch) for name, _, scratch in NETWORKS}
    context = Context.start()
    outcome.precision = outcome.options.training(False).precision
    train_side_by_side(run, outcome, settings, folder, workers if context.device.type == "cpu" else 1)
    for name, label, _ in NETWORKS:
        result = run_cells(
            outcome.data, outcome.splits, base, settings[name], folder=folder / name, context=context, quiet=True
        )
        predicted = [cell.predicted["test"] for cell in result.cells]
        outcome.networks[name] = result
        outcome.arms.append(Arm(name, label, predicted, result.seconds, result.trained_parameters))


def _baselines(outcome: Outcome, workers: int) -> None:
    """The methods that need no network."""
    features = fragment_counts(outcome.labelled.mols)
    for name in ("forest", "mean"):
        found = run_baseline(name, features, outcome.data.y, outcome.data.targets, outcome.splits, workers=workers)
        outcome.arms.append(Arm(name, found.label, found.predicted, found.seconds))
