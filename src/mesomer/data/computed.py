"""Descriptors of many molecules, in several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.descriptors import descriptors_200
from mesomer.data.workers import run_tasks

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_MOLECULES_A_TASK = 64


def computed_descriptors(mols: Sequence[Mol], workers: int) -> NDArray[np.float32]:
    """As `descriptors_200`, [M, 200], by so many processes."""
    parts = [(at, mols[at : at + _MOLECULES_A_TASK]) for at in range(0, len(mols), _MOLECULES_A_TASK)]
    found = dict(run_tasks(_numbered, parts, workers))
    return np.concatenate([descriptors_200([]), *(found[at] for at, _ in parts)])


def _numbered(task: tuple[int, Sequence[Mol]]) -> tuple[int, NDArray[np.float32]]:
    return task[0], descriptors_200(task[1])
