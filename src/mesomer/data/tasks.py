"""From the cells of a label column to its task: regression, binary or multi-class, and the number of each cell.

Inferred by one rule: exactly the numbers 0 and 1, or exactly two words, is binary; other words are classes; anything
else is regression. Regression on ten or fewer whole numbers is said aloud, since classes are often numbered. Among
numbers, a text or an infinite value is a bad label of its row; with at least as much text as numbers, the column is
not numeric and an error. So is a column of numbers in which a tenth of the labels or more have a decimal comma (`1,3`):
read as words they would be classes, and left out they would take part of the scale away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mesomer.data.decimals import are_decimal_commas, comma_advice, has_decimal_comma, is_censored_comma
from mesomer.data.readers import cell_text
from mesomer.errors import InputError, MesomerError, unknown_name

BAD_LABEL = "bad label"
TASKS = ("regression", "binary", "multiclass")
MAX_CLASSES = 100
_FEW_VALUES = 10
_NEGATIVE_WORDS = {
    "0", "n", "no", "false", "f", "negative", "neg", "inactive", "nontoxic", "non-toxic", "nonbinder", "non-binder",
    "impermeable", "insoluble", "low", "fail", "absent", "-", "-1",
}  # fmt: skip


@dataclass(frozen=True)
class TaskInfo:
    """What one target column is."""

    name: str
    type: str
    """`regression`, `binary` or `multiclass`."""
    classes: list[str] | None = None
    """The words (or numbers) of the classes in the order of their codes 0, 1, …; the second of two is the positive."""
    warning: str | None = None
    """What the user should think about, if anything."""


@dataclass
class TargetColumn:
    """One target: its task and a number for each cell, NaN where there is no label."""

    info: TaskInfo
    values: np.ndarray
    bad: list[int] = field(default_factory=list)
    """Positions of cells that are no label of this task."""
    texts: Sequence[str] = ()
    """The cells as text."""

    @property
    def commas(self) -> int:
        """How many of the bad cells would be numbers with a decimal point."""
        return sum(has_decimal_comma(self.texts[at]) for at in self.bad)


def read_target(name: str, cells: Sequence[Any], rows: Sequence[int], task: str | None = None) -> TargetColumn:
    """Decides the task of a column (or takes `task`) and converts its cells.

    `rows` are the row numbers of the cells, for messages.
    """
    from mesomer.chem.parse import is_missing

    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    texts = [_text(cell) for cell in cells]
    labelled = [at for at, text in enumerate(texts) if not is_missing(text)]
    if not labelled:
        raise InputError(f"The target {name!r} has no label.", "Every one of its cells is empty; name another column.")
    numbers = {at: number for at in labelled if (number := to_number(texts[at])) is not None}
    words = [at for at in labelled if at not in numbers]
    column = _Column(name, texts, labelled, numbers, words, rows)
    if task == "regression":
        column.refuse_decimal_commas()
        return column.regression(asked=True)
    if task == "binary":
        return column.classes(binary=True)
    if task == "multiclass":
        return column.classes(binary=False)
    column.refuse_decimal_commas()
    if len(words) == len(labelled):
        return column.inferred_classes()
    if not words and set(numbers.values()) == {0.0, 1.0}:
        return column.classes(binary=True)
    return column.regression()


def to_number(text: str) -> float | None:
    """The number that a cell holds (infinite ones included), or None for text."""
    if "_" in text:
        return None  # Python would read 1_000
    try:
        return float(text)
    except ValueError:
        return None


def _text(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, bool | np.bool_) else cell_text(cell)


@dataclass
class _Column:
    """The cells of one target, taken apart."""

    name: str
    texts: list[str]
    labelled: list[int]
    numbers: dict[int, float]
    words: list[int]
    rows: Sequence[int]

    def regression(self, asked: bool = False) -> TargetColumn:
        """Numbers; text and infinite values are bad labels."""
        if len(self.words) >= max(1, len(self.numbers)):
            raise self._not_numeric()
        finite = {at: number for at, number in self.numbers.items() if math.isfinite(number)}
        if not finite:
            raise InputError(f"The target {self.name!r} has no finite label.", "Correct the column or name another.")
        values = np.full(len(self.texts), np.nan)
        values[list(finite)] = list(finite.values())
        bad = [at for at in self.labelled if at not in finite]
        info = TaskInfo(self.name, "regression", None, self._numeric_warning(finite, asked))
        return TargetColumn(info, values, bad, self.texts)

    def refuse_decimal_commas(self) -> None:
        """Stops at a column of numbers that are written with decimal commas."""
        commas = [at for at in self.words if has_decimal_comma(self.texts[at])]
        bounds = sum(is_censored_comma(self.texts[at]) for at in self.words)
        if not are_decimal_commas(len(commas), len(self.numbers) + bounds, len(self.labelled)):
            return
        advice = comma_advice([self.texts[at] for at in commas])
        raise InputError(
            f"The target {self.name!r} is not numeric: {len(commas)} of {len(self.labelled)} labels have a decimal "
            f"comma ({self._examples(commas)}).",
            f"{advice}; names of classes need --task multiclass.",
        )

    def _examples(self, positions: Sequence[int]) -> str:
        return "; ".join(f"row {self.rows[at]}: {short(self.texts[at])}" for at in positions[:3])

    def _not_numeric(self) -> MesomerError:
        hint = "Correct these cells, or say --task multiclass if they are names of classes."
        if all(self.texts[at][:1] in "<>~≤≥=" for at in self.words):
            hint = "Remove or replace censored values such as <0.5."
        return InputError(
            f"The target {self.name!r} is not numeric: {len(self.words)} of {len(self.labelled)} labels are text "
            f"({self._examples(self.words)}).",
            hint,
        )

    def _numeric_warning(self, finite: dict[int, float], asked: bool) -> str | None:
        distinct = set(finite.values())
        if len(distinct) == 1:
            return f"{self.name}: every label is {next(iter(distinct)):g}; there is nothing to learn."
        if not asked and len(distinct) <= _FEW_VALUES and all(number.is_integer() for number in distinct):
            return (
                f"{self.name}: taken as regression, but it has only {len(distinct)} different whole numbers; "
                "if they are classes, say --task binary or --task multiclass, else --task regression."
            )
        return None

    def inferred_classes(self) -> TargetColumn:
        """Words only: two are binary, more are classes, and too many are no classes."""
        different = len({self.texts[at] for at in self.words})
        if different > MAX_CLASSES or (different > 20 and different * 2 > len(self.words)):
            raise self._not_numeric()
        return self.classes(binary=different == 2)

    def classes(self, binary: bool) -> TargetColumn:
        """Every distinct value is a class; infinite numbers are bad labels."""
        bad = [at for at, number in self.numbers.items() if not math.isfinite(number)]
        good = [at for at in self.labelled if at not in set(bad)]
        names = self._class_names(good)
        different = sorted(set(names.values()), key=_class_order)
        if not different:
            raise InputError(f"The target {self.name!r} has no finite label.", "Correct the column or name another.")
        listed = ", ".join(short(name) for name in different[:5]) + (", …" if len(different) > 5 else "")
        if binary and len(different) > 2:
            raise InputError(
                f"The target {self.name!r} is not binary: it has {len(different)} classes ({listed}).",
                "Say --task multiclass, or --task regression for numbers.",
            )
        if len(different) > MAX_CLASSES:
            raise InputError(
                f"The target {self.name!r} has {len(different)} different values ({listed}), too many for classes.",
                "Say --task regression for numbers.",
            )
        warning = None
        if len(different) == 1:
            warning = f"{self.name}: every label is {different[0]}; there is nothing to learn."
        codes = {name: code for code, name in enumerate(different)}
        if binary and len(different) == 1:
            codes, different = self._only_class(different[0])
        values = np.full(len(self.texts), np.nan)
        for at, name in names.items():
            values[at] = codes[name]
        kind = "binary" if binary else "multiclass"
        return TargetColumn(TaskInfo(self.name, kind, different, warning), values, bad, self.texts)

    def _class_names(self, positions: Sequence[int]) -> dict[int, str]:
        """Equal numbers are one class however they are written (1, 1.0)."""
        if self.words:
            return {at: self.texts[at] for at in positions}
        return {at: f"{self.numbers[at]:.17g}" for at in positions}

    @staticmethod
    def _only_class(name: str) -> tuple[dict[str, int], list[str]]:
        """A binary target of which only one class occurs keeps the meaning of 0 and 1."""
        if name.lower() in _NEGATIVE_WORDS:
            return {name: 0}, [name, "1" if name == "0" else f"not {name}"]
        return {name: 1}, ["0" if name == "1" else f"not {name}", name]


def _class_order(name: str) -> tuple[int, float, str]:
    """Numbers by value; words that mean no first (so that the positive class comes second), then by alphabet."""
    number = to_number(name)
    if number is not None:
        return (0, number, "")
    return (1, 0.0 if name.lower() in _NEGATIVE_WORDS else 1.0, name)


def short(text: str) -> str:
    """A cell in quotation marks, cut where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def balance_warning(column: TargetColumn) -> str | None:
    """A sentence on classes that are rare, or on a number that nearly all rows share."""
    present = column.values[~np.isnan(column.values)]
    counts = Counter(present.tolist())
    if len(present) == 0 or len(counts) < 2:
        return None
    name = column.info.name
    if column.info.classes is None:
        value, count = counts.most_common(1)[0]
        if count > 0.8 * len(present):
            return f"{name}: {count / len(present):.0%} of the labels are {value:g}; nearly constant."
        return None
    rarest = min(counts, key=lambda code: counts[code])
    share = counts[rarest] / len(present)
    if counts[rarest] < 10 or share < 0.05:
        word = column.info.classes[int(rarest)]
        return f"{name}: class {word} has only {counts[rarest]} of {len(present)} labels ({share:.1%})."
    return None
