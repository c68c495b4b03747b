"""Molecules to vectors: one for each molecule, atom or bond.

The molecule vector is the encoder's own rule, or that of a fine-tuned network: readouts of the views side by side, and
the summary of an encoder that has one behind them.
Atom and bond vectors are the rows of the readout views of that level, or of all views of it where the readout has none;
a bond's vector is the mean of its two directions, in RDKit's bond order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch, MolGraph, collate
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError, unknown_name
from mesomer.inference.batches import Runner, choose_device
from mesomer.inference.rows import Wanted
from mesomer.training.checkpoint import ModelFolder, default_model, encoder_of, load_model
from mesomer.training.predictor import is_predictor, predictor_of

LEVELS = ("molecule", "atom", "bond")
PRECISIONS = ("32", "bf16")


class Embedder:
    """An encoder ready to embed.

    Args:
        model: Model folder, run folder, bundled or hub name; the bundled encoder if None.
        level: molecule, atom or bond.
        accelerator: auto, cpu, cuda or mps.
        atoms_per_batch: Atoms at a time; a suitable number if None.
        precision: 32, or bf16, which is faster where the processor computes in it and rounds the vectors.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelFolder | None = None,
        level: str = "molecule",
        accelerator: str = "auto",
        atoms_per_batch: int | None = None,
        precision: str = "32",
    ) -> None:
        if level not in LEVELS:
            raise unknown_name("level", str(level), LEVELS)
        if precision not in PRECISIONS:
            raise unknown_name("precision", str(precision), PRECISIONS)
        self.level, self.precision = level, precision
        self.folder = model if isinstance(model, ModelFolder) else load_model(model or default_model())
        self.max_atoms = 500
        self._vectors: Callable[[GraphBatch], Tensor]
        network: nn.Module
        if is_predictor(self.folder):
            predictor = predictor_of(self.folder)
            first = network = predictor.members[0]
            self.encoder = first.encoder
            self.members = len(predictor.members)
            self.max_atoms = predictor.max_atoms
            self.readout = predictor.network_config.get("readout", self.encoder.pooling)
            self._vectors = first.molecule_vectors
        else:
            self.encoder = network = encoder_of(self.folder)
            self.members, self.readout = 1, self.encoder.pooling
            self._vectors = _molecule_vectors(self.encoder)
        self.runner = Runner(choose_device(accelerator), atoms_per_batch)
        network.to(self.runner.device).eval()
        self.wanted = Wanted(coordinates=self.encoder.needs_coordinates)
        self.width = self._width()

    @torch.inference_mode()
    def _width(self) -> int:
        from mesomer.chem.featurize import graph_from_smiles

        graph, _ = graph_from_smiles("CC")
        assert graph is not None
        graph = graph._replace(coordinates=np.array([[0, 0, 0], [1.5, 0, 0]], np.float32))
        return self._compute(collate([graph]).to(self.runner.device)).shape[1]

    def metadata(self) -> dict[str, Any]:
        """What made the vectors: model, hash of its weights, level, readout, dimension."""
        return {
            "model": str(self.folder.path.name),
            "model_sha256": self.folder.sha256,
            "encoder": self.encoder.name,
            "level": self.level,
            "readout": self.readout if self.level == "molecule" else "none",
            "summary": 0 if self.encoder.summary is None else self.encoder.summary.width,
            "dimension": self.width,
            "precision": self.precision,
        }

    def _compute(self, batch: GraphBatch) -> Tensor:
        half = self.precision == "bf16"
        with torch.autocast(self.runner.device.type, torch.bfloat16, enabled=half):
            if self.level == "molecule":
                return self._vectors(batch)
            return level_rows(self.encoder, self.encoder(batch), self.level)

    @torch.inference_mode()
    def vectors(self, graphs: Sequence[MolGraph | None]) -> NDArray[np.float32]:
        """Molecule vectors [n, width] in float32; a row of NaN where there is no graph."""
        found = np.full((len(graphs), self.width), np.nan, np.float32)
        good = np.array([at for at, graph in enumerate(graphs) if graph is not None], dtype=np.int64)
        present = [graph for graph in graphs if graph is not None]
        for positions, rows in self.runner.run(present, lambda batch, _: self._compute(batch).float().cpu().numpy()):
            found[good[positions]] = rows
        return found

    @torch.inference_mode()
    def vector_lists(self, graphs: Sequence[MolGraph | None]) -> list[NDArray[np.float32] | None]:
        """Atom or bond vectors, an array [atoms or bonds, width] for each graph; None where there is no graph."""
        found: list[NDArray[np.float32] | None] = [None] * len(graphs)
        good = [at for at, graph in enumerate(graphs) if graph is not None]
        present = [graph for graph in graphs if graph is not None]

        def rows(batch: GraphBatch, _: NDArray[np.int64]) -> list[NDArray[np.float32]]:
            offsets = batch.atom_offsets if self.level == "atom" else batch.bond_offsets
            return np.split(self._compute(batch).float().cpu().numpy(), offsets[1:-1].cpu().numpy())

        for positions, parts in self.runner.run(present, rows):
            for at, part in zip(positions, parts, strict=True):
                found[good[at]] = part
        return found


def _molecule_vectors(encoder: Encoder) -> Callable[[GraphBatch], Tensor]:
    return lambda batch: encoder.molecule_vectors(encoder(batch), batch)


def level_rows(encoder: Encoder, encoded: EncoderOutput, level: str) -> Tensor:
    """Atom vectors [A, W] or bond vectors [E, W] of a batch."""
    views = [name for name in encoder.readout_views if name.startswith(f"{level}_")]
    views = views or [name for name in encoded.views if name.startswith(f"{level}_")]
    if not views:
        raise MesomerError(f"The encoder {encoder.name} has no {level} vectors.", "Choose another --level.")
    rows = torch.cat([encoded.views[name] for name in views], 1)
    return rows if level == "atom" else (rows[0::2] + rows[1::2]) / 2
