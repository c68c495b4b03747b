"""What a study is made of: options, the design that is left of them after planning, and its cells in running order.

Decided: a cell is one arm on one fold, with all its trials; it is independent of every other cell, and its name says
which it is. Folds run one after the other, in each the cheapest arm first, so that an interrupted study is balanced;
the learning curve, which uses the first repeat alone, comes last. The seed of a fold does not depend on the arm.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from mesomer.data.splits import find_rule
from mesomer.errors import MesomerError
from mesomer.training.finetune_plan import cell_seed

KINDS_OF_SPLIT = {"scaffold": "scaffold_cv", "random": "cv", "stratified": "stratified_cv"}
"""Names that mean cross-validation here; every other name is that of a rule in `mesomer.data.splits`."""
DEFAULT_SPLITS = ("scaffold", "random")
FOLDS, REPEATS, REPEATS_OF_LARGE_SETS, LARGE = 5, 5, 3, 5000
PRECISION_WORDS = {"32": "float32", "bf16": "bfloat16"}
TRIALS, EPOCHS, LEAST_EPOCHS = 4, 30, 10
"""Settings that an arm tries, which is as many as there are; epochs at most; epochs that planning leaves at least."""
LABEL_SHARES = (0.1, 0.3)
LEAST_LABELS = 20
"""Labels of the smallest point of a learning curve."""


def rule_of(split: str) -> str:
    """The rule behind the name of a kind of split."""
    return find_rule(KINDS_OF_SPLIT.get(split, split)).name


class Cell(NamedTuple):
    """One arm on one fold; `labels` is None for the whole training part."""

    split: str
    repeat: int
    fold: int
    arm: str
    labels: int | None = None

    @property
    def name(self) -> str:
        """Its name, and that of its file."""
        curve = "" if self.labels is None else f"-labels{self.labels}"
        return f"{self.split}-r{self.repeat}-f{self.fold}-{self.arm}{curve}"


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What is asked for; planning may cut it."""

    splits: tuple[str, ...] = DEFAULT_SPLITS
    repeats: int | None = None
    """5, or 3 above 5,000 molecules, if None."""
    folds: int = FOLDS
    trials: int = TRIALS
    epochs: int = EPOCHS
    batch_size: int = 32
    patience: int = 8
    label_shares: tuple[float, ...] = LABEL_SHARES
    arms: tuple[str, ...] = ()
    seed: int = 0
    minutes: float | None = 60.0
    precision: str = "32"
    """In which networks are trained: 32, bf16, or auto, which is bf16 where the device computes in it."""
    zone: float | None = None
    repeat_error: float | None = None
    settings: tuple[Mapping[str, float], ...] = ()
    """What networks try, `max_lr` and `dropout` each, in place of their usual settings."""

    def __post_init__(self) -> None:
        if not self.splits:
            raise MesomerError("A study needs at least one kind of split.", "Give --splits scaffold,random.")
        for split in self.splits:
            if find_rule(KINDS_OF_SPLIT.get(split, split)).needs == "column":
                raise MesomerError(
                    f"The split {split!r} is drawn once, and a study needs several that differ.",
                    "Use mesomer finetune --split for a fixed division of the table.",
                )
        if len({rule_of(split) for split in self.splits}) < len(self.splits):
            raise MesomerError(f"--splits names one rule twice: {', '.join(self.splits)}.", "Name each once.")
        least = {"folds": 2, "trials": 1, "epochs": 1, "batch_size": 1, "patience": 1}
        for name, bound in (least | ({} if self.repeats is None else {"repeats": 1})).items():
            if getattr(self, name) < bound:
                raise MesomerError(f"--{name} is {getattr(self, name)}, and must be {bound} or more.")
        if self.trials > TRIALS:
            raise MesomerError(f"--trials is {self.trials}, and every arm has {TRIALS} settings to try at most.")
        for setting in self.settings:
            named = isinstance(setting, Mapping) and set(setting) == {"max_lr", "dropout"}
            if not named or not all(isinstance(value, int | float) for value in setting.values()):
                raise MesomerError(
                    f"A setting of the networks is {setting}.",
                    "Give each the numbers max_lr and dropout (0.0001, not 1e-4).",
                )
            if not setting["max_lr"] > 0 or not 0 <= setting["dropout"] < 1:
                raise MesomerError(
                    f"A setting of the networks is {setting}.", "Rates are above 0, dropout from 0 up to 1."
                )
        for share in self.label_shares:
            if not 0 < share < 1:
                raise MesomerError(
                    f"--label_shares has {share}, and a share lies between 0 and 1.",
                    "All labels are always used as well; write 30 % as 0.3.",
                )

    def repeats_for(self, molecules: int) -> int:
        """Repeats before planning."""
        if self.repeats is not None:
            return self.repeats
        return REPEATS_OF_LARGE_SETS if molecules > LARGE else REPEATS


