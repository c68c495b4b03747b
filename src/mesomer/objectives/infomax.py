"""Infomax of the strategies paper: atoms know their own molecule's summary from another's (Velickovic et al. 2019; Hu
et al. 2020; study.md 2.7).

The summary of a molecule is the sigmoid of the mean of its atoms; an atom's score with a summary is a bilinear form.
Each atom is asked about its own molecule and about the next one in the batch, the last about the first. So the
outcome depends on which molecules share a batch; a molecule alone in its batch has only its own summary.

An encoder with several atom views is judged by all of them side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput, pool_rows
from mesomer.errors import MesomerError
from mesomer.objectives.base import EncodedObjective, register
from mesomer.objectives.figures import Figures
from mesomer.objectives.pairs import pair_figures, pair_loss


@dataclass(frozen=True)
class AtomDraw:
    """Nothing random: only how many atoms are asked."""

    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> AtomDraw:
        return self


@register
class Infomax(EncodedObjective):
    """An atom with its own molecule against an atom with another."""

    name = "infomax"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = tuple(view for view in encoder.output_views if view.startswith("atom_"))
        if not self.views:
            raise MesomerError(f"The objective infomax needs vectors of atoms; {encoder.name} has none.")
        width = encoder.width * len(self.views)
        self.weight = nn.Parameter(torch.empty(width, width).uniform_(-1, 1) / math.sqrt(width))

    @property
    def weights(self) -> dict[str, float]:
        return {"own": 1.0, "other": 1.0}

    def config(self) -> dict[str, Any]:
        return {}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> AtomDraw:
        return AtomDraw({"own": batch.num_atoms, "other": batch.num_atoms if batch.num_molecules > 1 else 0})

    def from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: AtomDraw
    ) -> dict[str, Tensor]:
        own, other = self.scores(output, batch)
        return {"own": pair_loss(own, True), "other": pair_loss(other, False)}

    def figures_from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: AtomDraw
    ) -> dict[str, Figures]:
        own, other = self.scores(output, batch)
        return {"own": pair_figures(own, True), "other": pair_figures(other, False)}

    def scores(self, output: EncoderOutput, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Scores of each atom with its own molecule [A], and with the next one [A] or, where there is none, []."""
        rows = torch.cat([output.views[view] for view in self.views], dim=1).float()
        summary = torch.sigmoid(pool_rows(rows, batch.atom_molecule, batch.num_molecules, "mean")) @ self.weight
        own = (rows * summary.index_select(0, batch.atom_molecule)).sum(1)
        if batch.num_molecules == 1:
            return own, own[:0]
        following = summary.roll(-1, 0).index_select(0, batch.atom_molecule)
        return own, (rows * following).sum(1)
