"""What the quickstart compares, and the record that its stages fill.

Decided: settings are fixed beforehand and equal for both networks (epochs, batches, rate, seeds, folds); molecules are
drawn down to `molecules`, so that three folds, and with them an interval, fit into the time. Left out: tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mesomer.data.labels import Labelled
from mesomer.data.splits import Split
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import ModelFolder
from mesomer.training.finetune import FinetuneResult
from mesomer.training.finetune_plan import FinetuneOptions, PropertyData

DEMO = Path(__file__).resolve().parent.parent / "demo" / "biogen_sol.csv.gz"
TARGET, UNIT = "activity", "log10 µg/mL"
MINIMUM = 50


@dataclass(frozen=True, kw_only=True)
class QuickstartOptions:
    """The design of the comparison."""

    molecules: int = 1000
    folds: int = 3
    epochs: int = 4
    batch_size: int = 16
    max_lr: float = 3e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.molecules < MINIMUM:
            raise MesomerError(f"--molecules is {self.molecules}, and must be {MINIMUM} or more.")

    def training(self, scratch: bool) -> FinetuneOptions:
        """How one network is trained; `scratch` starts from random weights and changes nothing else."""
        return FinetuneOptions(
            epochs=self.epochs, batch_size=self.batch_size, max_lr=self.max_lr, warmup_epochs=min(1.0, self.epochs / 4),
            seed=self.seed, scratch=scratch,
        )  # fmt: skip


@dataclass
class Arm:
    """One method of the comparison: its test predictions for each split."""

    name: str
    label: str
    predicted: list[NDArray[np.float64]]
    seconds: float
    parameters: int | None = None


@dataclass
class Outcome:
    """Everything that the tables and the report are made from."""

    options: QuickstartOptions
    labelled: Labelled
    data: PropertyData
    splits: list[Split]
    arms: list[Arm]
    networks: dict[str, FinetuneResult]
    model: str
    folder: ModelFolder
    precision: str
    stages: dict[str, float]
    known: int | None = None
    """Molecules that are, leaving stereo aside, in the corpus of the pre-training; None where that is not known."""

    @property
    def truth(self) -> list[NDArray[np.float64]]:
        """Measured values of the test molecules of each split."""
        return [self.data.y[split.test, 0] for split in self.splits]
