"""`MolClassifier`: classes from molecules, with probabilities.

Decided: classes are what was given, sorted (`classes_`), whatever order the model has them in. With several targets
`classes_` and the probabilities are lists with an entry for each, as in scikit-learn's own multi-output classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

from mesomer.errors import InputError
from mesomer.estimators.base import MolEstimator, documented, one_kind
from mesomer.estimators.labels import ClassNames, Labels, class_labels, label_cells, row_weights

if TYPE_CHECKING:
    from mesomer.training.predictor import Predictor


@documented
class MolClassifier(ClassifierMixin, MolEstimator):
    """Classes from molecules: a fine-tuned encoder, as `mesomer finetune` trains it."""

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each molecule [n], or [n, targets]; NaN where a row is no molecule.

        An array of whole numbers or text has no NaN: with such rows it becomes one of objects.
        """
        probabilities = self._probabilities(X)
        columns = []
        for labels, found in zip(self._classes, probabilities, strict=True):
            known = ~np.isnan(found[:, 0])
            column = labels[np.where(known, np.nan_to_num(found).argmax(1), 0)]
            if not known.all():
                column = column if column.dtype.kind == "f" else column.astype(object)
                column[~known] = np.nan
            columns.append(column)
        if self._flat:
            return columns[0]
        same = len({column.dtype.kind for column in columns}) == 1
        return np.stack(columns if same else [column.astype(object) for column in columns], axis=1)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities [n, classes] in the order of `classes_`; with several targets a list of such arrays."""
        found = self._probabilities(X)
        return found[0] if self._flat else found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of right classes, the mean over targets; rows without a label or a readable molecule do not count."""
        probabilities = self._probabilities(X)
        columns = label_cells(y, len(probabilities[0]))
        if len(columns) != len(probabilities):
            raise InputError(f"The model predicts {len(probabilities)} targets, and y has {len(columns)}.")
        weight = row_weights(sample_weight, len(probabilities[0]))
        shares = []
        for labels, found, truth in zip(self._classes, probabilities, columns, strict=True):
            _same_kind(labels, truth)
            kept = [at for at, value in enumerate(truth) if value is not None and not np.isnan(found[at, 0])]
            right = [bool(labels[found[at].argmax()] == truth[at]) for at in kept]
            shares.append(np.average(right, weights=weight[kept]) if weight[kept].sum() else np.nan)
        return float(np.nanmean(shares)) if np.isfinite(shares).any() else float("nan")

    @property
    def classes_(self) -> Any:
        """The classes, sorted; with several targets a list of arrays."""
        if "_classes" not in vars(self):
            raise AttributeError("classes_ is known after fit.")
        return self._classes[0] if self._flat else self._classes

    def _probabilities(self, X: Any) -> list[NDArray[np.float64]]:
        from mesomer.training.predictor import class_columns

        mean = self._outputs(X).mean(0)
        found = []
        for (target, place), order in zip(class_columns(self.predictor_.targets), self._orders, strict=True):
            values = mean[:, place]
            if target.type == "binary":
                values = np.concatenate([1 - values, values], axis=1)
            found.append(values[:, order])
        return found

    def _labels(self, y: Any, count: int) -> Labels:
        return class_labels(y, count)

    def _fitted(self, labels: Labels) -> None:
        ordered = [labels.classes[target.name].order(target.classes) for target in self.predictor_.targets]
        self._classes = [classes for classes, _ in ordered]
        self._orders = [order for _, order in ordered]

    def _stored(self) -> dict[str, Any]:
        return {
            "classes": [
                {
                    "kind": "O" if labels.dtype.kind in "OUT" else labels.dtype.name,
                    "labels": labels.tolist(),
                    "places": order,
                }
                for labels, order in zip(self._classes, self._orders, strict=True)
            ]
        }

    def _restored(self, predictor: Predictor, stored: dict[str, Any]) -> None:
        one_kind(predictor, ["binary", "multiclass"], "MolClassifier", "MolRegressor")
        if "classes" in stored:
            self._classes = [np.array(item["labels"], dtype=item["kind"]) for item in stored["classes"]]
            self._orders = [item["places"] for item in stored["classes"]]
            return
        ordered = [ClassNames.of_words(target.classes).order(target.classes) for target in predictor.targets]
        self._classes, self._orders = [classes for classes, _ in ordered], [order for _, order in ordered]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


def _same_kind(classes: NDArray[Any], truth: Sequence[Any]) -> None:
    """Stops at labels written as a class is but of another type: 0 is not '0', and would never be right."""
    known = classes.tolist()
    texts = {str(label): label for label in known}
    for value in dict.fromkeys(truth):
        if value is not None and value not in known and str(value) in texts:
            label = texts[str(value)]
            raise InputError(
                f"The classes are of the type {type(label).__name__} ({label!r}), the labels to compare with of the "
                f"type {type(value).__name__} ({value!r}).",
                "Convert one of them.",
            )
