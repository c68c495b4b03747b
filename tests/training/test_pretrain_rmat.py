"""Pre-training an encoder that needs coordinates: which column its batches carry, and that it learns at all."""

from __future__ import annotations

import numpy as np
import pytest
from small_corpora import write_table
from small_models import molecules

from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.encoders.base import build_encoder
from mesomer.errors import MesomerError
from mesomer.objectives.base import build_objective
from mesomer.training.checkpoint import load_encoder
from mesomer.training.context import Context
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


def test_the_probe_places_its_molecules(monkeypatch):
    monkeypatch.setattr("mesomer.data.geometry.available_cores", lambda: 1)
    monkeypatch.setattr("mesomer.training.representation.FOLDS", 2)
    encoder = build_encoder("mat", **SMALL)
    assert np.isfinite(RepresentationProbe(8, coordinates=True)._score(encoder, Context.start("cpu", "32")))
    with pytest.raises(MesomerError, match="coordinates"):
        RepresentationProbe(2)._score(encoder, Context.start("cpu", "32"))


def test_a_corpus_of_structures_needs_no_column(corpus):
    objective = build_objective("motifs", build_encoder("mat", **SMALL))
    opened = Corpus.open(corpus, ())
    assert objective.batch_columns(opened) == ("motifs", "conformers")
    opened.card["with_coordinates"] = opened.card["molecules"]
    assert objective.batch_columns(opened) == ("motifs",)
    plain = build_objective("motifs", build_encoder("batmannet", hidden_size=8, blocks=1))
    assert plain.batch_columns(opened) == ("motifs",)
