"""Running a model over many molecules: batches of like sizes up to an atom budget, results back in the given order.

Molecules are sorted by size, so that a batch is full whatever the order of the input; which molecules share a batch
does not change their results. On a CPU every core works on a batch of its own, because products and sums of this size
do not share out well; batches come back in the order in which they were made, and no more are under way than there
are cores, and one. When a GPU's memory does not suffice, the budget is halved once, aloud.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mesomer.chem.graph import GraphBatch, MolGraph, collate
from mesomer.errors import MesomerError, unknown_name
from mesomer.machine import keep_freed_memory

# A CPU is fastest while the states of a batch fit its cache (base BatmanNet on one core, 512 to 16384 atoms: 122, 111,
# 97, 91, 69, 57 molecules/s); a GPU wants enough rows to fill it, and has to hold them for the largest encoders.
ATOMS_PER_BATCH = {"cpu": 1024, "cuda": 16384}
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")


def choose_device(accelerator: str = "auto") -> torch.device:
    """The device that a name means; "auto" takes a GPU where there is one."""
    if accelerator not in ACCELERATORS:
        raise unknown_name("accelerator", str(accelerator), ACCELERATORS)
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = "cuda" if accelerator == "gpu" else accelerator
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name]
    if not there:
        raise MesomerError(f"The accelerator {accelerator!r} is not available here.", "Try --accelerator cpu.")
    return torch.device(name)


def use_threads(threads: int | None) -> None:
    """Limits the processor cores that the network uses."""
    if threads is None:
        return
    if threads < 1:
        raise MesomerError(f"--threads is {threads}, and must be 1 or more.")
    torch.set_num_threads(threads)


def size_batches(sizes: NDArray[np.integer], atoms_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Positions in batches of at most `atoms_per_batch` atoms (a larger molecule alone), smaller molecules first."""
    order = np.argsort(sizes, kind="stable")
    start, atoms = 0, 0
    for place, size in enumerate(sizes[order]):
        if place > start and atoms + size > atoms_per_batch:
            yield order[start:place]
            start, atoms = place, 0
        atoms += int(size)
    if start < len(order):
        yield order[start:]


BatchFunction = Callable[[GraphBatch, NDArray[np.int64]], Any]


class Runner:
    """Runs a function of a batch over graphs, on one device."""

    def __init__(self, device: torch.device, atoms_per_batch: int | None = None) -> None:
        keep_freed_memory()
        self.device = device
        self.atoms_per_batch = atoms_per_batch or ATOMS_PER_BATCH.get(device.type, 1024)
        self.halved = False

    def run(self, graphs: Sequence[MolGraph], function: BatchFunction) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """(positions, function(batch, positions)) for every batch; the positions of all batches are all graphs once.

        On a CPU the function is called in several threads at a time.
        """
        sizes = np.array([len(graph.atoms) for graph in graphs], dtype=np.int64)
        batches = list(size_batches(sizes, self.atoms_per_batch))
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        if min(threads, len(batches)) > 1:
            yield from _in_threads(graphs, batches, function, min(threads, len(batches)))
            return
        waiting = batches[::-1]
        while waiting:
            positions = waiting.pop()
            batch = collate([graphs[at] for at in positions])
            try:
                found = function(batch.to(self.device), positions)
            except torch.OutOfMemoryError as error:
                self._halve(error)
                rest = np.concatenate([positions, *waiting[::-1]])
                waiting = [rest[part] for part in size_batches(sizes[rest], self.atoms_per_batch)][::-1]
                continue
            yield positions, found

    def _halve(self, error: Exception) -> None:
        if self.halved:
            raise MesomerError(
                f"The memory of {self.device} does not suffice for {self.atoms_per_batch:,} atoms at a time.",
                "Give a smaller --atoms_per_batch, or --accelerator cpu.",
            ) from error
        self.halved = True
        self.atoms_per_batch //= 2
        torch.cuda.empty_cache()
        print(f"Out of memory: going on with {self.atoms_per_batch:,} atoms at a time.", file=sys.stderr, flush=True)


def _in_threads(
    graphs: Sequence[MolGraph], batches: Sequence[NDArray[np.int64]], function: BatchFunction, threads: int
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """The function of every batch, in order, computed by threads of one core each."""
    cores, inference, gradient = torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def work(positions: NDArray[np.int64]) -> Any:
        # these modes belong to a thread, and a new one has torch's defaults
        with torch.inference_mode(inference), torch.set_grad_enabled(gradient):
            return function(collate([graphs[at] for at in positions]), positions)

    under_way: deque[tuple[NDArray[np.int64], Future[Any]]] = deque()
    with ThreadPoolExecutor(threads, "batch", torch.set_num_threads, (1,)) as pool:
        try:
            for positions in batches:
                under_way.append((positions, pool.submit(work, positions)))
                if len(under_way) > threads:
                    done, future = under_way.popleft()
                    yield done, future.result()
            while under_way:
                done, future = under_way.popleft()
                yield done, future.result()
        finally:
            for _, future in under_way:
                future.cancel()
            torch.set_num_threads(cores)  # the number that later threads start with
