"""Pre-training of the GIN family: from a corpus to vectors, and batch norm's statistics through an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_corpora import demo_smiles, write_table

from mesomer.chem.featurize import graph_from_smiles
from mesomer.commands.pretrain import pretrain as command
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.data.stream import CorpusBatches
from mesomer.inference.embed import Embedder
from mesomer.run import Interrupted, StopRequest
from mesomer.training.checkpoint import load_encoder
from mesomer.training.loop import Listener, LoopOptions, fit
from mesomer.training.objective_trainee import ObjectiveTrainee
from mesomer.training.pretrain import PretrainOptions, build

SMALL = {"hidden_size": 16, "depth": 2, "dropout": 0.1}

ALL = "masked_attributes+edge_prediction+infomax+context_prediction+contrastive"
TERMS = {"element", "bound", "apart", "own", "other", "context", "other_context", "contrast"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    table = write_table(folder / "table.csv", demo_smiles(150))
    return prepare_corpus(table, folder / "corpus", workers=1, quiet=True).corpus.path


@pytest.mark.parametrize("objective", [None, ALL])
def test_from_a_corpus_to_vectors(corpus: Path, tmp_path: Path, objective: str | None) -> None:
    options = {"threads": 1, "accelerator": "cpu", "precision": "32", "probe_molecules": 0, "atoms_per_batch": 500}
    options |= {"encoder": {**SMALL, "layer": "gat"}, "epochs": 1}
    told = command(str(corpus), output=str(tmp_path / "run"), method="gin", objective=objective, **options)
    terms = {"element"} if objective is None else TERMS
    assert told["figures"].keys() == terms and np.isfinite(told["loss"])
    encoder = load_encoder(tmp_path / "run")
    assert encoder.config()["layer"] == "gat" and encoder.config()["rules"] == "sound"
    graphs = [graph_from_smiles(text)[0] for text in ("CCO", "C", "c1ccccc1")]
    vectors = Embedder(str(tmp_path / "run"), accelerator="cpu").vectors(graphs)
    assert vectors.shape == (3, 2 * 16) and np.isfinite(vectors).all()


class StopsAt(Listener):
    """Asks to stop after a step, as a signal would."""

    def __init__(self, step: int, request: StopRequest) -> None:
        self.step, self.request = step, request

    def on_step(self, report) -> None:
        self.request.requested = self.request.requested or report.step >= self.step


def trained(corpus: Path, folder: Path, stop_at: int | None = None):
    objective = build(PretrainOptions(method="gin", encoder=SMALL))
    store = Corpus.open(str(corpus), objective.extras)
    trainee = ObjectiveTrainee(objective, store, 0, atoms_per_batch=500)
    batches = CorpusBatches(store, atoms_per_batch=500, accumulate=1, rank=0, world=1, seed=0, extras=())
    options = LoopOptions(max_steps=8, accelerator="cpu", precision="32", warmup_epochs=0.1, log_steps=1)
    request = StopRequest()
    listener = None if stop_at is None else StopsAt(stop_at, request)
    fit(trainee, batches, options, folder, listener=listener, stop=request)
    return objective.state_dict()


def test_interrupted_equals_uninterrupted(corpus: Path, tmp_path: Path) -> None:
    straight = trained(corpus, tmp_path / "straight")
    with pytest.raises(Interrupted):
        trained(corpus, tmp_path / "halted", stop_at=3)
    halted = trained(corpus, tmp_path / "halted")
    assert int(straight["encoder.norms.0.num_batches_tracked"]) == 8
    assert not torch.equal(straight["encoder.norms.0.running_var"], torch.ones(16))
    assert all(torch.equal(x, halted[name]) for name, x in straight.items())
