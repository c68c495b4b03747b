"""A random forest on counted circular fragments: the baseline that costs nothing and is hard to beat.

Decided: its settings are fixed, so that nothing is tuned on what judges it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rdkit.Chem import Mol

TREES = 500
RADIUS, SIZE = 2, 2048


class CountForest:
    """Random forest on counted circular fragments (ECFP4 counts, 2048 columns)."""

    label = "Count-ECFP + forest"

    @staticmethod
    def features(mols: Sequence[Mol]) -> NDArray:
        """Counted circular fragments."""
        return fragment_counts(mols)

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


def fragment_counts(mols: Sequence[Mol]) -> NDArray[np.float32]:
    """Counted circular fragments [M, 2048] as forests take them."""
    from mesomer.chem.descriptors import count_ecfp

    return count_ecfp(mols, radius=RADIUS, size=SIZE).astype(np.float32)
