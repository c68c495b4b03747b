"""Trains the parts of both networks side by side, one process for each core.

Decided: one thread in each process. Two threads on one network of this size give 1.6 times the speed of one, and far
less on a busy machine, since they wait for each other at every small product; two processes give twice the speed. Each
finished part is a file, so that an interrupted quickstart goes on with the first part that is missing. On a GPU one
process trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mesomer.data.splits import Split
from mesomer.data.workers import run_tasks
from mesomer.progress import Progress
from mesomer.quickstart.design import Outcome
from mesomer.run import RunFolder
from mesomer.training.checkpoint import encoder_of, load_model
from mesomer.training.context import Context
from mesomer.training.finetune_cell import Cells
from mesomer.training.finetune_plan import Cell, FinetuneOptions, PropertyData, plan_cells


@dataclass(frozen=True)
class Part:
    """One training: what a process needs to know for it."""

    label: str
    cell: Cell
    data: PropertyData
    splits: list[Split]
    model: Path
    options: FinetuneOptions
    folder: Path
    threads: int | None

    @property
    def work(self) -> int:
        """Molecules that it passes."""
        return len(self.splits[self.cell.split].train) * self.options.epochs


def train_part(part: Part) -> tuple[str, int, float]:
    """Trains one part and leaves it in its file; returns its label, its work and its seconds."""
    if part.threads is not None:
        import torch

        torch.set_num_threads(part.threads)
    context = Context.start(part.options.accelerator, part.options.precision)
    base = encoder_of(load_model(part.model))
    result = Cells(part.data, part.splits, base, part.options, context).run(part.cell, part.folder)
    return part.label, part.work, result.seconds


def train_side_by_side(
    run: RunFolder, outcome: Outcome, networks: dict[str, FinetuneOptions], folder: Path, workers: int
) -> None:
    """Trains all parts that have no file yet; `networks` maps a name to its settings, files go to `folder / name`."""
    threads = 1 if workers > 1 else None
    plan = {name: plan_cells(outcome.splits, options) for name, options in networks.items()}
    parts = []
    for at in range(len(outcome.splits)):
        for name, options in networks.items():
            place, cell = folder / name, plan[name][at]
            place.mkdir(parents=True, exist_ok=True)
            if not (place / f"{cell.name}.safetensors").exists():
                label, model = f"{name}, part {at + 1}", outcome.folder.path
                parts.append(Part(label, cell, outcome.data, outcome.splits, model, options, place, threads))
    with Progress(sum(part.work for part in parts), "molecules", "training") as bar:
        bar.note(f"{len(parts)} parts on {workers} cores" if workers > 1 else f"{len(parts)} parts")
        for label, work, seconds in run_tasks(train_part, parts, workers):
            run.log(f"{label}: {seconds:.1f} s")
            bar.advance(work)
