"""GROVER's contextual objective: name the context of 15 % of the atoms and bonds from their vectors (grover.md 4.3 to
4.5).

Contexts are the added columns `atom_contexts` and `bond_contexts`, numbers in the vocabularies of the corpus. Nothing
is hidden from the encoder: atoms and bonds are only chosen as targets, anew in every epoch. Each view of an encoder
that has rows for atoms or bonds names them on its own; where two views have rows for the same things, the squared
difference of their log-probabilities is a further term.

Decided: the published weights are the default (1 for each view, 0.1 for disagreement over all rows). A bond's name is
read from the sum of its two directions, which does not depend on the order of atoms; `directions` `separate` is the
published pair of layers. `disagreement_rows` `chosen` takes the difference over the targets alone: names of the other
rows are then not computed at all, which are 85 % of the work of the heads.

Shapes: `A` atoms, `E` undirected bonds, `H` width, `C` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.data.corpus import Corpus
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError, unknown_name
from mesomer.objectives.base import EncodedObjective, choose_fewest, register, uniform_draws
from mesomer.objectives.figures import ClassFigures, Figures

LEVELS = {"atom": "atom_contexts", "bond": "bond_contexts"}
DIRECTIONS = ("shared", "separate")
DISAGREEMENT_ROWS = ("all", "chosen")
_OTHER = 1
_STREAMS = {"atom": 2, "bond": 3}  # draws of their own, beside the masks of other objectives


@dataclass(frozen=True)
class ContextDraw:
    """Which atoms [A] and bonds [E] are targets, both bool."""

    atom: Tensor
    bond: Tensor
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> ContextDraw:
        return ContextDraw(self.atom.to(device), self.bond.to(device), self.counts)


class BondNames(nn.Module):
    """Names of undirected bonds from the rows of their directed bonds: [2E, H] -> [E, C]."""

    def __init__(self, width: int, names: int, directions: str) -> None:
        super().__init__()
        self.forth = nn.Linear(width, names)
        self.back = nn.Linear(width, names) if directions == "separate" else None

    def forward(self, rows: Tensor) -> Tensor:
        if self.back is None:
            return self.forth(rows[0::2] + rows[1::2])
        return self.forth(rows[0::2]) + self.back(rows[1::2])


@register
class Contextual(EncodedObjective):
    """Names of atoms and bonds in their contexts, around any encoder with atom or bond views."""

    name = "contextual"
    extras = tuple(LEVELS.values())

    def __init__(
        self,
        encoder: Encoder,
        *,
        ratio: float = 0.15,
        disagreement: float = 0.1,
        disagreement_rows: str = "all",
        directions: str = "shared",
        largest_vocabulary: int | None = None,
        atom_names: int | None = None,
        bond_names: int | None = None,
    ) -> None:
        """Heads around an encoder; they are built when the corpus is known, unless the sizes are given.

        Args:
            encoder: The encoder that learns.
            ratio: Share of the atoms and of the bonds of a molecule that are targets.
            disagreement: Weight of the squared difference between two views' log-probabilities.
            disagreement_rows: `all` rows as published, or only the `chosen` targets.
            directions: One layer `shared` by both directions of a bond, or `separate` ones as published.
            largest_vocabulary: Names of each vocabulary that are told apart; all if not given.
            atom_names: Names of atoms, with the two special ones, for labels that come from no corpus.
            bond_names: The same of bonds.
        """
        super().__init__()
        if not 0 < ratio <= 1:
            raise MesomerError(f"The ratio of targets is {ratio}, and has to lie above 0 and at most 1.")
        if disagreement < 0:
            raise MesomerError(f"The weight of disagreement is {disagreement}.", "Give 0 or more.")
        if largest_vocabulary is not None and largest_vocabulary < 1:
            raise MesomerError(f"The largest vocabulary is {largest_vocabulary}.", "Give at least 1.")
        if (atom_names is None) != (bond_names is None):
            raise MesomerError("The options atom_names and bond_names go together.", "Give both or none.")
        for option, value, known in (
            ("directions", directions, DIRECTIONS), ("disagreement_rows", disagreement_rows, DISAGREEMENT_ROWS),
        ):  # fmt: skip
            if value not in known:
                raise unknown_name(f"value of the option {option}", value, known)
        self.encoder, self.ratio, self.disagreement = encoder, ratio, disagreement
        self.disagreement_rows, self.directions, self.largest_vocabulary = (
            disagreement_rows,
            directions,
            largest_vocabulary,
        )
        self.views = {
            level: tuple(view for view in encoder.output_views if view.startswith(f"{level}_")) for level in LEVELS
        }
        self.views = {level: views for level, views in self.views.items() if views}
        self.extras = tuple(LEVELS[level] for level in self.views)
        self.names: dict[str, int] = {}
        self.heads = nn.ModuleDict()
        self._fingerprints: dict[str, str] = {}
        # the heads come later, from the random numbers of now
        self._seed = int(torch.randint(2**62, ()))
        self._given = {"atom_names": atom_names, "bond_names": bond_names}
        if atom_names is not None and bond_names is not None:
            self._build({"atom": atom_names, "bond": bond_names})

    def _build(self, names: Mapping[str, int]) -> None:
        self.names = dict(names)
        for level, views in self.views.items():
            for view in views:
                self.heads[view] = (
                    nn.Linear(self.encoder.width, names[level])
                    if level == "atom"
                    else BondNames(self.encoder.width, names[level], self.directions)
                )

    def adapt(self, corpus: Corpus) -> None:
        """Builds the heads for the vocabularies of the corpus, unless their sizes were given.

        Sizes that come from a corpus are no part of `config`: numbers mean other contexts in another one.
        """
        self.name_rows({level: corpus.vocabulary(LEVELS[level]).tokens for level in self.views})

    def name_rows(self, tokens: Mapping[str, Sequence[str]]) -> None:
        """Tells what the heads' rows name, level by level; builds the heads, unless their sizes were given."""
        if not self.heads:
            most = None if self.largest_vocabulary is None else self.largest_vocabulary + 2
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                self._build({level: len(names[:most]) for level, names in tokens.items()})
        self._fingerprints = {
            level: hashlib.sha256("\n".join(names[: self.names[level]]).encode()).hexdigest()
            for level, names in tokens.items()
        }

    def vocabularies(self) -> dict[str, str]:
        return {
            f"heads.{view}": self._fingerprints[level] for level in self._fingerprints for view in self.views[level]
        }

    @property
    def weights(self) -> dict[str, float]:
        weights = {f"{view}_context": 1.0 for views in self.views.values() for view in views}
        return weights | {f"{level}_disagreement": self.disagreement for level in self._doubled()}

    def _doubled(self) -> list[str]:
        """The levels at which two views can disagree."""
        return [level for level, views in self.views.items() if len(views) == 2 and self.disagreement > 0]

    def config(self) -> dict[str, Any]:
        return {
            "ratio": self.ratio,
            "disagreement": self.disagreement,
            "disagreement_rows": self.disagreement_rows,
            "directions": self.directions,
            "largest_vocabulary": self.largest_vocabulary,
            **self._given,
        }

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> ContextDraw:
        """Fresh targets for every epoch."""
        key = batch.key.cpu().numpy()
        chosen = []
        for level, owner, offsets in (
            ("atom", batch.atom_molecule, batch.atom_offsets),
            ("bond", batch.bond_molecule, batch.bond_offsets),
        ):
            molecule, start = owner.cpu().numpy(), offsets.cpu().numpy()
            item = np.arange(len(molecule)) - start[molecule]
            score = uniform_draws(key[molecule], item, seed, epoch, _STREAMS[level])
            # rounded first, so that 0.15 of 20 is 3 and not 4
            wanted = np.ceil(np.round(np.diff(start) * self.ratio, 9)).astype(np.int64)
            chosen.append(torch.from_numpy(choose_fewest(score, molecule, start, wanted)))
        return self.targets(*chosen)

    def targets(self, atoms: Tensor, bonds: Tensor) -> ContextDraw:
        """A draw from given targets: atoms bool [A], undirected bonds bool [E]."""
        counts: dict[str, float] = {}
        for level, chosen in (("atom", atoms), ("bond", bonds)):
            counts |= {f"{view}_context": float(chosen.sum()) for view in self.views.get(level, ())}
            if level in self._doubled():
                rows = float(chosen.sum()) if self.disagreement_rows == "chosen" else float(len(chosen))
                counts[f"{level}_disagreement"] = rows * self.names[level]
        return ContextDraw(atoms, bonds, counts)

    def from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: ContextDraw
    ) -> dict[str, Tensor]:
        views = output.views
        terms: dict[str, Tensor] = {}
        for level, names in self.views.items():
            chosen = draw.atom if level == "atom" else draw.bond
            every = level in self._doubled() and self.disagreement_rows == "all"
            target = self._numbers(batch, level)[chosen]
            found = {view: self.log_probabilities(view, views[view], None if every else chosen) for view in names}
            for view, named in found.items():
                terms[f"{view}_context"] = F.nll_loss(named[chosen] if every else named, target, reduction="sum")
            if level in self._doubled():
                first, second = found.values()
                terms[f"{level}_disagreement"] = (first - second).square().sum()
        return terms

    def figures_from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: ContextDraw
    ) -> dict[str, Figures]:
        """Of the named targets; the disagreement is no prediction and has no figures."""
        views = output.views
        figures: dict[str, Figures] = {}
        for level, names in self.views.items():
            chosen = draw.atom if level == "atom" else draw.bond
            target = self._numbers(batch, level)[chosen]
            classes = torch.bincount(target, minlength=self.names[level])
            for view in names:
                named = self.log_probabilities(view, views[view], chosen)
                right = (named.argmax(1) == target).sum()
                figures[f"{view}_context"] = ClassFigures(F.nll_loss(named, target, reduction="sum"), right, classes)
        return figures

    def log_probabilities(self, view: str, rows: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Log-probability of each name for all rows of a view, or for the chosen atoms or undirected bonds: [R, C]."""
        if chosen is not None:
            rows = rows[chosen if view.startswith("atom_") else chosen.repeat_interleave(2)]
        return torch.log_softmax(cast(Tensor, self.heads[view](rows)).float(), dim=1)

    def _numbers(self, batch: GraphBatch, level: str) -> Tensor:
        """The number of each row's context; those that the heads do not tell apart are `<other>`."""
        number = batch.extras[LEVELS[level]].flatten().long()
        return torch.where(number < self.names[level], number, _OTHER)
