"""Objectives that predict stored numbers of the whole molecule from its vector: an encoder, a small network, a loss.

The network sees a part of `Encoder.molecule_vectors`, the vector that `embed` gives and a linear model on frozen
vectors sees, so that what is learnt here is there to be read afterwards: the summary, from which outputs are a linear
map, or without a summary what is pooled, with a hidden layer of the objective's own. Nothing is hidden and nothing is
drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.encoders.summary import RunningStandard
from mesomer.errors import MesomerError
from mesomer.objectives.base import EncodedObjective
from mesomer.objectives.figures import ClassFigures, Figures


@dataclass(frozen=True)
class LabelDraw:
    """Nothing random: only how many labels there are."""

    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> LabelDraw:
        return self


class GraphLabels(EncodedObjective):
    """Base of the objectives on stored labels: `label` names the added column of the corpus [M, columns]."""

    label: ClassVar[str]
    columns: ClassVar[int]
    trains_summary = True

    def __init__(self, encoder: Encoder, *, hidden: int | None = None, weight: float = 1.0) -> None:
        """A network around an encoder.

        Args:
            encoder: The encoder that learns.
            hidden: Width of the hidden layer, 0 for a linear map; 0 if not given for an encoder with a summary, else
                512.
            weight: Weight of the term in the loss.
        """
        super().__init__()
        if hidden is None:
            hidden = 512 if encoder.summary is None else 0
        if hidden < 0 or weight <= 0:
            raise MesomerError(f"{self.name} has hidden {hidden} and weight {weight}.", "Give 0 or more, and above 0.")
        self.encoder, self.hidden, self.weight = encoder, hidden, weight
        self.extras = (self.label,)
        width = encoder.pooled_width if encoder.summary is None else encoder.summary.width
        standard = [RunningStandard(width)] if encoder.summary is None else []  # a summary has scales of its own
        layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, self.columns)] if hidden else None
        self.predict = nn.Sequential(*standard, *(layers or [nn.Linear(width, self.columns)]))

    @property
    def weights(self) -> dict[str, float]:
        return {self.label: self.weight}

    def config(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "weight": self.weight}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> LabelDraw:
        labels = batch.extras[self.label]
        return LabelDraw(
            {self.label: float((~torch.isnan(labels)).sum() if labels.is_floating_point() else labels.numel())}
        )

    def from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: LabelDraw
    ) -> dict[str, Tensor]:
        return {self.label: self.loss(self.predicted(output, batch), batch.extras[self.label])}

    def figures_from_encoded(  # type: ignore[override]
        self, output: EncoderOutput, batch: GraphBatch, draw: LabelDraw
    ) -> dict[str, Figures]:
        return {self.label: self.measured(self.predicted(output, batch), batch.extras[self.label])}

    def predicted(self, output: EncoderOutput, batch: GraphBatch) -> Tensor:
        """Raw outputs [M, columns], float32."""
        encoder = self.encoder
        rows = encoder.pooled_vectors if encoder.summary is None else encoder.summary_vectors
        return self.predict(rows(output, batch)).float()

    def loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        """The loss summed over the labels that are there."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def measured(self, predicted: Tensor, labels: Tensor) -> Figures:
        """What one batch says of the term."""
        raise TypeError(f"{type(self).__name__} reports no figures")


class YesNoLabels(GraphLabels):
    """Labels of 0 and 1, all of them there: the mean binary cross-entropy over all columns."""

    def loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(predicted, labels.float(), reduction="sum")

    def measured(self, predicted: Tensor, labels: Tensor) -> Figures:
        yes = labels.sum(0).double()
        counts = yes.new_zeros(self.columns, 2)
        counts[:, 1], counts[:, 0] = yes, len(labels) - yes
        return ClassFigures(self.loss(predicted, labels), ((predicted > 0) == labels.bool()).sum(), counts)
