"""Several objectives around one encoder, trained side by side: `masked_graph+descriptors`.

The loss is the sum of their losses. Those that hide nothing (`EncodedObjective`) read one pass of the encoder over the
batch, with one dropout and one draw of whatever else is random in it; the others make passes of their own. Options are
given by part (`--objective_options.masked_graph.mask_ratio 0.25 --objective_options.descriptors.weight 5`). Terms keep
their names, which have to differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.data.corpus import Corpus
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError
from mesomer.objectives.base import Draw, EncodedObjective, Objective
from mesomer.objectives.figures import Figures


@dataclass(frozen=True)
class JointDraw:
    """The draws of the parts, in order."""

    draws: tuple[Draw, ...]
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> JointDraw:
        return JointDraw(tuple(draw.to(device) for draw in self.draws), self.counts)


class Joint(Objective):
    """The sum of several objectives."""

    def __init__(self, encoder: Encoder, parts: Sequence[Objective]) -> None:
        super().__init__()
        self.encoder = encoder
        for part in parts:
            # a second registration would store every weight twice; the parts keep a plain reference
            del part._modules["encoder"]
            object.__setattr__(part, "encoder", encoder)
        self.parts = nn.ModuleDict({part.name: part for part in parts})
        self.name = "+".join(self.parts)  # type: ignore[misc]
        self.trains_summary = any(part.trains_summary for part in parts)
        self.extras = tuple(dict.fromkeys(extra for part in parts for extra in part.extras))
        terms = [term for part in parts for term in part.weights]
        if len(set(terms)) < len(terms) or len(self.parts) < len(parts):
            raise MesomerError(f"The objectives of {self.name} have terms of one name.", "Name each objective once.")

    def _parts(self) -> list[Objective]:
        return [cast(Objective, part) for part in self.parts.values()]

    @property
    def weights(self) -> dict[str, float]:
        return {term: weight for part in self._parts() for term, weight in part.weights.items()}

    def config(self) -> dict[str, Any]:
        return {part.name: part.config() for part in self._parts()}

    def adapt(self, corpus: Corpus) -> None:
        for part in self._parts():
            part.adapt(corpus)

    def vocabularies(self) -> dict[str, str]:
        return {
            f"parts.{part.name}.{head}": names for part in self._parts() for head, names in part.vocabularies().items()
        }

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> JointDraw:
        draws = tuple(part.draw(batch, epoch, seed) for part in self._parts())
        return JointDraw(draws, {term: count for draw in draws for term, count in draw.counts.items()})

    def forward(self, batch: GraphBatch, draw: JointDraw) -> dict[str, Tensor]:  # type: ignore[override]
        found: dict[str, Tensor] = {}
        shared: EncoderOutput | None = None
        for part, own in zip(self._parts(), draw.draws, strict=True):
            if isinstance(part, EncodedObjective):
                shared = self.encoder(batch) if shared is None else shared
                found |= part.from_encoded(shared, batch, own)
            else:
                found |= part(batch, own)
        return found

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: JointDraw) -> dict[str, Figures]:  # type: ignore[override]
        found: dict[str, Figures] = {}
        shared: EncoderOutput | None = None
        for part, own in zip(self._parts(), draw.draws, strict=True):
            if isinstance(part, EncodedObjective):
                shared = self.encoder(batch) if shared is None else shared
                found |= part.figures_from_encoded(shared, batch, own)
            else:
                found |= part.figures(batch, own)
        return found
