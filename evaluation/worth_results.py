"""What the cells say, by set and arm: scores, chosen settings, paired differences; and a CSV with a row for each.

A network's result at a seed is that of the setting with the best validation score at seed 0. Differences are paired
over seeds, oriented so that positive favours the first arm, with the corrected interval for five overlapping 80/10/10
splits (test by training size 1/8). A difference over an incomplete set of seeds is known as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from worth_cells import cell_path, read_cell_file
from worth_design import ARMS, SETTINGS, TEST_TO_TRAIN, Cell, Facts, epochs_for, searching

from mesomer.comparison import Difference, compare
from mesomer.errors import MesomerError
from mesomer.metrics import METRICS
from mesomer.training.finetune_results import write_csv

COLUMNS = (
    "set", "arm", "seed", "setting", "chosen", "metric", "valid", "test", "epochs", "best_epoch", "most_epochs",
    "stopped", "parameters", "train_molecules", "valid_molecules", "test_molecules", "outside_molecules",
    "test_outside", "seconds",
)  # fmt: skip
BETTER = {name: metric.better for metrics in METRICS.values() for name, metric in metrics.items()}


class Outside(NamedTuple):
    """The test molecules of a cell that the model's corpus does not have, and their score."""

    molecules: int
    score: float


@dataclass(frozen=True)
class Background:
    """What no cell keeps of a set: found from its molecules and labels, without any training."""

    molecules: int
    mean_scores: Mapping[int, float]
    """Test scores by seed of the mean of the training labels; none for classes."""
    exact: int | None = None
    """Molecules in the corpus of the pre-training; None if the model carries no keys of it."""
    skeleton: int | None = None
    """The same, stereo left aside."""
    outside: Mapping[Cell, Outside] = field(default_factory=dict)


@dataclass
class Results:
    """The finished cells of one design."""

    sets: Sequence[str]
    arms: Sequence[str]
    seeds: Sequence[int]
    cells: dict[Cell, dict[str, Any]]
    wanted: int
    """Cells of the whole design."""
    background: Mapping[str, Background] = field(default_factory=dict)
    """By set, as far as it was looked up."""

    def setting(self, name: str, arm: str) -> str | None:
        """The setting that an arm keeps: the best validation score of seed 0; None before all have been tried."""
        if ARMS[arm].kind != "network":
            return ""
        search = searching(arm, self.arms)
        tried = [(setting, self.cells.get(Cell(name, search, 0, setting))) for setting in SETTINGS]
        scores = {}
        for setting, cell in tried:
            if cell is None:
                return None
            if cell["valid"] is not None:
                scores[setting] = -cell["valid"] if BETTER[cell["metric"]] == "min" else cell["valid"]
        if not scores:
            raise MesomerError(
                f"No setting of {search} on {name} has a validation score.", "Look at its learning curves."
            )
        return max(scores, key=scores.__getitem__)

    def chosen(self, name: str, arm: str) -> dict[int, Cell]:
        """By seed the finished cells that count: those of the setting that the arm keeps."""
        setting = self.setting(name, arm)
        found = {} if setting is None else {seed: Cell(name, arm, seed, setting) for seed in self.seeds}
        return {seed: cell for seed, cell in found.items() if cell in self.cells}

    def scores(self, name: str, arm: str) -> dict[int, float]:
        """Test scores by seed, of what is finished."""
        tests = {seed: self.cells[cell]["test"] for seed, cell in self.chosen(name, arm).items()}
        return {seed: test for seed, test in tests.items() if test is not None}

    def outside_scores(self, name: str, arm: str) -> dict[int, float]:
        """The same of the test molecules that the corpus of the pre-training does not have, where that is known."""
        known = self.background[name].outside if name in self.background else {}
        return {seed: known[cell].score for seed, cell in self.chosen(name, arm).items() if cell in known}

    def metric(self, name: str) -> str | None:
        """The metric of a set; None while it has no cell."""
        return next((cell["metric"] for key, cell in self.cells.items() if key.set == name), None)

    def difference(self, name: str, first: str, second: str, outside: bool = False) -> Difference | None:
        """Two arms on one set, over the seeds that both have; `outside`: on molecules that the corpus does not have."""
        scores = self.outside_scores if outside else self.scores
        one, other, metric = scores(name, first), scores(name, second), self.metric(name)
        seeds = sorted(set(one) & set(other))
        if not seeds or metric is None:
            return None
        return compare([one[s] for s in seeds], [other[s] for s in seeds], TEST_TO_TRAIN, BETTER[metric])


def collect(folder: Path, cells: Iterable[Cell], facts: Facts) -> dict[Cell, dict[str, Any]]:
    """Those of the cells that are finished."""
    read = ((cell, read_cell_file(cell_path(folder, cell, facts))) for cell in cells)
    return {cell: found for cell, found in read if found is not None}


def write_results(path: Path, results: Results) -> None:
    """A row for each finished cell."""
    rows = []
    for cell, found in sorted(results.cells.items()):
        more: dict[str, Any] = {f"{part}_molecules": count for part, count in found["sizes"].items()}
        more["chosen"] = int(cell.setting == results.setting(cell.set, cell.arm))
        if ARMS[cell.arm].kind == "network":
            more["most_epochs"] = epochs_for(found["sizes"]["train"])
        if cell.set in results.background and cell in results.background[cell.set].outside:
            more["outside_molecules"], more["test_outside"] = results.background[cell.set].outside[cell]
        rows.append({name: (cell._asdict() | found | more).get(name) for name in COLUMNS})
    write_csv(path, COLUMNS, rows)
