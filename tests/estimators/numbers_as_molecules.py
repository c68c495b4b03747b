"""Our estimators behind a column that turns rows of numbers into molecules, for scikit-learn's checks to feed them.

The checks give matrices of numbers. Each row becomes the molecule that its first numbers choose from a list; everything
behind that is ours: labels, splits, training, classes, shapes, pickling. What a matrix has to be like (two dimensions,
no NaN, …) is checked here by scikit-learn's own `validate_data`, as any estimator of numbers would do.
"""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data
from small_models import ENDS, PARTS

from mesomer.estimators import MolClassifier, MolEmbedder, MolRegressor

BLOCKS = [part for part in PARTS if part not in ("CCl", "C(F)", "C#C")]


def as_molecules(matrix) -> list[str]:
    """A molecule for each row: the first three numbers choose three blocks each, from coarse to fine."""
    numbers = np.clip(np.nan_to_num(np.asarray(matrix, dtype=float)), -1e6, 1e6)[:, :3]
    found = []
    for row in numbers:
        words = [BLOCKS[int(np.floor(value * fine)) % len(BLOCKS)] for value in row for fine in (2, 17, 97)]
        found.append("C" + "".join(words) + ENDS[int(np.floor(row[0])) % len(ENDS)])
    return found


class OfNumbers:
    """What these estimators say of themselves: they take matrices."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = tags.input_tags.allow_nan = False
        return tags


class NumberRegressor(OfNumbers, MolRegressor):
    """Numbers from numbers."""

    def fit(self, X, y):
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True)
        super().fit(as_molecules(X), y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X, return_std=False):
        check_is_fitted(self)
        return super().predict(as_molecules(validate_data(self, X, reset=False)), return_std)

    def score(self, X, y, sample_weight=None):
        return super().score(as_molecules(validate_data(self, X, reset=False)), y, sample_weight)


class NumberClassifier(OfNumbers, MolClassifier):
    """Classes from numbers."""

    def fit(self, X, y):
        X, y = validate_data(self, X, y, multi_output=True)
        super().fit(as_molecules(X), y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        check_is_fitted(self)
        return super().predict(as_molecules(validate_data(self, X, reset=False)))

    def predict_proba(self, X):
        check_is_fitted(self)
        return super().predict_proba(as_molecules(validate_data(self, X, reset=False)))

    def score(self, X, y, sample_weight=None):
        return super().score(as_molecules(validate_data(self, X, reset=False)), y, sample_weight)


class NumberEmbedder(OfNumbers, MolEmbedder):
    """Vectors from numbers."""

    def fit(self, X, y=None):
        X = validate_data(self, X)
        super().fit(as_molecules(X), y)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return super().transform(as_molecules(validate_data(self, X, reset=False)))
