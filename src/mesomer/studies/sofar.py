"""The interval so far, told while a study runs.

Decided: nothing is stopped by it: stopping at significance would break the level of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mesomer.statistics import mean_ratio, paired_gains, resampled_t
from mesomer.statistics.verdicts import NO_SPREAD
from mesomer.studies.cells import cell_path, read_cell
from mesomer.studies.design import Cell, Design
from mesomer.studies.prepare import Prepared
from mesomer.studies.scoring import headline


class SoFar:
    """Scores of the pre-trained network and its twin as they come in."""

    def __init__(self, ready: Prepared, design: Design, folder: Path) -> None:
        self._labels, self._design = ready.labels, design
        self._places = {row: at for at, row in enumerate(ready.study.data.rows)}
        self._pair = next(((arm.twin_of, arm.name) for arm in ready.arms if arm.twin_of is not None), None)
        self._scores: dict[tuple[str, int, int, str], float] = {}
        self._sizes: dict[tuple[str, int, int], tuple[int, int]] = {}
        for split in design.splits:
            for repeat in range(design.repeats):
                for fold in range(design.folds_of(split)):
                    for arm in self._pair or ():
                        cell = Cell(split, repeat, fold, str(arm))
                        if (found := read_cell(cell_path(folder, cell))) is not None:
                            self._note(cell, found)

    def add(self, cell: Cell, found: Mapping[str, Any]) -> str | None:
        """Takes a finished cell in; a sentence when it completes the pair on the last fold of a repeat."""
        if self._pair is None or cell.arm not in self._pair or cell.labels is not None:
            return None
        self._note(cell, found)
        folds = self._design.folds_of(cell.split)
        both = [
            key
            for key in self._sizes
            if key[0] == cell.split and all((*key, arm) in self._scores for arm in self._pair)
        ]
        if len(both) < 2 or len(both) % folds or (cell.split, cell.repeat, cell.fold) not in both:
            return None
        first, second = ([self._scores[*key, str(arm)] for key in both] for arm in self._pair)
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            return None
        sizes = [self._sizes[key] for key in both]
        ratio = mean_ratio([test for test, _ in sizes], [train for _, train in sizes])
        found_t = resampled_t(paired_gains(first, second, self._labels.better), ratio)
        low, high = found_t.interval()
        ends = f"95 % interval {low:.3g} to {high:.3g}" if low == low else f"no interval: {NO_SPREAD}"
        return (
            f"So far, {cell.split} splits, {len(both)} folds: {self._pair[0]} against {self._pair[1]}, "
            f"gain in {self._labels.metric} {found_t.mean:.3g} ({ends})."
        )

    def _note(self, cell: Cell, found: Mapping[str, Any]) -> None:
        positions = np.array([self._places[row] for row in found["rows"]])
        key = (cell.split, cell.repeat, cell.fold)
        self._scores[*key, cell.arm] = headline(self._labels, positions, np.array(found["predicted"]))
        sizes, folded = found["sizes"], self._design.folds_of(cell.split) > 1
        # as in the report: the validation part of a fold belongs to its training part, that of a drawn split does not
        self._sizes[key] = (sizes["test"], sizes["train"] + (sizes["valid"] if folded else 0))
