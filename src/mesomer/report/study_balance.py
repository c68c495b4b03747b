"""From the cells that ran to scores that may be compared: the same folds for every arm, failures counted.

Decided:
* Only folds count on which every arm was run. An arm that leaves fewer than two such folds is left out and named.
* A failed cell is a result, not a gap: it counts with the score of the mean predictor on that fold, which stands in its
  place. Where there is none (an arm without a score where others have one) it counts with 0.5 for ROC-AUC, else with
  the worst score of the other arms there.
* A fold in which no arm has a score (one class among its labels) is left out for all arms alike, which favours none.
* Test size by training size is taken from cells with all labels, also for points of the learning curve: what ties the
  folds together is that they share their molecules, and that does not change when fewer of them are labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.errors import MesomerError
from mesomer.report.study_folder import MEAN, Cell, Fold, Study
from mesomer.statistics import fold_ratio, mean_ratio

LEAST = 2
"""Fewest folds that give an interval."""


class Failure(NamedTuple):
    """A cell that gave no score, and what it counts with."""

    arm: str
    repeat: int
    fold: int
    reason: str
    counted_with: str


class Balanced(NamedTuple):
    """Scores of arms on the same folds."""

    folds: list[Fold]
    scores: dict[str, NDArray[np.float64]]
    """Arm -> one score for each fold, in the metric's own direction."""
    missing: int
    """Planned folds that some of the arms here has not run."""
    undefined: list[Fold]
    """Folds left out because the metric is not defined on their labels."""
    failures: list[Failure]
    left_out: dict[str, int]
    """Arms that are not compared -> their number of folds."""

    def mean(self, arm: str) -> float:
        """Mean score of an arm, NaN without folds."""
        return float(self.scores[arm].mean()) if len(self.folds) else float("nan")


def balanced(
    study: Study,
    split: str,
    target: str | None = None,
    labels: int | None = None,
    novel: bool = False,
    arms: Sequence[str] | None = None,
    metric: str | None = None,
) -> Balanced:
    """Scores on the folds that all compared arms have, for one kind of split.

    `target` is the headline's by default; `labels` a point of the learning curve; `novel` judges on test molecules
    outside the pre-training corpus only.
    """
    target, metric = target or study.headline_target, metric or study.metric
    wanted = list(study.arms) if arms is None else list(arms)
    ran: dict[str, set[Fold]] = {arm: set() for arm in wanted}
    for cell in study.runs:
        if cell.split == split and cell.labels == labels and cell.arm in ran:
            ran[cell.arm].add((cell.repeat, cell.fold))
    compared, common = _common(ran)
    left_out = {arm: len(folds) for arm, folds in ran.items() if arm not in compared}
    table: dict[Fold, dict[str, float]] = {}
    failures, undefined = [], []
    for fold in sorted(common):
        found = {arm: _score(study, Cell(split, *fold, arm, labels), target, metric, novel) for arm in compared}
        if not any(np.isfinite(list(found.values()))):
            undefined.append(fold)
            continue
        stored = {arm: _stored(study, Cell(split, *fold, arm, labels), target, metric, novel) for arm in compared}
        filled, why = _filled(study, split, fold, labels, found, stored, metric)
        table[fold] = filled
        failures += why
    folds = sorted(table)
    scores = {arm: np.array([table[fold][arm] for fold in folds], dtype=np.float64) for arm in compared}
    return Balanced(folds, scores, max(0, study.planned_folds(split) - len(common)), undefined, failures, left_out)


def _common(ran: Mapping[str, set[Fold]]) -> tuple[list[str], set[Fold]]:
    """Arms that are compared and the folds that all of them have: arms with the fewest folds go until two stay."""
    compared = [arm for arm, folds in ran.items() if folds]
    while compared:
        common = set.intersection(*(ran[arm] for arm in compared))
        if len(common) >= LEAST or len({len(ran[arm]) for arm in compared}) == 1:
            return compared, common
        fewest = min(compared, key=lambda arm: len(ran[arm]))
        compared.remove(fewest)
    return [], set()


