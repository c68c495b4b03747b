"""Several studies together: does pre-training help in general, and what may the next data set show?

Decided:
* Each set gives one difference with its corrected error; sets are joined by a random-effects meta-analysis, for each
  model, kind of split and metric apart. Folds of different sets are never pooled and wins are not counted as evidence.
* Errors (RMSE, MAE) are divided by the standard deviation of the set's labels, as units differ between sets; a set
  whose spread is not known, or whose arms differ by nothing at all, is shown but not joined, and named.
* A set may stand only once for a model and kind of split: else the same molecules would count twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from mesomer.errors import MesomerError
from mesomer.report.study_contrasts import Contrast
from mesomer.report.study_folder import Study, read_predictions, read_study, tidy
from mesomer.report.study_molecules import label_deviation
from mesomer.report.study_verdicts import SplitVerdict, analyse, headline_arms
from mesomer.statistics import MetaAnalysis, Verdict, meta_analysis, verdict, wilcoxon_over_sets
from mesomer.statistics.across_sets import LEAST_FOR_WILCOXON

TWIN, BASELINE = "twin", "best baseline"
_ERRORS = ("rmse", "mae")


class Published(NamedTuple):
    """A published score to stand beside ours; it is shown, never joined with ours."""

    set: str
    method: str
    split: str
    metric: str
    value: float
    """In the unit of ours: a ROC-AUC as a share of one."""
    deviation: float | None
    source: str


@dataclass(frozen=True)
class SetResult:
    """One study on one kind of split."""

    set: str
    model: str
    study: Study
    split: SplitVerdict
    scale: float | None
    """What differences are divided by before sets are joined; None where they cannot be."""

    def contrast(self, question: str) -> Contrast | None:
        """The pre-trained network against its twin, or against the best baseline."""
        return self.split.primary if question == TWIN else self.split.best_reference


@dataclass(frozen=True)
class Joined:
    """The answer to one question over all sets of one model, kind of split and metric."""

    model: str
    split: str
    metric: str
    question: str
    members: list[SetResult]
    left_out: list[str]
    """Sets with a difference that cannot be joined."""
    found: MetaAnalysis | None
    """None with fewer than two sets."""
    zone: float
    verdict: Verdict | None
    p_wilcoxon: float | None
    """Signed ranks over sets; None with too few of them to reach 0.05."""


def collect(folders: Iterable[str | Path]) -> list[SetResult]:
    """The studies of some folders, one entry for each kind of split; raises `MesomerError` for a set given twice."""
    results: list[SetResult] = []
    seen: dict[tuple[str, str, str], Path] = {}
    for folder in folders:
        study = read_study(folder)
        name = tidy(
            study.facts["data"].get("name") or PurePath(str(study.facts["data"]["file"])).name.partition(".")[0]
        )
        model = tidy(study.facts["model"]["name"])
        scale = _scale(study)
        for split in analyse(study):
            key = (name, model, split.split)
            if key in seen:
                raise MesomerError(
                    f"{seen[key]} and {study.folder} are both of {model} on {name}, {split.split} splits.",
                    "Give one of them: the same molecules would count twice.",
                )
            seen[key] = study.folder
            results.append(SetResult(name, model, study, split, scale))
    if not results:
        raise MesomerError("None of the studies has results yet.", "Run them first.")
    return results


def _scale(study: Study) -> float | None:
    """1 for scores without a unit and for means over targets, which are in label deviations already."""
    if study.metric not in _ERRORS or len(study.targets) > 1:
        return 1.0
    return label_deviation(study, study.targets[0], read_predictions(study.folder, headline_arms(study)))


def join(results: Sequence[SetResult]) -> list[Joined]:
    """Every question over the sets of one model, kind of split and metric, in the order of the results."""
    groups: dict[tuple[str, str, str], list[SetResult]] = {}
    for result in results:
        groups.setdefault((result.model, result.split.split, result.study.metric), []).append(result)
    return [_joined(*key, question, members) for key, members in groups.items() for question in (TWIN, BASELINE)]


def _joined(model: str, split: str, metric: str, question: str, results: Sequence[SetResult]) -> Joined:
    members, left_out = [], []
    for result in results:
        contrast = result.contrast(question)
        if contrast is None or result.scale is None or contrast.error == 0:
            left_out.append(result.set)
        else:
            members.append(result)
    gains, errors, zones = [], [], []
    for result in members:
        contrast, scale = result.contrast(question), result.scale
        assert contrast is not None and scale is not None
        gains.append(contrast.gain / scale)
        errors.append(contrast.error / scale)
        zones.append(result.study.zone / scale)
    zone = min(zones, default=float("nan"))
    if len(members) < 2:
        return Joined(model, split, metric, question, members, left_out, None, zone, None, None)
    found = meta_analysis(gains, errors)
    ranks = wilcoxon_over_sets(gains) if len(gains) >= LEAST_FOR_WILCOXON else None
    return Joined(
        model, split, metric, question, members, left_out, found, zone, verdict(found.low, found.high, zone), ranks
    )
