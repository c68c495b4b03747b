"""Pre-training an encoder that needs coordinates: which column its batches carry; R-MAT's two stages one after the
other; that an interrupted run ends as if nothing had been.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from small_corpora import write_table
from small_models import molecules, read_table

from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.encoders.base import build_encoder
from mesomer.errors import MesomerError
from mesomer.objectives.base import build_objective
from mesomer.run import Interrupted
from mesomer.training.checkpoint import load_encoder, load_model
from mesomer.training.context import Context
from mesomer.training.loop import StepReport
from mesomer.training.pretrain import _Teller
from mesomer.training.representation import RepresentationProbe

SMALL = {"hidden_size": 8, "heads": 2, "blocks": 1}
SHORT = {
    "method": "rmat", "objective": "motifs", "encoder": SMALL | {"ffn_hidden": 8}, "epochs": 1, "threads": 1,
    "atoms_per_batch": 300, "probe_molecules": 0, "accelerator": "cpu", "precision": "32",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    table = write_table(folder / "table.csv", molecules(80))
    return prepare_corpus(table, folder / "corpus", workers=1, add=["motifs"], quiet=True).corpus.path


def test_conformers_come_with_the_batches(corpus, tmp_path):
    with pytest.raises(MesomerError, match="conformers") as told:
        command(str(corpus), output=str(tmp_path / "early"), **SHORT)
    assert "--add conformers" in told.value.hint
    assert not (tmp_path / "early").exists()
    add_to_corpus(corpus, ["conformers"], 1, quiet=True)
    command(str(corpus), output=str(tmp_path / "run"), **SHORT)
    assert load_encoder(tmp_path / "run").name == "rmat"


def test_the_rate_falls_with_the_inverse_square_root(corpus, tmp_path):
    """The rule of the Transformer: up to its peak, then with the root of the step's number."""
    options = SHORT | {"method": "gin", "encoder": {"hidden_size": 8, "depth": 1}, "epochs": None, "max_steps": 6}
    rates = {"schedule": "inverse_sqrt", "init_lr": 0.0, "max_lr": 1e-2, "final_lr": 6e-3, "warmup_epochs": 1.0}
    command(str(corpus), output=str(tmp_path / "run"), **(options | rates | {"log_steps": 1}))
    rows = read_table(tmp_path / "run" / "metrics.csv")
    found = [float(row["learning_rate"]) for row in rows if row["part"] == "train"]
    warm = found.index(max(found)) + 1
    assert 1 < warm < 4  # one pass through the corpus
    assert np.allclose(found, [1e-2 * min(step / warm, max(0.6, (warm / step) ** 0.5)) for step in range(1, 7)])


