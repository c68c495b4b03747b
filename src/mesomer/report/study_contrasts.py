"""Comparisons of two arms, one table at a time.

Decided: a table that asks several questions widens its intervals (Bonferroni) and adjusts its p (Holm), and its
verdicts use the wide intervals; a question that stands alone has its plain interval. Verdicts are repeated for half
and twice the zone. Gains are positive where the first arm is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mesomer.report.study_balance import LEAST, Balanced
from mesomer.statistics import Design, holm, paired_gains, resampled_t, smallest_detectable, verdicts_by_zone


class Pairing(NamedTuple):
    """Two arms that are compared."""

    first: str
    second: str


class Question(NamedTuple):
    """One comparison to make: two arms, the folds, and the smallest difference that matters."""

    pair: Pairing
    table: Balanced
    zone: float

    @property
    def answerable(self) -> bool:
        """Whether both arms have scores on two folds at least."""
        return all(arm in self.table.scores for arm in self.pair) and len(self.table.folds) >= LEAST


@dataclass(frozen=True)
class Contrast:
    """One arm against another on the balanced folds."""

    first: str
    second: str
    gain: float
    low: float
    high: float
    """The 95 % interval of this comparison alone."""
    wide_low: float
    wide_high: float
    """The interval that holds together with those of all `comparisons` of its table; the verdicts use it."""
    comparisons: int
    p: float
    p_holm: float
    better: float
    equal: float
    worse: float
    """Probabilities that the first arm is better by more than the zone, equal within it, worse by more than it."""
    zone: float
    verdicts: tuple[str, str, str]
    """For half the zone, the zone, twice the zone."""
    spread: float
    error: float
    effect_size: float | None
    """d_z; None where the differences do not spread at all."""
    folds: int
    folds_won: int
    detectable: float
    """The true difference that this design finds four times out of five, given the spread seen."""

    @property
    def verdict(self) -> str:
        """The verdict for the zone, without what is added to it in brackets."""
        return self.verdicts[1].partition(" (")[0]


def compare_arms(questions: Sequence[Question], ratio: float, better: str) -> list[Contrast]:
    """The answers to all questions of one table that can be answered, in their order.

    `ratio` is test size by training size, `better` "max" or "min".
    """
    asked = [question for question in questions if question.answerable]
    if not asked:
        return []
    found = [
        resampled_t(paired_gains(table.scores[pair.first], table.scores[pair.second], better), ratio)
        for pair, table, _ in asked
    ]
    rows = []
    for (pair, _, zone), result, p_holm in zip(asked, found, holm([r.p for r in found]), strict=True):
        low, high = result.interval()
        wide_low, wide_high = result.interval(comparisons=len(asked))
        half, one, double = (str(verdict) for verdict in verdicts_by_zone(wide_low, wide_high, zone))
        posterior, size = result.posterior(zone), result.effect_size
        rows.append(
            Contrast(
                first=pair.first,
                second=pair.second,
                gain=result.mean,
                low=low,
                high=high,
                wide_low=wide_low,
                wide_high=wide_high,
                comparisons=len(asked),
                p=result.p,
                p_holm=float(p_holm),
                better=posterior.better,
                equal=posterior.equal,
                worse=posterior.worse,
                zone=zone,
                verdicts=(half, one, double),
                spread=result.spread,
                error=result.error,
                effect_size=size if math.isfinite(size) else None,
                folds=result.splits,
                folds_won=result.wins,
                detectable=smallest_detectable(result.spread, Design(result.splits, ratio)),
            )
        )
    return rows
