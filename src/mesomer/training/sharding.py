"""Weights cut into shards by FSDP2: a process keeps its part of weights, gradients and optimiser states.

A module's weights are gathered when it is called. `Encoder.sharded_parts` says which modules are gathered on their own,
everything else is one group. `trainee.module` stays a whole copy of the weights, without gradients and states.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mesomer.encoders.base import Encoder
from mesomer.training.context import Context
from mesomer.training.placement import Whole
from mesomer.training.state import optimizer_tensors, restore_module, restore_optimizer
from mesomer.training.trainee import Trainee


class Sharded(Whole):
    """Every process has a part of all weights, gradients and optimiser states."""

    saves_together = True

    def __init__(self, trainee: Trainee, context: Context) -> None:
        super().__init__(trainee, context)
        self.mesh = init_device_mesh(context.device.type, (context.world,))
        self.module = copy.deepcopy(trainee.module)
        encoder = getattr(self.module, "encoder", None)
        units = list(encoder.sharded_parts()) if isinstance(encoder, Encoder) else []
        for unit in [*units, self.module]:
            _give_every_parameter_a_gradient(unit, [other for other in units if other is not unit])
        for unit in [*units, self.module]:
            fully_shard(unit, mesh=self.mesh)
        for parameter in trainee.module.parameters():
            parameter.requires_grad_(False)
        trainee.module.eval()

    def parameter_groups(self) -> list[dict[str, Any]]:
        own = dict(self.module.named_parameters())
        twin = {parameter: own[name] for name, parameter in self.trainee.module.named_parameters()}
        groups = self.trainee.parameter_groups()
        return [{**group, "params": [twin[parameter] for parameter in group["params"]]} for group in groups]

    def wrap(self, forward: nn.Module) -> nn.Module:
        return forward

    @contextmanager
    def without_exchange(self, forward: nn.Module) -> Iterator[None]:  # type: ignore[override]
        assert isinstance(self.module, FSDPModule)
        self.module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.module.set_requires_gradient_sync(True)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def norm(self, norm: Tensor) -> Tensor:
        return _whole(norm)

    @torch.no_grad()
    def collect(self) -> None:
        whole = self.trainee.module.state_dict()
        for name, tensor in self.module.state_dict().items():
            whole[name].copy_(_whole(tensor))

    def optimizer_tensors(self, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        # one after the other to the CPU: all of them together need not fit on a device
        return {name: _whole(x).cpu() for name, x in optimizer_tensors(optimizer, names).items()}

    @torch.no_grad()
    def restore(
        self, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor], path: Path
    ) -> None:
        restore_module(self.trainee.module, tensors, path)
        whole = self.trainee.module.state_dict()
        own = self.module.state_dict()
        for name, tensor in own.items():
            tensor.copy_(self._cut(whole[name], tensor))
        by_name = {name: parameter for parameter, name in names.items()}
        parts = {}
        for name, x in tensors.items():
            kind, _, rest = name.partition("/")
            parameter = by_name.get(rest.rpartition("/")[0]) if kind == "optimizer" else None
            parts[name] = x if parameter is None or x.dim() == 0 else self._cut(x, parameter)
        restore_optimizer(optimizer, names, parts)

    def _cut(self, whole: Tensor, like: Tensor) -> Tensor:
        """This rank's part of a tensor that every rank has."""
        if not isinstance(like, DTensor):
            return whole
        return distribute_tensor(whole.to(like.device), self.mesh, like.placements, src_data_rank=None)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class _Touch(torch.autograd.Function):
    """A copy of the first argument (a view would lose FSDP's hooks); the others get a gradient of zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*(parameter.new_empty(()).expand(parameter.shape) for parameter in parameters))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return gradient, *(like.new_zeros(()).expand(like.shape) for like in ctx.saved_tensors)


def _give_every_parameter_a_gradient(unit: nn.Module, apart: list[nn.Module]) -> None:
    """Ranks exchange the gradients that they have: those of a head that only some ranks' molecules touch have to be
    there on all of them. To be called before `fully_shard`, whose hooks come after this one.
    """
    owned = [
        (module, name)
        for module in _modules(unit, apart)
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.requires_grad
    ]

    def touch(_: nn.Module, __: Any, output: Any) -> Any:
        parameters = [getattr(module, name) for module, name in owned]
        if isinstance(output, Mapping):
            first = next(key for key, x in output.items() if x.requires_grad)
            return {**output, first: _Touch.apply(output[first], *parameters)}
        return _Touch.apply(output, *parameters)

    unit.register_forward_hook(lambda *given: touch(*given) if torch.is_grad_enabled() else None)


def _modules(unit: nn.Module, apart: list[nn.Module]) -> Iterator[nn.Module]:
    yield unit
    for child in unit.children():
        if child not in apart:
            yield from _modules(child, apart)
