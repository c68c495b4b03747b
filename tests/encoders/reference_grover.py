"""A reference set of GROVER, read from its folder.

Its models are the `…_args` entries of its config.json, each with a checkpoint of that name. Array names carry batch
sizes, which config.json gives too.
"""

from __future__ import annotations

import csv
import json
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from conftest import find_reference
from rdkit import Chem, rdBase
from torch import Tensor

from mesomer.chem.featurize import featurize
from mesomer.chem.graph import GraphBatch, collate
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.interop.grover import convert
from mesomer.interop.imported import Imported


class Reference:
    """The set's files, and its batches in our layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = json.loads((folder / "config.json").read_text())
        self.arrays = dict(np.load(folder / "expected.npz"))
        batches = self.config["batches"]
        self.first, self.size, self.cut = batches["first"], batches["predict"], batches["cut"]

    @cached_property
    def smiles(self) -> list[str]:
        with open(self.folder / "smiles.csv", newline="") as file:
            return [row["smiles"] for row in csv.DictReader(file)]

    @cached_property
    def graphs(self):
        with rdBase.BlockLogs():
            return [featurize(Chem.MolFromSmiles(text)) for text in self.smiles]

    def array(self, name: str) -> np.ndarray:
        """An array by its name with the numbers of the README (8 first, 3 cut, 32 batch, 64 all)."""
        return self.arrays[self.named(name)]

    def named(self, name: str) -> str:
        """The name that this set gives to an array of the README."""
        sizes = {"8": self.first, "3": self.cut, "32": self.size, "64": len(self.graphs)}
        return re.sub(r"(?<=[a-z])(8|3|32|64)(?=_|$)", lambda found: str(sizes[found[1]]), name, count=1)

    def batch(self, start: int, stop: int) -> GraphBatch:
        return collate(self.graphs[start:stop])

    def model(self, stem: str, batchwise: bool = True) -> Imported:
        """The imported checkpoint; `batchwise` restores the published mixing."""
        imported = convert(read_checkpoint(self.folder / f"{stem}.pt"))
        imported.encoder.batchwise = batchwise
        return imported


def model_names(*kinds: str) -> list[str]:
    """The set's models whose arguments are of these kinds: pretrain, finetune."""
    folder = find_reference()
    file = None if folder is None else folder / "parity" / "grover" / "config.json"
    if file is None or not file.is_file():
        return []
    config = json.loads(file.read_text())
    named = {key.removesuffix("_args"): value for key, value in config.items() if key.endswith("_args")}
    return [name for name, arguments in named.items() if arguments["parser_name"] in kinds]


def bond_order(batch: GraphBatch) -> Tensor:
    """Our directed bonds in the published order: by smaller, then larger atom of the bond, forth and back."""
    smaller, larger = batch.source[::2], batch.target[::2]
    order = torch.argsort(smaller * batch.num_atoms + larger)
    return torch.stack([2 * order, 2 * order + 1], dim=1).flatten()


def with_padding(order: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), order + 1])


def assert_close(ours: Tensor, expected: np.ndarray, name: str) -> None:
    """The set's tolerance: 1e-5 of max(1, largest magnitude)."""
    expected = np.asarray(expected, dtype=np.float64)
    actual = ours.detach().double().numpy()
    assert actual.shape == expected.shape, f"{name}: {actual.shape} against {expected.shape}"
    limit = 1e-5 * max(1.0, np.abs(expected).max())
    worst = np.abs(actual - expected).max()
    assert worst <= limit, f"{name}: {worst:.2e} above {limit:.2e}"
