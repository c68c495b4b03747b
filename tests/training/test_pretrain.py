"""Pre-training end to end on real molecules with a network that trains in seconds."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_corpora import demo_smiles, write_table

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import CARD, Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import load_encoder, load_model
from mesomer.training.context import Context
from mesomer.training.loop import LAST, LoopOptions, fit
from mesomer.training.objective_trainee import ObjectiveTrainee
from mesomer.training.pretrain import PretrainOptions, build, take_heads
from mesomer.training.representation import ridge_r2
from mesomer.training.state import read_state

SMALL = {"hidden_size": 16, "blocks": 1, "depth": 2}
SHORT = {
    "encoder": SMALL,
    "epochs": 3,
    "atoms_per_batch": 300,
    "max_lr": 5e-3,
    "log_steps": 5,
    "threads": 1,
    "probe_molecules": 60,
    "accelerator": "cpu",
    "precision": "32",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    table = write_table(folder / "table.csv", demo_smiles(300))
    return prepare_corpus(table, folder / "corpus", workers=1, quiet=True).corpus.path


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    output = tmp_path_factory.mktemp("runs") / "finished"
    command(str(corpus), output=str(output), **SHORT)
    return output


def run_rows(run: Path, part: str) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if row["part"] == part]


def test_what_a_run_leaves(finished: Path, corpus: Path) -> None:
    names = {"encoder", "pretraining", "checkpoints", "report.html", "metrics.csv", "figures.json"}
    assert names | {"config.yaml", "manifest.json", "log.txt"} <= {entry.name for entry in finished.iterdir()}
    losses = [float(row["loss"]) for row in run_rows(finished, "valid") if row["loss"]]
    assert len(losses) == 3 and losses[-1] < losses[0]
    figures = json.loads((finished / "figures.json").read_text())
    for row in figures.values():
        assert row["values"] > 0 and 0 <= row["accuracy"] <= 1
        assert 0 < row["trivial_accuracy"] <= 1 and row["trivial_loss"] >= 0
    weighted = sum(row["loss"] for row in figures.values())
    assert weighted == pytest.approx(min(losses), rel=1e-5)  # figures are those of the kept weights
    assert load_encoder(finished).config()["hidden_size"] == 16
    assert load_model(finished / "pretraining").kind == "pretraining"
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["inputs"]["corpus"] == Corpus.open(corpus).fingerprint
    assert manifest["summary"]["molecule_passes"] == 3 * Corpus.open(corpus).num_train


def test_trivial_guess_is_that_of_the_targets(corpus: Path) -> None:
    """Majority share and entropy of the hidden values, counted here by hand for the elements."""
    opened = Corpus.open(corpus)
    objective = build(PretrainOptions(encoder=SMALL))
    trainee = ObjectiveTrainee(objective, opened, 0, atoms_per_batch=200)
    with Context.start("cpu", "32") as context:
        row = trainee.figures(context)["node_element"]
    batch = opened.batch("held_out", np.arange(opened.num_held_out))
    hidden = objective.draw(batch, 1 << 40, 0).atoms
    counts = torch.bincount(batch.atom_codes[hidden, 0].long()).double()
    shares = counts[counts > 0] / counts.sum()
    assert row["values"] == int(counts.sum())
    assert row["trivial_accuracy"] == pytest.approx(float(shares.max()))
    assert row["trivial_loss"] == pytest.approx(float(-(shares * shares.log()).sum()))


def test_card_and_report_tell_the_facts(finished: Path, corpus: Path) -> None:
    card = (finished / "encoder" / "README.md").read_text()
    page = (finished / "report.html").read_text()
    opened = Corpus.open(corpus)
    for text in (card, page):
        assert f"{opened.num_train:,}" in text and f"{3 * opened.num_train:,} molecule passes" in text
        assert all(name in text for name in json.loads((finished / "figures.json").read_text()))
    assert opened.fingerprint in card and "seed 0" in page
    assert str(finished.parent) not in card
    assert page.count("<svg") == 4 and not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_probe_before_and_after(finished: Path) -> None:
    """Scored before the first step and at each validation; the summary and the card tell both ends."""
    rows = [row for row in run_rows(finished, "valid") if row["probe_r2"]]
    assert [row["epoch"] for row in rows] == ["0.0", "1.0", "2.0", "3.0"]
    summary = json.loads((finished / "manifest.json").read_text())["summary"]
    assert summary["probe_before"] == float(rows[0]["probe_r2"])
    assert summary["probe_after"] in [float(row["probe_r2"]) for row in rows[1:]]
    assert f"{summary['probe_after']:.3f}; before the training" in (finished / "encoder" / "README.md").read_text()


def test_ridge_finds_what_is_there_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 10))
    y = x @ random.normal(size=10)
    assert ridge_r2(x, y + 0.1 * random.normal(size=200)) > 0.95
    assert ridge_r2(x, random.normal(size=200)) < 0.1


def test_a_column_that_few_molecules_have_does_not_spoil_the_score() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 10))
    y = x @ random.normal(size=10) + 0.1 * random.normal(size=200)
    rare = 1e-4 * random.normal(size=(200, 40))
    rare[np.arange(40), np.arange(40)] = 1.0
    assert ridge_r2(np.concatenate([x, rare], 1), y) > 0.9


def test_same_command_again_says_finished(finished: Path, corpus: Path) -> None:
    before = {entry: entry.stat().st_mtime_ns for entry in finished.rglob("*") if entry.is_file()}
    told = command(str(corpus), output=str(finished), **SHORT)
    assert told["already_finished"] and "finished before" in told["text"]
    assert before == {entry: entry.stat().st_mtime_ns for entry in finished.rglob("*") if entry.is_file()}
    with pytest.raises(MesomerError, match="--overwrite"):
        command(str(corpus), output=str(finished), **{**SHORT, "seed": 1})


@pytest.mark.slow
def test_stopped_and_killed_runs_end_as_if_nothing_had_been(corpus: Path, tmp_path: Path) -> None:
    """SIGTERM (exit 130), then kill -9, then to the end: weights and held-out losses bit for bit."""
    options = {**SHORT, "epochs": 4, "save_minutes": 0.01, "probe_molecules": 0}
    command(str(corpus), output=str(tmp_path / "straight"), **options)
    halted = tmp_path / "halted"
    words = [str(corpus), "--output", str(halted)]
    for name, value in options.items():
        pairs = {f"{name}.{key}": x for key, x in value.items()} if isinstance(value, dict) else {name: value}
        words += [part for key, x in pairs.items() for part in (f"--{key}", str(x))]
    last, step = halted / "checkpoints" / LAST, 0
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen(
            [sys.executable, "-m", "mesomer", "pretrain", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        limit = time.monotonic() + 200
        while not (last.exists() and read_state(last)[0].step > step) and time.monotonic() < limit:
            time.sleep(0.005)
        process.send_signal(number)
        text = process.communicate(timeout=200)[1]
        assert process.returncode == code, text
        step = read_state(last)[0].step
    assert step < read_state(tmp_path / "straight" / "checkpoints" / LAST)[0].step
    command(str(corpus), output=str(halted), **options)
    wanted, got = (load_model(tmp_path / name / "pretraining").state for name in ("straight", "halted"))
    assert all(torch.equal(x, got[name]) for name, x in wanted.items())
    rows = [
        [(row["step"], row["loss"]) for row in run_rows(tmp_path / name, "valid")] for name in ("straight", "halted")
    ]
    assert rows[0] == rows[1]


def test_overfits_twenty_molecules() -> None:
    """The same masks again and again: learnt by heart, as far as symmetry lets atoms be told apart."""
    smallest = sorted(demo_smiles(300), key=len)[:20]
    graphs = [graph for graph, _ in map(graph_from_smiles, smallest) if graph is not None]
    batch = collate(graphs)
    options = PretrainOptions(
        encoder={"hidden_size": 32, "blocks": 1, "depth": 2, "dropout": 0.0},
        objective_options={"frozen_masks": True, "mask_ratio": 0.4, "decoder_blocks": 1},
    )
    objective = build(options)

    class Same:
        def steps(self, epoch: int) -> int:
            return 1

        def epoch(self, epoch: int, start: int = 0):
            yield [batch]

    class Twenty(ObjectiveTrainee):
        monitor = None

        def validate(self, context: Context) -> dict[str, float]:
            return {}

    trainee = Twenty(objective, None, 0, atoms_per_batch=1)
    loop = LoopOptions(max_steps=150, max_lr=1e-2, final_lr=1e-3, warmup_epochs=20, accelerator="cpu", precision="32")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    fit(trainee, Same(), loop)
    torch.set_num_threads(threads)
    figures = objective.figures(batch, objective.draw(batch, 0, 0))
    right = [float(row.correct / row.class_counts.sum()) for row in figures.values()]
    assert min(right) > 0.85 and sum(right) / len(right) > 0.95, right


def test_goes_on_from_given_weights(finished: Path, corpus: Path, tmp_path: Path) -> None:
    start = load_model(finished / "pretraining")
    whole = build(PretrainOptions(init=str(finished)), start)
    assert "heads in" in take_heads(whole, start)
    assert all(torch.equal(x, start.state[name]) for name, x in whole.state_dict().items())
    encoder = load_model(finished / "encoder")
    partly = build(PretrainOptions(init=str(finished)), encoder)
    assert "new" in take_heads(partly, encoder)
    assert all(torch.equal(x, encoder.state[name]) for name, x in partly.encoder.state_dict().items())
    told = command(
        str(corpus), output=str(tmp_path / "more"), init=str(finished), **{**SHORT, "encoder": None, "epochs": 1}
    )
    first = float(run_rows(finished, "train")[0]["loss"])
    assert told["loss"] < first and told["init"] == str(finished)
    with pytest.raises(MesomerError, match="hidden_size"):
        build(PretrainOptions(init=str(finished), encoder={"hidden_size": 32}), encoder)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "batmanet"}, "batmannet"),
        ({"objective": "masked"}, "masked_graph"),
        ({"size": "bas"}, "base"),
        ({"encoder": {"hiden_size": 16}}, "hidden_size"),
        ({"objective_options": {"mask_ratio": 2.0}}, "mask ratio"),
        ({"init": "nowhere"}, "nowhere"),
        ({"threads": 0}, "--threads"),
        ({"epochs": 0}, "--epochs"),
        ({"atoms_per_batch": 0}, "--atoms_per_batch"),
        ({"accumulate": 0}, "--accumulate"),
        ({"validate_molecules": 0}, "--validate_molecules"),
        ({"log_steps": 0}, "--log_steps"),
        ({"max_lr": -1.0}, "max_lr"),
    ],
)
def test_wrong_options_leave_nothing_behind(corpus: Path, tmp_path: Path, wrong: dict, words: str) -> None:
    with pytest.raises(MesomerError, match=words):
        command(str(corpus), output=str(tmp_path / "run"), **{**SHORT, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_corpus_of_another_schema(corpus: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "corpus"
    shutil.copytree(corpus, other)
    card = json.loads((other / CARD).read_text())
    (other / CARD).write_text(json.dumps({**card, "schema_version": 0}))
    with pytest.raises(MesomerError, match="mesomer prepare"):
        command(str(other), output=str(tmp_path / "run"), **SHORT)
    assert not (tmp_path / "run").exists()


def test_unwritable_output(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MesomerError, match="file"):
        command(str(corpus), output=str(tmp_path / "file" / "run"), **SHORT)
