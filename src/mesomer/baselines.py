"""What a pre-trained network has to beat: a forest on counted fragments, and no model at all, on the very same splits.

Decided: a baseline learns from the training part alone (it needs no validation part), gets the same molecules as the
networks, and its settings are fixed beforehand, so that nothing is tuned on what judges it. Missing labels are left out
target by target. A new baseline is one class and one entry in `BASELINES`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mesomer.data.splits import Split
from mesomer.errors import unknown_name

if TYPE_CHECKING:
    from rdkit.Chem import Mol

TREES = 500
RADIUS, SIZE = 2, 2048


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


class CountForest:
    """Random forest on counted circular fragments (ECFP4 counts, 2048 columns)."""

    label = "Count-ECFP + forest"

    def __init__(self, classes: int, seed: int, workers: int) -> None:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        self.classes = classes
        kind = RandomForestClassifier if classes else RandomForestRegressor
        # sqrt: as accurate here as a tenth or a third of the columns, and five to ten times faster.
        self.model = kind(TREES, max_features="sqrt", random_state=seed, n_jobs=workers)

    def fit(self, features: NDArray, labels: NDArray[np.float64]) -> None:
        """Grows the trees."""
        self.model.fit(features, labels.astype(int) if self.classes else labels)
        self.model.n_jobs = 1  # threads would add up the trees in any order, and the last digits would differ

    def predict(self, features: NDArray) -> NDArray[np.float64]:
        """Mean over the trees."""
        if not self.classes:
            return np.asarray(self.model.predict(features), np.float64)
        found = np.zeros((len(features), self.classes))
        found[:, np.asarray(self.model.classes_, int)] = self.model.predict_proba(features)
        return found


class TrainingMean:
    """Knows the training labels only: their mean, or the share of each class."""

    label = "Mean of the training labels"

    def __init__(self, classes: int, seed: int, workers: int) -> None:
        self.classes = classes
        self.constant = np.zeros(1)

    def fit(self, features: NDArray, labels: NDArray[np.float64]) -> None:
        """Takes the mean or the shares."""
        counts = np.bincount(labels.astype(int), minlength=self.classes) if self.classes else labels
        self.constant = counts / len(labels) if self.classes else np.array(labels.mean())

    def predict(self, features: NDArray) -> NDArray[np.float64]:
        """The same for every molecule."""
        return np.broadcast_to(self.constant, (len(features), *self.constant.shape)).astype(np.float64)


BASELINES: dict[str, Callable[[int, int, int], Baseline]] = {"forest": CountForest, "mean": TrainingMean}


def run_baseline(
    name: str,
    features: NDArray,
    y: NDArray[np.float64],
    targets: Sequence[TargetLike],
    splits: Sequence[Split],
    workers: int = 1,
    on_split: Callable[[], None] | None = None,
) -> BaselineResult:
    """Trains a baseline on the training part of each split and predicts its test part.

    features: [M, columns], see `fragment_counts`; y: [M, T], NaN where missing. The seed is that of the split.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    started = time.perf_counter()
    predicted, label = [], name
    for split in splits:
        columns = []
        for at, target in enumerate(targets):
            classes = 0 if target.type == "regression" else len(target.classes or ("0", "1"))
            model = BASELINES[name](classes, split.seed, workers)
            label = model.label
            train = split.train[~np.isnan(y[split.train, at])]
            model.fit(features[train], y[train, at])
            found = model.predict(features[split.test])
            columns.append(found[:, 1:] if target.type == "binary" else found.reshape(len(split.test), -1))
        predicted.append(np.concatenate(columns, 1))
        if on_split is not None:
            on_split()
    return BaselineResult(name, label, predicted, time.perf_counter() - started)


def fragment_counts(mols: Sequence[Mol]) -> NDArray[np.float32]:
    """Counted circular fragments [M, 2048] as forests take them."""
    from mesomer.chem.descriptors import count_ecfp

    return count_ecfp(mols, radius=RADIUS, size=SIZE).astype(np.float32)
