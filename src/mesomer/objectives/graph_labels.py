"""Objectives that predict stored numbers of the whole molecule from its vector: an encoder, a small network, a loss.

The network sees `Encoder.molecule_vectors`, the very vector that `embed` gives and a linear model on frozen vectors
sees, so that what is learnt here is there to be read afterwards. Nothing is hidden and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError
from mesomer.objectives.base import EncodedObjective
from mesomer.objectives.figures import ClassFigures, Figures


@dataclass(frozen=True)
class LabelDraw:
    """Nothing random: only how many labels there are."""

    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> LabelDraw:
        return self


class RunningStandard(nn.Module):
    """Columns centred and scaled by what the first batches have shown: [M, width] -> [M, width].

    Vectors of molecules differ little beside what they have in common, and a network learns slowly from them as they
    are. Unlike batch normalisation a molecule's result does not depend on its batch mates beyond that slow average, one
    molecule makes a batch, and several processes keep one average.

    The average follows the first `followed` batches and is constant from then on. No gradient sees it: were it to
    follow for ever, the encoder could gain by running ahead of it, and would lose that again when the rate falls (held-
    out loss 0.127 at a rate of 5e-5, 0.139 at 1e-5).
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, width: int, momentum: float = 0.05, followed: int = 500) -> None:
        super().__init__()
        self.momentum, self.followed = momentum, followed
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            self._follow(x.detach())
        return (x - self.mean) * torch.rsqrt(self.variance + 1e-5)

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        sums = torch.cat([x.new_full((1,), len(x)), x.sum(0), x.square().sum(0)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        mean, square = (sums[1:] / sums[0]).chunk(2)
        # the first batches count more, so that the start values are soon forgotten
        share = 1 / torch.clamp(self.batches + 1.0, max=1 / self.momentum)
        share = torch.where(self.batches < self.followed, share, 0.0)  # decided on the device: no waiting for it
        self.variance.lerp_((square - mean.square()).clamp(min=0) + (mean - self.mean).square() * (1 - share), share)
        self.mean.lerp_(mean, share)
        self.batches += 1


class GraphLabels(EncodedObjective):
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
        width = encoder.molecule_width
        layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, self.columns)] if hidden else None
        self.predict = nn.Sequential(RunningStandard(width), *(layers or [nn.Linear(width, self.columns)]))

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
        return self.predict(self.encoder.molecule_vectors(output, batch)).float()

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
