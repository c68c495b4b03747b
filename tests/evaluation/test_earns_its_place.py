"""The comparison on toy sets: what a cell may see, what is run when, and what the tables say."""

from __future__ import annotations

import csv
import gzip
import json
import shlex
from pathlib import Path

import earns_its_place as command
import numpy as np
import pytest
import worth_background
import worth_cells
import worth_design
from small_models import heteroatoms, save_encoder
from worth_cells import Task, cell_path, run_cell, split_set, stored_descriptors
from worth_design import ARMS, Cell, digest

from mesomer import baselines
from mesomer.data.corpus_keys import BITS, KINDS, CorpusKeys, molecule_keys
from mesomer.errors import MesomerError
from mesomer.training.model_keys import FILE

RINGS = ("C1CC1", "C1CCC1", "c1ccccc1", "c1ccncc1", "C1CCNCC1", "c1ccoc1")


def many_scaffolds(count):
    """Molecules of different scaffolds, so that a scaffold split has something to deal."""
    found = [
        f"{end}{first}{'C' * length}{second}"
        for length in range(3)
        for first in RINGS
        for second, end in zip(RINGS, "ONONFS", strict=True)
    ]
    return found[:count]


def numbers(mols, workers=1):
    """Stands in for the 200 descriptors, which take long."""
    counts = np.array([[mol.GetNumAtoms(), mol.GetNumBonds()] for mol in mols], np.float32) / 20
    return np.tile(counts, 100)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Two sets of 90 molecules under the names of real ones, a small encoder, and little training."""
    folder = tmp_path / "data" / "molecules"
    folder.mkdir(parents=True)
    smiles = many_scaffolds(90)
    values = {
        "esol": ("logSolubility", [heteroatoms(s) + 0.01 * at for at, s in enumerate(smiles)]),
        "bbbp": ("p_np", [heteroatoms(s) % 2 for s in smiles]),
    }
    for name, (column, labels) in values.items():
        with gzip.open(folder / f"{name}.csv.gz", "wt", newline="") as handle:
            csv.writer(handle).writerows([["smiles", column], *zip(smiles, labels, strict=True)])
    monkeypatch.setenv("MESOMER_DATA", str(tmp_path / "data"))
    for name, value in {"LEAST_EPOCHS": 1, "MOST_EPOCHS": 1, "STEPS": 1}.items():
        monkeypatch.setattr(worth_design, name, value)
    monkeypatch.setattr(worth_cells, "computed_descriptors", numbers)
    monkeypatch.setattr(baselines.forest, "TREES", 10)
    monkeypatch.setattr(baselines.boosting, "ROUNDS", 5)
    split_set.cache_clear()
    yield str(save_encoder(tmp_path / "model"))
    split_set.cache_clear()


def run(tmp_path, model, *more):
    command.main(["--output", str(tmp_path / "out"), "--model", model, "--jobs", "0", *more])


def results(tmp_path):
    with open(tmp_path / "out" / "results.csv", newline="") as handle:
        return list(csv.DictReader(handle))


SMALL = ("--sets", "esol", "--arms", "pretrained", "ecfp_forest", "--seeds", "0", "1")


def test_cells_are_files_and_only_missing_ones_are_run(tmp_path, toy, monkeypatch, capsys):
    run(tmp_path, toy, *SMALL)
    files = sorted((tmp_path / "out" / "cells").rglob("*.json"))
    assert len(files) == 2 + 4 + 1  # two forests, four settings, one further seed
    assert not list((tmp_path / "out" / "work").iterdir())
    rows = results(tmp_path)
    assert sum(int(row["chosen"]) for row in rows if row["arm"] == "pretrained") == 2
    assert all(float(row["test"]) > 0 and int(row["train_molecules"]) == 72 for row in rows)
    before = {file: file.read_bytes() for file in files}
    files[-1].unlink()
    ran = []
    monkeypatch.setattr(command, "run_cell", lambda task: ran.append(task.cell) or run_cell(task))
    run(tmp_path, toy, *SMALL)
    assert ran == [Cell("esol", "pretrained", 1, json.loads(before[files[-1]])["setting"])]
    again = json.loads(files[-1].read_text()) | {"seconds": 0}
    assert again == json.loads(before[files[-1]]) | {"seconds": 0}


def test_other_weights_leave_the_cells_that_do_not_depend_on_them(tmp_path, toy):
    first = command.facts_of(toy, ["esol"])
    second = command.facts_of(str(save_encoder(tmp_path / "other", seed=1)), ["esol"])
    changed = {
        arm
        for arm, facts in ARMS.items()
        for cell in [Cell("esol", arm, 0, "even" if facts.kind == "network" else "")]
        if digest(cell, first) != digest(cell, second)
    }
    assert changed == {"pretrained", "pretrained+descriptors", "frozen_linear"}


def test_the_network_of_random_weights_starts_from_others_and_the_same_network_from_those_given(tmp_path, toy):
    facts = command.facts_of(toy, ["esol"])
    scores = {
        arm: run_cell(Task(Cell("esol", arm, 0, "even"), facts, tmp_path / "out")) for arm in ("pretrained", "random")
    }
    assert scores["pretrained"]["parameters"] == scores["random"]["parameters"] > 1000
    assert scores["pretrained"]["predicted"] != scores["random"]["predicted"]


def spoil(parts):
    """Labels of these parts of seed 0 changed, wherever they are read from."""
    chosen = split_set("esol")
    for part in parts:
        chosen.data.y[chosen.splits[0].parts[part]] = 1e4


@pytest.mark.parametrize("arm", [name for name in ARMS if name != "random+descriptors"])
def test_no_cell_learns_from_test_labels(tmp_path, toy, arm):
    facts = command.facts_of(toy, ["esol"])
    cell = Cell("esol", arm, 0, "even" if ARMS[arm].kind == "network" else "")
    clean = run_cell(Task(cell, facts, tmp_path / "clean"))
    spoil(["test"])
    dirty = run_cell(Task(cell, facts, tmp_path / "dirty"))
    assert dirty["predicted"] == clean["predicted"] and dirty["valid"] == clean["valid"]
    assert dirty["test"] > 1000


@pytest.mark.parametrize("arm", ["pretrained", "random", "ecfp_forest", "descriptors_boosting"])
def test_no_cell_trains_on_validation_labels(tmp_path, toy, arm):
    """With one epoch there is nothing to choose, so that the validation labels must not change anything."""
    facts = command.facts_of(toy, ["esol"])
    cell = Cell("esol", arm, 0, "even" if ARMS[arm].kind == "network" else "")
    clean = run_cell(Task(cell, facts, tmp_path / "clean"))
    spoil(["valid"])
    assert run_cell(Task(cell, facts, tmp_path / "dirty"))["predicted"] == clean["predicted"]


def test_a_cell_judges_the_molecules_of_its_split(tmp_path, toy):
    facts = command.facts_of(toy, ["bbbp"])
    found = run_cell(Task(Cell("bbbp", "ecfp_forest", 2), facts, tmp_path / "out"))
    chosen = split_set("bbbp")
    split = chosen.splits[2]
    assert found["rows"]["test"] == [chosen.data.rows[at] for at in split.test]
    assert len(found["predicted"]["test"]) == len(split.test) == found["sizes"]["test"]
    assert not {*found["rows"]["test"], *found["rows"]["valid"]} & {chosen.data.rows[at] for at in split.train}
    assert found["metric"] == "roc_auc" and 0 <= found["test"] <= 1


def test_descriptors_are_computed_once(tmp_path, toy, monkeypatch):
    asked = []

    def count(mols, workers=1):
        asked.append(len(mols))
        return numbers(mols)

    monkeypatch.setattr(worth_cells, "computed_descriptors", count)
    chosen = split_set("esol")
    first = stored_descriptors(chosen, "ab" * 32, tmp_path)
    assert np.array_equal(stored_descriptors(chosen, "ab" * 32, tmp_path), first)
    stored_descriptors(chosen, "cd" * 32, tmp_path)
    assert asked == [90, 90]


def test_an_interrupted_run_has_all_sets_and_arms_equally_far(tmp_path, toy):
    plan = command.Plan(
        tmp_path, command.facts_of(toy, ["esol", "bbbp"]), ["esol", "bbbp"], ["pretrained", "random", "ecfp_forest"],
        [0, 1],
    )  # fmt: skip
    order = plan.remaining()
    assert [cell.arm for cell in order[:4]] == ["ecfp_forest"] * 4
    for start in range(4, 20, 4):
        assert {(cell.set, cell.arm) for cell in order[start : start + 4]} == {
            (name, arm) for name in ("esol", "bbbp") for arm in ("pretrained", "random")
        }
        assert len({cell.setting for cell in order[start : start + 4]}) == 1
    assert [cell.seed for cell in order[20:]] == [1] * 4
    done = set(order[:20])
    assert plan.next(done) is None, "a setting is chosen only when all four were tried"


def test_a_network_with_descriptors_takes_the_setting_of_the_one_without(tmp_path, toy):
    arms = ["pretrained", "pretrained+descriptors"]
    facts = command.facts_of(toy, ["esol"])
    plan = command.Plan(tmp_path, facts, ["esol"], arms, [0, 1])
    assert {cell.arm for cell in plan.first} == {"pretrained"}
    for at, cell in enumerate(plan.first):
        plan.results.cells[cell] = {"metric": "rmse", "valid": [3.0, 1.0, 2.0, 4.0][at], "test": 1.0, "seconds": 1.0}
    slow = plan.first[1].setting
    assert plan.remaining() == [
        Cell("esol", "pretrained+descriptors", 0, slow),
        Cell("esol", "pretrained", 1, slow),
        Cell("esol", "pretrained+descriptors", 1, slow),
    ]
    alone = command.Plan(tmp_path, facts, ["esol"], arms[1:], [0, 1])
    assert len(alone.first) == 4


def test_no_cell_starts_that_would_end_too_late(tmp_path, toy, capsys):
    run(tmp_path, toy, *SMALL, "--minutes", "0")
    assert not (tmp_path / "out" / "cells").exists()
    assert "**Incomplete: 0 of 7 cells are finished.**" in capsys.readouterr().out


def test_processes_run_cells_side_by_side(tmp_path, toy):
    command.main(
        ["--output", str(tmp_path / "out"), "--model", toy, "--jobs", "2", "--sets", "esol", "bbbp", "--arms",
         "ecfp_forest", "--seeds", "0"]
    )  # fmt: skip
    assert [(row["set"], row["metric"]) for row in results(tmp_path)] == [("bbbp", "roc_auc"), ("esol", "rmse")]


def with_keys(model, mols):
    """Gives a model the keys of a corpus of these molecules."""
    folder = Path(model)
    config = json.loads((folder / "config.json").read_text())
    config["training"] = {"corpus_fingerprint": "toy"}
    (folder / "config.json").write_text(json.dumps(config))
    short = molecule_keys(mols) >> np.uint64(64 - BITS)
    kinds = {kind: np.unique(column[column != 0]) for kind, column in zip(KINDS, short.T, strict=True)}
    (folder / FILE).write_bytes(CorpusKeys(kinds, {"toy": len(mols)}).to_bytes())


def test_molecules_that_the_model_has_seen_are_counted_and_left_out(tmp_path, toy):
    chosen = split_set("esol")
    test = chosen.splits[0].test
    with_keys(toy, [chosen.labelled.mols[at] for at in test[:4]])
    run(tmp_path, toy, *SMALL)
    rows = [row for row in results(tmp_path) if row["seed"] == "0" and row["arm"] == "ecfp_forest"]
    found = run_cell(Task(Cell("esol", "ecfp_forest", 0), command.facts_of(toy, ["esol"]), tmp_path / "out"))
    errors = np.array(found["predicted"]["test"])[4:, 0] - chosen.data.y[test[4:], 0]
    assert rows[0]["outside_molecules"] == str(len(test) - 4)
    assert float(rows[0]["test_outside"]) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)
    known = worth_background.background_of("esol", {}, worth_background.corpus_keys(toy))
    assert (known.molecules, known.exact, known.skeleton, dict(known.outside)) == (90, 4, 4, {})


def test_the_mean_of_the_training_labels_is_judged_on_the_same_splits(toy):
    chosen = split_set("esol")
    split = chosen.splits[3]
    errors = chosen.data.y[split.train, 0].mean() - chosen.data.y[split.test, 0]
    known = worth_background.background_of("esol", {}, None)
    assert known.mean_scores[3] == pytest.approx(np.sqrt(np.mean(errors**2))) and len(known.mean_scores) == 5
    assert known.exact is None
    assert worth_background.background_of("bbbp", {}, None).mean_scores == {}


def test_pages_tell_the_real_command_and_every_cell_lies_beside_the_whole_tables(tmp_path, toy, capsys):
    whole, short = tmp_path / "whole.md", tmp_path / "short.md"
    whole.write_text("<!-- worth: begin -->\n<!-- worth: end -->\n")
    short.write_text("<!-- worth in short: begin -->\n<!-- worth in short: end -->\n")
    run(tmp_path, toy, *SMALL, "--pages", str(whole), str(short))
    given = ["--jobs", "0", *SMALL, "--pages", str(whole), str(short)]
    for page in (whole, short):
        told = page.read_text()
        assert shlex.join(given) in told and f"--model {toy}" in told and "earns_its_place.py --output" in told
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "out" / "results.csv").read_bytes()
    assert not (tmp_path / "short.csv").exists()


def test_the_pages_of_the_repository_are_filled_only_if_nothing_is_left_out(tmp_path, toy, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- worth: begin -->\n<!-- worth: end -->\n")
    monkeypatch.setattr(command, "SETS", ("esol", "bbbp"))
    monkeypatch.setattr(command, "PAGES", (page,))
    run(tmp_path, toy, "--table", "--sets", "esol")
    run(tmp_path, toy, "--table", "--seeds", "0")
    assert "Command" not in page.read_text() and not page.with_suffix(".csv").exists()
    run(tmp_path, toy, "--table")
    assert "Command" in page.read_text() and page.with_suffix(".csv").exists()


def test_a_damaged_cell_is_named(tmp_path, toy):
    facts = command.facts_of(toy, ["esol"])
    cell = Cell("esol", "ecfp_forest", 0)
    path = cell_path(tmp_path, cell, facts)
    path.parent.mkdir(parents=True)
    path.write_text('{"set": "es')
    with pytest.raises(MesomerError, match="Remove it to run that cell again"):
        run_cell(Task(cell, facts, tmp_path))


def test_weights_that_change_under_way_are_refused(tmp_path, toy):
    facts = command.facts_of(toy, ["esol"])
    other = str(save_encoder(tmp_path / "other", seed=1))
    mixed = worth_design.Facts(other, facts.weights_sha256, facts.encoder, facts.data_sha256, facts.sizes)
    with pytest.raises(MesomerError, match="have changed"):
        run_cell(Task(Cell("esol", "pretrained", 0, "even"), mixed, tmp_path / "out"))
