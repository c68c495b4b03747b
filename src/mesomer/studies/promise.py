"""What the pilot promises: for each design the range in which the smallest detectable difference lies, and its cost.

Decided: a range and not a number, because a spread that is seen on five folds is itself known to a factor of two or
three: its ends are those of the 95 % interval of the spread. Without a rehearsal the spread of the forests is widened
by what such arms were seen to spread more (docs/study.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mesomer.data.splits import find_rule
from mesomer.statistics import Outlook, Pilot, outlook, widened
from mesomer.studies.arms import headline_pair
from mesomer.studies.design import Design, cells_of, rule_of
from mesomer.studies.pilot import Seen, divided
from mesomer.studies.plan import Costs, in_words
from mesomer.studies.rehearsal import Rehearsal
from mesomer.studies.scoring import SCALED

KIND_FACTORS, NETWORK_FACTORS = (2.0, 5.0), (5.0, 15.0)
"""How much farther than two seeds of one forest two methods, and a network and its twin, are taken to spread where none
were tried, usually and at most: rough guesses.
"""
REPEATS, DRAWN = (1, 3, 5), (3, 5, 10)
EQUALITY = {"yes": "can", "perhaps": "may be able to", "no": "cannot"}


@dataclass(frozen=True)
class Plan:
    """What a study will be, its rehearsal included."""

    design: Design
    costs: Costs
    rehearsal: Rehearsal | None
    jobs: int
    cut: Sequence[str] = ()
    """A sentence for each cut."""

    @property
    def first(self) -> float:
        """Seconds of the rehearsal, expected."""
        return 0.0 if self.rehearsal is None else self.rehearsal.seconds

    @property
    def seconds(self) -> float:
        """By the clock, at most, with the rehearsal."""
        return self.first + self.costs.total(self.design, self.jobs)

    @property
    def words(self) -> str:
        """What will be run and how long it takes."""
        return in_words(self.design, self.costs, self.jobs, self.first)

    @property
    def arm_minutes(self) -> dict[str, float]:
        """What each arm takes by the clock if it is run alone."""
        alone = {arm: replace(self.design, arms=(arm,)) for arm in self.design.arms}
        return {arm: self.costs.total(design, self.jobs) / 60 for arm, design in alone.items()}


def promise(seen: Mapping[str, Seen], plan: Plan, zone: float, metric: str, seconds: float) -> dict[str, Any]:
    """What `pilot.json` says: spreads, what each design can detect, and what it costs; the pilot took `seconds`."""
    design, rehearsal = plan.design, plan.rehearsal
    first = next(iter(seen))
    if design.folds_of(first) > 1:
        others = {*((repeats, design.folds) for repeats in REPEATS), (5, 10)}
    else:
        others = {(repeats, design.folds) for repeats in DRAWN}
    spread = expected(seen[first], plan)
    table = [
        _row(spread, first, replace(design, repeats=repeats, folds=folds), plan, zone)
        for repeats, folds in sorted(others | {(design.repeats, design.folds)})
    ]
    return {
        "split": first,
        "spread": spread.spread,
        "metric": metric,
        "zone": zone,
        "pair": None if rehearsal is None else list(rehearsal.pair),
        "epochs": None if rehearsal is None else rehearsal.epochs,
        "seconds": seconds,
        "splits": {split: _split(split, one, plan, zone) for split, one in seen.items()},
        "mde_by_design": table,
        "sentence": " ".join(_sentence(split, one, plan, zone, metric) for split, one in seen.items()),
    }


def expected(seen: Seen, plan: Plan) -> Pilot:
    """The spread to plan with: that of the rehearsed pair; without one that of the forests, widened."""
    if seen.pair is not None:
        return seen.pair
    assert seen.forests is not None
    if headline_pair(plan.design.arms) is not None:
        return widened(seen.forests, *NETWORK_FACTORS)
    return widened(seen.forests, *KIND_FACTORS)


def _can_show_equality(found: Outlook, zone: float) -> str:
    return "yes" if found.half_width_high <= zone else "perhaps" if found.half_width_low <= zone else "no"


def _figures(spread: Pilot, split: str, design: Design, zone: float) -> dict[str, Any]:
    found = outlook(spread, divided(design, split), zone)
    return {
        "mde": found.detectable, "mde_low": found.detectable_low, "mde_high": found.detectable_high,
        "can_show_equality": _can_show_equality(found, zone),
    }  # fmt: skip


def _split(split: str, seen: Seen, plan: Plan, zone: float) -> dict[str, Any]:
    """The spreads of one kind of split, and what the planned design detects on it."""
    spread = expected(seen, plan)
    return {
        "spread": spread.spread, "low": spread.low, "high": spread.high,
        "seen_on": "forests" if seen.pair is None else "pair", "parts": spread.design.splits,
        "forests": None if seen.forests is None else seen.forests.spread,
        **_figures(spread, split, plan.design, zone),
    }  # fmt: skip


def _row(spread: Pilot, split: str, design: Design, plan: Plan, zone: float) -> dict[str, Any]:
    return {
        "repeats": design.repeats, "folds": design.folds_of(split), **_figures(spread, split, design, zone),
        "cells": len(cells_of(design, lambda cell: 0.0)),
        "minutes": (plan.first + plan.costs.total(design, plan.jobs)) / 60,
    }  # fmt: skip


def _sentence(split: str, seen: Seen, plan: Plan, zone: float, metric: str) -> str:
    design, spread = plan.design, expected(seen, plan)
    found, rule = outlook(spread, divided(design, split), zone), find_rule(rule_of(split))
    beyond = ", where differences above 1 cannot be" if metric not in SCALED and found.detectable_high > 1 else ""
    divisions = rule.divisions(design.repeats, design.folds)
    between = "them" if seen.pair is not None or headline_pair(design.arms) is not None else "different methods"
    return (
        f"{_what_was_seen(split, seen, plan, metric)}; {divisions} therefore find a true difference of "
        f"{found.detectable_low:.2g} to {found.detectable_high:.2g} (best guess "
        f"{found.detectable:.2g}){beyond} between {between} four times out of five, and "
        f"{EQUALITY[_can_show_equality(found, zone)]} show that there is no practical difference (within {zone:.3g})."
    )


def _what_was_seen(split: str, seen: Seen, plan: Plan, metric: str) -> str:
    design, rehearsal = plan.design, plan.rehearsal
    if seen.pair is not None and rehearsal is not None:
        long = f", trained for {rehearsal.epochs} epochs" if rehearsal.epochs > 1 else ", trained for one epoch"
        shorter = "" if rehearsal.epochs == design.epochs else f" (the study trains up to {design.epochs})"
        trained = f"{long}{shorter}" if headline_pair(design.arms) is not None else ", tried"
        return (
            f"On {split} splits the gain of {rehearsal.pair[0]} over {rehearsal.pair[1]}{trained} on "
            f"{seen.pair.design.splits} parts, spreads by {seen.pair.spread:.2g} {metric} from test part to test part"
        )
    assert seen.forests is not None
    start = (
        f"On {split} splits two forests that differ in their seed alone differ by {seen.forests.spread:.2g} {metric} "
        "from test part to test part"
    )
    networks = headline_pair(design.arms) is not None
    usual, most = NETWORK_FACTORS if networks else KIND_FACTORS
    what = "a network and its twin" if networks else "two methods"
    far = f"some {usual:g} and up to {most:g} times as far"
    return f"{start}; {what}, which were not tried here, are taken to spread {far}"
