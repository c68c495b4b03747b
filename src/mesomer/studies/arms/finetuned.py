"""The pre-trained network, fine-tuned, and its twin: the same network from random weights.

Decided: the twins differ in the weights that the encoder starts from and in nothing else: settings, epochs, batches,
the seed of the head, and patience are those of the fold. Trained as `mesomer finetune` does. The first setting, which
alone is tried where time is short, is the best one of both twins on the sets where such choices are made
(docs/diary.md): at the rate of 1e-3, one of the two in the specification, both do worse with few molecules.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mesomer.studies.arms.base import Arm, Job, Predicted, Setting
from mesomer.studies.scoring import Labels, can_judge
from mesomer.training.finetune_cell import Cells
from mesomer.training.finetune_plan import Cell, FinetuneOptions, PropertyData
from mesomer.training.ledger import Diverged, StepReport
from mesomer.training.predictor import trainable_parameters

SETTINGS = (
    {"max_lr": 3e-4, "dropout": 0.1},
    {"max_lr": 1e-4, "dropout": 0.1},
    {"max_lr": 1e-3, "dropout": 0.1},
    {"max_lr": 3e-4, "dropout": 0.5},
)
WARMUP_EPOCHS = 2.0
TIMED_MOLECULES = 96


class Finetuned(Arm):
    """A network trained on the labels."""

    kind = "network"
    settings = SETTINGS

    def __init__(self, name: str, label: str, *, scratch: bool, rich: bool = False, twin_of: str | None = None) -> None:
        self.name, self.label, self.scratch, self.rich, self.twin_of = name, label, scratch, rich, twin_of
        self.default = not rich
        self.needs_descriptors = rich

    def data(self, job: Job) -> PropertyData:
        """The molecules as this arm sees them."""
        return job.study.with_descriptors if self.rich else job.study.data

    def fit(self, job: Job, setting: Setting, trial: int) -> Predicted:
        """Trains one network; the epoch with the best validation score counts."""
        return self._train(job, setting, trial)

    def _train(
        self, job: Job, setting: Setting, trial: int, on_step: Callable[[StepReport], None] | None = None
    ) -> Predicted:
        options = self._options(job, setting)
        runner = Cells(self.data(job), [job.split], job.study.base, options, job.study.context)
        cell = Cell(0, 0, job.seed)
        found = runner.run(cell, None if job.work is None else job.work / f"trial{trial}", on_step)
        more: dict[str, Any] = {"best_epoch": found.best_epoch, "epochs": len(found.curve), "stopped": found.stopped}
        parameters = trainable_parameters(runner.network(cell))
        return Predicted(found.predicted["valid"], found.predicted["test"], parameters, more)

    def _options(self, job: Job, setting: Setting) -> FinetuneOptions:
        return FinetuneOptions(
            epochs=job.epochs, batch_size=job.batch_size, patience=job.patience, scratch=self.scratch, seed=job.seed,
            warmup_epochs=min(WARMUP_EPOCHS, job.epochs / 4), select=self._select(job), **setting,
        )  # fmt: skip

    def _select(self, job: Job) -> str:
        """By the metric, or by the loss where the validation part has one class only."""
        data = job.study.data
        return "metric" if can_judge(Labels(data.targets, data.y), job.split.valid) else "loss"

    def prepare(self, job: Job) -> None:
        """Reads the encoder, and the descriptors if it wants them."""
        _ = job.study.base, job.study.context, self.data(job)

    def seconds(self, job: Job) -> float:
        """The second of two short epochs, scaled to all of them: the most that a trial takes, as it may stop earlier.

        What is done once (the first epoch makes kernels, the end predicts) is not multiplied by the epochs.
        """
        self.prepare(job)
        split, share = job.split, min(1.0, TIMED_MOLECULES / len(job.split.train))
        parts = {name: rows[: max(4, round(share * len(rows)))] for name, rows in split.parts.items()}
        few = replace(split, train=parts["train"], valid=parts["valid"], test=parts["test"])
        short = replace(job, split=few, epochs=2, work=None)
        ends: list[float] = []

        def note(report: StepReport) -> None:
            if report.epoch >= len(ends) + 1:
                ends.append(time.perf_counter())

        passed = sum(len(parts[name]) * weight for name, weight in _WORK.items())
        whole = sum(len(rows) * _WORK[name] for name, rows in split.parts.items())
        started = time.perf_counter()
        with suppress(Diverged):  # this is about time alone; a cell that diverges is counted as such when it runs
            self._train(short, self.settings[0], 0, note)
        total = time.perf_counter() - started
        epoch = ends[1] - ends[0] if len(ends) > 1 else total
        return max(0.0, total - 2 * epoch) + epoch * whole / passed * job.epochs


# A forward pass alone is about a third of a training step. Test molecules are passed once, not in every epoch.
_WORK = {"train": 1.0, "valid": 1 / 3, "test": 0.0}

PRETRAINED = Finetuned("pretrained", "Pre-trained, fine-tuned", scratch=False)
RANDOM = Finetuned("random", "Same network, random weights", scratch=True, twin_of="pretrained")
PRETRAINED_RICH = Finetuned("pretrained_descriptors", "Pre-trained, with descriptors", scratch=False, rich=True)
RANDOM_RICH = Finetuned(
    "random_descriptors", "Random weights, with descriptors", scratch=True, rich=True, twin_of="pretrained_descriptors"
)
