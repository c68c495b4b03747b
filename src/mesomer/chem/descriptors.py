"""Numbers of a whole molecule: the 200 normalised RDKit descriptors, counted circular fragments, fingerprint bits.

Decided here: the 200 are `rdkit_2d_normalized` of the package descriptastorus (an extra), in its order, computed from
the molecule as its canonical SMILES gives it, because a few of them depend on the order of atoms. As published, a
descriptor that cannot be computed is 0, one that is undefined stays NaN, and a molecule without heavy atoms has
zeros. The fitted distributions are applied to whole columns: 200 calls instead of 200 a molecule, with equal results.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator

from ..errors import MesomerError
from .interrupts import restore_interrupts

DESCRIPTORS = 200


def descriptors_200(mols: Sequence[Chem.Mol], canonical: bool = True) -> np.ndarray:
    """The 200 normalised descriptors, float32 [M, 200].

    With `canonical` off they are computed from the molecules as they are, as GROVER's scripts did from the given
    SMILES.
    """
    _descriptastorus()
    prepared = [_canonical(mol) if canonical else mol for mol in mols]
    return _normalised(_raw(prepared), np.array([mol.GetNumHeavyAtoms() > 0 for mol in mols], dtype=bool))


def count_ecfp(mols: Sequence[Chem.Mol], radius: int = 2, size: int = 2048) -> np.ndarray:
    """How often each circular fragment up to `radius` occurs, folded to `size` columns: uint16 [M, size]."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    counts = np.zeros((len(mols), size), dtype=np.uint16)
    for row, mol in zip(counts, mols, strict=True):
        row[:] = generator.GetCountFingerprintAsNumPy(mol)
    return counts


def ecfp_bits(mols: Sequence[Chem.Mol], radius: int = 2, size: int = 2048) -> np.ndarray:
    """Which circular fragments occur, eight columns to a byte: uint8 [M, size / 8], most significant bit first."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    bits = np.zeros((len(mols), -(-size // 8)), dtype=np.uint8)
    for row, mol in zip(bits, mols, strict=True):
        row[:] = np.packbits(generator.GetFingerprintAsNumPy(mol))
    return bits


def _canonical(mol: Chem.Mol) -> Chem.Mol:
    """The molecule that its canonical SMILES gives; itself where RDKit cannot read its own SMILES."""
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(Chem.MolToSmiles(mol)) or mol


@cache
def _descriptastorus() -> Any:
    try:
        from descriptastorus.descriptors import rdDescriptors, rdNormalizedDescriptors
    except ImportError as error:
        raise MesomerError(
            f"The 200 RDKit descriptors need a package that is not installed ({error.name}).",
            'Install it with: pip install "mesomer[descriptors]"',
        ) from error
    generator = rdDescriptors.RDKit2D()
    names = [name for name, _ in generator.columns]
    if len(names) != DESCRIPTORS:
        raise MesomerError(
            f"The installed descriptastorus computes {len(names)} descriptors instead of {DESCRIPTORS}.",
            'Install a tested version with: pip install "mesomer[descriptors]"',
        )
    return names, generator.funcs, rdNormalizedDescriptors.cdfs


def descriptor_names() -> list[str]:
    """The names of the 200, in order."""
    return list(_descriptastorus()[0])


def _raw(mols: Sequence[Chem.Mol]) -> np.ndarray:
    """float64 [M, 200, 2]: the value, and 1 where it could be computed."""
    names, functions, _ = _descriptastorus()
    values = np.zeros((len(mols), DESCRIPTORS, 2))
    with rdBase.BlockLogs():
        for row, mol in zip(values, mols, strict=True):
            for column, name in enumerate(names):
                try:
                    row[column] = functions[name](mol), 1.0
                except (ArithmeticError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
                    continue  # as published: a descriptor that cannot be computed counts as 0 after normalising
            restore_interrupts()
    return values


def _normalised(raw: np.ndarray, present: np.ndarray) -> np.ndarray:
    names, _, distributions = _descriptastorus()
    result = np.zeros(raw.shape[:2], dtype=np.float32)
    for column, name in enumerate(names):
        rows = present & (raw[:, column, 1] == 1.0)
        if name in distributions and rows.any():
            result[rows, column] = distributions[name](raw[rows, column, 0])
    return result
