"""The rehearsal: the two arms of the headline, trained briefly on a few folds, to see how far their difference spreads.

Forests with two seeds cannot say it: networks spread many times farther, most of all where trainings are short or the
molecules few. Decided: it is the very difference that the study is about, at the planned epochs or, where these do not
fit, at fewer; without networks it is that of the first two methods. It may take a tenth of the minutes and at most two
of them, and the plan counts it. Only the spread is looked at: the mean is neither shown nor used, and the design is
chosen before, so nothing is tested twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mesomer.data.splits import find_rule
from mesomer.studies.arms import ARMS, headline_pair
from mesomer.studies.design import Cell, Design, rule_of
from mesomer.studies.plan import SPARE, Costs

Part = tuple[int, int]
"""Repeat and fold."""
LEAST_EPOCHS, MOST_EPOCHS = 3, 10
MOST_PARTS, FEWER_PARTS = 5, 3
SHARE, MOST_SECONDS = 0.1, 120.0
"""Of the minutes, and at most, by the clock."""


@dataclass(frozen=True)
class Rehearsal:
    """What is trained before the study."""

    pair: tuple[str, str]
    parts: Mapping[str, Sequence[Part]]
    """Of each kind of split that is looked at."""
    epochs: int
    seconds: float
    """Expected, by the clock."""


def parts_of(design: Design, split: str, most: int) -> list[Part]:
    """The first parts of a kind of split; one fixed division has none, as it has no spread."""
    folds = design.folds_of(split)
    if folds == 1 and not find_rule(rule_of(split)).seeded:
        return []
    return [(repeat, fold) for repeat in range(design.repeats) for fold in range(folds)][:most]


def rehearsed_pair(arms: Sequence[str]) -> tuple[str, str] | None:
    """The pair of the headline; without a network the first two methods; None where there are none."""
    others = [name for name, arm in ARMS.items() if name in arms and arm.kind != "mean"]
    return headline_pair(arms) or ((others[0], others[1]) if len(others) > 1 else None)


def rehearsal_of(design: Design, costs: Costs, minutes: float | None, jobs: int) -> Rehearsal | None:
    """The longest rehearsal that the time allows: five folds rather than three, all kinds of split rather than one.

    None where there is no pair, where nothing has a spread, or where even three epochs on three folds of the first kind
    of split take too long.
    """
    pair = rehearsed_pair(design.arms)
    if pair is None:
        return None
    bound = MOST_SECONDS if minutes is None else min(MOST_SECONDS, 60 * SHARE * minutes)
    seconds = costs.cell(replace(design, trials=1, epochs=1))
    splits = [split for split in design.splits if len(parts_of(design, split, MOST_PARTS)) > 1]
    for chosen in (splits, splits[:1]):
        for most in (MOST_PARTS, FEWER_PARTS):
            parts = {split: parts_of(design, split, most) for split in chosen}
            cells = [
                Cell(split, *part, arm) for split, found in parts.items() for part in found for arm in pair
                if arm in costs.trial
            ]  # fmt: skip
            if not cells:
                return None
            share = SPARE / min(jobs, len(cells))
            epoch = share * sum(seconds(cell) for cell in cells if ARMS[cell.arm].kind == "network")
            once = share * sum(seconds(cell) for cell in cells if ARMS[cell.arm].kind != "network")
            most_epochs = min(design.epochs, MOST_EPOCHS)
            epochs = int(min(most_epochs, (bound - once) / epoch)) if epoch else most_epochs
            if epochs >= min(design.epochs, LEAST_EPOCHS) and once + epochs * epoch <= bound:
                return Rehearsal(pair, parts, epochs, once + epochs * epoch)
    return None


def rehearsal_seconds(design: Design, costs: Costs, minutes: float | None, jobs: int) -> float:
    """What comes before the first cell of a design, by the clock."""
    found = rehearsal_of(design, costs, minutes, jobs)
    return 0.0 if found is None else found.seconds
