"""From what is asked for to what fits into the time: how long each arm takes, and what is cut in which order.

Decided: the speed is measured on the very molecules, with one thread, by a short piece of each arm's work; early
stopping is not counted on, so that a plan says "at most". What does not fit is cut in one order: settings to one, the
random splits, repeats to 3, to 1, epochs to 10, the learning curve; the folds stay. Every cut is a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mesomer.data.splits import find_rule
from mesomer.errors import MesomerError
from mesomer.progress import Progress, duration
from mesomer.studies.arms import ARMS, Arm, Job
from mesomer.studies.design import LEAST_EPOCHS, Cell, Design, StudyOptions, cells_of, label_counts, rule_of
from mesomer.studies.molecules import StudyData

SPARE = 1.1
"""Reading, waiting and the report come on top."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one trial of each arm on a whole training part, and what of it grows with the epochs."""

    trial: Mapping[str, float]
    epochs: int
    """Epochs at which networks were timed."""
    training: int
    """Molecules of that training part, validation included."""
    folds: int

    def cell(self, design: Design) -> Callable[[Cell], float]:
        """The seconds that a cell of a design takes at most."""
        ratio = (1 - 1 / design.folds) / (1 - 1 / self.folds)

        def seconds(cell: Cell) -> float:
            arm = ARMS[cell.arm]
            share = ratio if cell.labels is None else cell.labels / self.training
            epochs = design.epochs / self.epochs if arm.kind == "network" else 1.0
            return self.trial[cell.arm] * min(design.trials, len(arm.settings_of(design.settings))) * share * epochs

        return seconds

    def total(self, design: Design, jobs: int) -> float:
        """Wall seconds of a design on some processes."""
        each = self.cell(design)
        return SPARE * sum(each(cell) for cell in cells_of(design, each)) / jobs


def measure(study: StudyData, arms: Sequence[Arm], options: StudyOptions) -> Costs:
    """Times a short piece of each arm's work on the first fold of the first split, in this process, with one thread."""
    import torch

    split = study.split_of(Cell(options.splits[0], 0, 0, arms[0].name))
    job = Job(study, split, options.epochs, options.batch_size, options.patience, None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Progress(len(arms), "arms", "measuring the speed") as bar:
            trial = {}
            for arm in arms:
                trial[arm.name] = arm.seconds(job)
                bar.advance()
    finally:
        torch.set_num_threads(threads)
    return Costs(trial, options.epochs, len(split.train) + len(split.valid), options.folds)


def full_design(study: StudyData, arms: Sequence[Arm], options: StudyOptions) -> Design:
    """Everything that is asked for."""
    parts = (found for key, found in study.splits.items() if key[0] in options.splits)
    training = min(len(split.train) + len(split.valid) for split in parts)
    return Design(
        splits=options.splits, repeats=options.repeats_for(len(study.keys)), folds=options.folds,
        trials=options.trials, epochs=options.epochs, label_counts=label_counts(options.label_shares, training),
        arms=tuple(arm.name for arm in arms), precision=study.source.precision,
        settings=options.settings,
    )  # fmt: skip


def cuts(design: Design) -> Iterator[tuple[Design, str]]:
    """One smaller design after the other, each with what was cut last."""
    if design.trials > 1:
        said = f"{design.trials} settings of each arm to one: nothing is searched"
        yield (design := replace(design, trials=1)), said
    if "random" in design.splits and len(design.splits) > 1:
        kept = tuple(split for split in design.splits if split != "random")
        yield (design := replace(design, splits=kept)), "the random splits"
    for fewer in (3, 1):
        if design.repeats > fewer:
            said = f"{design.repeats} repeats to {fewer}"
            yield (design := replace(design, repeats=fewer)), said
    if design.epochs > LEAST_EPOCHS:
        said = f"{design.epochs} epochs to {LEAST_EPOCHS}"
        yield (design := replace(design, epochs=LEAST_EPOCHS)), said
    if design.label_counts:
        yield replace(design, label_counts=()), "the learning curve"


def fit_into(design: Design, costs: Costs, minutes: float | None, jobs: int) -> tuple[Design, list[str]]:
    """The largest design that takes at most `minutes`, and a sentence for each cut.

    Raises `MesomerError` if even the smallest does not fit.
    """
    if minutes is None:
        return design, []
    said: list[str] = []
    smaller = cuts(design)
    while costs.total(design, jobs) > 60 * minutes:
        step = next(smaller, None)
        if step is None:
            needed = math.ceil(costs.total(design, jobs) / 60)
            slowest = max(design.arms, key=costs.trial.__getitem__)
            raise MesomerError(
                f"Even the smallest study of these molecules ({design.repeats} x {design.folds} folds, "
                f"{design.epochs} epochs) takes about {needed} minutes on {jobs} "
                f"{'process' if jobs == 1 else 'processes'}, and --minutes is {minutes:g}.",
                f"Give --minutes {needed}, or leave out an arm with --arms (the slowest is {slowest}).",
            )
        design, cut = step
        said.append(f"To fit into {minutes:g} minutes, cut: {cut}.")
    return design, said


def in_words(design: Design, costs: Costs, jobs: int) -> str:
    """What will be run and how long it takes, for the console."""
    rules = {split: find_rule(rule_of(split)) for split in design.splits}
    kinds = " and ".join(
        f"{split} splits ({rule.divisions(design.repeats, design.folds)})" for split, rule in rules.items()
    )
    trials = "no search" if design.trials == 1 else f"{design.trials} settings each"
    curve = f", learning curve at {', '.join(map(str, design.label_counts))} labels" if design.label_counts else ""
    count = len(cells_of(design, lambda cell: 0.0))
    return (
        f"{len(design.arms)} arms on {kinds}, {trials}, "
        f"{design.epochs} epochs at most{curve}: {count:,} cells, at most about "
        f"{duration(costs.total(design, jobs))} on {jobs} {'process' if jobs == 1 else 'processes'}."
    )
