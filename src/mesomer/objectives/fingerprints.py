"""Which circular fragments a molecule contains, predicted from its vector: ECFP4 folded to 1,024 bits.

Descriptors say what a molecule is like as a whole; fragments say what stands beside what. The labels are the added
column `fingerprints` of the corpus; the loss is the mean binary cross-entropy over all bits.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mesomer.objectives.base import register
from mesomer.objectives.figures import ClassFigures, Figures
from mesomer.objectives.graph_labels import GraphLabels


@register
class Fingerprints(GraphLabels):
    """1,024 yes-or-no labels."""

    name = "fingerprints"
    label = "fingerprints"
    columns = 1024

    def loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(predicted, labels.float(), reduction="sum")

    def measured(self, predicted: Tensor, labels: Tensor) -> Figures:
        yes = labels.sum(0).double()
        counts = yes.new_zeros(self.columns, 2)
        counts[:, 1], counts[:, 0] = yes, len(labels) - yes
        return ClassFigures(self.loss(predicted, labels), ((predicted > 0) == labels.bool()).sum(), counts)
