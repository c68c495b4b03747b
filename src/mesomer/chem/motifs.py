"""Functional groups as labels: which of RDKit's 85 fragments a molecule contains.

Decided here: the order is alphabetical, as published; a label is 1 where the fragment occurs at all; and
`fr_unbrch_alkane` keeps the pattern that published labels were made with (RDKit redefined it in 2024.03).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import Fragments

from .interrupts import restore_interrupts

_ORIGINAL_PATTERNS = {"fr_unbrch_alkane": "[R0;D2][R0;D2][R0;D2][R0;D2]"}


@cache
def motif_names() -> tuple[str, ...]:
    """Names of the fragments in label order."""
    return tuple(sorted(name for name in vars(Fragments) if name.startswith("fr_")))


@cache
def _patterns() -> tuple[Chem.Mol, ...]:
    return tuple(
        Chem.MolFromSmarts(_ORIGINAL_PATTERNS[name])
        if name in _ORIGINAL_PATTERNS
        else inspect.signature(vars(Fragments)[name]).parameters["pattern"].default
        for name in motif_names()
    )


def motif_labels(mols: Sequence[Chem.Mol]) -> np.ndarray:
    """Which fragments each molecule contains, uint8 [M, 85]."""
    patterns = _patterns()
    labels = np.zeros((len(mols), len(patterns)), dtype=np.uint8)
    for row, mol in enumerate(mols):
        labels[row] = [mol.HasSubstructMatch(pattern) for pattern in patterns]
        restore_interrupts()
    return labels
