"""What all benchmarks share: timing by turns, the machine's matrix-product peak of the same run, the facts to print.

Contestants take turns round by round, so that whatever else the machine does meets all of them alike; figures are
medians over the rounds, in wall time. Only ratios within one run mean anything on a machine that is shared. On a GPU
the clock is read when everything that was sent there is done, before and after.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sized

import torch

from mesomer.chem.parse import read_smiles
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.machine import machine, versions
from mesomer.quickstart.design import DEMO

PEAK_SIZE = {"cpu": 2048, "cuda": 8192}  # rows and columns of the product that stands for the peak


def device_named(name: str) -> torch.device:
    """The device to measure on, which has to be there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise MesomerError("--device cuda was asked for, and this torch sees no GPU.", "Leave --device out.")
    return torch.device(name)


def by_turns(
    contestants: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1, device: torch.device | None = None
) -> dict[str, float]:
    """Median seconds of each contestant over `rounds` rounds, in which each runs once."""

    def settled() -> float:
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    for run in contestants.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            started = settled()
            run()
            seconds[name].append(settled() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def product(dtype: torch.dtype, device: torch.device | None = None) -> tuple[Callable[[], object], float]:
    """A square matrix product as a contestant, and its floating-point operations."""
    size = PEAK_SIZE["cpu" if device is None else device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return (lambda: a @ b), 2.0 * size**3


def read_molecules(path: str | None, count: int, seed: int) -> list[str]:
    """At most `count` readable SMILES of a table (the demonstration set if None), drawn at random."""
    table = open_table(str(DEMO) if path is None else path)
    texts = [text for chunk in table.chunks() for text in chunk.smiles if read_smiles(text)[0] is not None]
    if not texts:
        raise MesomerError(f"There is no readable molecule in {path}.")
    random.Random(seed).shuffle(texts)
    return texts[:count]


def facts(data: str | None, molecules: Sized, seed: int | None = None, device: torch.device | None = None) -> str:
    """Machine, versions, data and seed in one paragraph."""
    about, found = machine(), versions()
    gpu = f"{torch.cuda.get_device_name(device)}; " if device is not None and device.type == "cuda" else ""
    packages = ", ".join(f"{name} {found[name]}" for name in ("mesomer", "python", "torch", "rdkit") if name in found)
    return (
        f"{gpu}{about['processor']}, {about['cores']} cores, {torch.get_num_threads()} threads; {packages}; "
        f"{len(molecules):,} molecules of {data or 'the demonstration set'}"
        f"{', in their order' if seed is None else f', seed {seed}'}."
    )
