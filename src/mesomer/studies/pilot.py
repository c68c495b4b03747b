"""The pilot: what can this study see, before hours are spent on it?

Two things are trained on the first folds (or the first drawn divisions): forests on counted fragments with two seeds,
which differ in nothing but chance, so that no two arms can be told apart more finely; and, where time allows, the two
arms of the headline (`rehearsal.py`). What follows from their spreads is said by `promise.py`.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mesomer.progress import Progress
from mesomer.statistics import Design as Folds
from mesomer.statistics import Pilot, cross_validation, drawn_splits, pilot_spread
from mesomer.studies.arms import Job
from mesomer.studies.arms.fragments import FOREST
from mesomer.studies.cells import Training, evaluate
from mesomer.studies.design import Cell, Design, StudyOptions
from mesomer.studies.molecules import Source, StudyData, opened
from mesomer.studies.processes import in_processes
from mesomer.studies.rehearsal import MOST_PARTS, MOST_SECONDS, Part, Rehearsal, parts_of
from mesomer.studies.scoring import Labels, headline

SEEDS = (0, 1)


@dataclass(frozen=True)
class Seen:
    """What the pilot saw of one kind of split."""

    forests: Pilot | None
    """Spread of the difference of two forests that differ in their seed alone; None where there is none to see."""
    pair: Pilot | None
    """The same of the rehearsed pair."""


@dataclass(frozen=True)
class Trial:
    """One training of the pilot."""

    source: Source
    splits: tuple[str, ...]
    coordinates: bool
    split: str
    part: Part
    arm: str
    seed: int
    training: Training | None
    """None for forests, of which there are several seeds."""


def try_out(trial: Trial) -> tuple[Trial, float]:
    """The score on the test part."""
    study = opened(trial.source, trial.splits, trial.coordinates)
    labels = Labels(study.data.targets, study.data.y)
    cell = Cell(trial.split, *trial.part, trial.arm)
    split = study.split_of(cell)
    if trial.training is not None:
        return trial, headline(labels, split.test, np.array(evaluate(study, cell, trial.training)["predicted"]))
    job = Job(study, replace(split, seed=(split.seed + trial.seed) % 2**32), 1, 1, 1, None)
    return trial, headline(labels, split.test, FOREST.fit(job, {}, 0).test)


def run_pilot(
    study: StudyData, design: Design, options: StudyOptions, rehearsal: Rehearsal | None, coordinates: bool, jobs: int
) -> dict[str, Seen]:
    """The spreads on each kind of split that has folds, or divisions that differ.

    A rehearsal that takes longer than expected starts no training after two minutes: its parts are fewer then.
    """
    parts = {split: parts_of(design, split, max(design.folds_of(split), MOST_PARTS)) for split in design.splits}
    parts = {split: found for split, found in parts.items() if len(found) > 1}

    forests = [
        # forests on fragments have no use for coordinates
        Trial(study.source, design.splits, False, split, part, FOREST.name, seed, None)
        for split, found in parts.items() for part in found for seed in SEEDS
    ]  # fmt: skip
    rehearsed = _rehearsed(study.source, design, options, rehearsal, coordinates)
    latest = time.monotonic() + MOST_SECONDS

    def trials() -> Iterator[Trial]:
        yield from forests
        yield from itertools.takewhile(lambda _: time.monotonic() < latest, rehearsed)

    scores: dict[tuple[str, str, int], dict[Part, float]] = {}
    with Progress(len(forests) + len(rehearsed), "trainings", "pilot") as bar:
        for one, value in in_processes(try_out, trials(), jobs):
            scores.setdefault((one.split, one.arm, one.seed), {})[one.part] = value
            bar.advance()
    better = Labels(study.data.targets, study.data.y).better
    seen = {}
    for split in parts:
        first, second = (scores[split, FOREST.name, seed] for seed in SEEDS)
        by_chance, of_pair = _spread(design, split, first, second, better), None
        if rehearsal is not None:
            first, second = (scores.get((split, arm, 0), {}) for arm in rehearsal.pair)
            of_pair = _spread(design, split, first, second, better)
        if by_chance is not None or of_pair is not None:
            seen[split] = Seen(by_chance, of_pair)
    return seen


def _rehearsed(
    source: Source, design: Design, options: StudyOptions, rehearsal: Rehearsal | None, coordinates: bool
) -> list[Trial]:
    """The trainings of the rehearsal: part by part on all kinds of split, so that what is not reached is the last."""
    if rehearsal is None:
        return []
    training = Training(1, rehearsal.epochs, options.batch_size, options.patience, design.settings)
    turns = itertools.zip_longest(*([(split, part) for part in found] for split, found in rehearsal.parts.items()))
    return [
        Trial(source, design.splits, coordinates, split, part, arm, 0, training)
        for turn in turns for split, part in filter(None, turn) for arm in rehearsal.pair if arm != FOREST.name
    ]  # fmt: skip


def _spread(
    design: Design, split: str, first: Mapping[Part, float], second: Mapping[Part, float], better: str
) -> Pilot | None:
    """None without two parts on which the metric is defined, or if all differences are the same."""
    parts = [part for part in first if math.isfinite(first[part]) and math.isfinite(second.get(part, math.nan))]
    if len(parts) < 2:
        return None
    found = pilot_spread(_at(first, parts), _at(second, parts), better, _seen(design, split, len(parts)))
    return found if found.spread > 0 else None


def _at(scores: Mapping[Part, float], parts: Sequence[Part]) -> list[float]:
    return [scores[part] for part in parts]


def _seen(design: Design, split: str, parts: int) -> Folds:
    """So many of the divisions of a kind of split."""
    return divided(replace(design, repeats=max(design.repeats, 2)), split)._replace(splits=parts)


def divided(design: Design, split: str) -> Folds:
    """The divisions of one kind of split, as the statistics see them."""
    if design.folds_of(split) > 1:
        return cross_validation(design.repeats, design.folds)
    return drawn_splits(design.repeats)
