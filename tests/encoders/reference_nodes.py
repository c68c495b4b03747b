"""A reference set of R-MAT or MAT, read from its folder; its models are those that its config.json describes."""

from __future__ import annotations

import csv
import importlib
import json
from functools import cache, cached_property

import numpy as np
import torch
from conftest import find_reference
from rdkit import Chem, rdBase
from torch import Tensor

from mesomer.chem.featurize import featurize
from mesomer.chem.graph import GraphBatch, MolGraph, collate
from mesomer.interop.checkpoints import ForeignCheckpoint, read_checkpoint
from mesomer.interop.imported import Imported
from mesomer.interop.rmat_outputs import graphs_of

FAMILIES = ("rmat", "mat")
CLOSE, ROUGH = 5e-5, 5e-4


class Reference:
    """The set's files, and its batches in our layout."""

    def __init__(self, family: str) -> None:
        folder = find_reference()
        assert folder is not None
        self.family, self.folder = family, folder / "parity" / family
        self.config = json.loads((self.folder / "config.json").read_text())
        self.arrays = dict(np.load(self.folder / "expected.npz"))
        self.batches = self.config["batches"]

    @cached_property
    def graphs(self) -> list[MolGraph]:
        return graphs_of(self.folder / "molecules.sdf")

    @cached_property
    def spelt(self) -> list[MolGraph]:
        """The graphs from the SMILES."""
        with open(self.folder / "smiles.csv", newline="") as file, rdBase.BlockLogs():
            return [featurize(Chem.MolFromSmiles(row["smiles"])) for row in csv.DictReader(file)]

    def batch(self, start: int = 0, stop: int | None = None) -> GraphBatch:
        return collate(self.graphs[start:stop])

    def checkpoint(self, name: str) -> ForeignCheckpoint:
        return read_checkpoint(self.folder / f"{name}.pt")

    def model(self, name: str) -> Imported:
        adapter = importlib.import_module(f"mesomer.interop.{self.family}")
        return adapter.convert(self.checkpoint(name), self.config["models"][name]["config"])

    def features(self, model) -> Tensor | None:
        """The molecule features that a model with a head wants."""
        width = model.descriptors_dim
        return torch.from_numpy(self.arrays[f"features_{width}"]) if width else None


@cache
def reference_of(family: str) -> Reference:
    return Reference(family)


def models(*families: str) -> list[tuple[str, str]]:
    """Family and name of each model of the sets that are here."""
    folder = find_reference()
    found = []
    for family in families:
        file = None if folder is None else folder / "parity" / family / "config.json"
        if file is not None and file.is_file():
            found += [(family, name) for name in json.loads(file.read_text())["models"]]
    return found


def deviation(ours: Tensor, expected: np.ndarray) -> float:
    """Largest difference relative to max(1, largest magnitude)."""
    expected = np.asarray(expected, dtype=np.float64)
    actual = ours.detach().double().numpy()
    assert actual.shape == expected.shape, f"{actual.shape} against {expected.shape}"
    return float(np.abs(actual - expected).max() / max(1.0, np.abs(expected).max()))


def assert_close(ours: Tensor, expected: np.ndarray, name: str, limit: float) -> None:
    worst = deviation(ours, expected)
    assert worst <= limit, f"{name}: {worst:.2e} above {limit:.2e}"
