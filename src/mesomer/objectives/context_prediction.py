"""Context prediction of the strategies paper: does this neighbourhood belong into those surroundings? (Hu et al. 2020;
study.md 2.6).

A root atom is drawn in each molecule, anew in every epoch. The encoder sees the atoms at most `radius` bonds away and
gives the root's vector. A second network sees the ring of atoms further than `radius` - `overlap` and at most
`radius` - `overlap` + `size` bonds away and gives the mean of the atoms that both have seen. Their product is the
score; it is compared with the rings of the next molecules of the batch, `negatives` of them. Molecules without a ring
are left out. So the outcome depends on which molecules share a batch.

The second network is the encoder's own kind, with as many layers as the ring is wide where it has a `depth`; only the
first one is kept as the encoder. The published variant that scores each common atom apart (skip-gram) is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mesomer.chem.graph import GraphBatch
from mesomer.chem.subgraphs import distances, induced
from mesomer.encoders.base import Encoder, build_encoder, pool_rows
from mesomer.errors import MesomerError
from mesomer.objectives.base import Objective, register, uniform_draws
from mesomer.objectives.figures import Figures
from mesomer.objectives.pairs import pair_figures, pair_loss

_STREAM = 7  # draws of its own, beside those of other objectives


@dataclass(frozen=True)
class RingDraw:
    """Neighbourhoods and rings of the U molecules that have both, or None where no molecule has: the root of each in
    the batch of neighbourhoods [U]; the common atoms [O] in the batch of rings.
    """

    near: GraphBatch | None
    ring: GraphBatch | None
    roots: Tensor
    common: Tensor
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> RingDraw:
        near, ring = (None if batch is None else batch.to(device) for batch in (self.near, self.ring))
        return RingDraw(near, ring, self.roots.to(device), self.common.to(device), self.counts)


@register
class ContextPrediction(Objective):
    """Neighbourhoods with their own surroundings against others."""

    name = "context_prediction"

    def __init__(
        self, encoder: Encoder, *, radius: int = 5, overlap: int = 1, size: int = 3, negatives: int = 1
    ) -> None:
        """A second network beside the encoder.

        Args:
            encoder: The encoder that learns.
            radius: Bonds from the root to the furthest atom of its neighbourhood.
            overlap: Outermost distances of the neighbourhood that belong to the ring too.
            size: Distances that the ring covers.
            negatives: Other molecules whose rings each neighbourhood is compared with.
        """
        super().__init__()
        if not (1 <= overlap <= radius and overlap <= size and negatives >= 1):
            raise MesomerError(
                f"Context prediction has radius {radius}, overlap {overlap}, size {size} and {negatives} negatives.",
                "All are 1 or more, and the overlap is at most the radius and at most the size.",
            )
        self.views = tuple(view for view in encoder.output_views if view.startswith("atom_"))
        if not self.views:
            raise MesomerError(f"The objective context_prediction needs vectors of atoms; {encoder.name} has none.")
        self.encoder = encoder
        self.radius, self.overlap, self.size, self.negatives = radius, overlap, size, negatives
        config = encoder.config() | {"summary": 0}
        self.surroundings = build_encoder(encoder.name, **(config | ({"depth": size} if "depth" in config else {})))
        if self.surroundings.width != encoder.width:
            raise MesomerError(
                f"A network for the surroundings would be {self.surroundings.width} wide beside {encoder.width}.",
                "Choose an encoder whose width does not grow with its depth (jk other than concat).",
            )

    @property
    def weights(self) -> dict[str, float]:
        return {"context": 1.0, "other_context": float(self.negatives)}

    def config(self) -> dict[str, Any]:
        return {"radius": self.radius, "overlap": self.overlap, "size": self.size, "negatives": self.negatives}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> RingDraw:
        """A fresh root for every epoch."""
        key, atoms = batch.key.cpu().numpy(), batch.atom_offsets.diff().cpu().numpy()
        drawn = uniform_draws(key, np.zeros_like(key), seed, epoch, _STREAM)
        return self.around(batch, batch.atom_offsets[:-1] + torch.from_numpy((drawn * atoms).astype(np.int64)))

    def around(self, batch: GraphBatch, roots: Tensor) -> RingDraw:
        """A draw from given roots, atoms of the batch [M]."""
        inner, outer = self.radius - self.overlap, self.radius - self.overlap + self.size
        apart = distances(batch, roots, max(self.radius, outer))
        ring = (apart > inner) & (apart <= outer)
        used = torch.zeros(batch.num_molecules, dtype=torch.bool).index_fill(0, batch.atom_molecule[ring], True)
        near = (apart <= self.radius) & used[batch.atom_molecule]
        count = float(used.sum())
        # the rings of the next molecules are others' only while there are that many others
        others = count * min(self.negatives, max(int(count) - 1, 0))
        counts = {"context": count, "other_context": others}
        root_rows = (near.cumsum(0) - 1)[roots[used]]
        common = (near & ring)[ring].nonzero().flatten()
        if count == 0:
            return RingDraw(None, None, root_rows, common, counts)
        return RingDraw(induced(batch, near), induced(batch, ring), root_rows, common, counts)

    def forward(self, batch: GraphBatch, draw: RingDraw) -> dict[str, Tensor]:  # type: ignore[override]
        if draw.near is None:
            nothing = next(self.parameters()).sum() * 0
            return {"context": nothing, "other_context": nothing}
        own, others = self.scores(draw)
        return {"context": pair_loss(own, True), "other_context": pair_loss(others, False)}

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: RingDraw) -> dict[str, Figures]:  # type: ignore[override]
        if draw.near is None:
            return {}
        own, others = self.scores(draw)
        return {"context": pair_figures(own, True), "other_context": pair_figures(others, False)}

    def scores(self, draw: RingDraw) -> tuple[Tensor, Tensor]:
        """Scores of each neighbourhood with its own ring [U] and with those of the next molecules [U · negatives]."""
        root, ring = self.vectors(draw)
        others = range(1, min(self.negatives, len(ring) - 1) + 1)
        turned = [(root * ring.roll(-number, 0)).sum(1) for number in others]
        return (root * ring).sum(1), torch.cat(turned) if turned else root.new_zeros(0)

    def vectors(self, draw: RingDraw) -> tuple[Tensor, Tensor]:
        """The vectors of the roots and of the rings, [U, D] each."""
        assert draw.near is not None and draw.ring is not None
        root = self._atoms(self.encoder, draw.near).index_select(0, draw.roots)
        rows = self._atoms(self.surroundings, draw.ring).index_select(0, draw.common)
        owner = draw.ring.atom_molecule.index_select(0, draw.common)
        return root, pool_rows(rows, owner, draw.ring.num_molecules, "mean")

    def _atoms(self, encoder: Encoder, batch: GraphBatch) -> Tensor:
        views = encoder(batch).views
        return torch.cat([views[view] for view in self.views], dim=1).float()
