"""What held-out molecules say of one term of an objective, as sums that add up over batches and ranks.

Each kind of term knows its trivial guess: the commonest class and the frequencies of the classes, or the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Sums = Mapping[str, NDArray[np.float64]]


class Figures(Protocol):
    """One term of one batch."""

    def sums(self) -> dict[str, Tensor]:
        """What is added up over batches."""
        ...

    @staticmethod
    def row(sums: Sums) -> dict[str, float]:
        """The figures of the added sums: `values`, `loss` and `trivial_loss`, and more as the kind has it."""
        ...


@dataclass(frozen=True)
class ClassFigures:
    """A term that names classes: summed loss [], right guesses [], and how often each class occurs, [C] or [K, C] for K
    columns.
    """

    loss: Tensor
    correct: Tensor
    class_counts: Tensor

    def sums(self) -> dict[str, Tensor]:
        """What is added up over batches."""
        return {"loss": self.loss, "correct": self.correct, "class_counts": self.class_counts}

    @staticmethod
    def row(sums: Sums) -> dict[str, float]:
        """`accuracy` beside `trivial_accuracy`; the trivial loss is the entropy of the classes, column by column."""
        counts = np.atleast_2d(sums["class_counts"])
        total = counts.sum()
        if total == 0:
            return {}
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        entropy = -(counts * np.log(np.where(share > 0, share, 1.0))).sum()
        return {
            "values": round(float(total)),
            "loss": float(sums["loss"] / total),
            "trivial_loss": float(entropy / total),
            "accuracy": float(sums["correct"] / total),
            "trivial_accuracy": float(counts.max(1).sum() / total),
        }


@dataclass(frozen=True)
class NumberFigures:
    """A term of squared errors over K columns: summed loss [], and of the targets in each column [K] their number, sum
    and sum of squares.
    """

    loss: Tensor
    counts: Tensor
    totals: Tensor
    squares: Tensor

    def sums(self) -> dict[str, Tensor]:
        """What is added up over batches."""
        return {"loss": self.loss, "counts": self.counts, "totals": self.totals, "squares": self.squares}

    @staticmethod
    def row(sums: Sums) -> dict[str, float]:
        """The trivial loss is that of each column's mean: its variance. `explained` is one minus their ratio."""
        total = sums["counts"].sum()
        if total == 0:
            return {}
        spread = sums["squares"] - sums["totals"] ** 2 / np.maximum(sums["counts"], 1)
        loss, trivial = float(sums["loss"] / total), float(spread.sum() / total)
        explained = {"explained": 1 - loss / trivial} if trivial > 0 else {}
        return {"values": round(float(total)), "loss": loss, "trivial_loss": trivial, **explained}


def beats_guess(row: Mapping[str, float]) -> bool:
    """Whether a term is better than its trivial guess: more often right, or of lower loss where nothing is right or
    wrong.
    """
    if "accuracy" in row:
        return row["accuracy"] > row["trivial_accuracy"]
    return row["loss"] < row["trivial_loss"]
