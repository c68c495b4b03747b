"""From what is asked for to what fits into the time: how long each arm takes, and what is cut in which order.

Decided: the speed is measured on the very molecules, with one thread, by a short piece of each arm's work; early
stopping is not counted on, so that a plan says "at most". What does not fit is cut in one order: settings to one, the
random splits, repeats to 3, to 1, epochs to 10, the learning curve; the folds stay. Every cut is a sentence. Arms are
never cut: what would fit is proposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mesomer.data.splits import find_rule
from mesomer.errors import MesomerError
from mesomer.progress import Progress, duration
from mesomer.studies.arms import ARMS, Arm, Job, headline_pair
from mesomer.studies.design import LEAST_EPOCHS, Cell, Design, StudyOptions, cells_of, label_counts, rule_of
from mesomer.studies.molecules import StudyData

SPARE = 1.1
"""Reading, waiting and the report come on top."""
SURE = 0.9
"""Share of the minutes that proposed arms may fill: measured anew, speeds differ by some per cent."""


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


Before = Callable[[Design, float], float]
"""The seconds that come before the first cell of a design, if it may take so many minutes."""


def fit_into(
    design: Design, costs: Costs, minutes: float | None, jobs: int, before: Before | None = None
) -> tuple[Design, list[str]]:
    """The largest design that takes at most `minutes` with what comes `before` it, and a sentence for each cut.

    Raises `MesomerError` if even the smallest does not fit.
    """
    if minutes is None:
        return design, []
    said: list[str] = []
    smaller = cuts(design)
    while not _fits(design, costs, minutes, jobs, before):
        step = next(smaller, None)
        if step is None:
            raise _too_little(design, costs, minutes, jobs, before)
        design, cut = step
        said.append(f"To fit into {minutes:g} minutes, cut: {cut}.")
    return design, said


def _fits(design: Design, costs: Costs, minutes: float, jobs: int, before: Before | None) -> bool:
    first = 0.0 if before is None else before(design, minutes)
    return first + costs.total(design, jobs) <= 60 * minutes


def _least_minutes(design: Design, costs: Costs, jobs: int, before: Before | None) -> int:
    """The whole minutes into which a design fits."""
    minutes = max(1, math.ceil(costs.total(design, jobs) / 60))
    while not _fits(design, costs, minutes, jobs, before):
        minutes += 1
    return minutes


def _too_little(design: Design, costs: Costs, minutes: float, jobs: int, before: Before | None) -> MesomerError:
    """What is said where the smallest design takes too long: the minutes that it needs, and the arms that would fit."""
    needed, pair = _least_minutes(design, costs, jobs, before), headline_pair(design.arms)
    fitting = arms_that_fit(design, costs, minutes, jobs, before)
    if fitting:
        way_out = f"--arms {','.join(fitting)}, the most arms that fit"
        if pair is not None and not set(pair) <= set(fitting):
            alone = _least_minutes(replace(design, arms=pair), costs, jobs, before)
            way_out += f" ({pair[0]} and {pair[1]} alone need --minutes {alone})"
    else:
        slowest = max(design.arms, key=costs.trial.__getitem__)
        way_out = f"fewer molecules: no two --arms fit (the slowest is {slowest})"
    return MesomerError(
        f"Even the smallest study of these molecules ({design.repeats} x {design.folds} folds, {design.epochs} epochs) "
        f"takes about {needed} minutes on {jobs} {'process' if jobs == 1 else 'processes'}, and --minutes is "
        f"{minutes:g}.",
        f"Give --minutes {needed}, or {way_out}.",
    )


def arms_that_fit(
    design: Design, costs: Costs, minutes: float, jobs: int, before: Before | None = None
) -> tuple[str, ...]:
    """The most arms of a design that fit: the pair of the headline if it does, then the cheapest first.

    In the order of the design; empty if not even two fit. A twin is never there without what it is the twin of. The
    arms beside the pair leave a tenth of the minutes free.
    """

    def fit(names: Sequence[str], allowed: float = SURE * minutes) -> bool:
        return _fits(replace(design, arms=tuple(names)), costs, allowed, jobs, before)

    pair = headline_pair(design.arms)
    chosen = list(pair) if pair is not None and set(pair) <= set(design.arms) and fit(pair, minutes) else []
    waiting = sorted((name for name in design.arms if name not in chosen), key=costs.trial.__getitem__)
    while (
        found := next((n for n in waiting if ARMS[n].twin_of in (None, *chosen) and fit([*chosen, n])), None)
    ) is not None:
        chosen.append(found)
        waiting.remove(found)
    return tuple(name for name in design.arms if name in chosen) if len(chosen) > 1 else ()


def in_words(design: Design, costs: Costs, jobs: int, first: float = 0.0) -> str:
    """What will be run and how long it takes, for the console; a pilot of `first` seconds included."""
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
        f"{duration(first + costs.total(design, jobs))} on {jobs} {'process' if jobs == 1 else 'processes'}."
    )
