"""A layer behind the pooled rows of a molecule, which pre-training on whole-molecule labels fills: the summary.

    pooled vector [M, P] --standardised--> one linear layer --ReLU--> summary [M, S]

Decided: an objective that predicts labels of the molecule needs a hidden layer between the pooled vector and hundreds
of outputs. Kept in the objective it is thrown away after pre-training, and with it what a linear model reads best
(R² of two clearance sets 0.38 and 0.46 from pooled vectors, 0.43 and 0.51 with the layer; docs/diary.md). So it is a
part of the encoder and of the molecule vector. Vectors of molecules differ little beside what they have in common, and
a network learns slowly from them as they are: hence the scales.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class RunningStandard(nn.Module):
    """Columns centred and scaled by what the first batches have shown: [M, width] -> [M, width].

    Unlike batch normalisation a molecule's result does not depend on its batch mates beyond that slow average, one
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

    @property
    def untouched(self) -> bool:
        """Whether it has seen nothing yet."""
        return int(self.batches) == 0

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Takes mean and variance of these rows [n, width], for good."""
        wide = x.cpu().double()  # not every device computes in float64
        self.mean.copy_(wide.mean(0))
        self.variance.copy_(wide.var(0, correction=0))
        self.hold()

    def hold(self) -> None:
        """Follows no batch any more."""
        self.batches.clamp_(min=self.followed)

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


class Summary(nn.Module):
    """Pooled vectors [M, pooled] -> [M, width], in float32 whatever the precision around it."""

    def __init__(self, pooled: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.standard = RunningStandard(pooled)
        self.linear = nn.Linear(pooled, width)

    def forward(self, pooled: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):
            return torch.relu(self.linear(self.standard(pooled).to(self.linear.weight.dtype)))
