"""The settings of a pre-training, and what is decided where they leave something open."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesomer.errors import MesomerError
from mesomer.training.checkpoint import ModelFolder
from mesomer.training.loop import LoopOptions
from mesomer.training.representation import MOLECULES
from mesomer.training.trainee import at_least_one

DEFAULT_METHOD, DEFAULT_EPOCHS = "batmannet", 10


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """What to train and how; the loop's options by their names, `None` where the method, the model that a training
    starts from, or the corpus decides."""

    method: str | None = None
    objective: str | None = None
    size: str | None = None
    encoder: Mapping[str, Any] = field(default_factory=dict)
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    epochs: int | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    atoms_per_batch: int = 4096
    accumulate: int = 1
    schedule: str = "exponential"
    init_lr: float = 1e-4
    max_lr: float = 1e-3
    final_lr: float = 1e-4
    warmup_epochs: float = 0.5
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: float | None = 1.0
    patience: int | None = None
    validate_steps: int | None = 2000
    validate_molecules: int = 20_000
    probe_molecules: int = MOLECULES
    log_steps: int = 50
    save_minutes: float = 5.0
    precision: str = "auto"
    accelerator: str = "auto"
    strategy: str = "ddp"
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("atoms_per_batch", "accumulate", "validate_molecules", "threads"):
            at_least_one(name, getattr(self, name))
        if self.probe_molecules and self.probe_molecules < 50:
            raise MesomerError(f"--probe_molecules is {self.probe_molecules}.", "Give at least 50, or 0 for no probe.")
        self.loop()

    def loop(self) -> LoopOptions:
        """The loop's part of the options."""
        shared = {
            name: getattr(self, name) for name in inspect.signature(LoopOptions).parameters if hasattr(self, name)
        }
        if self.epochs is None and self.max_steps is None:
            shared["epochs"] = DEFAULT_EPOCHS
        return LoopOptions(**{**shared, "keep_best": True})


def method_of(options: PretrainOptions, start: ModelFolder | None) -> str:
    """The name of the encoder: the one asked for, else that of the model to start from, else `DEFAULT_METHOD`.

    Raises `MesomerError` where the model holds another encoder than was asked for.
    """
    described = None if start is None else start.config.get("encoder")
    held = described.get("name") if isinstance(described, dict) else None  # building tells what is wrong with others
    if start is not None and held is not None and options.method not in (None, held):
        raise MesomerError(
            f"{start.path} holds the encoder {held}, and --method is {options.method}.",
            f"Leave --method out, or give --method {held}.",
        )
    return held or options.method or DEFAULT_METHOD
