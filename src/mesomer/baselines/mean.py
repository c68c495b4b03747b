"""No model at all: what a prediction that ignores the molecule is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class TrainingMean:
    """Knows the training labels only: their mean, or the share of each class."""

    label = "Mean of the training labels"

    @staticmethod
    def features(mols: Sequence[Mol]) -> NDArray:
        """One column of nothing: it looks at labels only."""
        return np.zeros((len(mols), 1), np.float32)

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
