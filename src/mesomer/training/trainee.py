"""What the training loop takes and gives: options, where batches come from, what is trained, who listens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mesomer.errors import MesomerError, unknown_name
from mesomer.training.context import Context
from mesomer.training.ledger import StepReport
from mesomer.training.schedule import Schedule, warmup_steps
from mesomer.training.state import LoopState

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How to train; the same for every method.

    `epochs` or `max_steps` (whichever ends first) or both have to be given. `max_minutes` ends a run early but cleanly.
    `clip` is the largest norm of the gradient. `patience` is the number of validations without gain before the training
    stops; `keep_best` ends with the weights of the best validation instead of the last. Validation comes every
    `validate_every` epochs, every `validate_steps` steps if given, and at the end. `log_steps` is the number of steps
    that one row of the metrics covers.
    """

    epochs: int | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    schedule: str = "exponential"
    init_lr: float = 1e-4
    max_lr: float = 1e-3
    final_lr: float = 1e-4
    warmup_epochs: float = 2.0
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: float | None = 1.0
    precision: str = "auto"
    accelerator: str = "auto"
    seed: int = 0
    patience: int | None = None
    keep_best: bool = False
    validate_every: int = 1
    validate_steps: int | None = None
    log_steps: int = 50
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("epochs", "max_steps", "patience", "validate_every", "validate_steps", "log_steps"):
            at_least_one(name, getattr(self, name))
        if self.clip is not None and not self.clip > 0:
            raise MesomerError(f"--clip is {self.clip}, and has to be above 0.", "Give null for no clipping.")
        for name in ("max_minutes", "save_minutes", "weight_decay", "warmup_epochs"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise MesomerError(f"--{name} is {value}, and has to be 0 or more.")
        self.schedule_of(1, 1)

    def schedule_of(self, steps_per_epoch: int, total_steps: int) -> Schedule:
        """The learning rates of a training of that length."""
        return Schedule(
            shape=self.schedule,
            init_lr=self.init_lr,
            max_lr=self.max_lr,
            final_lr=self.final_lr,
            warmup_steps=warmup_steps(self.warmup_epochs, steps_per_epoch, total_steps),
            total_steps=total_steps,
        )


def at_least_one(name: str, value: int | None) -> None:
    """Stops if an option that counts something is given and below 1."""
    if value is not None and value < 1:
        raise MesomerError(f"--{name} is {value}, and has to be at least 1.")


class Batches(Protocol):
    """Where the micro-batches come from; a pure function of (epoch, step), equal in number on all ranks.

    A micro-batch has `to(device)`, `num_molecules` and `key` (int64, a number for each molecule, named in errors).
    """

    def steps(self, epoch: int) -> int:
        """Optimiser steps of an epoch, the same on every rank."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[Any]]:
        """This rank's micro-batches of each optimiser step from number `start` on; at least one for each step."""
        ...


class Trainee(Protocol):
    """What is trained: a module, its loss in terms, its validation.

    Optional: `start_epoch(epoch)` is called before an epoch and after a resume inside it, and may freeze or thaw
    parameters. Draws that are not None have `to(device)`.
    """

    module: nn.Module
    weights: Mapping[str, float]
    monitor: tuple[str, str] | None

    def prepare(self, batch: Any, epoch: int) -> tuple[Any, Any]:
        """The batch and its draw (None if nothing is random), still on the CPU; a pure function of its arguments."""
        ...

    def counts(self, draw: Any) -> Mapping[str, float]:
        """How many values each term will sum, known before the forward pass."""
        ...

    def terms(self, module: nn.Module, batch: Any, draw: Any) -> dict[str, Tensor]:
        """The sum of each term, with the names of `weights`."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimiser: `params`, and if wanted `lr_scale` (a factor on the rate) and `weight_decay`."""
        ...

    def validate(self, context: Context) -> dict[str, float]:
        """Figures on held-out data, equal on every rank; called in evaluation mode without gradients."""
        ...


class Listener:
    """What a caller may want to hear of a training; override what is needed. Called on every rank."""

    def on_start(self, state: LoopState, total_steps: int) -> None:
        """Before the first step, after a checkpoint was read if there is one."""

    def on_step(self, report: StepReport) -> None:
        """After each optimiser step."""

    def on_log(self, row: dict[str, Any]) -> None:
        """A row of metrics: `part` is "train" (means since the last row) or "valid"."""


@dataclass(frozen=True)
class FitResult:
    """What a training gave. `stopped` is "done", "early" (no gain for `patience` validations) or "time"."""

    steps: int
    epochs: float
    molecules: int
    seconds: float
    stopped: str
    best: float | None
    best_step: int | None
    validation: dict[str, float]
    resumed_from: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
