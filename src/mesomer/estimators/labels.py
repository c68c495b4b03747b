"""Labels as a program holds them, to the columns that training reads, and back from what it predicts.

Decided: one-dimensional labels are one target, two-dimensional ones a target for each column; missing labels (NaN,
None, blank text) are fine, an infinite one is an error. Classes may be of any type that can be sorted. Training knows
them by words, the same that it would read from a file, so that a saved model names them and its positive class is that
of the command; `ClassNames` leads back to the values that were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from mesomer.data.readers import is_absent
from mesomer.errors import InputError


class ClassNames(NamedTuple):
    """The classes of a target."""

    labels: NDArray[Any]
    """As they were given, sorted."""
    names: list[str]
    """What the model calls each."""

    @classmethod
    def of_words(cls, words: Sequence[str]) -> ClassNames:
        """The classes of a model that only has words for them: numbers, if all are numbers."""
        from mesomer.data.tasks import to_number

        numbers = [to_number(word) for word in words]
        values: list[Any] = list(words) if None in numbers else [_whole(number) for number in numbers]
        order = sorted(range(len(words)), key=lambda at: values[at])
        return cls(np.array([values[at] for at in order]), [words[at] for at in order])

    def order(self, words: Sequence[str]) -> tuple[NDArray[Any], list[int]]:
        """(the labels among a model's classes, the place of each among them); `words`: the classes in its order.

        Where all rows of one of two classes were unusable, training made up a name for the class that is not there.
        """
        made_up = [at for at, word in enumerate(words) if word not in self.names]
        places = [words.index(name) if name in words else next(iter(made_up), None) for name in self.names]
        kept = [at for at, place in enumerate(places) if place is not None]
        return self.labels[kept], [place for place in places if place is not None]


@dataclass(frozen=True)
class Labels:
    """Label columns by the names of their targets."""

    cells: dict[str, list[Any]]
    tasks: dict[str, str]
    flat: bool
    """Whether the labels were one-dimensional."""
    classes: dict[str, ClassNames] = field(default_factory=dict)
    """For each class target: its labels, and what the model calls them."""


def regression_labels(y: Any, count: int) -> Labels:
    """Numbers, NaN where missing."""
    names, columns, flat = _columns(y, count)
    cells = {name: _numbers(name, column) for name, column in zip(names, columns, strict=True)}
    return Labels(cells, dict.fromkeys(names, "regression"), flat)


def class_labels(y: Any, count: int) -> Labels:
    """Classes, None where missing."""
    names, columns, flat = _columns(y, count)
    cells: dict[str, list[Any]] = {}
    tasks, classes = {}, {}
    for name, column in zip(names, columns, strict=True):
        present = np.array([not _is_missing(value) for value in column])
        labels = _different(name, column[present], natural=not isinstance(y, np.ndarray) and not hasattr(y, "to_numpy"))
        words = _words(labels)
        by_label = dict(zip(labels.tolist(), words, strict=True))
        cells[name] = [by_label[_plain(value)] if here else None for value, here in zip(column, present, strict=True)]
        tasks[name] = "binary" if len(labels) == 2 else "multiclass"
        classes[name] = ClassNames(labels, [_as_read(word, words) for word in words])
    return Labels(cells, tasks, flat, classes)


def _is_missing(value: Any) -> bool:
    """Whether there is no label: also a blank text, as an empty cell of a file."""
    return is_absent(value) or (isinstance(value, str) and not value.strip())


def check_given(y: Any) -> None:
    """Stops where there are no labels at all."""
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None.", "Give a label for each molecule.")


def _columns(y: Any, count: int) -> tuple[list[str], list[NDArray[Any]], bool]:
    """Names of the targets, their cells, and whether there was a single one-dimensional column."""
    check_given(y)
    values = y.to_numpy() if hasattr(y, "to_numpy") else y
    kind = values.dtype if isinstance(values, np.ndarray) else object
    array = np.asarray(values, dtype=kind)
    if array.dtype.kind == "c" or (array.dtype == object and any(isinstance(value, complex) for value in array.flat)):
        raise InputError("Complex data not supported: the labels are complex numbers.", "Give real numbers.")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise InputError(f"The labels have the shape {array.shape}.", "Give one column, or one for each target.")
    if len(array) != count:
        raise InputError(f"There are {count:,} molecules and {len(array):,} labels.", "Give a label for each.")
    flat = array.ndim == 1
    columns = [array] if flat else list(array.T)
    return _names(y, len(columns)), columns, flat


def _names(y: Any, count: int) -> list[str]:
    """What the targets are called: as the frame or series says, else y or y0, y1, …

    A name that a column of the results has already is as good as none.
    """
    from mesomer.training.finetune_results import prediction_columns

    given: list[Any] = [str(name) for name in y.columns] if hasattr(y, "columns") else [getattr(y, "name", None)]
    taken = {*prediction_columns([]), *(f"{name}{end}" for name in given for end in ("_pred", "_pred_std"))}
    usable = all(isinstance(name, str) and name and name not in taken for name in given)
    if usable and len(set(given)) == len(given) == count:
        return given
    return ["y"] if count == 1 else [f"y{at}" for at in range(count)]


def _numbers(name: str, column: NDArray[Any]) -> list[float]:
    from mesomer.training.finetune_plan import LARGEST_LABEL

    numbers = []
    for at, value in enumerate(column):
        try:
            number = float("nan") if _is_missing(value) else float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"The label of {name!r} in row {at} (counted from 0) is no number: {value!r}.",
                "Correct it, or take MolClassifier for classes.",
            ) from None
        if np.isinf(number):
            raise InputError(
                f"Input y contains infinity: the label of {name!r} in row {at} (counted from 0).",
                "Correct it, or leave it out as NaN.",
            )
        if abs(number) > LARGEST_LABEL:
            raise InputError(
                f"The label of {name!r} in row {at} (counted from 0) is too large to compute with: {number:g}.",
                "Correct it, give the values in another unit, or take their logarithm.",
            )
        numbers.append(number)
    return numbers


def _different(name: str, column: NDArray[Any], natural: bool) -> NDArray[Any]:
    """The different labels, sorted; those of a plain list, and numbers, as numpy's own type."""
    values = [_plain(value) for value in column]
    if len({type(value) for value in values}) > 1:
        column = _one_type(name, column)
    elif natural or (column.dtype == object and values and not isinstance(values[0], str)):
        column = np.array(values)
    try:
        check_classification_targets(column)
    except ValueError as error:
        kind = str(error).partition(". ")[0]  # of scikit-learn's sentences the one that names the type
        raise InputError(f"The labels of {name!r} are no classes: {kind}.", "Take MolRegressor for numbers.") from None
    labels = np.unique(column)
    if len(labels) < 2:
        only = f"only one class, {labels.tolist()[0]!r}" if len(labels) else "no label"
        raise InputError(f"The target {name!r} has {only}.", "A classifier needs labels of two classes.")
    return labels


def _one_type(name: str, column: NDArray[Any]) -> NDArray[Any]:
    """Numbers and truth values together are numbers; anything else mixed cannot be sorted."""
    if all(isinstance(value, bool | int | float | np.number | np.bool_) for value in column):
        return column.astype(float)
    kinds = sorted({type(_plain(value)).__name__ for value in column})
    raise InputError(f"The labels of {name!r} are of different types: {', '.join(kinds)}.", "Take one type.")


def _whole(number: float | None) -> Any:
    return int(number) if number is not None and number.is_integer() else number


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _words(labels: NDArray[Any]) -> list[str]:
    """A word for each label, as a file would hold it; set apart where a file's reader would take it for another."""
    from mesomer.chem.parse import is_missing

    words = [_word(label) for label in labels.tolist()]
    clear = len({_as_read(word, words) for word in words}) == len(words) and not any(map(is_missing, words))
    if clear:
        return words
    if len(set(words)) < len(words):  # labels that differ in white space only
        words = [f"{at} {word}" for at, word in enumerate(words, 1)]
    return [f"class {word}".strip() for word in words]


def _word(label: Any) -> str:
    return f"{label:.17g}" if isinstance(label, float) else str(label).strip()


def _as_read(word: str, words: Sequence[str]) -> str:
    """How training names the class of a word: numbers in one spelling, if all words are numbers."""
    from mesomer.data.tasks import to_number

    numbers = [to_number(other) for other in words]
    return word if None in numbers else f"{to_number(word):.17g}"


def row_weights(sample_weight: Any, count: int) -> NDArray[np.float64]:
    """The weights of a score, a number for each row; all alike if None."""
    if sample_weight is None:
        return np.ones(count)
    try:
        weights = np.asarray(sample_weight, dtype=float)
    except (TypeError, ValueError):
        raise InputError("A sample weight is no number.", "Give a number for each row.") from None
    if weights.shape != (count,):
        raise InputError(
            f"There are {count:,} molecules and sample weights of the shape {weights.shape}.", "Give one for each."
        )
    return weights


def label_cells(y: Any, count: int) -> list[list[Any]]:
    """The cells of each target, None where missing."""
    _, columns, _ = _columns(y, count)
    return [[None if _is_missing(value) else value for value in column.tolist()] for column in columns]
