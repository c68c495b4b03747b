"""R-MAT's contextual pre-training: name the surroundings of atoms that are hidden together with them (rmat.md 5.2).

Each atom is a target with probability `ratio`. Targets, the atoms bound to them and the bonds between are hidden; who
is bound to whom stays visible, and so do places in space, through which some of the answer leaks. To be named is the
target's context, the added column `atom_contexts` of the corpus: element, neighbours and bond types, counted. Any
encoder with atom views learns by it; each view names contexts on its own.

Decided here: a molecule of which no atom was drawn has one target all the same, the one that was nearest to being
drawn, so that no batch is without any and no molecule is read in vain. The published code draws the whole batch again.

Shapes: `A` atoms, `E` undirected bonds, `W` targets, `C` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.chem.masking import hide
from mesomer.data.corpus import Corpus
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.objectives.base import Objective, choose_fewest, register, uniform_draws
from mesomer.objectives.figures import ClassFigures, Figures

CONTEXTS = "atom_contexts"
_OTHER = 1
_STREAM = 14  # draws of its own, beside those of other objectives


@dataclass(frozen=True)
class MaskedContextDraw:
    """Targets [A], all hidden atoms [A] and hidden undirected bonds [E], each bool."""

    targets: Tensor
    atoms: Tensor
    bonds: Tensor
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> MaskedContextDraw:
        return MaskedContextDraw(self.targets.to(device), self.atoms.to(device), self.bonds.to(device), self.counts)


@register
class MaskedContext(Objective):
    """Names of hidden atoms in hidden surroundings."""

    name = "masked_context"
    extras = (CONTEXTS,)

    def __init__(
        self,
        encoder: Encoder,
        *,
        ratio: float = 0.15,
        largest_vocabulary: int | None = None,
        names: int | None = None,
    ) -> None:
        """A linear head on each atom view; built when the corpus is known, unless its size is given.

        Args:
            encoder: The encoder that learns.
            ratio: Probability with which each atom is a target.
            largest_vocabulary: Names that are told apart; all of the corpus if not given.
            names: Names with the two special ones, for labels that come from no corpus.
        """
        super().__init__()
        if not 0 < ratio <= 1:
            raise MesomerError(f"The ratio of targets is {ratio}, and has to lie above 0 and at most 1.")
        if largest_vocabulary is not None and largest_vocabulary < 1:
            raise MesomerError(f"The largest vocabulary is {largest_vocabulary}.", "Give at least 1.")
        self.views = tuple(view for view in encoder.output_views if view.startswith("atom_"))
        if not self.views:
            raise MesomerError(f"The objective {self.name} needs vectors of atoms; {encoder.name} has none.")
        self.encoder, self.ratio, self.largest_vocabulary = encoder, ratio, largest_vocabulary
        self.names = 0
        self.heads = nn.ModuleDict()
        self._given = names
        self._fingerprint: str | None = None
        # the heads come later, from the random numbers of now
        self._seed = int(torch.randint(2**62, ()))
        if names is not None:
            self._build(names)

    def _build(self, names: int) -> None:
        self.names = names
        for view in self.views:
            self.heads[view] = nn.Linear(self.encoder.width, names)

    def adapt(self, corpus: Corpus) -> None:
        """Builds the heads for the vocabulary of the corpus, unless their size was given.

        A size that comes from a corpus is no part of `config`: numbers mean other contexts in another one.
        """
        vocabulary = corpus.vocabulary(CONTEXTS)
        if not self.heads:
            most = None if self.largest_vocabulary is None else self.largest_vocabulary + 2
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                self._build(len(vocabulary.tokens[:most]))
        self._fingerprint = hashlib.sha256("\n".join(vocabulary.tokens[: self.names]).encode()).hexdigest()

    def vocabularies(self) -> dict[str, str]:
        if self._fingerprint is None:
            return {}
        return {f"heads.{view}": self._fingerprint for view in self.views}

    @property
    def weights(self) -> dict[str, float]:
        return dict.fromkeys(self._terms(), 1.0)

    def _terms(self) -> list[str]:
        """The term of each view; an only view is not named."""
        return [self.name] if len(self.views) == 1 else [f"{view}_{self.name}" for view in self.views]

    def config(self) -> dict[str, Any]:
        return {"ratio": self.ratio, "largest_vocabulary": self.largest_vocabulary, "names": self._given}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> MaskedContextDraw:
        """Fresh targets for every epoch."""
        molecule, start = batch.atom_molecule.cpu().numpy(), batch.atom_offsets.cpu().numpy()
        key = batch.key.cpu().numpy()
        score = uniform_draws(key[molecule], np.arange(len(molecule)) - start[molecule], seed, epoch, _STREAM)
        nearest = choose_fewest(score, molecule, start, np.ones(len(key), dtype=np.int64))
        return self.masks(batch, torch.from_numpy((score < self.ratio) | nearest))

    def masks(self, batch: GraphBatch, targets: Tensor) -> MaskedContextDraw:
        """A draw from given targets, bool [A]."""
        source, target = batch.source.to(targets.device), batch.target.to(targets.device)
        beside = targets.index_select(0, source)  # of directed bonds: they begin at a target
        atoms = targets.clone()
        atoms[target[beside]] = True
        bonds = beside[::2] | beside[1::2]
        return MaskedContextDraw(targets, atoms, bonds, dict.fromkeys(self._terms(), float(targets.sum())))

    def forward(self, batch: GraphBatch, draw: MaskedContextDraw) -> dict[str, Tensor]:  # type: ignore[override]
        target = self._numbers(batch)[draw.targets]
        return {
            term: F.cross_entropy(logits, target, reduction="sum")
            for term, logits in zip(self._terms(), self.logits(batch, draw), strict=True)
        }

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: MaskedContextDraw) -> dict[str, Figures]:  # type: ignore[override]
        target = self._numbers(batch)[draw.targets]
        classes = torch.bincount(target, minlength=self.names)
        found: dict[str, Figures] = {}
        for term, logits in zip(self._terms(), self.logits(batch, draw), strict=True):
            loss = F.cross_entropy(logits, target, reduction="sum")
            found[term] = ClassFigures(loss, (logits.argmax(1) == target).sum(), classes)
        return found

    def logits(self, batch: GraphBatch, draw: MaskedContextDraw) -> list[Tensor]:
        """What each view says of the targets, [W, C]."""
        views = self.encoder(hide(batch, draw.atoms, draw.bonds, draw.targets)).views
        return [self.heads[view](views[view][draw.targets]).float() for view in self.views]

    def _numbers(self, batch: GraphBatch) -> Tensor:
        """The number of each atom's context [A]; those that the heads do not tell apart are `<other>`."""
        number = batch.extras[CONTEXTS].flatten().long()
        return torch.where(number < self.names, number, _OTHER)