def test_the_probe_places_its_molecules(monkeypatch):
    monkeypatch.setattr("mesomer.data.geometry.available_cores", lambda: 1)
    monkeypatch.setattr("mesomer.training.representation.FOLDS", 2)
    encoder = build_encoder("mat", **SMALL)
    assert np.isfinite(RepresentationProbe(8, coordinates=True)._score(encoder, Context.start("cpu", "32")))
    with pytest.raises(MesomerError, match="coordinates"):
        RepresentationProbe(2)._score(encoder, Context.start("cpu", "32"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_while_the_probe_is_placed_ends_the_run_at_once(corpus, tmp_path, monkeypatch, name):
    """Nothing is trained by then: the folder says interrupted, and the same command goes on."""
    if not hasattr(signal, name):
        pytest.skip(f"no {name} on this system")
    add_to_corpus(corpus, ["conformers"], 1, quiet=True)
    options = SHORT | {"probe_molecules": 50, "max_steps": 1}
    run = tmp_path / "run"

    def interrupted(*_, **__):
        signal.raise_signal(getattr(signal, name))
        pytest.fail("the work went on")

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("mesomer.training.representation.placed_graphs", interrupted)
        command(str(corpus), output=str(run), **options)
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    assert not (run / "metrics.csv").exists() and not (run / "checkpoints").exists()
    monkeypatch.setattr("mesomer.data.geometry.available_cores", lambda: 1)
    assert not command(str(corpus), output=str(run), **options)["already_finished"]
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"


def test_a_model_to_start_from_names_the_encoder(corpus, tmp_path):
    """Its options too; another method that is asked for is refused, and nothing is written."""
    encoder = {"hidden_size": 8, "depth": 1}
    gin = SHORT | {"method": "gin", "encoder": encoder, "max_steps": 1}
    command(str(corpus), output=str(tmp_path / "first"), **gin)
    more = {key: value for key, value in gin.items() if key not in ("method", "encoder")} | {"max_steps": 2}
    command(str(corpus), output=str(tmp_path / "more"), init=str(tmp_path / "first"), **more)
    found = load_encoder(tmp_path / "more")
    assert found.name == "gin" and found.config() == load_encoder(tmp_path / "first").config()
    assert "method: gin\n" in (tmp_path / "more" / "config.yaml").read_text()
    told = f"{tmp_path / 'first' / 'pretraining'} holds the encoder gin, and --method is rmat."
    with pytest.raises(MesomerError) as refused:
        command(str(corpus), output=str(tmp_path / "other"), init=str(tmp_path / "first"), **more | {"method": "rmat"})
    assert refused.value.message == told and "--method gin" in refused.value.hint
    assert not (tmp_path / "other").exists()


def test_a_corpus_of_structures_needs_no_column(corpus):
    objective = build_objective("motifs", build_encoder("mat", **SMALL))
    opened = Corpus.open(corpus, ())
    assert objective.batch_columns(opened) == ("motifs", "conformers")
    opened.card["with_coordinates"] = opened.card["molecules"]
    assert objective.batch_columns(opened) == ("motifs",)
    plain = build_objective("motifs", build_encoder("batmannet", hidden_size=8, blocks=1))
    assert plain.batch_columns(opened) == ("motifs",)


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Path:
    """A corpus for both stages."""
    pytest.importorskip("descriptastorus", reason="the 200 descriptors need mesomer[descriptors]")
    folder = tmp_path_factory.mktemp("stages")
    table = write_table(folder / "table.csv", molecules(80))
    added = ["atom_contexts", "conformers", "descriptors"]
    return prepare_corpus(table, folder / "corpus", workers=1, add=added, quiet=True).corpus.path


def test_the_two_stages_run_alone_and_one_after_the_other(stages: Path, tmp_path: Path) -> None:
    own = {key: value for key, value in SHORT.items() if key != "objective"}
    command(str(stages), output=str(tmp_path / "first"), seed=1, **own)
    first = load_model(tmp_path / "first", ("pretraining",))
    assert first.config["objective"]["name"] == "masked_context"  # what the method does if not told
    figures = json.loads((tmp_path / "first" / "figures.json").read_text())
    assert figures.keys() == {"masked_context"} and figures["masked_context"]["values"] > 0
    second = own | {"objective": "descriptors", "max_steps": 2}
    command(str(stages), output=str(tmp_path / "alone"), **second)
    unnamed = {key: value for key, value in second.items() if key != "method"}
    command(str(stages), output=str(tmp_path / "second"), init=str(tmp_path / "first"), **unnamed)
    assert "Starting from the encoder" in (tmp_path / "second" / "log.txt").read_text()
    before, after, alone = (load_encoder(tmp_path / name).state_dict() for name in ("first", "second", "alone"))
    near, far = (max(float((x - after[name]).abs().max()) for name, x in start.items()) for start in (before, alone))
    assert 0 < near < 0.01 < far  # two steps away from the first stage, far from random weights of another seed
    both = own | {"objective": "masked_context+descriptors", "max_steps": 2}
    command(str(stages), output=str(tmp_path / "both"), **both)
    figures = json.loads((tmp_path / "both" / "figures.json").read_text())
    assert figures.keys() == {"masked_context", "descriptors"}


def test_the_first_stage_goes_on_with_its_head(stages: Path, tmp_path: Path) -> None:
    own = SHORT | {"objective": "masked_context", "max_steps": 2}
    command(str(stages), output=str(tmp_path / "run"), **own)
    command(str(stages), output=str(tmp_path / "more"), init=str(tmp_path / "run"), **own)
    assert "Starting from the encoder and the heads" in (tmp_path / "more" / "log.txt").read_text()
    names = load_model(tmp_path / "run", ("pretraining",)).config["objective"]["vocabularies"]
    assert names.keys() == {"heads.atom_from_atom"}


def test_an_interrupted_run_ends_as_if_nothing_had_been(stages: Path, tmp_path: Path, monkeypatch) -> None:
    """With dropout and fresh targets in every epoch: weights and losses bit for bit."""
    encoder = SHORT["encoder"] | {"dropout": 0.1}
    options = SHORT | {"objective": "masked_context", "encoder": encoder, "epochs": 3, "save_minutes": 0.0}
    command(str(stages), output=str(tmp_path / "straight"), **options)
    halted, told = tmp_path / "halted", _Teller.on_step

    def fails_after_the_fifth(self: _Teller, report: StepReport) -> None:
        if report.step == 5:
            raise OSError("the disk is gone")
        told(self, report)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is gone"):
        patch.setattr(_Teller, "on_step", fails_after_the_fifth)
        command(str(stages), output=str(halted), **options)
    command(str(stages), output=str(halted), **options)
    assert "Going on after step" in (halted / "log.txt").read_text()
    wanted, got = (load_model(run, ("pretraining",)).state for run in (tmp_path / "straight", halted))
    assert all(torch.equal(x, got[name]) for name, x in wanted.items())
    figures = [json.loads((run / "figures.json").read_text()) for run in (tmp_path / "straight", halted)]
    assert figures[0] == figures[1]
