"""Small real encoders and labelled tables for the tests of fine-tuning, prediction and embedding."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mesomer.encoders.base import Encoder, build_encoder
from mesomer.training.checkpoint import save_model

PARTS = ("C", "CC", "CO", "CN", "c1ccccc1", "C(=O)", "C(F)", "CCl", "C(C)C", "c1ccncc1", "S", "C#C")
ENDS = ("O", "N", "C", "F", "C(=O)O", "Cl", "C#N", "Br")


def small_encoder(seed: int = 0, **options: object) -> Encoder:
    """A BatmanNet that trains in seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "blocks": 1, "depth": 2, "heads": 2, "dropout": 0.0}
        return build_encoder("batmannet", **(sizes | options))


def save_encoder(path: Path, seed: int = 0, **options: object) -> Path:
    """A model folder with such an encoder."""
    encoder = small_encoder(seed, **options)
    config = {"encoder": {"name": "batmannet", "config": encoder.config()}}
    return save_model(path, "encoder", config, encoder.state_dict(), "# test\n")


def molecules(count: int, seed: int = 0) -> list[str]:
    """Different molecules that RDKit reads."""
    rng, found = np.random.default_rng(seed), {}
    from rdkit import Chem

    while len(found) < count:
        words = [PARTS[at] for at in rng.integers(0, len(PARTS), rng.integers(1, 5))]
        text = "C" + "".join(words) + ENDS[rng.integers(0, len(ENDS))]
        mol = Chem.MolFromSmiles(text)
        if mol is not None:
            found[Chem.MolToSmiles(mol)] = text
    return list(found.values())


def heteroatoms(smiles: str) -> int:
    """A property that a network learns from atoms alone."""
    from rdkit import Chem

    return sum(atom.GetAtomicNum() not in (1, 6) for atom in Chem.MolFromSmiles(smiles).GetAtoms())


def write_table(path: Path, columns: dict[str, Sequence[object]]) -> Path:
    """A CSV file; None is an empty cell."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    csv.field_size_limit(2**31 - 1)
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
