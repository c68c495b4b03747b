"""Rows in steps of 64, for products in bfloat16 on a CPU.

oneDNN makes a kernel for every shape that it meets, which takes longer than the product of a small batch, and hardly
two batches have the same number of rows. With rows of zeros up to the next multiple of 64, which are cut off
afterwards, a few dozen kernels serve a whole training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEP = 64


def in_steps(x: Tensor) -> Tensor:
    """Rows [R, W] with rows of zeros behind them, if they are in bfloat16 on a CPU; else as they are."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return x
    return F.pad(x, (0, 0, 0, -x.shape[0] % STEP))


class RowLinear(nn.Linear):
    """A linear layer over the rows of a batch: [R, in] -> [R, out]."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        return super().forward(in_steps(x))[: x.shape[0]]
