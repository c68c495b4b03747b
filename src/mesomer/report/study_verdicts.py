"""The verdicts of a study: every comparison of `mesomer.statistics`, made from the balanced folds.

Decided:
* The headline is one question, asked before the study: the first pre-trained arm against its own twin. It stands alone
  with a plain 95 % interval; the tables ask as many questions as they have rows, so a table may call undecided what the
  headline answers.
* Kinds of split are analysed apart and never pooled. If more than half of the test molecules are in the pre-training
  corpus, the headline and the comparison with the baselines use the others only.
* Repeats on one fixed division (`deterministic`) differ in the training alone, and an interval over them is several
  times too narrow for a claim about other test molecules: there are mean scores, and an interval over its molecules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mesomer.progress import Progress
from mesomer.report.study_balance import LEAST, Balanced, balanced, label_count, overlap_share, size_ratio
from mesomer.report.study_contrasts import Contrast, Pairing, Question, compare_arms
from mesomer.report.study_folder import MEAN, Arm, Cell, Predictions, Study, read_predictions
from mesomer.report.study_molecules import over_molecules, target_zone
from mesomer.statistics import AllPairs, Design, Needed, needed, resampled_t, tukey

MOST_OVERLAP = 0.5
"""Share of test molecules in the pre-training corpus above which the headline uses the others only."""


@dataclass(frozen=True)
class ArmFigures:
    """One arm on one kind of split: score with its interval, what it cost, what failed."""

    arm: Arm
    mean: float
    low: float
    high: float
    novel: float
    """Mean score on test molecules outside the pre-training corpus."""
    default: float
    """Mean score with the setting without search; NaN where nothing was searched."""
    others: dict[str, float]
    """Further metric -> mean."""
    failed: int
    seconds: float
    """In all, over the cells that ran with all labels."""
    cells: int


@dataclass(frozen=True)
class CurvePoint:
    """Scores, and the gain over the twin, with so many labelled molecules."""

    labels: float
    full: bool
    folds: int
    means: dict[str, float]
    gain: Contrast | None


@dataclass(frozen=True)
class TargetVerdict:
    """The headline question for one of several targets."""

    target: str
    means: tuple[float, float]
    contrast: Contrast


@dataclass(frozen=True)
class SplitVerdict:
    """Everything found on one kind of split."""

    split: str
    table: Balanced
    ratio: float
    arms: list[ArmFigures]
    primary: Contrast | None
    """The headline: None with fewer than two finished folds, without a twin, or on one fixed division."""
    on_novel: bool
    """Whether the headline is judged on molecules outside the pre-training corpus only."""
    novel: Contrast | None
    """The headline question on test molecules outside the pre-training corpus."""
    novel_folds: int
    overlap: float | None
    against_twin: list[Contrast]
    own_twins: list[Contrast]
    """Every pre-trained arm against its own twin."""
    against_references: list[Contrast]
    best_reference: Contrast | None
    floor: Contrast | None
    """The pre-trained arm against the mean predictor, which is in no other comparison: it is there to be beaten."""
    pairs: AllPairs | None
    targets: list[TargetVerdict]
    untold: list[str]
    """Targets that cannot be judged one by one: too few folds, or no known spread of their labels."""
    curve: list[CurvePoint]
    molecules: tuple[float, float] | None
    """The headline's interval when only the test molecules are drawn anew."""
    needed: Needed | None
    """What would make a difference as large as the zone detectable; None unless the headline is undecided."""


def analyse(study: Study) -> list[SplitVerdict]:
    """The verdicts for every kind of split that has cells, in the order of the plan."""
    ran = {cell.split for cell in study.runs if cell.labels is None}
    predictions = read_predictions(study.folder, headline_arms(study))
    others = _other_metrics(study)
    found = []
    with Progress(len(study.splits), "kinds of split", "Verdicts") as progress:
        for split in study.splits:
            if split in ran:
                found.append(_split(study, split, predictions, others))
            progress.advance()
    return found


def headline_arms(study: Study) -> Iterable[str]:
    """The arms of the headline; without a twin the first arm."""
    main = study.main
    return list(study.arms)[:1] if main is None else [main, study.twins[main]]


def _split(
    study: Study, split: str, predictions: Predictions | None, others: dict[tuple[str, str], dict[str, list[float]]]
) -> SplitVerdict:
    table, novel_table = balanced(study, split), balanced(study, split, novel=True)
    ratio, overlap, main, fixed = size_ratio(study, split), overlap_share(study, split), study.main, study.fixed(split)
    on_novel = overlap is not None and overlap > MOST_OVERLAP and len(novel_table.folds) >= LEAST
    asked = novel_table if on_novel else table
    headline = [] if main is None else [Pairing(main, study.twins[main])]
    references = [] if main is None else [Pairing(main, arm.name) for arm in study.arms.values() if arm.reference]
    learners = [arm.name for arm in study.arms.values() if arm.kind != MEAN]
    twins = [Pairing(arm, pair.second) for pair in headline for arm in learners if arm != pair.second]
    floors = [] if main is None else [Pairing(main, arm) for arm in study.arms if arm not in learners]
    ranked = {arm: scores for arm, scores in table.scores.items() if arm in learners}

    def answers(pairs: Sequence[Pairing], source: Balanced) -> list[Contrast]:
        questions = [] if fixed else [Question(pair, source, study.zone) for pair in pairs]
        return compare_arms(questions, ratio, study.better)

    primary = next(iter(answers(headline, asked)), None)
    against_references = answers(references, asked)
    targets, untold = ([], []) if fixed else _targets(study, split, headline, ratio, predictions)
    single = (primary is not None or (fixed and headline)) and not on_novel and not table.failures
    return SplitVerdict(
        split=split,
        table=table,
        ratio=ratio,
        arms=[
            _figures(arm, table, novel_table, ratio, study, split, others[split, arm.name])
            for arm in study.arms.values()
        ],
        primary=primary,
        on_novel=on_novel,
        novel=next(iter(answers(headline, novel_table)), None) if overlap else None,
        novel_folds=len(novel_table.folds),
        overlap=overlap,
        against_twin=answers(twins, table),
        own_twins=answers([Pairing(first, second) for first, second in study.twins.items()], table),
        against_references=against_references,
        best_reference=_best(study, against_references, asked),
        floor=next(iter(answers(floors, asked)), None),
        pairs=_pairs(ranked, ratio, study.better) if len(table.folds) >= LEAST and not fixed else None,
        targets=targets,
        untold=untold,
        curve=_curve(study, split, table, [] if fixed else headline, ratio),
        molecules=over_molecules(study, split, headline[0], predictions) if single else None,
        needed=_needed(study, split, primary, ratio),
    )


