"""GROVER pre-trains on its own objectives: names of contexts and motifs, from a corpus that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_corpora import demo_smiles, write_table

from mesomer.commands.pretrain import pretrain as command
from mesomer.data.prepare import prepare_corpus
from mesomer.encoders.grover import VIEWS
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import load_encoder

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
    # from the weights of a run, on contexts that may be numbered otherwise: the heads are new
    command(str(corpus), output=str(tmp_path / "more"), init=str(tmp_path / "one"), **SHORT)
    assert "heads of the objective are new" in (tmp_path / "more" / "log.txt").read_text()


def test_a_corpus_without_contexts_is_told_how_to_add_them(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(60))
    prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True)
    with pytest.raises(MesomerError, match="--add atom_contexts"):
        command(str(tmp_path / "corpus"), output=str(tmp_path / "run"), **SHORT)
