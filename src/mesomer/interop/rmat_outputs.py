"""Outputs of the published R-MAT and MAT code that lie beside a checkpoint (`expected.npz`, `config.json`,
`molecules.sdf`), and how far ours are from them.

Geometry is that of the SDF file, whose hydrogens are nodes. A set of this form is what `tests/reference` holds.
"""

from __future__ import annotations

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
from mesomer.heads import PropertyModel
from mesomer.interop.imported import Imported


def graphs_of(sdf: Path) -> list[MolGraph]:
    """The molecules of a set with their coordinates, hydrogens kept."""
    with rdBase.BlockLogs():
        return [featurize(mol, coordinates=True) for mol in Chem.SDMolSupplier(str(sdf), removeHs=False)]


@torch.no_grad()
def largest_difference(checkpoint: Path, imported: Imported) -> float | None:
    """Largest absolute difference to the stored outputs, or None where none are stored for this file."""
    files = [checkpoint.parent / name for name in ("expected.npz", "config.json", "molecules.sdf")]
    if not all(file.is_file() for file in files):
        return None
    expected, config = np.load(files[0]), json.loads(files[1].read_text(encoding="utf-8"))
    described = config.get("models", {}).get(checkpoint.stem, {}).get("config", {})
    if described.get("d_model") != imported.encoder.width or "batches" not in config:
        return None
    pairs = _pairs(checkpoint.stem, imported, graphs_of(files[2]), expected, config["batches"])
    return max(
        (float((ours.double() - torch.from_numpy(given.astype(np.float64))).abs().max()) for ours, given in pairs),
        default=None,
    )


def _pairs(
    stem: str, imported: Imported, graphs: list[MolGraph], expected: Any, batches: dict[str, int]
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Our outputs beside the stored ones: of a file with a head its raw output, else the rows of the first batch."""
    model = imported.module
    if isinstance(model, PropertyModel):
        if f"{stem}_pred" not in expected:
            return
        features = None
        if model.descriptors_dim:
            if f"features_{model.descriptors_dim}" not in expected:
                return
            features = torch.from_numpy(expected[f"features_{model.descriptors_dim}"])
        found = []
        for start in range(0, len(graphs), batches["predict"]):
            part = slice(start, start + batches["predict"])
            [raw] = model(collate(graphs[part]), None if features is None else features[part])
            found.append(raw)
        yield torch.cat(found), expected[f"{stem}_pred"]
    elif f"{stem}_b8_encoded" in expected:
        first = graphs[: batches["b8"]]
        [view] = imported.encoder.readout_views
        rows = imported.encoder(collate(first)).views[view]
        counts = [len(graph.atoms) + 1 for graph in first]
        given = expected[f"{stem}_b8_encoded"]
        yield rows, np.concatenate([one[:count] for one, count in zip(given, counts, strict=True)])
