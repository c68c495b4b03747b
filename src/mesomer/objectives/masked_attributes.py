"""Attribute masking of the strategies paper: hide some atoms, name their elements (Hu et al. 2020; study.md 2.4).

floor(`ratio` · atoms + 1) atoms of each molecule are hidden, anew in every epoch: all that is known of them but their
bonds. The target is the element alone. With `bonds` the bonds at hidden atoms are hidden too, and named from the sum
of the vectors of their two ends; a bond that is neither single, double, triple nor aromatic is hidden but no target.

Any encoder with atom views learns by it: what is hidden has a code of its own (chem/masking.py). Each atom view names
elements and bonds on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.chem.masking import hide
from mesomer.chem.schema import BOND_TYPES, atom_field, bond_field
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.objectives.base import Objective, choose_fewest, register, uniform_draws
from mesomer.objectives.figures import ClassFigures, Figures

ELEMENTS = 119  # hydrogen first; the last is a dummy atom
_NAMED_BONDS = [BOND_TYPES[name] for name in ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")]
_STREAM = 4  # draws of its own, beside those of other objectives


@dataclass(frozen=True)
class AttributeDraw:
    """Hidden atoms [A] and hidden undirected bonds [E], both bool."""

    atoms: Tensor
    bonds: Tensor
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> AttributeDraw:
        return AttributeDraw(self.atoms.to(device), self.bonds.to(device), self.counts)


@register
class MaskedAttributes(Objective):
    """Elements of hidden atoms, and if asked for the types of hidden bonds."""

    name = "masked_attributes"

    def __init__(self, encoder: Encoder, *, ratio: float = 0.15, bonds: bool = False) -> None:
        """Linear heads on each atom view.

        Args:
            encoder: The encoder that learns.
            ratio: Share of the atoms of a molecule that are hidden, beside the one that always is.
            bonds: Hide and name the bonds at hidden atoms too.
        """
        super().__init__()
        if not 0 <= ratio <= 1:
            raise MesomerError(f"The ratio of hidden atoms is {ratio}, and has to lie from 0 to 1.")
        self.views = tuple(view for view in encoder.output_views if view.startswith("atom_"))
        if not self.views:
            raise MesomerError(f"The objective masked_attributes needs vectors of atoms; {encoder.name} has none.")
        self.encoder, self.ratio, self.bonds = encoder, ratio, bonds
        self.name_atoms = nn.ModuleDict({view: nn.Linear(encoder.width, ELEMENTS) for view in self.views})
        self.name_bonds = nn.ModuleDict(
            {view: nn.Linear(encoder.width, len(_NAMED_BONDS)) for view in self.views} if bonds else {}
        )

    @property
    def weights(self) -> dict[str, float]:
        atoms, bonds = self._terms()
        return dict.fromkeys((*atoms, *bonds), 1.0)

    def _terms(self) -> tuple[list[str], list[str]]:
        """Names of the terms of atoms and of bonds, view by view; an only view is not named."""
        prefix = [""] if len(self.views) == 1 else [f"{view}_" for view in self.views]
        return [f"{p}element" for p in prefix], [f"{p}bond_type" for p in prefix] if self.bonds else []

    def config(self) -> dict[str, Any]:
        return {"ratio": self.ratio, "bonds": self.bonds}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> AttributeDraw:
        """Fresh atoms for every epoch."""
        molecule, start = batch.atom_molecule.cpu().numpy(), batch.atom_offsets.cpu().numpy()
        key = batch.key.cpu().numpy()
        score = uniform_draws(key[molecule], np.arange(len(molecule)) - start[molecule], seed, epoch, _STREAM)
        wanted = (np.diff(start) * self.ratio + 1).astype(np.int64)
        return self.masks(batch, torch.from_numpy(choose_fewest(score, molecule, start, wanted)))

    def masks(self, batch: GraphBatch, atoms: Tensor) -> AttributeDraw:
        """A draw from given hidden atoms, bool [A]."""
        atom_terms, bond_terms = self._terms()
        counts = dict.fromkeys(atom_terms, float(atoms.sum()))
        bonds = torch.zeros(batch.num_bonds // 2, dtype=torch.bool)
        if self.bonds:
            atoms_here = atoms.to(batch.source.device)
            bonds = (atoms_here[batch.source[::2]] | atoms_here[batch.target[::2]]).to(atoms.device)
            targets = bonds & (_bond_classes(batch).to(bonds.device) < len(_NAMED_BONDS))
            counts |= dict.fromkeys(bond_terms, float(targets.sum()))
        return AttributeDraw(atoms, bonds, counts)

    def forward(self, batch: GraphBatch, draw: AttributeDraw) -> dict[str, Tensor]:  # type: ignore[override]
        return {
            term: F.cross_entropy(logits, target, reduction="sum")
            for term, (logits, target) in self._named(batch, draw).items()
        }

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: AttributeDraw) -> dict[str, Figures]:  # type: ignore[override]
        found: dict[str, Figures] = {}
        for term, (logits, target) in self._named(batch, draw).items():
            loss = F.cross_entropy(logits, target, reduction="sum")
            classes = torch.bincount(target, minlength=logits.shape[1])
            found[term] = ClassFigures(loss, (logits.argmax(1) == target).sum(), classes)
        return found

    def _named(self, batch: GraphBatch, draw: AttributeDraw) -> dict[str, tuple[Tensor, Tensor]]:
        """Per term: logits [W, C] and targets [W] of what is hidden."""
        views = self.encoder(hide(batch, draw.atoms, draw.bonds if self.bonds else None)).views
        atom_terms, bond_terms = self._terms()
        elements = _elements(batch)[draw.atoms]
        found = {}
        for view, term in zip(self.views, atom_terms, strict=True):
            found[term] = (self.name_atoms[view](views[view][draw.atoms]).float(), elements)
        if bond_terms:
            classes = _bond_classes(batch)
            chosen = (draw.bonds & (classes < len(_NAMED_BONDS))).nonzero().flatten()
            source, target = (ends[::2].index_select(0, chosen) for ends in (batch.source, batch.target))
            for view, term in zip(self.views, bond_terms, strict=True):
                both = views[view].index_select(0, source) + views[view].index_select(0, target)
                found[term] = (self.name_bonds[view](both).float(), classes.index_select(0, chosen))
        return found


def _elements(batch: GraphBatch) -> Tensor:
    """The class of each atom's element: [A]."""
    number = atom_field(batch.atom_codes, "atomic_number")
    return torch.where((number >= 1) & (number < ELEMENTS), number - 1, ELEMENTS - 1)


def _bond_classes(batch: GraphBatch) -> Tensor:
    """The class of each bond's type, one past the last where it has none: [E]."""
    kind = bond_field(batch.bond_codes, "type")
    classes = torch.full_like(kind, len(_NAMED_BONDS))
    for number, code in enumerate(_NAMED_BONDS):
        classes[kind == code] = number
    return classes
