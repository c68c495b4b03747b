"""The pilot: what can this study see, before hours are spent on it?

Forests on counted fragments, two seeds, on the folds of the first repeat (or the first few drawn divisions): the
spread of their paired differences is what two arms show that differ in nothing but chance, so that the smallest
detectable difference computed from it is a lower bound. Arms that differ in kind spread about twice as far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mesomer.data.splits import find_rule
from mesomer.progress import Progress
from mesomer.statistics import Design as Folds
from mesomer.statistics import Pilot, cross_validation, drawn_splits, outlook, pilot_spread
from mesomer.studies.arms import Job
from mesomer.studies.arms.fragments import FOREST
from mesomer.studies.design import Cell, Design, cells_of, rule_of
from mesomer.studies.molecules import Source, StudyData, opened
from mesomer.studies.plan import Costs
from mesomer.studies.processes import in_processes
from mesomer.studies.scoring import SCALED, Labels, headline

SEEDS = (0, 1)
KIND_FACTOR = 2.0
"""How much farther arms of different kinds spread than two seeds of one, about."""
REPEATS, DRAWN = (1, 3, 5), (3, 5, 10)
MOST_DRAWN = 5
"""Drawn divisions that the pilot looks at."""


@dataclass(frozen=True)
class Forest:
    """One forest of the pilot."""

    source: Source
    splits: tuple[str, ...]
    split: str
    part: tuple[int, int]
    """Repeat and fold."""
    seed: int


def grow(task: Forest) -> tuple[str, tuple[int, int], int, float]:
    """Split, repeat and fold, seed and the score on the test part."""
    study = opened(task.source, task.splits, coordinates=False)  # forests on fragments have no use for any
    cell = Cell(task.split, *task.part, FOREST.name)
    found = study.split_of(cell)
    job = Job(study, replace(found, seed=(found.seed + task.seed) % 2**32), 1, 1, 1, None)
    predicted = FOREST.fit(job, {}, 0)
    score = headline(Labels(study.data.targets, study.data.y), found.test, predicted.test)
    return task.split, task.part, task.seed, score


def run_pilot(study: StudyData, design: Design, jobs: int) -> dict[str, Pilot]:
    """The spread of each kind of split that has folds, or divisions that differ."""
    parts = {split: found for split in design.splits if len(found := _parts(design, split)) > 1}
    tasks = [
        Forest(study.source, design.splits, split, part, seed)
        for split, found in parts.items() for part in found for seed in SEEDS
    ]  # fmt: skip
    scores: dict[tuple[str, int], dict[tuple[int, int], float]] = {}
    with Progress(len(tasks), "forests", "pilot") as bar:
        for split, part, seed, value in in_processes(grow, tasks, jobs):
            scores.setdefault((split, seed), {})[part] = value
            bar.advance()
    better = Labels(study.data.targets, study.data.y).better
    pilots = {}
    for split, found in parts.items():
        first, second = ([scores[split, seed][part] for part in found] for seed in SEEDS)
        seen = replace(design, repeats=1 if design.folds_of(split) > 1 else len(found))
        pilots[split] = pilot_spread(first, second, better, divided(seen, split))
    return pilots


def _parts(design: Design, split: str) -> list[tuple[int, int]]:
    """Repeat and fold of what the pilot looks at; one fixed division has no spread."""
    if design.folds_of(split) > 1:
        return [(0, fold) for fold in range(design.folds)]
    return (
        [(repeat, 0) for repeat in range(min(design.repeats, MOST_DRAWN))] if find_rule(rule_of(split)).seeded else []
    )


def divided(design: Design, split: str) -> Folds:
    """The divisions of one kind of split, as the statistics see them."""
    if design.folds_of(split) > 1:
        return cross_validation(design.repeats, design.folds)
    return drawn_splits(design.repeats)


def pilot_report(
    pilots: dict[str, Pilot], design: Design, costs: Costs, jobs: int, zone: float, metric: str
) -> dict[str, Any]:
    """What `pilot.json` says: the spread, what each design can detect, and what it costs."""
    first = next(iter(pilots))
    if design.folds_of(first) > 1:
        others = {*((repeats, design.folds) for repeats in REPEATS), (5, 10)}
    else:
        others = {(repeats, design.folds) for repeats in DRAWN}
    table = [
        _row(pilots[first], first, replace(design, repeats=repeats, folds=folds), costs, jobs, zone)
        for repeats, folds in sorted(others | {(design.repeats, design.folds)})
    ]
    return {
        "split": first,
        "spread": pilots[first].spread,
        "metric": metric,
        "zone": zone,
        "splits": {split: {"spread": p.spread, "low": p.low, "high": p.high} for split, p in pilots.items()},
        "mde_by_design": table,
        "sentence": " ".join(_sentence(split, pilot, design, zone, metric) for split, pilot in pilots.items()),
    }


def _row(pilot: Pilot, split: str, design: Design, costs: Costs, jobs: int, zone: float) -> dict[str, Any]:
    seen = outlook(pilot, divided(design, split), zone)
    seconds, count = costs.total(design, jobs), design.folds_of(split)
    cells = len(cells_of(design, lambda cell: 0.0))
    return {
        "repeats": design.repeats, "folds": count, "mde": seen.detectable, "mde_low": seen.detectable_low,
        "mde_high": seen.detectable_high, "can_show_equality": seen.can_show_equality, "cells": cells,
        "minutes": seconds / 60,
    }  # fmt: skip


def _sentence(split: str, pilot: Pilot, design: Design, zone: float, metric: str) -> str:
    seen, rule = outlook(pilot, divided(design, split), zone), find_rule(rule_of(split))
    can = "can" if KIND_FACTOR * seen.half_width <= zone else "can at best" if seen.can_show_equality else "cannot"
    beyond = " (more than there can be)" if metric not in SCALED and KIND_FACTOR * seen.detectable > 1 else ""
    return (
        f"On {split} splits two forests that differ in their seed alone differ by {pilot.spread:.3g} {metric} from "
        f"test part to test part; {rule.divisions(design.repeats, design.folds)} therefore find a true difference of "
        f"{seen.detectable:.3g} between arms of one kind, and of about {KIND_FACTOR * seen.detectable:.3g}{beyond} "
        f"between arms of different kinds, four times out of five, and {can} show that there is no practical "
        f"difference (within {zone:.3g})."
    )
