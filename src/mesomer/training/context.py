"""Where a training runs: device, precision and the processes that share the work.

Processes are started from outside, by `torchrun` or `srun` (launchers.py); without either there is one. `precision`
"auto" is bfloat16 where the device computes in it (GPUs since Ampere, CPUs with AVX512-BF16 or AMX), else float32.
Parameters and optimiser stay in float32; `autocast` casts inside the forward pass only.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mesomer.errors import MesomerError, unknown_name
from mesomer.run import Interrupted

T = TypeVar("T")
PRECISIONS = ("auto", "32", "bf16")
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
STRATEGIES = ("ddp", "fsdp")


class Context:
    """Device, precision and ranks of one training; make it by `Context.start` and use it as a context manager."""

    def __init__(self, fabric: Any, precision: str, local_world: int = 1, strategy: str = "ddp") -> None:
        self.fabric, self.strategy = fabric, strategy
        self.device: torch.device = fabric.device
        self.rank: int = fabric.global_rank
        self.world: int = fabric.world_size
        self.local_rank: int = fabric.local_rank
        self.local_world = local_world
        self.precision = precision
        # sums over many values; Apple's GPUs have no float64
        self.wide = torch.float32 if self.device.type == "mps" else torch.float64

    @classmethod
    def start(cls, accelerator: str = "auto", precision: str = "auto", strategy: str = "ddp") -> Context:
        """Joins the processes that torchrun or srun started, or works alone; `strategy` says how several share the
        weights (placement.py).
        """
        if accelerator not in ACCELERATORS:
            raise unknown_name("accelerator", accelerator, ACCELERATORS)
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        if strategy not in STRATEGIES:
            raise unknown_name("strategy", strategy, STRATEGIES)
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        from mesomer.training.launchers import processes

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        environment, devices, nodes = processes()
        alone = devices * nodes == 1
        # a head that a batch does not touch has no gradient: DDP waits for it forever unless it looks for such
        launched = "auto" if alone else DDPStrategy(find_unused_parameters=True)
        try:
            fabric = Fabric(
                accelerator=accelerator,
                devices=devices,
                num_nodes=nodes,
                strategy=launched,
                precision="32-true",
                plugins=[environment],
            )
        except MisconfigurationException as error:
            reason = " ".join(str(error).split())
            raise MesomerError(
                f"This machine does not have a device for each of its {devices} processes: {reason}",
                "Start as many as it has GPUs; every process has to see all of them (srun --gpus-per-node, and not "
                "--gpus-per-task).",
            ) from error
        except RuntimeError as error:
            raise MesomerError(
                f"This machine has no device for --accelerator {accelerator}.", "Take --accelerator auto or cpu."
            ) from error
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise MesomerError(
                f"The accelerator {accelerator!r} cannot be used here: {reason}", "Try --accelerator cpu."
            ) from error
        fabric.launch()
        return cls(fabric, _resolve_precision(precision, fabric.device), devices, strategy)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward pass."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def send(self, values: Tensor) -> Tensor:
        """A tensor of the CPU on the device; nobody waits for a GPU, which an ordinary copy does."""
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)

    def bring(self, values: Tensor) -> Callable[[], list[float]]:
        """Starts to bring a tensor of the device to the CPU; what is given back waits for that, and on a GPU for
        nothing that was sent there afterwards.
        """
        if self.device.type != "cuda":
            return values.tolist
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def wait() -> list[float]:
            done.synchronize()
            return here.tolist()

        return wait

    def add_up(self, values: Tensor) -> Tensor:
        """Sums a tensor on this device over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def sums(self, values: Mapping[str, float | Tensor]) -> dict[str, float]:
        """Sums named numbers over all ranks; every rank gives the same names in the same order."""
        if not values:
            return {}
        row = torch.stack([torch.as_tensor(value, device=self.device).to(self.wide) for value in values.values()])
        return dict(zip(values, self.add_up(row).tolist(), strict=True))

    def first(self, work: Callable[[], T]) -> T:
        """Does `work` on rank 0 alone and gives its result to all; its user's error is raised on every rank."""
        if self.world == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = work()
            except MesomerError as error:
                outcome[1] = (error.message, error.hint)
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise MesomerError(*outcome[1])
        return outcome[0]

    def each(self, work: Callable[[], None]) -> None:
        """Does `work` on every rank; the user's error of any rank is raised on all of them."""
        error: tuple[str, str] | None = None
        try:
            work()
        except MesomerError as found:
            error = (found.message, found.hint)
        for told in self.gather(error):
            if told is not None:
                raise MesomerError(*told)

    def gather(self, value: T) -> list[T]:
        """The value of every rank, by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def close(self) -> None:
        """Leaves the group of processes, all of them together.

        gloo's threads let go of the last tensors a moment after these were exchanged, and one that does so while the
        interpreter ends aborts the process. The barrier gives them that moment. Where nothing holds the group any more
        they end with it; after FSDP torch's own caches hold it, and they idle.
        """
        if self.world > 1 and dist.is_initialized():
            self.fabric.barrier()
            gc.collect()  # a training leaves reference cycles that hold the group
            dist.destroy_process_group()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # after an error of this rank alone the others may never come to leave the group: the end of the process does it
        if kind is None or issubclass(kind, Interrupted):
            self.close()


def _resolve_precision(wanted: str, device: torch.device) -> str:
    if wanted != "auto":
        return wanted
    return "bf16" if has_bf16(device) else "32"


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False
