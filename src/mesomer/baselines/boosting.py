"""Gradient-boosted trees on the 200 normalised RDKit descriptors: what whole-molecule numbers tell without a network.

Decided: settings are fixed beforehand (small trees, a low rate: customary for some thousand molecules) and there is no
early stopping, so that nothing is tuned on what judges it and the whole training part is learnt from. A
descriptor that is undefined for a molecule stays NaN, which the trees send to the better side. Trees grow on a random
third of the columns at every split. A target with one class in its training part gets that class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ROUNDS, RATE = 300, 0.03
LEAVES, SMALLEST_LEAF = 15, 10
COLUMNS = 0.3


class DescriptorBoosting:
    """Histogram gradient boosting (scikit-learn) on the 200 descriptors of descriptastorus."""

    label = "Descriptors + boosting"

    @staticmethod
    def features(mols: Sequence[Mol]) -> NDArray:
        """The 200 normalised descriptors, NaN where undefined."""
        from mesomer.chem.descriptors import descriptors_200

        return finite(descriptors_200(mols))

    def __init__(self, classes: int, seed: int, workers: int) -> None:
        # workers: scikit-learn's histograms take their threads from OMP_NUM_THREADS and know no other setting
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        self.classes = classes
        self.only: int | None = None
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        self.model = kind(
            max_iter=ROUNDS, learning_rate=RATE, max_leaf_nodes=LEAVES, min_samples_leaf=SMALLEST_LEAF,
            max_features=COLUMNS, early_stopping=False, random_state=seed,
        )  # fmt: skip

    def fit(self, features: NDArray, labels: NDArray[np.float64]) -> None:
        """Grows the trees."""
        present = np.unique(labels)
        self.only = int(present[0]) if self.classes and len(present) == 1 else None
        if self.only is None:
            self.model.fit(features, labels.astype(int) if self.classes else labels)

    def predict(self, features: NDArray) -> NDArray[np.float64]:
        """Sum over the trees."""
        if not self.classes:
            return np.asarray(self.model.predict(features), np.float64)
        found = np.zeros((len(features), self.classes))
        if self.only is not None:
            found[:, self.only] = 1
        else:
            found[:, np.asarray(self.model.classes_, int)] = self.model.predict_proba(features)
        return found


def finite(descriptors: NDArray) -> NDArray:
    """Infinite values, which the trees refuse, as missing ones."""
    return np.where(np.isfinite(descriptors), descriptors, np.nan).astype(np.float32)
