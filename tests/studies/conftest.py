"""A small real table and a small encoder for the tests of the study."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_corpora import demo_rows
from small_models import save_encoder, write_table

from mesomer.studies.molecules import Source
from mesomer.studies.run import Request
from mesomer.training.checkpoint import load_model


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A model folder with an encoder that trains in seconds."""
    return save_encoder(tmp_path_factory.mktemp("study") / "model")


@pytest.fixture
def table(tmp_path) -> Path:
    """Solubilities of 60 molecules of the demonstration set."""
    rows = demo_rows(60)
    return write_table(
        tmp_path / "data.csv",
        {"smiles": [row["smiles"] for row in rows], "activity": [row["activity"] for row in rows]},
    )


@pytest.fixture
def request_of(model, tmp_path):
    """Makes what a study is asked for."""

    def make(path: Path, targets=("activity",), output: str = "run", **more) -> Request:
        keys = ("task", "descriptors", "seed")
        own = {key: more.pop(key) for key in keys if key in more}
        sha256 = load_model(model).sha256
        source = Source(
            str(path), tuple(targets), own.get("task"), None, 500, tuple(own.get("descriptors", ())), str(model),
            sha256, tmp_path / output, own.get("seed", 0),
        )  # fmt: skip
        return Request(
            source, path.name, {path.name: "0" * 64}, {"data": path.name}, **({"corpus": None, "jobs": 1} | more)
        )

    return make


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """A few trees are enough to see how a study runs."""
    monkeypatch.setattr("mesomer.baselines.forest.TREES", 10)
    monkeypatch.setattr("mesomer.baselines.boosting.ROUNDS", 10)
