"""The pilot: what can this study see, before hours are spent on it?

Forests on counted fragments, two seeds, on the folds of the first repeat: the spread of their paired differences is
what two arms show that differ in nothing but chance, so that the smallest detectable difference computed from it is a
lower bound. Arms that differ in kind spread about twice as far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mesomer.progress import Progress
from mesomer.statistics import Design as Folds
from mesomer.statistics import Pilot, cross_validation, outlook, pilot_spread
from mesomer.studies.arms import Job
from mesomer.studies.arms.fragments import FOREST
from mesomer.studies.design import Cell, Design, cells_of
from mesomer.studies.molecules import Source, StudyData, opened
from mesomer.studies.plan import Costs
from mesomer.studies.processes import in_processes
from mesomer.studies.scoring import SCALED, Labels, headline

SEEDS = (0, 1)
KIND_FACTOR = 2.0
"""How much farther arms of different kinds spread than two seeds of one, about."""
REPEATS = (1, 3, 5)


@dataclass(frozen=True)
class Forest:
    """One forest of the pilot."""

    source: Source
    splits: tuple[str, ...]
    split: str
    fold: int
    seed: int


def grow(task: Forest) -> tuple[str, int, int, float]:
    """Split, fold, seed and the score on the test part."""
    study = opened(task.source, task.splits, coordinates=False)  # forests on fragments have no use for any
    cell = Cell(task.split, 0, task.fold, FOREST.name)
    found = study.split_of(cell)
    job = Job(study, replace(found, seed=(found.seed + task.seed) % 2**32), 1, 1, 1, None)
    predicted = FOREST.fit(job, {}, 0)
    score = headline(Labels(study.data.targets, study.data.y), found.test, predicted.test)
    return task.split, task.fold, task.seed, score


def run_pilot(study: StudyData, design: Design, jobs: int) -> dict[str, Pilot]:
    """The spread of each kind of split that has folds."""
    kinds = [split for split in design.splits if design.folds_of(split) > 1]
    tasks = [
        Forest(study.source, design.splits, split, fold, seed)
        for fold in range(design.folds) for split in kinds for seed in SEEDS
    ]  # fmt: skip
    scores: dict[tuple[str, int], dict[int, float]] = {}
    with Progress(len(tasks), "forests", "pilot") as bar:
        for split, fold, seed, value in in_processes(grow, tasks, jobs):
            scores.setdefault((split, seed), {})[fold] = value
            bar.advance()
    better = Labels(study.data.targets, study.data.y).better
    found = {}
    for split in kinds:
        first, second = ([scores[split, seed][fold] for fold in range(design.folds)] for seed in SEEDS)
        found[split] = pilot_spread(first, second, better, cross_validation(1, design.folds))
    return found


def pilot_report(
    pilots: dict[str, Pilot], design: Design, costs: Costs, jobs: int, zone: float, metric: str
) -> dict[str, Any]:
    """What `pilot.json` says: the spread, what each design can detect, and what it costs."""
    first = next(iter(pilots))
    table = [
        _row(pilots[first], cross_validation(repeats, folds), design, costs, jobs, zone)
        for repeats, folds in sorted({*((repeats, design.folds) for repeats in REPEATS), (5, 10)} | {
            (design.repeats, design.folds)
        })
    ]  # fmt: skip
    return {
        "spread": pilots[first].spread,
        "metric": metric,
        "zone": zone,
        "splits": {split: {"spread": p.spread, "low": p.low, "high": p.high} for split, p in pilots.items()},
        "mde_by_design": table,
        "sentence": " ".join(_sentence(split, pilot, design, zone, metric) for split, pilot in pilots.items()),
    }


def _row(pilot: Pilot, folds: Folds, design: Design, costs: Costs, jobs: int, zone: float) -> dict[str, Any]:
    seen = outlook(pilot, folds, zone)
    repeats, count = folds.repeats or 1, folds.folds or 1
    other = replace(design, repeats=repeats, folds=count)
    seconds = costs.total(other, jobs)
    cells = len(cells_of(other, lambda cell: 0.0))
    return {
        "repeats": repeats, "folds": count, "mde": seen.detectable, "mde_low": seen.detectable_low,
        "mde_high": seen.detectable_high, "can_show_equality": seen.can_show_equality, "cells": cells,
        "minutes": seconds / 60,
    }  # fmt: skip


def _sentence(split: str, pilot: Pilot, design: Design, zone: float, metric: str) -> str:
    seen = outlook(pilot, cross_validation(design.repeats, design.folds), zone)
    can = "can" if KIND_FACTOR * seen.half_width <= zone else "can at best" if seen.can_show_equality else "cannot"
    beyond = " (more than there can be)" if metric not in SCALED and KIND_FACTOR * seen.detectable > 1 else ""
    return (
        f"On {split} splits two forests that differ in their seed alone differ by {pilot.spread:.3g} {metric} from "
        f"fold to fold; {design.repeats} x {design.folds} folds therefore find a true difference of "
        f"{seen.detectable:.3g} between arms of one kind, and of about {KIND_FACTOR * seen.detectable:.3g}{beyond} "
        f"between arms of different kinds, four times out of five, and {can} show that there is no practical "
        f"difference (within {zone:.3g})."
    )
