"""Standardising targets and descriptors on a training part, and undoing it.

The published rule (GROVER): mean and population standard deviation of each column, missing values ignored; a column
without values has mean 0, a column without spread has deviation 1. Classes are never scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.outputs import Output


class Scaling(NamedTuple):
    """Mean and deviation of each column."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.floating]) -> Scaling:
        """Of the columns of values [n, C], NaN ignored."""
        present = ~np.isnan(values)
        count = present.sum(0)
        mean = np.where(present, values, 0.0).sum(0) / np.maximum(count, 1)
        square = np.where(present, values - mean, 0.0) ** 2
        deviation = np.sqrt(square.sum(0) / np.maximum(count, 1))
        # A constant such as 0.1 leaves a deviation of rounding size, which would blow up on division.
        flat = deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(flat, 1.0, deviation))

    @classmethod
    def none(cls, columns: int) -> Scaling:
        """The scaling that changes nothing."""
        return cls(np.zeros(columns), np.ones(columns))

    @classmethod
    def of_targets(cls, targets: NDArray[np.floating], outputs: Sequence[Output]) -> Scaling:
        """Of the targets [n, T] of a training part: regression columns are standardised, classes left alone."""
        fitted = cls.fit(targets)
        values = np.array([output.type == "regression" for output in outputs])
        return cls(np.where(values, fitted.mean, 0.0), np.where(values, fitted.deviation, 1.0))

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Original to standardised values [n, C]; NaN stays."""
        return (np.asarray(values, np.float64) - self.mean) / self.deviation

    def undo(self, columns: NDArray[np.floating], outputs: Sequence[Output]) -> NDArray[np.float64]:
        """Output columns [..., T'] back on the original scale (a multi-class target has one column for each class)."""
        widths = [output.width for output in outputs]
        return np.asarray(columns, np.float64) * np.repeat(self.deviation, widths) + np.repeat(self.mean, widths)

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Scaling:
        """The reverse of `to_json`."""
        return cls(np.array(stored["mean"], np.float64), np.array(stored["deviation"], np.float64))
