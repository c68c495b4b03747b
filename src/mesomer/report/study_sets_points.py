"""Several pre-trained models on the very same folds: the points of a grid, or studies of one table, held side by side.

Decided:
* What is compared is the score of each study's pre-trained network, fold by fold; the twins, which tell what the
  pre-training gave, stay in each study's own report. All test molecules count, also those of a pre-training corpus.
* Two studies of one table (same checksum and targets) are paired on the folds whose stored parts hold the same
  molecules; a study that cannot be paired is named with the reason. On one fixed division there is no comparison.
* Each set and kind of split is a family of its own. Every point against the base of the grid: corrected resampled t,
  p by Holm, intervals of Bonferroni width. All pairs, on the folds that all points have: Tukey's range with the
  variance of overlapping splits. Over several sets, the comparisons with the base are joined by meta-analysis.
Not here: the luck of pre-training. A point is one pre-trained model, so no interval holds what another seed would give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mesomer.data.splits import read_splits
from mesomer.files import sha256_of
from mesomer.report.study_balance import LEAST, Balanced, balanced
from mesomer.report.study_contrasts import Contrast, Pairing, Question, compare_arms
from mesomer.report.study_folder import MEAN, Fold, Study
from mesomer.report.study_sets import SetResult
from mesomer.statistics import LEVEL, AllPairs, MetaAnalysis, Verdict, holm, meta_analysis, tukey, verdict

BASE = "base"
"""What a grid calls the plain set-up that its other points are held against."""
MOST_POINTS = 40
"""Points up to which all pairs are compared: their number grows with the square."""


@dataclass(frozen=True)
class Models:
    """The models of one set and kind of split, compared on the same folds."""

    set: str
    split: str
    study: Study
    """That of the base; without one, of the first model."""
    zone: float
    """The smallest of the studies'."""
    scale: float | None
    """What differences are divided by before sets are joined; None where that is not known."""
    against_base: list[Contrast]
    """Empty where no model is the base of a grid."""
    base_means: dict[str, tuple[float, float]]
    """Point -> mean scores of the point and of the base on the folds of both."""
    pairs: AllPairs | None
    paired: int
    """Folds that all pairs share."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Model -> why it is not compared."""
    not_in_pairs: list[str] = field(default_factory=list)
    """Models that lack folds which the others have."""
    failed: dict[str, int] = field(default_factory=dict)
    """Model -> folds that count with the mean predictor's score, as the training failed."""


@dataclass(frozen=True)
class JoinedPoint:
    """One point against the base over several sets."""

    model: str
    split: str
    metric: str
    sets: list[str]
    found: MetaAnalysis
    """Its interval is of Bonferroni width over the points of this kind of split and metric."""
    comparisons: int
    p_holm: float
    verdict: Verdict


@dataclass(frozen=True)
class _Scored:
    """One study's pre-trained network on the folds of one kind of split."""

    result: SetResult
    scores: dict[Fold, float]
    parts: dict[Fold, str]
    """A checksum of who is where."""
    failed: int


def compare_models(results: Sequence[SetResult]) -> list[Models]:
    """The comparisons of each set and kind of split that several models were studied on; empty where there is none."""
    groups: dict[tuple[str, str, str], list[SetResult]] = {}
    for result in results:
        groups.setdefault((result.set, result.split.split, result.study.metric), []).append(result)
    return [_compared(group) for group in groups.values() if len(group) > 1 and not _fixed(group[0])]


def _fixed(result: SetResult) -> bool:
    return result.study.fixed(result.split.split)


def _compared(group: Sequence[SetResult]) -> Models:
    left_out: dict[str, str] = {}
    known: dict[str, dict[Fold, str]] = {}
    able: dict[str, _Scored] = {}
    for result in group:
        why = _cannot(result)
        if why is None:
            able[result.model] = _scored(result, known)
            why = None if len(able[result.model].scores) >= LEAST else "fewer than two of its folds are finished"
        if why is not None:
            left_out[result.model] = why
            able.pop(result.model, None)
    first = able.get(BASE) or max(able.values(), key=lambda one: len(one.scores), default=None)
    if first is None:
        only = group[0]
        return Models(only.set, only.split.split, only.study, only.study.zone, only.scale, [], {}, None, 0, left_out)
    for name, one in list(able.items()):
        why = _differs(one, first)
        if why is not None:
            left_out[name] = why
            del able[name]
    study, split = first.result.study, first.result.split
    zone = min(one.result.study.zone for one in able.values())
    pairs, folds, outside = _pairs(able, first)
    return Models(
        first.result.set, split.split, study, zone, first.result.scale, *_against(able, zone), pairs, folds, left_out,
        outside, {name: one.failed for name, one in able.items() if one.failed},
    )  # fmt: skip


def _cannot(result: SetResult) -> str | None:
    """Why a study cannot be paired with any other; None if it can."""
    if result.study.main is None:
        return "it has no pre-trained network with a twin"
    file = _splits_file(result)
    if not file.is_file():
        return f"{file.name} is not in its folder, so that its folds are not known"
    return None


