"""200 RDKit descriptors, predicted from the vector of the molecule (rmat.md 5.3; grover.md 1.6 lists them).

The labels are the added column `descriptors` of the corpus: values mapped to their normalised distributions, from 0
to 1. Before training they are centred and scaled column by column with what the corpus shows, so that a descriptor
that varies little counts as much as one that varies much; no scale is below `SMALLEST_SCALE`, so that a group which
hardly any molecule has does not rule the loss. The loss is the mean squared error over the values that exist.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mesomer.data.corpus import Corpus
from mesomer.encoders.base import Encoder
from mesomer.objectives.base import register
from mesomer.objectives.figures import Figures, NumberFigures
from mesomer.objectives.graph_labels import GraphLabels

SMALLEST_SCALE = 0.2
SAMPLE = 20_000


@register
class Descriptors(GraphLabels):
    """Regression of the 200."""

    name = "descriptors"
    label = "descriptors"
    columns = 200

    center: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder, **options: Any) -> None:
        super().__init__(encoder, **options)
        self.register_buffer("center", torch.zeros(self.columns))
        self.register_buffer("scale", torch.ones(self.columns))

    def adapt(self, corpus: Corpus) -> None:
        """Takes center and scale of each column from `SAMPLE` training molecules, evenly spread over the corpus."""
        sample = min(corpus.num_train, SAMPLE)
        chosen = np.arange(sample, dtype=np.int64) * corpus.num_train // sample
        values = corpus.batch("train", chosen).extras[self.label].double()
        present = ~torch.isnan(values)
        count = present.sum(0).clamp(min=1)
        center = torch.where(present, values, 0.0).sum(0) / count
        spread = (torch.where(present, values - center, 0.0).square().sum(0) / count).sqrt()
        self.center.copy_(center)
        self.scale.copy_(spread.clamp(min=SMALLEST_SCALE))

    def loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        target, present = self._target(labels)
        return torch.where(present, predicted - target, 0.0).square().sum()

    def measured(self, predicted: Tensor, labels: Tensor) -> Figures:
        target, present = self._target(labels)
        known = target.double()
        return NumberFigures(self.loss(predicted, labels), present.sum(0), known.sum(0), known.square().sum(0))

    def _target(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled labels with 0 where there is none, and where there is one."""
        present = ~torch.isnan(labels)
        return torch.where(present, (labels - self.center) / self.scale, 0.0), present
