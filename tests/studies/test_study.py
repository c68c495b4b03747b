"""A whole tiny study: from the table to the report, resumed, in parts, and again without training."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from small_corpora import demo_rows
from small_models import write_table

from mesomer.errors import MesomerError
from mesomer.metrics import rmse
from mesomer.run import Interrupted
from mesomer.studies import run as running
from mesomer.studies.design import StudyOptions
from mesomer.studies.run import again, power_of, run_study

OPTIONS = StudyOptions(
    splits=("random",), repeats=1, folds=2, trials=2, epochs=2, batch_size=16, label_shares=(0.7,),
    arms=("pretrained", "random", "ecfp_forest", "mean"),
)  # fmt: skip


def rows_of(path):
    """A table, without what depends on the clock."""
    with open(path, newline="") as handle:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(handle)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model):
    """A finished study: folder, summary and what it was asked for."""
    from small_corpora import demo_rows

    folder = tmp_path_factory.mktemp("finished")
    rows = demo_rows(60)
    table = write_table(folder / "data.csv", {name: [row[name] for row in rows] for name in ("smiles", "activity")})
    corpus = write_table(folder / "corpus.csv", {"smiles": [row["smiles"] for row in rows[:20]]})
    return folder, table, corpus


@pytest.fixture
def study(finished, request_of):
    """Runs, or finds finished, the study that several tests look at."""
    folder, table, corpus = finished
    request = request_of(table, output=str(folder / "run"), corpus=str(corpus))
    return folder / "run", run_study(request, OPTIONS), request


def test_what_lies_in_the_folder(study):
    folder, found, _ = study
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "study.json", "results.csv", "predictions.csv", "checks.json", "pilot.json", "overlap.json", "molecules.csv",
        "splits-random.csv", "verdicts.json", "report.html", "report.md", "manifest.json", "config.yaml", "log.txt",
    }  # fmt: skip
    assert "pre-training" in found["sentence"] and found["cells"] == {"planned": 16, "finished": 16}
    facts = json.loads((folder / "study.json").read_text())
    assert facts["metric"] == "rmse" and facts["greater_is_better"] is False and facts["cut"] == []
    twin = next(arm for arm in facts["arms"] if arm["name"] == "random")
    assert twin["twin_of"] == "pretrained" and twin["parameters"] > 1000
    assert facts["design"]["label_counts"] == [21]
    pilot = json.loads((folder / "pilot.json").read_text())
    assert pilot["spread"] > 0 and {row["repeats"] for row in pilot["mde_by_design"]} == {1, 3, 5}
    assert pilot["split"] == "random" and "1 x 2 folds therefore find" in pilot["sentence"]


def test_the_target_is_told_as_it_was_read(study, finished, tmp_path, request_of):
    folder, _, _ = study
    (target,) = json.loads((folder / "study.json").read_text())["data"]["targets"]
    labels = [float(row["activity"]) for row in demo_rows(60)]
    assert target.pop("deviation") == pytest.approx(np.std(labels))
    assert target == {"name": "activity", "task": "regression", "classes": [], "labels": 60}
    for name in ("log.txt", "report.md", "report.html"):
        assert "activity: regression, 60 labels" in (folder / name).read_text()
    with open(finished[1], newline="") as handle:
        rows = list(csv.DictReader(handle))
    words = ["Yes" if at % 12 == 0 else "no" for at in range(len(rows))]
    table = write_table(tmp_path / "words.csv", {"smiles": [row["smiles"] for row in rows], "hit (mM)": words})
    run_study(
        request_of(table, ("hit (mM)",), output="words"),
        dataclasses.replace(OPTIONS, arms=("ecfp_forest", "mean"), trials=1, label_shares=()),
    )
    (target,) = json.loads((tmp_path / "words" / "study.json").read_text())["data"]["targets"]
    assert target["class_counts"] == [55, 5] and "unit" not in target
    assert "hit (mM): binary, 5 of 60 are “Yes”" in (tmp_path / "words" / "report.md").read_text()


def test_scores_can_be_made_again_from_predictions(study):
    folder, _, _ = study
    scores = {
        (row["arm"], row["fold"], row["label_count"]): row
        for row in rows_of(folder / "results.csv") if row["metric"] == "rmse" and row["target"] == "activity"
    }  # fmt: skip
    assert len(scores) == 16
    predictions = rows_of(folder / "predictions.csv")
    known = set(json.loads((folder / "overlap.json").read_text())["skeleton"])
    assert known == set(range(1, 21))
    import numpy as np

    for (arm, fold, labels), row in scores.items():
        own = [p for p in predictions if (p["arm"], p["fold"], p["label_count"]) == (arm, fold, labels)]
        truth, guess = (np.array([float(p[name]) for p in own]) for name in ("truth", "predicted"))
        outside = np.array([int(p["row"]) not in known for p in own])
        assert float(row["value"]) == pytest.approx(rmse(truth, guess), rel=1e-6)
        assert int(row["n_novel"]) == outside.sum() and int(row["n_test"]) == len(own)
        assert float(row["value_novel"]) == pytest.approx(rmse(truth[outside], guess[outside]), rel=1e-6)
        assert int(row["trials"]) == (1 if arm == "mean" else 2) and row["failed"] == ""
        assert bool(row["value_default"]) == (arm != "mean")


def test_a_finished_study_is_recognised_and_reported_again(study, monkeypatch):
    folder, _, request = study
    monkeypatch.setattr(running, "prepare", lambda *_: pytest.fail("it read the table"))
    found = run_study(request, OPTIONS)
    assert found["state"] == "finished"
    before = (folder / "results.csv").read_bytes(), (folder / "predictions.csv").read_bytes()
    (folder / "report.html").unlink()
    assert again(folder)["sentence"] == found["sentence"]
    assert (folder / "report.html").exists()
    assert before == ((folder / "results.csv").read_bytes(), (folder / "predictions.csv").read_bytes())


def test_without_cells_the_report_is_made_from_the_tables(study, tmp_path):
    folder, found, _ = study
    bare = shutil.copytree(folder, tmp_path / "bare")
    shutil.rmtree(bare / "cells")
    for name in ("molecules.csv", "overlap.json"):
        (bare / name).unlink()
    facts = (bare / "study.json").read_bytes()
    for name in ("results.csv", "predictions.csv"):
        head, *lines = (bare / name).read_text().splitlines()
        half = len(lines) // 2
        (bare / name).write_text("\n".join([head, *lines[:half], head, *lines[half:]]) + "\n")
    before = [(bare / name).read_bytes() for name in ("results.csv", "predictions.csv")]
    (bare / "report.html").unlink()
    made = again(bare)
    assert made["sentence"] == found["sentence"] and made["cells"] == found["cells"]
    assert before == [(bare / name).read_bytes() for name in ("results.csv", "predictions.csv")]
    assert (bare / "report.html").exists() and (bare / "study.json").read_bytes() == facts


def test_no_table_is_replaced_by_less(study, tmp_path):
    folder, found, _ = study
    torn = shutil.copytree(folder, tmp_path / "torn")
    for path in sorted((torn / "cells").rglob("*.json"))[::2]:
        path.unlink()
    assert again(torn)["cells"] == found["cells"]
    for name in ("results.csv", "predictions.csv"):
        assert sorted(map(str, rows_of(torn / name))) == sorted(map(str, rows_of(folder / name)))
    (torn / "results.csv").write_text((folder / "results.csv").read_text()[:-30])
    with pytest.raises(MesomerError, match=r"results\.csv cannot be read") as caught:
        again(torn)
    assert "all its cells" in caught.value.hint


def test_an_interrupted_study_goes_on_with_the_next_cell(study, tmp_path, request_of, finished, monkeypatch):
    folder, _, request = study
    other = request_of(finished[1], output="other", corpus=request.corpus)
    done = []
    whole = running.run_cell

    def dying(task):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(task.cell)
        return whole(task)

    monkeypatch.setattr(running, "run_cell", dying)
    with pytest.raises(KeyboardInterrupt):
        run_study(other, OPTIONS)
    monkeypatch.setattr(running, "run_cell", lambda task: done.append(task.cell) or whole(task))
    found = run_study(other, OPTIONS)
    assert len(done) == len(set(done)) == 16 and found["state"] == "done"
    first, second = (
        sorted(map(str, rows_of(place / name)))
        for place in (folder, tmp_path / "other") for name in ("results.csv",)
    )  # fmt: skip
    assert first == second


def test_parts_joined_equal_the_whole(study, tmp_path, request_of, finished):
    folder, _, request = study
    for number in (1, 2):
        part = request_of(finished[1], output="parts", corpus=request.corpus, part=(number, 2))
        found = run_study(part, OPTIONS)
        assert found["report"] is None and 0 < found["cells"]["finished"] < 16
    joined = again(tmp_path / "parts")
    assert joined["cells"] == {"planned": 16, "finished": 16}
    assert sorted(map(str, rows_of(folder / "results.csv"))) == sorted(
        map(str, rows_of(tmp_path / "parts" / "results.csv"))
    )
    alone = shutil.copytree(tmp_path / "parts", tmp_path / "alone")
    for part in alone.glob("part-*"):
        shutil.rmtree(part / "cells")
    (alone / "results.csv").unlink()
    assert again(alone)["cells"] == {"planned": 16, "finished": 16}
    assert sorted(map(str, rows_of(alone / "predictions.csv"))) == sorted(map(str, rows_of(folder / "predictions.csv")))
    (alone / "results.csv").unlink()
    shutil.rmtree(alone / "part-2-of-2")
    assert again(alone)["cells"]["finished"] < 16
    assert "Part 2 of 2 is missing: run it with --part 2/2" in (alone / "report.md").read_text()
    assert "The same command goes on" not in (alone / "report.md").read_text()
    with pytest.raises(MesomerError, match="holds parts of a study"):
        run_study(request_of(finished[1], output="parts", corpus=request.corpus), OPTIONS)
    (tmp_path / "parts" / "part-2-of-2" / "study.json").write_text(
        (tmp_path / "parts" / "part-2-of-2" / "study.json").read_text().replace('"trials": 2', '"trials": 1')
    )
    with pytest.raises(MesomerError, match=r"another design than .* they differ in trials"):
        again(tmp_path / "parts")


@pytest.mark.slow
def test_two_processes_give_what_one_gives(study, tmp_path, request_of, finished):
    folder, _, request = study
    run_study(request_of(finished[1], output="two", corpus=request.corpus, jobs=2), OPTIONS)
    first, second = (
        # started processes grow all their trees
        sorted(str(row) for row in rows_of(place / "results.csv") if row["arm"] != "ecfp_forest")
        for place in (folder, tmp_path / "two")
    )
    assert first == second


def test_when_the_time_is_up_there_is_a_report_of_what_is_finished(table, tmp_path, request_of, monkeypatch):
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(running.time, "monotonic", lambda: float(next(clock)))
    request = request_of(table, output="late")
    with pytest.raises(Interrupted, match=r"of 16 cells are finished"):
        run_study(request, StudyOptions(**{**vars(OPTIONS), "minutes": 4.0}))
    assert (tmp_path / "late" / "report.html").exists()
    finished = {row["arm"] for row in rows_of(tmp_path / "late" / "results.csv")}
    monkeypatch.undo()
    assert finished and run_study(request, OPTIONS)["state"] == "done"


def test_a_plan_that_is_refused_leaves_nothing_behind(table, tmp_path, request_of):
    request = request_of(table, output="short")
    with pytest.raises(MesomerError, match="Even the smallest study") as refused:
        run_study(request, StudyOptions(**{**vars(OPTIONS), "minutes": 1e-6}))
    assert "--arms" in refused.value.hint and not (tmp_path / "short").exists()
    arms = ("pretrained", "random", "mean")
    other = request_of(table, output="short")
    fewer = StudyOptions(**{**vars(OPTIONS), "arms": arms, "trials": 1, "epochs": 1, "label_shares": ()})
    assert run_study(other, fewer)["state"] == "done"
    with pytest.raises(MesomerError, match="holds another run"):
        run_study(dataclasses.replace(other, config={"data": "else"}), fewer)
    assert (tmp_path / "short" / "report.html").exists()


def test_planning_writes_nothing(table, tmp_path, request_of):
    before = sorted(tmp_path.rglob("*"))
    found = power_of(request_of(table), OPTIONS)
    assert sorted(tmp_path.rglob("*")) == before
    assert (
        found["design"]["repeats"] == 1 and "16 cells" in found["plan"] and "mde" in found["pilot"]["mde_by_design"][0]
    )


def test_drawn_divisions_have_a_pilot_and_one_fixed_division_has_none(table, request_of):
    drawn = StudyOptions(**{**vars(OPTIONS), "splits": ("balanced",), "repeats": 3, "label_shares": ()})
    found = power_of(request_of(table), drawn)
    assert "balanced splits (3 drawn divisions)" in found["plan"] and found["pilot"]["split"] == "balanced"
    assert "3 drawn divisions therefore find" in found["pilot"]["sentence"]
    table_of = {row["repeats"]: row["mde"] for row in found["pilot"]["mde_by_design"]}
    assert set(table_of) == {3, 5, 10} and table_of[10] < table_of[5] < table_of[3]
    fixed = StudyOptions(**{**vars(OPTIONS), "splits": ("deterministic",), "repeats": 2, "label_shares": ()})
    found = power_of(request_of(table), fixed)
    assert found["pilot"] is None and "one division, 2 trainings" in found["plan"]
    assert any(check["check"] == "one division" for check in found["checks"])


def test_a_file_of_splits_edited_by_hand_is_found(study, tmp_path, request_of, finished):
    folder, _, request = study
    shutil.copytree(folder, tmp_path / "edited")
    manifest = json.loads((tmp_path / "edited" / "manifest.json").read_text())
    (tmp_path / "edited" / "manifest.json").write_text(json.dumps(manifest | {"status": "interrupted"}))
    splits = tmp_path / "edited" / "splits-random.csv"
    lines = splits.read_text().splitlines()
    moved = next(at for at, line in enumerate(lines) if line.endswith(",0,0,train"))
    lines[moved] = lines[moved].replace(",train", ",validation")
    splits.write_text("\n".join(lines) + "\n")
    with pytest.raises(MesomerError, match="not a file of splits"):
        run_study(request_of(finished[1], output="edited", corpus=request.corpus), OPTIONS)


def test_not_a_study(tmp_path):
    with pytest.raises(MesomerError, match="no folder"):
        again(tmp_path / "nowhere")
    with pytest.raises(MesomerError, match=r"neither study\.json nor parts"):
        again(tmp_path)