def _differs(one: _Scored, first: _Scored) -> str | None:
    """Why a study cannot be paired with the first; None if it can."""
    if _labels(one.result.study) != _labels(first.result.study):
        return "its table or its labels are others"
    if not any(first.parts.get(fold) == part for fold, part in one.parts.items()):
        return "its folds hold other molecules"
    return None if len(_shared(one, first)) >= LEAST else "fewer than two of its folds are those of the others"


def _labels(study: Study) -> tuple[object, ...]:
    data = study.facts["data"]
    return data.get("sha256"), data["molecules"], tuple((str(one["name"]), one["task"]) for one in data["targets"])


def _splits_file(result: SetResult) -> Path:
    return result.study.folder / f"splits-{result.split.split}.csv"


def _scored(result: SetResult, known: dict[str, dict[Fold, str]]) -> _Scored:
    """`known` holds the parts of files that were read before: points of a grid have the same."""
    study = result.study
    assert study.main is not None
    beside = [arm.name for arm in study.arms.values() if arm.kind == MEAN]
    table = balanced(study, result.split.split, arms=[study.main, *beside])
    values = table.scores.get(study.main, np.empty(0)).tolist()
    failed = sum(failure.arm == study.main for failure in table.failures)
    path = _splits_file(result)
    checksum = sha256_of(path)
    if checksum not in known:
        known[checksum] = _parts(path)
    return _Scored(result, dict(zip(table.folds, values, strict=True)), known[checksum], failed)


def _parts(path: Path) -> dict[Fold, str]:
    """Fold -> checksum of its molecules part by part."""
    stored = read_splits(path)
    rows, molecules = np.array(stored.rows), repr(list(zip(stored.rows, stored.smiles, strict=True))).encode()
    found = {}
    for split in stored.splits:
        digest = hashlib.sha256(molecules)
        for part in split.parts.values():
            digest.update(np.sort(rows[part]).tobytes() + b"|")
        found[split.repeat, split.fold] = digest.hexdigest()
    return found


def _shared(one: _Scored, other: _Scored) -> list[Fold]:
    """The folds that hold the same molecules in both and have a score in both."""
    return [fold for fold in one.scores if fold in other.scores and one.parts[fold] == other.parts[fold]]


def _against(scored: dict[str, _Scored], zone: float) -> tuple[list[Contrast], dict[str, tuple[float, float]]]:
    """Every other model against the base, and the means of both on the folds of both."""
    if BASE not in scored:
        return [], {}
    base, questions, means = scored[BASE], [], {}
    for name, one in scored.items():
        if name != BASE:
            folds = _shared(one, base)
            table = Balanced(folds, {name: _values(one, folds), BASE: _values(base, folds)}, 0, [], [], {})
            questions.append(Question(Pairing(name, BASE), table, zone))
            means[name] = (table.mean(name), table.mean(BASE))
    return compare_arms(questions, base.result.split.ratio, base.result.study.better), means


def _values(one: _Scored, folds: Sequence[Fold]) -> NDArray[np.float64]:
    return np.array([one.scores[fold] for fold in folds], dtype=np.float64)


def _pairs(scored: dict[str, _Scored], first: _Scored) -> tuple[AllPairs | None, int, list[str]]:
    """All pairs of the models that have every fold of the first; how many folds, and the models that lack some."""
    if len(scored) > MOST_POINTS:
        return None, 0, []
    folds = list(first.scores)
    whole = {name: one for name, one in scored.items() if len(_shared(one, first)) == len(folds)}
    outside = [name for name in scored if name not in whole]
    if len(whole) < 2:
        return None, 0, outside
    table = {name: _values(one, folds) for name, one in whole.items()}
    found = tukey(table, first.result.split.ratio, first.result.study.better)
    return (found if found.half_width > 0 else None), len(folds), outside


def join_points(compared: Sequence[Models]) -> list[JoinedPoint]:
    """Each point against the base over the sets of one kind of split and metric, where two sets or more have it."""
    groups: dict[tuple[str, str], dict[str, list[tuple[Models, Contrast]]]] = {}
    for one in compared:
        for contrast in one.against_base:
            if one.scale is not None and contrast.error > 0:
                points = groups.setdefault((one.split, one.study.metric), {})
                points.setdefault(contrast.first, []).append((one, contrast))
    joined: list[JoinedPoint] = []
    for (split, metric), points in groups.items():
        several = {name: members for name, members in points.items() if len(members) > 1}
        if not several:
            continue
        level = 1 - (1 - LEVEL) / len(several)
        found = {name: _meta(members, level) for name, members in several.items()}
        adjusted = holm([one.p for one in found.values()])
        for (name, members), p in zip(several.items(), adjusted, strict=True):
            zone = min(one.zone / (one.scale or 1.0) for one, _ in members)
            said = verdict(found[name].low, found[name].high, zone)
            sets = [one.set for one, _ in members]
            joined.append(JoinedPoint(name, split, metric, sets, found[name], len(several), float(p), said))
    return joined


def _meta(members: Sequence[tuple[Models, Contrast]], level: float) -> MetaAnalysis:
    scales = [one.scale or 1.0 for one, _ in members]
    gains = [contrast.gain / scale for (_, contrast), scale in zip(members, scales, strict=True)]
    errors = [contrast.error / scale for (_, contrast), scale in zip(members, scales, strict=True)]
    return meta_analysis(gains, errors, level=level)
