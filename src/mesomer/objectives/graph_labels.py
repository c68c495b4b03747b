"""Objectives that predict stored numbers of the whole molecule from its vector: an encoder, a small network, a loss.

The network sees `Encoder.molecule_vectors`, the very vector that `embed` gives and a linear model on frozen vectors
sees, so that what is learnt here is there to be read afterwards. Nothing is hidden and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.objectives.base import Objective
from mesomer.objectives.figures import Figures


@dataclass(frozen=True)
class LabelDraw:
    """Nothing random: only how many labels there are."""

    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> LabelDraw:
        return self


class GraphLabels(Objective):
    """Base of the objectives on stored labels: `label` names the added column of the corpus [M, columns]."""

    label: ClassVar[str]
    columns: ClassVar[int]

    def __init__(self, encoder: Encoder, *, hidden: int = 512, weight: float = 1.0) -> None:
        """A network of one hidden layer around an encoder.

        Args:
            encoder: The encoder that learns.
            hidden: Width of the hidden layer; 0 for a linear map.
            weight: Weight of the term in the loss.
        """
        super().__init__()
        if hidden < 0 or weight <= 0:
            raise MesomerError(f"{self.name} has hidden {hidden} and weight {weight}.", "Give 0 or more, and above 0.")
        self.encoder, self.hidden, self.weight = encoder, hidden, weight
        self.extras = (self.label,)
        self.predict: nn.Module
        if hidden:
            self.predict = nn.Sequential(
                nn.Linear(encoder.molecule_width, hidden), nn.ReLU(), nn.Linear(hidden, self.columns)
            )
        else:
            self.predict = nn.Linear(encoder.molecule_width, self.columns)

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

    def forward(self, batch: GraphBatch, draw: LabelDraw) -> dict[str, Tensor]:  # type: ignore[override]
        return {self.label: self.loss(self.predicted(batch), batch.extras[self.label])}

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: LabelDraw) -> dict[str, Figures]:  # type: ignore[override]
        return {self.label: self.measured(self.predicted(batch), batch.extras[self.label])}

    def predicted(self, batch: GraphBatch) -> Tensor:
        """Raw outputs [M, columns], float32."""
        return self.predict(self.encoder.molecule_vectors(self.encoder(batch), batch)).float()

    def loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        """The loss summed over the labels that are there."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def measured(self, predicted: Tensor, labels: Tensor) -> Figures:
        """What one batch says of the term."""
        raise TypeError(f"{type(self).__name__} reports no figures")
