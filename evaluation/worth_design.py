"""What "does it earn its place?" compares: sets, arms, the four settings that networks search, and the cells to run.

Decided: every network arm searches the same four settings on the validation part of seed 0 and keeps the best for the
other seeds; its result of seed 0 is that setting's. With descriptors a network takes the setting of the same network
without, which saves an eighth of the work. Training stops when the validation score has not risen for
`PATIENCE` epochs, and the epoch with the best one counts. Small sets get more epochs than large ones, so that each
training may take about `STEPS` steps. Baselines have fixed settings. Splits and the seeds of heads, batches and random
encoders are the same for all arms, so that differences are paired.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mesomer import __version__
from mesomer.data.benchmarks import find_benchmark
from mesomer.training.finetune_plan import FinetuneOptions
from mesomer.training.predictor import RDKIT_DESCRIPTORS

DESIGN = 2
"""Raised by whoever changes how networks and linear models are trained, or a default that `given_options` does not
give: their finished cells are of the old way then. 2: standardised inputs are bounded."""
SPLIT = "balanced"
SEEDS = (0, 1, 2, 3, 4)
TEST_TO_TRAIN = 1 / 8
SETS = ("freesolv", "esol", "sider", "clintox", "bace", "bbbp", "biogen_sol", "lipo")

# One core of an AMD EPYC passes some 70 molecules a second in training.
# Batches of 16 cost a sixth more time for a molecule than 32 and give twice the steps.
BATCH, STEPS, LEAST_EPOCHS, MOST_EPOCHS, PATIENCE = 16, 600, 6, 24, 4
COMMON: dict[str, Any] = {"readout": "mean_sum", "dropout": 0.1}
SETTINGS: dict[str, dict[str, Any]] = {
    "even": {"max_lr": 3e-4},
    "gentle": {"max_lr": 3e-4, "encoder_lr_scale": 0.1},
    "linear": {"max_lr": 1e-4, "encoder_lr_scale": 0.1, "head_start": "linear"},
    "fast_head": {"max_lr": 1e-3, "encoder_lr_scale": 0.3},
}
"""Options of `mesomer finetune` that differ; heads of `linear` start as linear models on the encoder's vectors. On the
probe sets (docs/diary.md) the first three are alike for pre-trained weights; random weights want the first or last.
"""


@dataclass(frozen=True)
class Arm:
    """One method."""

    label: str
    kind: str
    """network, linear or baseline"""
    scratch: bool = False
    descriptors: bool = False
    baseline: str = ""
    """Its name in `mesomer.baselines`."""
    optional: bool = False
    settings_of: str = ""
    """The arm whose setting it takes."""


ARMS: dict[str, Arm] = {
    "pretrained": Arm("pre-trained, fine-tuned", "network"),
    "pretrained+descriptors": Arm(
        "pre-trained, fine-tuned, with descriptors", "network", descriptors=True, settings_of="pretrained"
    ),
    "random": Arm("same network, random weights", "network", scratch=True),
    "random+descriptors": Arm(
        "random weights, with descriptors",
        "network",
        scratch=True,
        descriptors=True,
        optional=True,
        settings_of="random",
    ),
    "frozen_linear": Arm("frozen vectors, linear model", "linear"),
    "frozen_random_linear": Arm("frozen vectors of random weights, linear model", "linear", scratch=True),
    "ecfp_forest": Arm("count-ECFP, forest", "baseline", baseline="forest"),
    "descriptors_boosting": Arm("descriptors, boosting", "baseline", descriptors=True, baseline="boosting"),
}
DEFAULT_ARMS = tuple(name for name, arm in ARMS.items() if not arm.optional)
REFERENCES = {
    "pretrained": ("random", "ecfp_forest", "descriptors_boosting"),
    "pretrained+descriptors": ("random+descriptors", "ecfp_forest", "descriptors_boosting"),
}
"""What the pre-trained arms are compared with. Random weights without descriptors are none for the second: that
difference would be one of descriptors and pre-training at once."""


class Cell(NamedTuple):
    """One training, or one baseline; `setting` is empty where there is nothing to search."""

    set: str
    arm: str
    seed: int
    setting: str = ""


@dataclass(frozen=True)
class Facts:
    """What the results depend on besides the design."""

    model: str
    """What the model was called."""
    weights_sha256: str
    encoder: Mapping[str, Any]
    """Name and configuration of the encoder."""
    data_sha256: Mapping[str, str]
    """The sum of each set's file."""
    sizes: Mapping[str, Sequence[int]]
    """Training molecules of each set by seed."""
    precision: str = "32"
    """Of the networks' training; linear models are always fitted in float32."""


