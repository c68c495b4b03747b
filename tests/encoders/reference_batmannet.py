"""A reference set of BatmanNet, read from its folder.

Its models are the `…_args` entries of its config.json, each with a checkpoint of that name; which kind each one is, its
arguments tell. Array names carry batch sizes, which config.json gives too.
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
from mesomer.encoders.batmannet import BatmanNet
from mesomer.interop.batmannet import Imported, convert
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.objectives.masked_graph import MaskDraw


class Reference:
    """The set's files, and its batches in our layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = json.loads((folder / "config.json").read_text())
        self.arrays = dict(np.load(folder / "expected.npz"))

    @cached_property
    def graphs(self):
        with open(self.folder / "smiles.csv", newline="") as file, rdBase.BlockLogs():
            # straight from RDKit: the sets hold molecules that our reader turns down, such as hydrogen
            return [featurize(Chem.MolFromSmiles(row["smiles"])) for row in csv.DictReader(file)]

    @property
    def first(self) -> int:
        """Molecules of the small batch; array names carry the number."""
        return self.config["batches"]["first"]

    @property
    def size(self) -> int:
        """Molecules of the larger batches."""
        return self.config["batches"]["predict"]

    def array(self, name: str) -> np.ndarray:
        """An array by its name with `8` for the small and `32` for the larger batch, as the README writes them."""
        return self.arrays[self.named(name)]

    def named(self, name: str) -> str:
        """The name that this set gives to an array of the README."""
        sizes = {"8": str(self.first), "32": str(self.size), "64": str(len(self.graphs))}
        return re.sub(r"^([a-z_]+?)(8|32|64)(?=_|$)", lambda found: found[1] + sizes[found[2]], name)

    def batch(self, start: int, stop: int) -> GraphBatch:
        return collate(self.graphs[start:stop])

    def model(self, stem: str, batchwise: bool = True) -> Imported:
        """The imported checkpoint; `batchwise` restores the published mixing."""
        checkpoint = read_checkpoint(self.folder / f"{stem}.pt")
        imported = convert(checkpoint, self.config[f"{stem}_args"] if checkpoint.arguments is None else None)
        imported.encoder.batchwise = batchwise
        return imported


def model_names(*kinds: str) -> list[str]:
    """The set's models whose arguments are of these kinds: pretrain, finetune, ddi, dti."""
    folder = find_reference()
    file = None if folder is None else folder / "parity" / "batmannet" / "config.json"
    if file is None or not file.is_file():
        return []
    config = json.loads(file.read_text())
    named = {key.removesuffix("_args"): value for key, value in config.items() if key.endswith("_args")}
    return [name for name, arguments in named.items() if arguments["parser_name"] in kinds]


def bond_order(batch: GraphBatch) -> Tensor:
    """Our directed bonds in the published order."""
    encoder = BatmanNet(hidden_size=4, blocks=1, rules="published", stage="pretraining", batchwise=True)
    return torch.argsort(encoder.positions(batch)[1])


def given_masks(batch: GraphBatch, atom_rows: np.ndarray, bond_rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Published hidden rows (counted from 1) as our masks."""
    atoms = torch.zeros(batch.num_atoms, dtype=torch.bool)
    atoms[torch.from_numpy(atom_rows).long() - 1] = True
    bonds = torch.zeros(batch.num_bonds, dtype=torch.bool)
    bonds[bond_order(batch)[torch.from_numpy(bond_rows).long() - 1]] = True
    return atoms, bonds


def visible_bond_rows(batch: GraphBatch, draw: MaskDraw) -> Tensor:
    """Our rows of the visible edge branch (one padding row first) in the published order."""
    seen = ~draw.bonds
    order = bond_order(batch)
    number = seen.cumsum(0)
    return torch.cat([torch.zeros(1, dtype=torch.long), number[order[seen[order]]]])


def with_padding(order: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), order + 1])


def assert_close(ours: Tensor, expected: np.ndarray, name: str) -> None:
    """The set's tolerance: 1e-3 absolute for decoder arrays, else 5e-5 of max(1, largest magnitude)."""
    expected = np.asarray(expected, dtype=np.float64)
    actual = ours.detach().double().numpy()
    assert actual.shape == expected.shape, f"{name}: {actual.shape} against {expected.shape}"
    limit = 1e-3 if re.match(r"(dec|logits)\d+_", name) else 5e-5 * max(1.0, np.abs(expected).max())
    worst = np.abs(actual - expected).max()
    assert worst <= limit, f"{name}: {worst:.2e} above {limit:.2e}"
