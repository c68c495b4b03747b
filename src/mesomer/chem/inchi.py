"""InChIKeys: the names by which molecules are told to be the same, however they are drawn.

Decided: the standard InChI. Its first block, the skeleton, leaves stereo and isotopes aside. A molecule that InChI
cannot name is called by its SMILES, so that it is the same as those of equal SMILES only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .interrupts import restore_interrupts

if TYPE_CHECKING:
    from rdkit.Chem import Mol

NO_KEY = "SMILES "
"""How the key of a molecule begins that InChI cannot name."""


def inchi_keys(mols: Sequence[Mol], otherwise: Sequence[str]) -> list[str]:
    """InChIKeys; where InChI cannot name a molecule, a text that equals that of equal SMILES only."""
    from rdkit import rdBase
    from rdkit.Chem import MolToInchiKey

    keys = []
    with rdBase.BlockLogs():
        for mol, text in zip(mols, otherwise, strict=True):
            keys.append(MolToInchiKey(mol) or NO_KEY + text)
            restore_interrupts()
    return keys


def skeleton(key: str) -> str:
    """The first block of an InChIKey: the molecule without stereo and isotopes; other keys as a whole."""
    return key if key.startswith(NO_KEY) else key.partition("-")[0]
