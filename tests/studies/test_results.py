"""The tables of a study: what predictions keep of several classes, and that older files are read as well."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from small_corpora import demo_rows
from small_models import write_table

from mesomer.metrics import log_loss, roc_auc
from mesomer.report.study_folder import read_predictions
from mesomer.studies.design import StudyOptions
from mesomer.studies.run import again, run_study

OPTIONS = StudyOptions(
    splits=("random",), repeats=1, folds=2, trials=1, epochs=1, label_shares=(), arms=("pretrained", "random", "mean")
)
CLASSES = ("low", "middle", "high")


@pytest.fixture
def classes(tmp_path, request_of):
    """The folder of a finished study of a target with three classes."""
    rows = demo_rows(60)
    ranks = np.argsort(np.argsort([float(row["activity"]) for row in rows]))
    labels = [CLASSES[rank // 20] for rank in ranks]
    table = write_table(tmp_path / "data.csv", {"smiles": [row["smiles"] for row in rows], "grade": labels})
    run_study(request_of(table, ("grade",)), OPTIONS)
    return tmp_path / "run"


def rows_of(path):
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_scores_of_classes_can_be_made_again_from_the_probabilities(classes):
    (target,) = json.loads((classes / "study.json").read_text())["data"]["targets"]
    stored = {(row["arm"], row["fold"]): float(row["value"]) for row in rows_of(classes / "results.csv")
              if row["metric"] == "log_loss" and row["target"] == "mean"}  # fmt: skip
    rows = rows_of(classes / "predictions.csv")
    for (arm, fold), value in stored.items():
        own = [row for row in rows if (row["arm"], row["fold"]) == (arm, fold)]
        truth = np.array([int(row["truth"]) for row in own])
        each = np.array([row["probabilities"].split() for row in own], float)
        assert each.shape == (30, 3) and np.allclose(each.sum(1), 1, atol=1e-5)
        assert log_loss(truth, each) == pytest.approx(value, rel=1e-6)
        assert [int(row["predicted"]) for row in own] == each.argmax(1).tolist()
        assert all(0 <= roc_auc((truth == at).astype(float), each[:, at]) <= 1 for at in range(3))
    assert set(target["classes"]) == set(CLASSES) and len(stored) == 6
    read = read_predictions(classes, ["random", "mean"])
    assert read.probabilities.shape == (120, 3)
    alone = read.where("random", "mean")
    assert alone.probabilities.shape == (60, 3) and (alone.probabilities.argmax(1) == alone.predicted).all()


def test_a_file_without_probabilities_is_read_and_kept(classes):
    path, shorter = classes / "predictions.csv", []
    for line in path.read_text().splitlines():
        shorter.append(line.rpartition(",")[0])
    path.write_text("\n".join(shorter) + "\n")
    before = read_predictions(classes, ["mean"])
    assert before.probabilities is None and len(before.truth) == 60
    for cell in (classes / "cells").rglob("*.json"):
        cell.unlink()
    assert again(classes)["cells"]["finished"] == 6
    assert len(read_predictions(classes, ["mean"]).truth) == 60


def test_numbers_have_no_probabilities(table, request_of, tmp_path):
    run_study(request_of(table), StudyOptions(**{**vars(OPTIONS), "arms": ("ecfp_forest", "mean")}))
    assert {row["probabilities"] for row in rows_of(tmp_path / "run" / "predictions.csv")} == {""}
    assert read_predictions(tmp_path / "run", ["mean"]).probabilities is None