def _score(study: Study, cell: Cell, target: str, metric: str, novel: bool) -> float:
    """The score of a cell; NaN where it failed or where there is none."""
    return float("nan") if study.runs[cell].failed else _stored(study, cell, target, metric, novel)


def _stored(study: Study, cell: Cell, target: str, metric: str, novel: bool) -> float:
    """What stands in `results.csv`: of a failed cell the score of the mean predictor."""
    found = study.scores.get((cell, target, metric))
    if found is None:
        return float("nan")
    return found.novel if novel else found.value


def _filled(
    study: Study,
    split: str,
    fold: Fold,
    labels: int | None,
    found: Mapping[str, float],
    stored: Mapping[str, float],
    metric: str,
) -> tuple[dict[str, float], list[Failure]]:
    """Scores of one fold with the failed ones replaced, and what was replaced."""
    good = {arm: value for arm, value in found.items() if np.isfinite(value)}
    trivial = next((arm for arm in good if study.arms[arm].kind == MEAN), None)
    if trivial is not None:
        instead, words = good[trivial], "the mean predictor's score"
    elif metric == "roc_auc":
        instead, words = 0.5, "0.5"
    else:
        worst = min if study.better == "max" else max
        instead, words = worst(good.values()), "the worst score of the other arms"
    filled, failures = dict(good), []
    for arm in found:
        if arm not in good:
            known = trivial is None and np.isfinite(stored[arm])
            reason = study.runs[Cell(split, *fold, arm, labels)].failed or "no score"
            failures.append(Failure(arm, *fold, reason, "the mean predictor's score" if known else words))
            filled[arm] = stored[arm] if known else instead
    return {arm: filled[arm] for arm in found}, failures


def size_ratio(study: Study, split: str) -> float:
    """Mean of test size by training size over the folds of one kind of split.

    The validation part of a fold is taken from its training part and counts with it; that of a drawn split is a part
    of its own and does not. Raises `MesomerError` where two arms were tested on different numbers of molecules: they
    did not see the same fold.
    """
    sizes: dict[Fold, tuple[int, int, str]] = {}
    folded = study.folded(split)
    for cell, run in study.runs.items():
        train = run.train + (run.valid if folded else 0)
        if cell.split != split or cell.labels is not None or not run.test or not train:
            continue
        fold = (cell.repeat, cell.fold)
        test, _, arm = sizes.setdefault(fold, (run.test, train, cell.arm))
        if test != run.test:
            raise MesomerError(
                f"{study.folder}: in repeat {cell.repeat}, fold {cell.fold} of the {split} split {arm} was tested on "
                f"{test} molecules and {cell.arm} on {run.test}.",
                "Arms are comparable on the very same folds only: remove the cells of one and run them again.",
            )
    if not sizes:
        return fold_ratio(study.folds_of(split)) if folded else 1 / 8
    return mean_ratio([size[0] for size in sizes.values()], [size[1] for size in sizes.values()])


def label_count(study: Study, split: str, labels: int | None) -> float:
    """Number of labelled molecules that an arm learned from: the point of the learning curve, or the mean with all."""
    if labels is not None:
        return float(labels)
    sizes = [run.train + run.valid for cell, run in study.runs.items() if cell.split == split and cell.labels is None]
    return float(np.mean(sizes)) if sizes else float("nan")


def overlap_share(study: Study, split: str) -> float | None:
    """Share of the test molecules that are in the pre-training corpus; None where that was not looked up."""
    found = {
        (cell.repeat, cell.fold): (run.test, run.novel)
        for cell, run in study.runs.items()
        if cell.split == split and cell.labels is None and run.novel is not None and run.test
    }
    if not found:
        return None
    return 1 - sum(novel or 0 for _, novel in found.values()) / sum(test for test, _ in found.values())
