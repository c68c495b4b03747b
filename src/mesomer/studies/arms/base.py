"""What an arm of a study is: settings to try, and a way to learn from one split and predict its other parts.

Decided: an arm sees the training part to learn from and the validation part to choose by; the test part comes into its
hands as molecules without labels. The first setting is the one without search.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mesomer.baselines import Baseline
from mesomer.baselines.base import train_and_predict
from mesomer.data.splits import Split
from mesomer.outputs import final_outputs
from mesomer.training.finetune_plan import PropertyData
from mesomer.training.probe import fit_linear, linear_inputs
from mesomer.training.scaling import Scaling

if TYPE_CHECKING:
    from mesomer.studies.molecules import StudyData

Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One split to learn, and how long."""

    study: StudyData
    split: Split
    epochs: int
    batch_size: int
    patience: int
    work: Path | None
    """Where a training keeps its state; nowhere if None."""

    @property
    def seed(self) -> int:
        """The seed of the fold, the same for all arms."""
        return self.split.seed


class Predicted(NamedTuple):
    """Predictions on the original scale, in the order of the split's parts: [molecules, T']."""

    valid: NDArray[np.float64]
    test: NDArray[np.float64]
    parameters: int | None = None
    """How many numbers training could change; None where that means little."""
    more: Mapping[str, Any] = {}
    """What else is to be kept with the cell, as JSON."""


class Arm:
    """Base of all arms."""

    name: str
    label: str
    kind: str
    """network, frozen, classical or mean"""
    reference = False
    """Whether it is a baseline that the pre-trained network is held against."""
    twin_of: str | None = None
    """The pre-trained arm whose twin with random weights this is."""
    default = True
    """Whether it runs when no arms are named."""
    needs_descriptors = False
    settings: Sequence[Setting] = ({},)

    def settings_of(self, of_networks: Sequence[Setting]) -> Sequence[Setting]:
        """What it tries: its own settings, or those that a study names for its networks."""
        return of_networks if of_networks and self.kind == "network" else self.settings

    def fit(self, job: Job, setting: Setting, trial: int) -> Predicted:
        """Learns the training part with one setting and predicts the two other parts."""
        raise NotImplementedError

    def seconds(self, job: Job) -> float:
        """What one trial on this split will take, measured."""
        self.prepare(job)
        started = time.perf_counter()
        self.fit(job, self.settings[0], 0)
        return time.perf_counter() - started

    def prepare(self, job: Job) -> None:
        """Computes what a process needs once, whatever number of cells it runs."""


def fit_baseline(name: str, make: Callable[[int, int, int], Baseline], features: NDArray, job: Job) -> Predicted:
    """A baseline of `mesomer.baselines`, target by target: it learns from the training part alone."""
    split, data = job.split, job.study.data
    both = replace(split, test=np.concatenate([split.valid, split.test]))
    found = train_and_predict(name, make, features, data.y, data.targets, [both]).predicted[0]
    return Predicted(found[: len(split.valid)], found[len(split.valid) :])


def fit_linear_model(features: NDArray, data: PropertyData, split: Split) -> Predicted:
    """Ridge or logistic regression; the penalty of a fixed path that does best on the validation part, per target."""
    standard = Scaling.fit(features[split.train].astype(np.float64))
    inputs = np.nan_to_num(linear_inputs(standard, features))  # undefined features are at the mean of the training part
    scaling = Scaling.of_targets(data.y[split.train], data.outputs)
    weights, offsets = fit_linear(inputs, scaling.apply(data.y), data.targets, split)

    def predict(part: NDArray[np.integer]) -> NDArray[np.float64]:
        raw = torch.from_numpy(inputs[part] @ weights.T + offsets)
        return scaling.undo(final_outputs([raw], data.outputs).double().numpy(), data.outputs)

    return Predicted(predict(split.valid), predict(split.test), weights.size + offsets.size)
