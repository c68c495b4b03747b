"""Cells that another study has run alike: baselines, and networks from random weights of one architecture.

Decided: a cell is taken over only from a study of the same data, design, trainings and stored splits; networks with
random weights also need the same encoder, and those that are trained the same precision. Whatever depends on
pre-trained weights is always run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesomer.files import atomic_write, sha256_of
from mesomer.studies.arms import ARMS, Arm
from mesomer.studies.cells import cell_path
from mesomer.studies.design import Cell, Design
from mesomer.studies.molecules import splits_path
from mesomer.studies.results import read_json

_DESIGN = ("rules", "repeats", "folds", "trials", "epochs", "batch_size", "patience", "seed", "label_counts")


def take_over(folder: Path, siblings: Sequence[Path], cells: Sequence[Cell]) -> int:
    """Copies the cells that a sibling has run alike and that are not there yet; returns how many."""
    facts = read_json(folder / "study.json")
    taken = 0
    for sibling in siblings:
        other = read_json(sibling / "study.json")
        if other is None or not _alike(folder, facts, sibling, other):
            continue
        for cell in cells:
            wanted, there = cell_path(folder, cell), cell_path(sibling, cell)
            if _gives_the_same(ARMS[cell.arm], facts, other) and there.is_file() and not wanted.exists():
                with atomic_write(wanted) as temporary:
                    temporary.write_bytes(there.read_bytes())
                taken += 1
    return taken


def _gives_the_same(arm: Arm, facts: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether an arm learns the same in two studies that are alike but for the model and the precision."""
    if arm.kind in ("classical", "mean"):
        return True
    same_encoder = all(facts["model"][key] == other["model"][key] for key in ("encoder", "encoder_config"))
    same_precision = Design.from_json(facts["design"]).precision == Design.from_json(other["design"]).precision
    return arm.twin_of is not None and same_encoder and (same_precision or arm.kind != "network")


def _alike(folder: Path, facts: Mapping[str, Any], sibling: Path, other: Mapping[str, Any]) -> bool:
    if any(facts[key] != other[key] for key in ("data", "metric")):
        return False
    if any(facts["design"][key] != other["design"][key] for key in _DESIGN):
        return False
    if list(facts["design"].get("settings", ())) != list(other["design"].get("settings", ())):
        return False
    return all(
        splits_path(sibling, split).is_file()
        and sha256_of(splits_path(sibling, split)) == sha256_of(splits_path(folder, split))
        for split in facts["design"]["splits"]
    )
