"""Where the weights of a training lie: whole on every process (DDP, or one process), or cut into shards (sharding.py).

`trainee.module` is what validation, checkpoints and what is left of the training use; `collect` brings it up to date.
Checkpoints are therefore the same files for every strategy and number of processes, and nothing that is measured needs
to know of shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mesomer.training.context import Context
from mesomer.training.state import optimizer_tensors, restore_module, restore_optimizer
from mesomer.training.trainee import Trainee


class Whole:
    """Every process has all weights; with several of them DDP averages the gradients."""

    saves_together = False
    """Whether all ranks have to take part in saving."""

    def __init__(self, trainee: Trainee, context: Context) -> None:
        self.trainee, self.context = trainee, context
        self.module: nn.Module = trainee.module.to(context.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trainee's groups, of the parameters that are trained."""
        return self.trainee.parameter_groups()

    def wrap(self, forward: nn.Module) -> nn.Module:
        """What the forward pass goes through, given a module that calls `self.module`."""
        return self.context.fabric.setup_module(forward)

    def without_exchange(self, forward: nn.Module) -> AbstractContextManager[Any]:
        """Inside it a backward pass adds up gradients on its own rank only."""
        return self.context.fabric.no_backward_sync(forward) if self.context.world > 1 else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """The backward pass; gradients are averages over the ranks."""
        self.context.fabric.backward(loss)

    def norm(self, norm: Tensor) -> Tensor:
        """The norm of the gradient over all ranks, from what clipping gives."""
        return norm

    def collect(self) -> None:
        """Brings the trained weights into `trainee.module`, on all ranks."""

    def optimizer_tensors(self, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """The optimiser's tensors by name, whole."""
        return optimizer_tensors(optimizer, names)

    def restore(
        self, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor], path: Path
    ) -> None:
        """Takes weights and the optimiser's tensors from a checkpoint."""
        restore_module(self.trainee.module, tensors, path)
        restore_optimizer(optimizer, names, tensors)


def place(trainee: Trainee, context: Context) -> Whole:
    """The weights of a training, placed as the context says; one process has nothing to cut."""
    if context.strategy != "fsdp" or context.world == 1:
        return Whole(trainee, context)
    from mesomer.training.sharding import Sharded

    return Sharded(trainee, context)
