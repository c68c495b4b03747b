"""Outputs of GROVER's published code that lie beside a checkpoint (`expected.npz`, `config.json`, `smiles.csv`), and
how far ours are from them.

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
from mesomer.encoders.grover import Grover
from mesomer.heads import PropertyModel
from mesomer.interop.imported import Imported


@torch.no_grad()
def largest_difference(checkpoint: Path, imported: Imported) -> float | None:
    """Largest absolute difference to the stored outputs, or None where none are stored for this file."""
    folder = checkpoint.parent
    files = [folder / name for name in ("expected.npz", "config.json", "smiles.csv")]
    encoder = imported.encoder
    if not all(file.is_file() for file in files) or not isinstance(encoder, Grover):
        return None
    expected, config = np.load(files[0]), json.loads(files[1].read_text(encoding="utf-8"))
    arguments = config.get(f"{checkpoint.stem}_args", {})
    if arguments.get("hidden_size") != encoder.width or "batches" not in config:
        return None
    with open(files[2], newline="", encoding="utf-8") as file, rdBase.BlockLogs():
        graphs = [featurize(Chem.MolFromSmiles(row["smiles"])) for row in csv.DictReader(file)]
    before, encoder.batchwise = encoder.batchwise, True
    try:
        pairs = list(_pairs(checkpoint.stem, imported, graphs, expected, config["batches"]["predict"]))
    finally:
        encoder.batchwise = before
    return max(
        (float((ours.double() - torch.from_numpy(np.asarray(given, np.float64))).abs().max()) for ours, given in pairs),
        default=None,
    )


def _pairs(
    stem: str, imported: Imported, graphs: list[MolGraph], expected: Any, size: int
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Our outputs beside the stored ones: of a fine-tuned file each head's, else the fingerprints."""
    encoder, model = imported.encoder, imported.module
    starts = range(0, len(graphs), size)
    batches = [collate(graphs[start : start + size]) for start in starts]
    if isinstance(model, PropertyModel):
        name = stem.removeprefix("finetune_")
        if f"ft_{name}_logit_{model.views[0]}" not in expected:
            return
        features: list[Tensor | None] = [None] * len(batches)
        if model.descriptors_dim:
            given = torch.from_numpy(np.nan_to_num(expected[f"features_{model.descriptors_dim}_raw"], nan=0.0))
            features = [given[start : start + size] for start in starts]
        raw = [model(batch, extra) for batch, extra in zip(batches, features, strict=True)]
        for view, parts in zip(model.views, zip(*raw, strict=True), strict=True):
            yield torch.cat(parts), expected[f"ft_{name}_logit_{view}"]
    elif f"fp_both_bs{size}" in expected:
        vectors = [encoder.molecule_vectors(encoder(batch), batch) for batch in batches]
        yield torch.cat(vectors), expected[f"fp_both_bs{size}"]
