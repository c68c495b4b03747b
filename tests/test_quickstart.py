"""The quickstart from end to end on a small encoder: files, fairness of the comparison, reruns, wording."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import save_encoder

import mesomer.quickstart.run as work
from mesomer import baselines, cli
from mesomer.data.corpus_keys import BITS, KINDS, CorpusKeys, molecule_keys
from mesomer.data.labels import read_labels
from mesomer.data.splits import Split, splits_for
from mesomer.data.tables import open_table
from mesomer.metrics import rmse
from mesomer.quickstart import QuickstartOptions, quickstart
from mesomer.quickstart.design import DEMO, Arm, Outcome
from mesomer.quickstart.results import honest_sentence, limits
from mesomer.training.checkpoint import encoder_of, load_model, save_model
from mesomer.training.context import Context
from mesomer.training.finetune_cell import Cells
from mesomer.training.finetune_plan import plan_cells, property_data
from mesomer.training.model_keys import FILE, carried

SMALL = ("--molecules", "60", "--folds", "3", "--epochs", "2")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_encoder(tmp_path_factory.mktemp("encoder") / "small"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder):
    """A finished quickstart and what it returned."""
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines.forest, "TREES", 20)
        found = quickstart(folder, model=encoder, options=QuickstartOptions(molecules=60, folds=3, epochs=2), workers=1)
    return folder, found


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_demonstration_set_is_the_one_of_its_card():
    card = DEMO.with_name("biogen_sol.md").read_text(encoding="utf-8")
    assert hashlib.sha256(DEMO.read_bytes()).hexdigest() in card
    with gzip.open(DEMO, "rt", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 2173 and list(rows[0]) == ["smiles", "activity", "split"]
    for words in ("2,173", "Copyright (c) 2020 molecularinformatics", "MIT License", "10.1021/acs.jcim.3c00160"):
        assert words in card


def test_the_run_folder_is_whole(finished):
    folder, found = finished
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == {
        "config.yaml", "log.txt", "manifest.json", "model", "predictions.csv", "report.html", "results.csv",
        "splits.csv",
    }  # fmt: skip
    assert found["state"] == "done" and found["report"] == str(folder / "report.html")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Prediction against truth" in report and "Training curves" in report


def test_the_text_tells_time_report_and_next_commands(finished):
    folder, found = finished
    lines = found["text"].splitlines()
    assert lines[0] == found["sentence"] and lines[-1] == f"Report: {(folder / 'report.html').resolve()}"
    assert any(line.split()[:2] == ["In", "all"] for line in lines)
    stages = [line for line in lines if re.search(r"\d\.\d s$", line)]
    assert len(stages) == len(found["stages"]) + 1
    assert sum(found["stages"].values()) <= found["seconds"] * 1.001
    assert f"  mesomer predict NEW.csv --model {folder}/model --output pred.csv" in lines


def test_every_molecule_is_predicted_once_by_all_while_held_out(finished):
    folder, _ = finished
    predictions, splits = rows_of(folder / "predictions.csv"), rows_of(folder / "splits.csv")
    assert len(predictions) == len({row["row"] for row in predictions}) == 60
    tested = {(row["row"], row["fold"]) for row in splits if row["part"] == "test"}
    assert {(row["row"], row["fold"]) for row in predictions} == tested
    with gzip.open(DEMO, "rt", encoding="utf-8", newline="") as handle:
        source = list(csv.DictReader(handle))
    for row in predictions:
        assert source[int(row["row"]) - 1]["smiles"] == row["smiles"]
        assert float(source[int(row["row"]) - 1]["activity"]) == pytest.approx(float(row["activity"]))


def test_results_follow_from_the_predictions_and_the_sentence_from_the_results(finished):
    folder, found = finished
    predictions, results = rows_of(folder / "predictions.csv"), rows_of(folder / "results.csv")
    means = {}
    for method in ("pretrained", "random", "forest", "mean"):
        for fold in "012":
            own = [row for row in predictions if row["fold"] == fold]
            truth, guess = (np.array([float(row[name]) for row in own]) for name in ("activity", method))
            (stored,) = [
                float(row["value"]) for row in results
                if (row["method"], row["fold"], row["metric"]) == (method, fold, "rmse")
            ]  # fmt: skip
            assert stored == pytest.approx(rmse(truth, guess))
            means.setdefault(method, []).append(stored)
    assert found["rmse"] == pytest.approx({name: np.mean(values) for name, values in means.items()})
    gain = np.mean(means["random"]) - np.mean(means["pretrained"])
    assert f"RMSE {'lower' if gain >= 0 else 'higher'} by {abs(gain):.3f}" in found["sentence"]


def test_the_twin_differs_in_the_initial_encoder_alone(encoder):
    options = QuickstartOptions(molecules=60, folds=3, epochs=2)
    labelled = work.draw(read_labels(open_table(str(DEMO)), ["activity"]), 60, 0)
    splits = splits_for("cv", labelled.mols, 1, 0, 3)
    data, base, context = property_data(labelled), encoder_of(load_model(encoder)), Context.start("cpu", "32")
    one, two = options.training(scratch=False), options.training(scratch=True)
    assert {name for name in vars(one) if getattr(one, name) != getattr(two, name)} == {"scratch"}
    assert plan_cells(splits, one) == plan_cells(splits, two)
    cell = plan_cells(splits, one)[0]
    first, second = (Cells(data, splits, base, own, context).network(cell).state_dict() for own in (one, two))
    changed = {name for name, value in first.items() if not torch.equal(value, second[name])}
    assert changed and all(name.startswith("encoder.") for name in changed)


def test_the_model_predicts(finished, tmp_path):
    folder, _ = finished
    table, output = tmp_path / "new.csv", tmp_path / "pred.csv"
    table.write_text("smiles\nCCO\nc1ccccc1\n", encoding="utf-8")
    assert cli.main(["predict", str(table), "--model", str(folder), "--output", str(output)]) == 0
    found = [float(row["activity_pred"]) for row in rows_of(output)]
    assert len(found) == 2 and np.isfinite(found).all()


def test_the_same_command_again_says_finished_and_another_is_refused(finished, encoder, capsys):
    folder, _ = finished
    before = (folder / "report.html").read_bytes()
    assert cli.main(["quickstart", "--model", encoder, "--output", str(folder), *SMALL]) == 0
    told = capsys.readouterr().out
    assert "finished" in told and "--overwrite" in told and told.rstrip().endswith("report.html")
    assert cli.main(["quickstart", "--model", encoder, "--output", str(folder), *SMALL, "--seed", "1"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "report.html").read_bytes() == before


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_the_same(finished, encoder, tmp_path, monkeypatch):
    whole, _ = finished
    monkeypatch.setattr(baselines.forest, "TREES", 20)
    options, folder = QuickstartOptions(molecules=60, folds=3, epochs=2), tmp_path / "stopped"

    def fails(*args, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(work, "_baselines", fails)
        with pytest.raises(KeyboardInterrupt):
            quickstart(folder, model=encoder, options=options, workers=1)
    assert len(list((folder / "cells").rglob("*.safetensors"))) == 6

    def no_training(*args, **settings):
        raise AssertionError("a finished part was trained again")

    monkeypatch.setattr("mesomer.training.finetune_cell.fit", no_training)
    found = quickstart(folder, model=encoder, options=options, workers=1)
    assert found["state"] == "done" and "since the run was resumed" in found["text"]
    assert (folder / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert not (folder / "cells").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--molecules", "10"), "--molecules"),
        (("--folds", "1"), "folds"),
        (("--epochs", "0"), "--epochs"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_senseless_settings_are_one_sentence(words, said, encoder, tmp_path, capsys):
    output = tmp_path / "run"
    assert cli.main(["quickstart", "--model", encoder, "--output", str(output), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_an_output_below_a_file_is_refused_before_work(encoder, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert cli.main(["quickstart", "--model", encoder, "--output", str(tmp_path / "file" / "run"), *SMALL]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_networks_trained_side_by_side_are_the_same(finished, encoder, tmp_path, monkeypatch):
    one_by_one, _ = finished
    monkeypatch.setattr(baselines.forest, "TREES", 20)
    threads = torch.get_num_threads()
    found = quickstart(
        tmp_path / "two", model=encoder, options=QuickstartOptions(molecules=60, folds=3, epochs=2), workers=2
    )
    assert found["state"] == "done" and torch.get_num_threads() == threads
    assert (tmp_path / "two" / "predictions.csv").read_bytes() == (one_by_one / "predictions.csv").read_bytes()
    for name in ("pretrained", "random"):
        for part in (1, 2, 3):
            assert f"{name}, part {part}: " in (tmp_path / "two" / "log.txt").read_text(encoding="utf-8")


def outcome_of(**errors: float) -> Outcome:
    """A comparison whose arms have these errors, the same on every molecule up to noise."""
    generator = np.random.default_rng(0)
    y = generator.normal(size=(90, 1))
    parts = np.split(np.arange(90), 3)
    splits = [
        Split("cv", "cv", np.concatenate([p for p in parts if p is not part])[:50], np.array([89]), part, fold=at)
        for at, part in enumerate(parts)
    ]
    noise = generator.normal(size=(90, 1))
    arms = [
        Arm(name, name, [y[split.test] + (error + 0.01 * split.fold) * noise[split.test] for split in splits], 1.0)
        for name, error in errors.items()
    ]
    data = SimpleNamespace(y=y, smiles=["C"] * 90)
    outcome = Outcome(QuickstartOptions(), None, data, splits, arms, {}, "m", None, "32", {})  # type: ignore[arg-type]
    return outcome


def test_the_sentence_names_the_better_one():
    better = honest_sentence(outcome_of(pretrained=0.3, random=0.6, forest=0.1, mean=1.0))
    assert re.search(r"RMSE lower by .* than the same network .* RMSE higher by .* forest", better)
    worse = honest_sentence(outcome_of(pretrained=0.6, random=0.3, forest=1.0, mean=1.0))
    assert re.search(r"RMSE higher by .* than the same network .* RMSE lower by .* forest", worse)


def test_a_network_that_learnt_nothing_is_said_to():
    nothing, something = (
        limits(outcome_of(pretrained=error, random=0.9, forest=0.5, mean=1.0)) for error in (0.99, 0.5)
    )
    assert "next to nothing" in nothing[0]
    assert not any("next to nothing" in text for text in something)
    assert any("probability of 80 %" in text for text in something)
    slow = limits(outcome_of(pretrained=0.5, random=0.99, forest=0.5, mean=1.0))
    assert "one of speed" in slow[0]


def test_molecules_that_the_pretraining_had_seen_are_counted(encoder, tmp_path):
    labelled = work.draw(read_labels(open_table(str(DEMO)), ["activity"]), 90, 0)
    assert work.known_molecules(labelled, load_model(encoder)) is None
    rows = molecule_keys(labelled.mols)[:7] >> np.uint64(64 - BITS)
    keys = CorpusKeys({kind: np.unique(rows[:, at]) for at, kind in enumerate(KINDS)}, {"f": 7})
    base, found = load_model(encoder), carried(keys)
    config = {"encoder": base.config["encoder"], "training": {"corpus_fingerprint": "f", "corpus_keys": found.entry}}
    path = save_model(tmp_path / "keyed", "encoder", config, base.state, "# test\n", files={FILE: found.content})
    assert work.known_molecules(labelled, load_model(path)) == 7
    outcome = outcome_of(pretrained=0.5, random=0.6, forest=0.5, mean=1.0)
    assert any("carries no keys" in text for text in limits(outcome))
    outcome.known = 7
    assert any(text.startswith("Of the 90 molecules 7 are, leaving stereo aside,") for text in limits(outcome))


def test_molecules_are_drawn_by_the_seed_and_keep_their_order():
    labelled = read_labels(open_table(str(DEMO)), ["activity"])
    one, two, other = (work.draw(labelled, 100, seed) for seed in (0, 0, 1))
    assert one.rows == two.rows == sorted(one.rows) and len(one) == 100 and one.rows != other.rows
    whole = dict(zip(labelled.rows, labelled.y[:, 0].tolist(), strict=True))
    assert [whole[row] for row in one.rows] == one.y[:, 0].tolist()
    assert work.draw(labelled, 5000, 0) is labelled
