"""Outputs of the published code that lie beside a checkpoint (`expected.npz`, `config.json`, `smiles.csv`), and how
far ours are from them.

Computed with `batchwise` on, as the published code batches. A set of this form is what `tests/reference` holds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch import Tensor

from mesomer.chem.featurize import featurize
from mesomer.chem.graph import MolGraph, collate
from mesomer.encoders.batmannet import BatmanNet
from mesomer.heads import PropertyModel
from mesomer.interop.imported import Imported


@torch.no_grad()
def largest_difference(checkpoint: Path, imported: Imported) -> float | None:
    """Largest absolute difference to the stored outputs, or None where none are stored for this file."""
    folder = checkpoint.parent
    files = [folder / name for name in ("expected.npz", "config.json", "smiles.csv")]
    if not all(file.is_file() for file in files) or not isinstance(imported.encoder, BatmanNet):
        return None
    expected, config = np.load(files[0]), json.loads(files[1].read_text(encoding="utf-8"))
    with open(files[2], newline="", encoding="utf-8") as file, rdBase.BlockLogs():
        graphs = [featurize(Chem.MolFromSmiles(row["smiles"])) for row in csv.DictReader(file)]
    before, imported.encoder.batchwise = imported.encoder.batchwise, True
    try:
        pairs = list(_pairs(checkpoint.stem, imported, graphs, expected, config))
    finally:
        imported.encoder.batchwise = before
    return max(
        (
            float((ours.double() - torch.from_numpy(np.asarray(theirs, np.float64))).abs().max())
            for ours, theirs in pairs
        ),
        default=None,
    )


def _pairs(
    stem: str, imported: Imported, graphs: list[MolGraph], expected: Any, config: dict[str, Any]
) -> Iterator[tuple[Tensor, np.ndarray]]:
    encoder = imported.encoder
    assert isinstance(encoder, BatmanNet)
    arguments = config.get(f"{stem}_args", {})
    if arguments.get("hidden_size") != encoder.width or "batches" not in config:
        return
    if isinstance(imported.module, PropertyModel):
        name, size = stem.removeprefix("finetune_"), config["batches"]["predict"]
        if f"ft_{name}_logit_atom_from_atom" not in expected:
            return
        for view in range(2):
            raw = []
            for start in range(0, len(graphs), size):
                extra = (
                    expected[f"ft_{name}_features"][start : start + size] if f"ft_{name}_features" in expected else None
                )
                raw.append(
                    imported.module(
                        collate(graphs[start : start + size]), None if extra is None else torch.from_numpy(extra)
                    )[view]
                )
            yield torch.cat(raw), expected[f"ft_{name}_logit_{imported.module.views[view]}"]
    elif encoder.positional and "mask8_node_idx" in expected:
        batch = collate(graphs[: config["batches"]["first"]])
        seen = torch.ones(batch.num_atoms, dtype=torch.bool)
        seen[torch.from_numpy(expected["mask8_node_idx"]).long() - 1] = False
        order = torch.argsort(encoder.positions(batch)[1])
        seen_bonds = torch.ones(batch.num_bonds, dtype=torch.bool)
        seen_bonds[order[torch.from_numpy(expected["mask8_edge_idx"]).long() - 1]] = False
        rows, features = encoder.rows(batch, seen, seen_bonds), encoder.features(batch)
        branches = encoder.branches(batch, features, rows, seen, seen_bonds)
        views = encoder.views(*branches, rows, features, seen, seen_bonds)
        yield views["atom_from_atom"], expected["enc8_node_out"]
        visible = torch.cat([torch.zeros(1, dtype=torch.long), seen_bonds.cumsum(0)[order[seen_bonds[order]]]])
        yield views["bond_from_bond"][visible], expected["enc8_edge_out"]