def epochs_for(molecules: int) -> int:
    """The most epochs of a training part of this size."""
    steps = math.ceil(molecules / BATCH)
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, round(STEPS / steps)))


def given_options(cell: Cell, molecules: int) -> dict[str, Any]:
    """What is said of the training of a network or a linear model; `molecules` are those of its training part."""
    arm = ARMS[cell.arm]
    descriptors = (RDKIT_DESCRIPTORS,) if arm.descriptors else ()
    common: dict[str, Any] = {"scratch": arm.scratch, "descriptors": descriptors, "seed": cell.seed}
    if arm.kind == "linear":
        return {"probe": True, **common}
    return {
        "epochs": epochs_for(molecules), "patience": PATIENCE, "batch_size": BATCH, "encoder_lr_scale": 1.0,
        **common, **COMMON, **SETTINGS[cell.setting],
    }  # fmt: skip


def options_of(cell: Cell, molecules: int) -> FinetuneOptions:
    """How a network or a linear model is trained: everything that is not given is as usual."""
    return FinetuneOptions(**given_options(cell, molecules))


def digest(cell: Cell, facts: Facts) -> str:
    """A short sum of everything that the cell's result depends on: with other weights only some cells are run anew."""
    arm = ARMS[cell.arm]
    parts: dict[str, Any] = {
        "version": __version__, "set": facts.data_sha256[cell.set], "split": SPLIT, "cell": cell[1:],
        "baseline": arm.baseline,
    }  # fmt: skip
    if arm.kind != "baseline":
        # what is given: an option that is added later does not make finished cells void
        parts["options"] = given_options(cell, facts.sizes[cell.set][cell.seed])
        parts["encoder"] = facts.encoder
        parts["weights"] = None if arm.scratch else facts.weights_sha256
        parts["design"] = DESIGN
    if arm.kind == "network" and facts.precision != "32":
        parts["precision"] = facts.precision
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def work_of(cell: Cell, facts: Facts) -> float:
    """About how long a cell takes, in molecules that a network passes in training, at most."""
    molecules = facts.sizes[cell.set][cell.seed]
    kind = ARMS[cell.arm].kind
    if kind == "network":
        return float(molecules * epochs_for(molecules))
    return float(molecules) if kind == "linear" else 0.2 * molecules * find_benchmark(cell.set).num_targets


def searching(arm: str, arms: Sequence[str]) -> str:
    """The arm whose search decides on the setting of this one: itself, if the other is not run."""
    return ARMS[arm].settings_of if ARMS[arm].settings_of in arms else arm


def search_cells(sets: Sequence[str], arms: Sequence[str]) -> list[Cell]:
    """The cells of seed 0 from which each network's setting is chosen: setting by setting over all sets and arms."""
    networks = [name for name in arms if ARMS[name].kind == "network" and searching(name, arms) == name]
    return [Cell(name, arm, 0, setting) for setting in SETTINGS for name in sets for arm in networks]


def fixed_cells(sets: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """The cells without a search, seed by seed."""
    others = [name for name in arms if ARMS[name].kind != "network"]
    return [Cell(name, arm, seed) for seed in seeds for name in sets for arm in others]


def later_seeds(sets: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Network cells whose setting is still to be chosen, seed by seed over all sets and arms."""
    networks = [name for name in arms if ARMS[name].kind == "network"]
    return [
        Cell(name, arm, seed)
        for seed in seeds
        for name in sets
        for arm in networks
        if seed or searching(arm, arms) != arm
    ]
