"""What a baseline is, and how one is trained on the training part of each split and predicts its test part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mesomer.data.splits import Split

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class TargetLike(Protocol):
    """What a baseline asks of a target: its type and its classes."""

    @property
    def type(self) -> str:
        """regression, binary or multiclass"""

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes, if it has any."""


class Baseline(Protocol):
    """Learns one target from rows of features and predicts it: values, or probabilities of all classes [n, C]."""

    label: str

    @staticmethod
    def features(mols: Sequence[Mol]) -> NDArray:
        """The rows of features [M, columns] that it learns from."""

    def __init__(self, classes: int, seed: int, workers: int) -> None: ...

    def fit(self, features: NDArray, labels: NDArray[np.float64]) -> None:
        """Learns from labelled rows; `labels` are values, or class numbers."""

    def predict(self, features: NDArray) -> NDArray[np.float64]:
        """Values [n] of a regression (classes = 0), else probabilities [n, classes]."""


@dataclass(frozen=True)
class BaselineResult:
    """Test predictions of one baseline: for each split [test molecules, T'], columns as those of the networks."""

    name: str
    label: str
    predicted: list[NDArray[np.float64]]
    seconds: float


def train_and_predict(
    name: str,
    make: Callable[[int, int, int], Baseline],
    features: NDArray,
    y: NDArray[np.float64],
    targets: Sequence[TargetLike],
    splits: Sequence[Split],
    workers: int = 1,
    on_split: Callable[[], None] | None = None,
) -> BaselineResult:
    """Trains a baseline on the training part of each split and predicts its test part.

    make: (classes, seed, workers) -> the baseline for one target; features: [M, columns]; y: [M, T], NaN where missing.
    The seed is that of the split.
    """
    started = time.perf_counter()
    predicted, label = [], name
    for split in splits:
        columns = []
        for at, target in enumerate(targets):
            classes = 0 if target.type == "regression" else len(target.classes or ("0", "1"))
            model = make(classes, split.seed, workers)
            label = model.label
            train = split.train[~np.isnan(y[split.train, at])]
            if len(train):
                model.fit(features[train], y[train, at])
                found = model.predict(features[split.test])
            else:  # a target of several without a label in this part: nothing is known of it
                found = np.full((len(split.test), classes), 1 / classes) if classes else np.zeros(len(split.test))
            columns.append(found[:, 1:] if target.type == "binary" else found.reshape(len(split.test), -1))
        predicted.append(np.concatenate(columns, 1))
        if on_split is not None:
            on_split()
    return BaselineResult(name, label, predicted, time.perf_counter() - started)
