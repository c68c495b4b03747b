"""Edge prediction of the strategies paper: bound atoms have vectors that point the same way (Hu et al. 2020; study.md
2.5).

The score of two atoms is the product of their vectors. Every bond is a pair that belongs together; about as many
pairs of atoms of the same molecule that are not bound are drawn anew in every epoch: 10 candidates for each bond, of
which the first are kept that are no atom with itself, no bond and not drawn before, as many as there are bonds.
Nothing is hidden: the encoder sees the bonds that it predicts, as published.

An encoder with several atom views is judged by all of them side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError
from mesomer.objectives.base import EncodedObjective, register, uniform_draws
from mesomer.objectives.figures import Figures
from mesomer.objectives.pairs import pair_figures, pair_loss

CANDIDATES = 10  # for each bond
_STREAMS = (5, 6)  # draws of its own, beside those of other objectives


@dataclass(frozen=True)
class PairDraw:
    """Pairs of atoms that are not bound: [2, P]."""

    apart: Tensor
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> PairDraw:
        return PairDraw(self.apart.to(device), self.counts)


@register
class EdgePrediction(EncodedObjective):
    """Bonds against pairs of atoms without one."""

    name = "edge_prediction"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = tuple(view for view in encoder.output_views if view.startswith("atom_"))
        if not self.views:
            raise MesomerError(f"The objective edge_prediction needs vectors of atoms; {encoder.name} has none.")

    @property
    def weights(self) -> dict[str, float]:
        return {"bound": 1.0, "apart": 1.0}

    def config(self) -> dict[str, Any]:
        return {}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> PairDraw:
        """Fresh pairs for every epoch."""
        start, atoms = batch.atom_offsets.cpu().numpy(), np.diff(batch.atom_offsets.cpu().numpy())
        bonds = np.diff(batch.bond_offsets.cpu().numpy())
        molecule = np.repeat(np.arange(len(bonds)), CANDIDATES * bonds)
        begin = (CANDIDATES * (np.cumsum(bonds) - bonds))[molecule]  # of the molecule's candidates
        key, item = batch.key.cpu().numpy()[molecule], np.arange(len(molecule)) - begin
        first, second = (
            (uniform_draws(key, item, seed, epoch, stream) * atoms[molecule]).astype(np.int64) + start[molecule]
            for stream in _STREAMS
        )
        pair = first * batch.num_atoms + second
        once = np.zeros(len(pair), dtype=bool)
        once[np.unique(pair, return_index=True)[1]] = True
        good = once & (first != second) & ~np.isin(pair, (batch.source * batch.num_atoms + batch.target).cpu().numpy())
        before = np.concatenate([[0], np.cumsum(good)])  # good candidates before each
        good &= before[:-1] - before[begin] < bonds[molecule]
        return self.pairs(batch, torch.from_numpy(np.stack([first[good], second[good]])))

    def pairs(self, batch: GraphBatch, apart: Tensor) -> PairDraw:
        """A draw from given pairs without a bond [2, P]."""
        return PairDraw(apart, {"bound": batch.num_bonds / 2, "apart": float(apart.shape[1])})

    def from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: PairDraw
    ) -> dict[str, Tensor]:
        bound, apart = self.scores(output, batch, draw)
        return {"bound": pair_loss(bound, True), "apart": pair_loss(apart, False)}

    def figures_from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: PairDraw
    ) -> dict[str, Figures]:
        bound, apart = self.scores(output, batch, draw)
        return {"bound": pair_figures(bound, True), "apart": pair_figures(apart, False)}

    def scores(self, output: EncoderOutput, batch: GraphBatch, draw: PairDraw) -> tuple[Tensor, Tensor]:
        """Scores of the bonds [E] and of the pairs without one [P]."""
        rows = torch.cat([output.views[view] for view in self.views], dim=1).float()
        pairs = (torch.stack([batch.source[::2], batch.target[::2]]), draw.apart)
        bound, apart = ((rows.index_select(0, a) * rows.index_select(0, b)).sum(1) for a, b in pairs)
        return bound, apart
