"""What the stored predictions add to the scores: the spread of the labels, and the interval over test molecules.

Decided: the interval over molecules draws the same molecules in every repeat, as repeats predict the same ones again;
scores of a repeat are those of its pooled out-of-fold predictions. On scaffold splits whole scaffolds are drawn, each
molecule without rings alone. It takes the trained models as given and stands
beside the headline. It is made for a single target only: with many it would take minutes and say little more.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mesomer.metrics import METRICS
from mesomer.report.study_contrasts import Pairing
from mesomer.report.study_folder import Predictions, Study
from mesomer.statistics import bootstrap_molecules, default_zone

MOLECULES = "molecules.csv"
MOST_DRAWS, LEAST_DRAWS = 1000, 200
_WORK = 1e7
"""Draws times predictions; some seconds."""
LEAST_MOLECULES = 10
_BY_SCAFFOLD = ("scaffold_cv", "deterministic", "deterministic_achiral")
"""Rules with folds or one fixed division that keep scaffolds together."""
LEAST_OF_CLASS = 5
"""With fewer of a class too many draws would hold none of it."""


def label_deviation(study: Study, target: str, predictions: Predictions | None) -> float | None:
    """Standard deviation of all labels of a target; of an older study's folder that of the predicted ones, if any."""
    said = study.target(target).get("deviation")
    if said is not None:
        return float(said)
    if predictions is None:
        return None
    chosen = predictions.target == target
    _, first = np.unique(predictions.row[chosen], return_index=True)
    truth = predictions.truth[chosen][first]
    truth = truth[np.isfinite(truth)]
    return float(truth.std()) or None if len(truth) > 1 else None


def target_zone(study: Study, target: str, predictions: Predictions | None) -> float | None:
    """The zone of one of several targets: its own, for areas the study's, else from the spread of its labels."""
    said = study.target(target).get("zone")
    if said is not None:
        return float(said)
    if study.metric not in ("rmse", "mae"):
        return study.zone
    deviation = label_deviation(study, target, predictions)
    return default_zone(study.metric, deviation) if deviation else None


def over_molecules(
    study: Study, split: str, pair: Pairing, predictions: Predictions | None
) -> tuple[float, float] | None:
    """95 % interval of the gain when only the test molecules are drawn anew; None where it cannot be made."""
    task = str(study.target(study.targets[0]).get("task", ""))
    kind = {"classification": "binary"}.get(task, task)
    able = kind in ("regression", "binary") and study.metric in METRICS[kind]
    able = able and (study.folded(split) or study.fixed(split))
    if predictions is None or not able or len(study.targets) != 1:
        return None
    repeats = [int(r) for r in np.unique(predictions.repeat) if _whole(study, split, pair, int(r))]
    first, second = (predictions.where(split, arm) for arm in pair)
    rows = np.intersect1d(first.row, second.row)
    if not repeats or len(rows) < LEAST_MOLECULES:
        return None
    truth, one = _by_molecule(first, rows, repeats)
    _, two = _by_molecule(second, rows, repeats)
    known = np.isfinite(truth) & np.isfinite(one).all(1) & np.isfinite(two).all(1)
    truth, one, two = truth[known], one[known], two[known]
    if lacks_molecules(study, split):
        return None
    groups = _scaffolds(study, rows[known]) if study.rule(split) in _BY_SCAFFOLD else None
    if groups is not None and len(set(groups)) < LEAST_MOLECULES:
        return None
    rare = kind == "binary" and min((truth == 1).sum(), (truth == 0).sum()) < LEAST_OF_CLASS
    if len(truth) < LEAST_MOLECULES or rare:
        return None
    compute = METRICS[kind][study.metric].compute

    def score(labels: NDArray, predicted: NDArray) -> float:
        return float(np.mean([compute(labels, column) for column in predicted.T]))

    draws = int(np.clip(_WORK / one.size, LEAST_DRAWS, MOST_DRAWS))
    drawn = None if groups is None else [groups]
    return bootstrap_molecules([truth], [one], [two], score, study.better, draws=draws, groups=drawn)


def lacks_molecules(study: Study, split: str) -> bool:
    """Whether whole scaffolds would have to be drawn and the table of molecules is not in the folder."""
    return study.rule(split) in _BY_SCAFFOLD and not (study.folder / MOLECULES).is_file()


def _scaffolds(study: Study, rows: NDArray) -> list[str]:
    """The scaffold of each molecule of the table's rows; one without rings stands for itself."""
    from mesomer.chem.scaffolds import scaffold

    with open(study.folder / MOLECULES, encoding="utf-8", newline="") as handle:
        smiles = {int(line["row"]): line["smiles"] for line in csv.DictReader(handle)}
    return [scaffold(smiles[int(row)], chirality=False) or f"row {row}" for row in rows]


def _whole(study: Study, split: str, pair: Pairing, repeat: int) -> bool:
    """Whether both arms ran on all folds of a repeat without failing."""
    runs = [
        run
        for cell, run in study.runs.items()
        if (cell.split, cell.repeat, cell.labels) == (split, repeat, None) and cell.arm in pair
    ]
    return len(runs) == 2 * study.folds_of(split) and not any(run.failed for run in runs)


def _by_molecule(part: Predictions, rows: NDArray, repeats: Sequence[int]) -> tuple[NDArray, NDArray]:
    """Labels [molecules] and predictions [molecules, repeats], NaN where there is none."""
    labels, predicted = np.full(len(rows), np.nan), np.full((len(rows), len(repeats)), np.nan)
    for column, repeat in enumerate(repeats):
        chosen = (part.repeat == repeat) & np.isin(part.row, rows)
        at = np.searchsorted(rows, part.row[chosen])
        labels[at] = part.truth[chosen]
        predicted[at, column] = part.predicted[chosen]
    return labels, predicted
