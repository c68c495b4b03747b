"""What a split is, what a rule is asked, and what it may use of the molecules.

A rule is a function from a `Request` to a list of `Draft`s (one, or one per fold). Everything that it may use of the
molecules (scaffolds, canonical SMILES, fingerprints) is computed once per table, whatever number of repeats is drawn.
Callers leave unreadable molecules out before they split; one that comes through is an error, never skipped.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mesomer.errors import InputError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

PARTS = ("train", "valid", "test")
FRACTIONS = (0.8, 0.1, 0.1)

Groups = list[list[int]]
"""Molecules that stay together: groups in the order of their first molecule, members ascending."""


@dataclass(frozen=True)
class Split:
    """Positions of the training, validation and test molecules, ascending, together every molecule once."""

    name: str
    """The name that was asked for, for example `scaffold`."""
    rule: str
    """The rule behind the name, for example `balanced`."""
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    note: str = ""
    """What a reader of the result should know: "one split", duplicates across parts, sizes of folds."""
    repeat: int = 0
    fold: int = 0
    seed: int = 0
    """The seed for training on this split; differs between repeats and between folds."""

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The three index arrays by the name of their part."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def one_test_part(splits: Sequence[Split]) -> bool:
    """Whether several splits test on the same molecules, so that their spread says nothing about other ones."""
    return len(splits) > 1 and len({split.test.tobytes() for split in splits}) == 1


class Draft(NamedTuple):
    """What a rule returns: three collections of positions, in any order, and what to say about them."""

    train: Sequence[int]
    valid: Sequence[int]
    test: Sequence[int]
    notes: tuple[str, ...] = ()


class Molecules:
    """The molecules of one table and what the rules need of them, each computed once, when first asked for."""

    def __init__(self, molecules: Sequence[str | Mol]) -> None:
        self._given = list(molecules)
        self._scaffolds: dict[tuple[bool, bool], list[str]] = {}

    def __len__(self) -> int:
        return len(self._given)

    @cached_property
    def mols(self) -> list[Mol]:
        """RDKit molecules."""
        from mesomer.chem.parse import parse_smiles
        from mesomer.chem.schema import MAX_ATOMS

        mols = []
        for at, given in enumerate(self._given):
            mol, reason = parse_smiles(given, MAX_ATOMS) if isinstance(given, str) else (given, None)
            if mol is None:
                raise InputError(
                    f"Molecule {at + 1} of those to be split cannot be read: {reason}.",
                    "Leave such rows out before splitting.",
                )
            mols.append(mol)
        return mols

    def scaffolds(self, chirality: bool, canonical: bool = False) -> list[str]:
        """Murcko scaffolds; `canonical` takes them from the canonical SMILES instead of the molecules as given."""
        from rdkit import rdBase

        from mesomer.chem.scaffolds import scaffold

        key = (chirality, canonical)
        if key not in self._scaffolds:
            sources: Iterable[str | Mol] = self.identities if canonical else self.mols
            with rdBase.BlockLogs():
                self._scaffolds[key] = [scaffold(source, chirality) for source in sources]
        return self._scaffolds[key]

    @cached_property
    def identities(self) -> list[str]:
        """Canonical SMILES: equal for two spellings of one molecule."""
        from rdkit import Chem

        return [Chem.MolToSmiles(mol) for mol in self.mols]

    @cached_property
    def units(self) -> Groups:
        """Groups of rows with one canonical SMILES without stereo: duplicates and stereoisomers."""
        from rdkit import Chem

        return group_rows([Chem.MolToSmiles(mol, isomericSmiles=False) for mol in self.mols])

    @cached_property
    def fingerprints(self) -> list[Any]:
        """ECFP4 bit vectors (Morgan, radius 2, 2048 bits, no chirality)."""
        from rdkit.Chem import rdFingerprintGenerator

        generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
        return [generator.GetFingerprint(mol) for mol in self.mols]


@dataclass(frozen=True)
class Request:
    """What is asked of a rule."""

    molecules: Molecules
    seed: int = 0
    fractions: tuple[float, float, float] = FRACTIONS
    folds: int = 5
    column: Sequence[Any] | None = None
    """Values of the column that decides (rules `column` and `time`)."""
    column_name: str = "split"
    labels: Any = None
    """Labels [n] or [n, tasks], NaN or None where missing (rule `stratified_cv`)."""
    canonical: bool = False
    """Chiral scaffolds from canonical SMILES."""
    rows: Sequence[int] | None = None
    """Row numbers of the molecules in the user's table, for messages."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What a rule wants to keep between repeats over the same molecules."""

    @property
    def count(self) -> int:
        """Number of molecules."""
        return len(self.molecules)

    def where(self, at: int) -> str:
        """How messages name the molecule at this position."""
        return f"molecule {at + 1}" if self.rows is None else f"row {self.rows[at]}"


def group_rows(keys: Sequence[Hashable]) -> Groups:
    """Positions with equal keys, groups in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for at, key in enumerate(keys):
        groups.setdefault(key, []).append(at)
    return list(groups.values())


def join_groups(first: Groups, second: Groups, count: int) -> Groups:
    """The finest groups in which both groupings of `count` rows stay together."""
    parent = list(range(count))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for group in (*first, *second):
        for at in group[1:]:
            one, other = sorted((root(group[0]), root(at)))
            parent[other] = one
    return group_rows([root(at) for at in range(count)])
