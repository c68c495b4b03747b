"""GROVER pre-trains on its own objectives: names of contexts and motifs, from a corpus that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_corpora import demo_smiles, write_table

from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.encoders.grover import VIEWS
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import load_encoder, load_model
from mesomer.training.loop import StepReport
from mesomer.training.pretrain import PretrainOptions, _Teller, build, take_heads

SHORT = {
    "method": "grover",
    "encoder": {"hidden_size": 8, "depth": 4, "heads": 2},
    "max_steps": 3,
    "atoms_per_batch": 300,
    "probe_molecules": 0,
    "threads": 1,
    "accelerator": "cpu",
    "precision": "32",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    table = write_table(folder / "table.csv", demo_smiles(100))
    added = "atom_contexts,bond_contexts,motifs"
    return prepare_corpus(table, folder / "corpus", workers=1, add=added, quiet=True).corpus.path


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_encoder(run).state_dict()


def test_a_run_repeats_with_its_random_depths(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        command(str(corpus), output=str(tmp_path / name), **SHORT)
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(first[name], second[name]) for name in first)
    figures = json.loads((tmp_path / "one" / "figures.json").read_text())
    assert figures.keys() == {f"{view}_{task}" for view in VIEWS for task in ("context", "motifs")}
    command(
        str(corpus), output=str(tmp_path / "fixed"), **SHORT | {"encoder": SHORT["encoder"] | {"random_depth": False}}
    )
    fixed = weights(tmp_path / "fixed")
    assert not all(torch.equal(first[name], fixed[name]) for name in first)


def test_a_run_starts_from_the_heads_of_another_where_names_are_the_same(corpus: Path, tmp_path: Path) -> None:
    command(str(corpus), output=str(tmp_path / "run"), **SHORT)
    command(str(corpus), output=str(tmp_path / "more"), init=str(tmp_path / "run"), **SHORT)
    assert "Starting from the encoder and the heads" in (tmp_path / "more" / "log.txt").read_text()
    start, store = load_model(tmp_path / "run", ("pretraining",)), Corpus.open(corpus)
    names = start.config["objective"]["vocabularies"]
    assert names.keys() == {f"parts.contextual.heads.{view}" for view in VIEWS} and len(set(names.values())) == 2

    def started(**objective_options: dict) -> tuple[str, dict[str, torch.Tensor]]:
        objective = build(PretrainOptions(method="grover", seed=5, objective_options=objective_options), start)
        objective.adapt(store)
        return take_heads(objective, start), objective.state_dict()

    told, state = started()
    assert "but for" not in told and all(torch.equal(x, state[key]) for key, x in start.state.items())
    # other bonds: only the heads that name them are new, and they come from the seed
    for view in VIEWS[2:]:
        names[f"parts.contextual.heads.{view}"] = "of another corpus"
    (told, state), (_, again) = started(), started()
    assert "heads.bond_from_atom" in told and "heads.atom" not in told
    for key, x in start.state.items():
        renewed = key.startswith("parts.contextual.heads.bond_")
        assert torch.equal(x, state[key]) != renewed and torch.equal(state[key], again[key])
    # fewer names, or runs from before names were stored: the same holds, whatever the sizes
    told, state = started(contextual={"largest_vocabulary": 5})
    assert "heads.atom_from_atom" in told and state["parts.contextual.heads.atom_from_atom.bias"].shape == (7,)
    del start.config["objective"]["vocabularies"]
    told, state = started()
    assert "heads.atom_from_atom" in told
    assert all(torch.equal(x, state[key]) for key, x in start.state.items() if "parts.contextual" not in key)
    # heads of another make
    told, _ = started(motifs={"by_view": False, "hidden": 4})
    assert "heads of the objective are new" in told


def test_an_interrupted_run_ends_as_if_nothing_had_been(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout and depths that are drawn anew in every step: weights and losses bit for bit."""
    options = SHORT | {"max_steps": 8, "save_minutes": 0.0}
    command(str(corpus), output=str(tmp_path / "straight"), **options)
    halted, told = tmp_path / "halted", _Teller.on_step

    def fails_after_the_fifth(self: _Teller, report: StepReport) -> None:
        if report.step == 5:
            raise OSError("the disk is gone")
        told(self, report)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is gone"):
        patch.setattr(_Teller, "on_step", fails_after_the_fifth)
        command(str(corpus), output=str(halted), **options)
    command(str(corpus), output=str(halted), **options)
    assert "Going on after step" in (halted / "log.txt").read_text()
    wanted, got = (load_model(run, ("pretraining",)).state for run in (tmp_path / "straight", halted))
    assert all(torch.equal(x, got[name]) for name, x in wanted.items())
    figures = [json.loads((run / "figures.json").read_text()) for run in (tmp_path / "straight", halted)]
    assert figures[0] == figures[1]


def test_a_corpus_without_contexts_is_told_how_to_add_them(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(60))
    prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True)
    with pytest.raises(MesomerError, match="--add atom_contexts"):
        command(str(tmp_path / "corpus"), output=str(tmp_path / "run"), **SHORT)