@dataclass(frozen=True, kw_only=True)
class Design:
    """What will be run."""

    splits: tuple[str, ...]
    repeats: int
    folds: int
    trials: int
    epochs: int
    label_counts: tuple[int, ...]
    arms: tuple[str, ...]
    precision: str = "32"
    """In which all networks are trained, 32 or bf16; everything else is in float32."""
    settings: tuple[Mapping[str, float], ...] = ()
    """What networks try, where it is not their usual settings."""

    def folds_of(self, split: str) -> int:
        """Folds of each repeat; rules that draw one division at a time have one."""
        return self.folds if find_rule(rule_of(split)).folded else 1

    def to_json(self) -> dict[str, Any]:
        """As `study.json` has it."""
        return {**{key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()},
                "rules": {split: rule_of(split) for split in self.splits}}  # fmt: skip

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Design:
        """The reverse of `to_json`."""
        return cls(
            splits=tuple(stored["splits"]), repeats=stored["repeats"], folds=stored["folds"], trials=stored["trials"],
            epochs=stored["epochs"], label_counts=tuple(stored["label_counts"]), arms=tuple(stored["arms"]),
            precision=stored.get("precision", "32"),  # studies that name none were trained in float32
            settings=tuple(stored.get("settings", ())),
        )  # fmt: skip


def label_counts(shares: Sequence[float], training: int) -> tuple[int, ...]:
    """The label counts of a learning curve, from shares of a training part (validation included)."""
    counts = {round(share * training) for share in shares}
    return tuple(sorted(count for count in counts if LEAST_LABELS <= count < training))


def cells_of(design: Design, seconds: Callable[[Cell], float]) -> list[Cell]:
    """All cells in running order; `seconds` is what a cell is expected to take."""

    def fold_cells(repeat: int, fold: int, labels: int | None) -> list[Cell]:
        inside = [split for split in design.splits if fold < design.folds_of(split)]
        cells = [Cell(split, repeat, fold, arm, labels) for arm in design.arms for split in inside]
        return sorted(cells, key=seconds)

    most = max(design.folds_of(split) for split in design.splits)
    whole = [
        cell for repeat in range(design.repeats) for fold in range(most) for cell in fold_cells(repeat, fold, None)
    ]
    curve = [cell for fold in range(most) for labels in design.label_counts for cell in fold_cells(0, fold, labels)]
    return whole + curve


def fold_seed(seed: int, split: str, repeat: int, fold: int) -> int:
    """The seed that all arms share on a fold."""
    return cell_seed(seed, zlib.crc32(split.encode()), repeat, fold)


def dealt(cells: Sequence[Cell], part: tuple[int, int]) -> list[Cell]:
    """The cells of one part (number from 1, number of parts), by a hash of their names: alike on every machine."""
    number, parts = part
    return [cell for cell in cells if zlib.crc32(cell.name.encode()) % parts == number - 1]


def read_part(text: str) -> tuple[int, int]:
    """`2/8` as (2, 8)."""
    first, slash, second = text.partition("/")
    if not (slash and first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise MesomerError(f"--part is {text!r}, and must look like 2/8: the second of eight.")
    return int(first), int(second)
