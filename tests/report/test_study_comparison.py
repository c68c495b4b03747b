"""Several studies together: the joined figures against `meta_analysis`, what is left out, and the page."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from simulated_studies import change_rows, write_study

from mesomer.errors import MesomerError
from mesomer.report.study_comparison import write_comparison
from mesomer.report.study_folder import read_study
from mesomer.report.study_sets import Published
from mesomer.report.study_verdicts import analyse
from mesomer.statistics import meta_analysis


def make(folder, name, gain, metric="roc_auc", zone=0.02, **changes):
    """A small study of a set with a name."""
    write_study(folder / name, {"pretrained": gain}, changes.pop("spread", 0.02), metric=metric, zone=zone,
                splits=("scaffold",), repeats=2, **changes)  # fmt: skip
    plan = json.loads((folder / name / "study.json").read_text())
    plan["data"]["file"] = f"data/{name}.csv"
    if metric == "rmse":
        plan["data"]["targets"][0]["deviation"] = changes.get("deviation", 2.0)
    (folder / name / "study.json").write_text(json.dumps(plan))
    return folder / name


def primary(folder):
    return analyse(read_study(folder))[0].primary


def test_the_joined_figures(tmp_path):
    gains = (0.05, 0.06, 0.04, 0.07, 0.05, 0.06)
    folders = [make(tmp_path, f"set{at}", gain, seed=at) for at, gain in enumerate(gains)]
    report = write_comparison(folders, tmp_path / "out")
    found = [primary(folder) for folder in folders]
    wanted = meta_analysis([one.gain for one in found], [one.error for one in found])
    joined = report.joined[0]
    assert joined.found == wanted and joined.question == "twin" and joined.verdict.name == "helps"
    assert joined.p_wilcoxon == pytest.approx(2 / 2**6)
    assert report.sentences[0].startswith("Over 6 sets on scaffold splits batmannet-1 is better on average")
    assert "on a next set of this kind" in report.sentences[0]
    page = report.path.read_text(encoding="utf-8")
    assert page.count("<figure>") == 2 and all(f"set{at}" in page for at in range(6))
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    with open(tmp_path / "out" / "sets.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 12 and float(rows[0]["gain"]) == found[0].gain and rows[0]["set"] == "set0"
    record = json.loads((tmp_path / "out" / "sets.json").read_text())
    assert record[0]["meta_analysis"]["mean"] == wanted.mean and record[1]["question"] == "best baseline"


def test_errors_are_in_label_deviations(tmp_path):
    folders = [make(tmp_path, name, 0.2, "rmse", 0.1, seed=at) for at, name in enumerate(("esol", "lipo"))]
    joined = write_comparison(folders, tmp_path / "out").joined[0]
    found = [primary(folder) for folder in folders]
    assert joined.found.mean == pytest.approx(
        meta_analysis([f.gain / 2 for f in found], [f.error / 2 for f in found]).mean
    )
    assert joined.zone == pytest.approx(0.05) and joined.p_wilcoxon is None and joined.found.predicted is None


def test_metrics_are_not_mixed_and_sets_that_cannot_be_joined_are_named(tmp_path):
    folders = [make(tmp_path, "a", 0.1), make(tmp_path, "b", 0.1, seed=1), make(tmp_path, "esol", 0.2, "rmse", 0.1)]
    plan = json.loads((folders[2] / "study.json").read_text())
    del plan["data"]["targets"][0]["deviation"]
    (folders[2] / "study.json").write_text(json.dumps(plan))
    constant = make(tmp_path, "flat", 0.1, spread=0.0)
    change_rows(constant, lambda row: row | {"value": "0.6" if row["arm"] == "pretrained" else "0.5"})
    report = write_comparison([*folders, constant], tmp_path / "out")
    areas, errors = (
        next(j for j in report.joined if (j.metric, j.question) == (m, "twin")) for m in ("roc_auc", "rmse")
    )
    assert [member.set for member in areas.members] == ["a", "b"] and areas.left_out == ["flat"]
    assert errors.members == [] and errors.left_out == ["esol"] and errors.found is None
    assert "not joined are esol" in report.path.read_text(encoding="utf-8")
    with open(tmp_path / "out" / "sets.csv", encoding="utf-8", newline="") as handle:
        told = {row["set"]: row for row in csv.DictReader(handle)}
    assert "nan" not in (tmp_path / "out" / "sets.csv").read_text(encoding="utf-8")
    assert told["flat"]["low"] == "" == told["flat"]["high"] and told["esol"]["divided_by"] == "" and told["a"]["low"]


def test_one_set_is_not_general(tmp_path):
    report = write_comparison([make(tmp_path, "a", 0.1)], tmp_path / "out")
    assert report.sentences == ["Fewer than two sets can be joined, so nothing is said of pre-training in general."]


def test_published_scores_stand_beside_ours(tmp_path):
    published = [
        Published("bbbp", "<b>GIN</b>", "deterministic scaffold", "roc_auc", 0.658, 0.045, "Hu et al."),
        Published("bbbp", "by RMSE", "scaffold", "rmse", 1.0, None, "nobody"),
        Published("tox", "elsewhere", "scaffold", "roc_auc", 0.7, None, "nobody"),
    ]
    folder = make(tmp_path, "bbbp", 0.1)
    page = write_comparison([folder], tmp_path / "out", published).path.read_text(encoding="utf-8")
    assert "0.658 ± 0.045" in page and "&lt;b&gt;GIN" in page and "nobody" not in page
    with open(folder / "results.csv", encoding="utf-8", newline="") as handle:
        values = np.mean([float(row["value"]) for row in csv.DictReader(handle) if row["arm"] == "pretrained"])
    assert f"{values:.3f}" in page


def test_wrong_input(tmp_path):
    folder = make(tmp_path, "a", 0.1)
    with pytest.raises(MesomerError, match="are both of batmannet-1 on a, scaffold splits"):
        write_comparison([folder, folder], tmp_path / "out")
    change_rows(folder, lambda row: None)
    with pytest.raises(MesomerError, match="None of the studies has results"):
        write_comparison([folder], tmp_path / "out")
    with pytest.raises(MesomerError, match="is not a study folder"):
        write_comparison([tmp_path / "nothing"], tmp_path / "out")