def _pairs(ranked: dict[str, NDArray[np.float64]], ratio: float, better: str) -> AllPairs | None:
    """All pairs of arms; None of one arm, and where no fold differs from the others."""
    found = tukey(ranked, ratio, better) if len(ranked) > 1 else None
    return found if found is None or found.half_width > 0 else None


def _best(study: Study, references: Sequence[Contrast], table: Balanced) -> Contrast | None:
    """The comparison with the baseline that scored best on these folds."""
    pick = max if study.better == "max" else min
    return pick(references, key=lambda contrast: table.mean(contrast.second)) if references else None


def _other_metrics(study: Study) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(split, arm) -> further metric -> its scores with all labels."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    wanted = {study.headline_target}
    for (cell, target, metric), score in study.scores.items():
        if metric != study.metric and target in wanted and cell.labels is None and np.isfinite(score.value):
            found[cell.split, cell.arm][metric].append(score.value)
    return found


def _figures(
    arm: Arm,
    table: Balanced,
    novel: Balanced,
    ratio: float,
    study: Study,
    split: str,
    others: dict[str, list[float]],
) -> ArmFigures:
    mean = low = high = float("nan")
    if arm.name in table.scores and table.folds:
        mean = table.mean(arm.name)
        if len(table.folds) >= LEAST and not study.fixed(split):
            low, high = resampled_t(table.scores[arm.name], ratio).interval()
    runs = [run for cell, run in study.runs.items() if (cell.split, cell.arm, cell.labels) == (split, arm.name, None)]
    return ArmFigures(
        arm=arm,
        mean=mean,
        low=low,
        high=high,
        novel=novel.mean(arm.name) if arm.name in novel.scores else float("nan"),
        default=_default(study, split, arm, table),
        others={metric: float(np.mean(values)) for metric, values in sorted(others.items())},
        failed=sum(failure.arm == arm.name for failure in table.failures),
        seconds=float(np.nansum([run.seconds for run in runs])),
        cells=len(runs),
    )


def _default(study: Study, split: str, arm: Arm, table: Balanced) -> float:
    """Mean score without search, over the same folds; NaN unless every one of them has it."""
    keys = [(Cell(split, *fold, arm.name, None), study.headline_target, study.metric) for fold in table.folds]
    found = [study.scores[key].default for key in keys if key in study.scores]
    return float(np.mean(found)) if found and len(found) == len(keys) else float("nan")


def _curve(study: Study, split: str, table: Balanced, headline: Sequence[Pairing], ratio: float) -> list[CurvePoint]:
    """Points of the learning curve, the full training part last; empty where no fewer labels were tried."""
    points = []
    for labels in (*study.label_counts, None):
        at = table if labels is None else balanced(study, split, labels=labels)
        if not at.folds:
            continue
        questions = [Question(pair, at, study.zone) for pair in headline]
        gain = next(iter(compare_arms(questions, ratio, study.better)), None)
        means = {arm: at.mean(arm) for arm in at.scores}
        points.append(CurvePoint(label_count(study, split, labels), labels is None, len(at.folds), means, gain))
    return points if len(points) > 1 else []


def _targets(
    study: Study, split: str, headline: Sequence[Pairing], ratio: float, predictions: Predictions | None
) -> tuple[list[TargetVerdict], list[str]]:
    """The headline question for each of several targets, and the targets for which it cannot be asked."""
    if len(study.targets) < 2 or not headline:
        return [], []
    pair = headline[0]
    arms = [*pair, *(arm.name for arm in study.arms.values() if arm.kind == MEAN and arm.name not in pair)]
    questions = {}
    for name in study.targets:
        zone = target_zone(study, name, predictions)
        if zone is not None:
            question = Question(pair, balanced(study, split, target=name, arms=arms), zone)
            if question.answerable:
                questions[name] = question
    rows = []
    for name, found in zip(questions, compare_arms(list(questions.values()), ratio, study.better), strict=True):
        table = questions[name].table
        rows.append(TargetVerdict(name, (table.mean(pair.first), table.mean(pair.second)), found))
    return rows, [name for name in study.targets if name not in questions]


def _needed(study: Study, split: str, primary: Contrast | None, ratio: float) -> Needed | None:
    if primary is None or primary.verdict != "undecided" or primary.spread == 0:
        return None
    if primary.detectable <= primary.zone:
        return None  # fine enough: chance left it undecided
    folds = study.folds_of(split) if study.folded(split) else None
    design = Design(primary.folds, ratio, None if folds is None or primary.folds % folds else folds)
    return needed(study.zone, primary.spread, design, int(study.facts["data"]["molecules"]))
