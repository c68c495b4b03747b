"""Outputs of pretrain-gnns' published code that lie beside a checkpoint (`expected.npz`, `config.json`, `smiles.csv`),
and how far ours are from them.

The molecules are one batch; batch mates change nothing. A set of this form is what `tests/reference` holds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch import Tensor

from mesomer.chem.featurize import featurize_many
from mesomer.chem.graph import GraphBatch, batch_from_arrays
from mesomer.encoders.gin import GINFamily
from mesomer.encoders.readouts import GraphReadout
from mesomer.interop.imported import Imported

READOUTS = ("mean", "sum", "max")


@torch.no_grad()
def largest_difference(checkpoint: Path, imported: Imported) -> float | None:
    """Largest absolute difference to the stored outputs, or None where none are stored for this file."""
    folder, encoder = checkpoint.parent, imported.encoder
    files = [folder / name for name in ("expected.npz", "config.json", "smiles.csv")]
    if not all(file.is_file() for file in files) or not isinstance(encoder, GINFamily):
        return None
    models = json.loads(files[1].read_text(encoding="utf-8")).get("models", {})
    name = next((name for name, about in models.items() if about["file"] == checkpoint.name), None)
    if name is None or encoder.jk != "last":
        return None
    with np.load(files[0]) as expected:
        pairs = [(found, expected[stored]) for stored, found in outputs(encoder, read_batch(files[2]), name)]
    return max(float((ours.double() - torch.from_numpy(given).double()).abs().max()) for ours, given in pairs)


def read_batch(smiles: Path) -> GraphBatch:
    """The molecules of the set, in order and as they are spelt."""
    with open(smiles, newline="", encoding="utf-8") as file, rdBase.BlockLogs():
        return batch_from_arrays(*featurize_many(Chem.MolFromSmiles(row["smiles"]) for row in csv.DictReader(file)))


def outputs(encoder: GINFamily, batch: GraphBatch, name: str) -> Iterator[tuple[str, Tensor]]:
    """What an encoder with the last layer's output makes of the batch, by the names of the stored arrays."""
    states = encoder.states(batch)
    yield f"{name}/node", states[-1]
    by_jump = {"": states[-1], "_jk_concat": torch.cat(states, dim=1), "_jk_max": torch.stack(states).amax(0)}
    for jump, rows in by_jump.items():
        for kind in READOUTS if jump == "" else ("mean",):
            readout = GraphReadout(rows.shape[1], kind)
            yield f"{name}/graph_{kind}{jump}", readout(rows, batch.atom_molecule, batch.num_molecules)
