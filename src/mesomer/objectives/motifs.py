"""Which of 85 functional groups a molecule contains, predicted from its vector (grover.md 4.3, the graph-level motif
task).

The labels are the added column `motifs` of the corpus. The loss is the mean binary cross-entropy over all labels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mesomer.objectives.base import register
from mesomer.objectives.figures import ClassFigures, Figures
from mesomer.objectives.graph_labels import GraphLabels


@register
class Motifs(GraphLabels):
    """85 yes-or-no labels."""

    name = "motifs"
    label = "motifs"
    columns = 85

    def loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(predicted, labels.float(), reduction="sum")

    def measured(self, predicted: Tensor, labels: Tensor) -> Figures:
        yes = labels.sum(0).double()
        counts = yes.new_zeros(self.columns, 2)
        counts[:, 1], counts[:, 0] = yes, len(labels) - yes
        return ClassFigures(self.loss(predicted, labels), ((predicted > 0) == labels.bool()).sum(), counts)
