"""Contrastive learning: two changed copies of a molecule find each other in a batch (GraphCL, You et al. 2020; study.md
1.2).

Each copy is changed in one way, drawn from `changes` anew in every epoch: some atoms are dropped, some bonds, some
atoms are hidden (chem/masking.py), or only the part around a random atom is kept. `strength` is the share that is
lost, at least one atom or bond where there are two or more. An atom keeps the fields that it had, as in published code.

The vectors that `embed` gives pass a small network and are compared by their cosine s: the loss of molecule i is
-log(exp(s_ii / t) / sum over k ≠ i of exp(s_ik / t)), from the first copies to the second ones; as published, the sum
leaves the molecule itself out, so that the loss can be below 0. It depends on which molecules share a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.chem.masking import hide
from mesomer.chem.subgraphs import distances, induced
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError, unknown_name
from mesomer.objectives.base import Objective, choose_fewest, register, uniform_draws
from mesomer.objectives.figures import Figures, Sums

CHANGES = ("drop_atoms", "drop_bonds", "hide_atoms", "keep_part")
TERM = "contrast"
_STREAMS = ((8, 9, 10), (11, 12, 13))  # for each copy: which change and where, atoms, bonds


@dataclass(frozen=True)
class CopiesDraw:
    """Two changed copies of every molecule, in order."""

    first: GraphBatch
    second: GraphBatch
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> CopiesDraw:
        return CopiesDraw(self.first.to(device), self.second.to(device), self.counts)


@dataclass(frozen=True)
class ContrastFigures:
    """Summed loss [], how many found their copy [], how many looked [], and the batch's size as seen by each: the sum
    of log(M - 1) [] and of 1 / M [].
    """

    loss: Tensor
    correct: Tensor
    count: Tensor
    trivial_loss: Tensor
    trivial_correct: Tensor

    def sums(self) -> dict[str, Tensor]:
        """What is added up over batches."""
        return dict(vars(self))

    @staticmethod
    def row(sums: Sums) -> dict[str, float]:
        """Loss and accuracy beside those of equal scores."""
        count = float(sums["count"])
        if count == 0:
            return {}
        return {
            "values": round(count),
            "loss": float(sums["loss"] / count),
            "trivial_loss": float(sums["trivial_loss"] / count),
            "accuracy": float(sums["correct"] / count),
            "trivial_accuracy": float(sums["trivial_correct"] / count),
        }


@register
class Contrastive(Objective):
    """Copies of one molecule against copies of others."""

    name = "contrastive"
    trains_summary = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.1,
        strength: float = 0.2,
        changes: Sequence[str] = CHANGES,
        width: int = 128,
    ) -> None:
        """A network of one hidden layer behind the molecule vector.

        Args:
            encoder: The encoder that learns.
            temperature: What cosines are divided by.
            strength: Share of the atoms or bonds that a change takes.
            changes: Ways to change a molecule: drop_atoms, drop_bonds, hide_atoms, keep_part.
            width: Width of the vectors that are compared.
        """
        super().__init__()
        for change in changes:
            if change not in CHANGES:
                raise unknown_name("change of a molecule", change, CHANGES)
        if not (temperature > 0 and 0 < strength < 1 and width > 0 and changes):
            raise MesomerError(
                f"The objective contrastive has temperature {temperature}, strength {strength}, width {width} and "
                f"{len(changes)} changes.",
                "Temperature and width are above 0, the strength lies between 0 and 1, and one change is named.",
            )
        self.encoder, self.temperature, self.strength = encoder, temperature, strength
        self.changes, self.width = tuple(changes), width
        inside = encoder.molecule_width
        self.project = nn.Sequential(nn.Linear(inside, inside), nn.ReLU(), nn.Linear(inside, width))

    @property
    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}

    def config(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "strength": self.strength,
            "changes": list(self.changes),
            "width": self.width,
        }

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> CopiesDraw:
        """Two fresh copies for every epoch."""
        first, second = (self._copy(batch, epoch, seed, streams) for streams in _STREAMS)
        return CopiesDraw(first, second, {TERM: batch.num_molecules if batch.num_molecules > 1 else 0})

    def _copy(self, batch: GraphBatch, epoch: int, seed: int, streams: tuple[int, int, int]) -> GraphBatch:
        """Every molecule changed in the one way that is drawn for it."""
        key = batch.key.cpu().numpy()
        which, where = (uniform_draws(key, np.full_like(key, item), seed, epoch, streams[0]) for item in (0, 1))
        change = np.array(self.changes)[(which * len(self.changes)).astype(np.int64)]
        of_atom, atoms = batch.atom_molecule.cpu().numpy(), batch.atom_offsets.cpu().numpy()
        of_bond, bonds = batch.bond_molecule.cpu().numpy(), batch.bond_offsets.cpu().numpy()
        atom_scores, bond_scores = (
            uniform_draws(key[of], np.arange(len(of)) - offsets[of], seed, epoch, stream)
            for of, offsets, stream in ((of_atom, atoms, streams[1]), (of_bond, bonds, streams[2]))
        )
        around = (change == "keep_part")[of_atom]
        if around.any():
            roots = atoms[:-1] + (where * np.diff(atoms)).astype(np.int64)
            atom_scores = np.where(around, _from_outside(batch, roots, atom_scores), atom_scores)
        cuts = change == "drop_bonds"
        taken = choose_fewest(atom_scores, of_atom, atoms, np.where(cuts, 0, self._lost(np.diff(atoms))))
        cut = choose_fewest(bond_scores, of_bond, bonds, np.where(cuts, self._lost(np.diff(bonds)), 0))
        hides = (change == "hide_atoms")[of_atom]
        hidden = hide(batch, torch.from_numpy(taken & hides))
        return induced(hidden, torch.from_numpy(~taken | hides), torch.from_numpy(~cut))

    def _lost(self, count: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of so many atoms or bonds a change takes: at least one of two, never all."""
        return np.clip((count * self.strength).astype(np.int64), 1, np.maximum(count - 1, 0))

    def forward(self, batch: GraphBatch, draw: CopiesDraw) -> dict[str, Tensor]:  # type: ignore[override]
        return {TERM: self._loss(self.cosines(draw))}

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: CopiesDraw) -> dict[str, Figures]:  # type: ignore[override]
        count = batch.num_molecules
        if count < 2:
            return {}
        cosines = self.cosines(draw)
        own = torch.arange(count, device=cosines.device)
        trivial = (float(count), count * math.log(count - 1), 1.0)
        right = (cosines.argmax(1) == own).sum()
        return {TERM: ContrastFigures(self._loss(cosines), right, *map(cosines.new_tensor, trivial))}

    def cosines(self, draw: CopiesDraw) -> Tensor:
        """Cosine of each first copy with each second one, [M, M]."""
        first, second = (F.normalize(self._projected(batch), dim=1) for batch in (draw.first, draw.second))
        with torch.autocast(first.device.type, enabled=False):
            return first @ second.T

    def _projected(self, batch: GraphBatch) -> Tensor:
        return self.project(self.encoder.molecule_vectors(self.encoder(batch), batch)).float()

    def _loss(self, cosines: Tensor) -> Tensor:
        """The loss summed over the molecules; nothing to compare is no loss."""
        if len(cosines) < 2:
            return cosines.sum() * 0
        scaled = cosines.float() / self.temperature
        others = scaled.masked_fill(torch.eye(len(scaled), dtype=torch.bool, device=scaled.device), -torch.inf)
        return (others.logsumexp(1) - scaled.diagonal()).sum()


def _from_outside(batch: GraphBatch, roots: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores in [0, 1) that fall with the distance from the root, those of one distance in the order of `scores`."""
    furthest = int(batch.atom_offsets.diff().max())
    apart = distances(batch, torch.from_numpy(roots), furthest).cpu().numpy()
    return np.minimum(1 - (apart + scores) / (furthest + 2), 1 - 1e-9)
