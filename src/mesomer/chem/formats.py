"""Are the records of the installed RDKit read rightly?

`chem.records` was tried with some versions of RDKit's byte format. One that it has not seen is tried when the first
molecule comes: on molecules that have whatever a record can hold, records have to give what RDKit's interface gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from multiprocessing import parent_process
from typing import Any

from rdkit import Chem, rdBase

from . import records

TRIAL = (
    "C", "[Na+].[Cl-]", "[2H]C([2H])([2H])O", "[13CH3][O-]", "[235U]", "[CH3]", "[CH2]C[CH2]", "[O]",
    "[NH3]->[Pt](Cl)(Cl)<-[NH3]", "[Fe]<-N", "O=[Os](=O)(=O)=O", "F[P-](F)(F)(F)(F)F", "CS(=O)(=O)N[C@@H](C)C(=O)[O-]",
    "C[N+](C)(C)CC#N", "c1ccc(-n2cc[nH+]c2)cc1", "F/C=C/F", "F/C=C\\C=C/Cl", "CC(C)=CC=O", "C/C(=N\\O)c1ccsc1",
    "C[C@H]1CC[C@@](O)(F)CC1", "C[S@](=O)c1ccccc1", "CC=[C@]=CC", "Cl[Pt@SP1](F)(Br)I", "C[Si](C)(C)C#CB(O)O",
    "[O-][n+]1ccccc1", "C1CC2CC1CC2", "C12C3C4C1C5C2C3C45", "[Cu+2].[O-]C(=O)C(=O)[O-]", "[H][H]", "[se]1cccc1",
    "CC(=O)Oc1ccccc1C(=O)O", "CN1CCC[C@H]1c1cccnc1", "C1CCCCCCCCCCCCC1", "C" * 300 + "/C=C/[C@H](F)C1CC1",
)  # fmt: skip


@cache
def trusted(
    version: records.Version, by_records: Callable[[Chem.Mol], Any], by_interface: Callable[[Chem.Mol], Any]
) -> bool:
    """Whether records of this format give the same as the interface; says so once where they do not."""
    if version in records.KNOWN_FORMATS:
        return True
    mols = [Chem.MolFromSmiles(smiles) for smiles in TRIAL]
    if all(by_records(mol) == by_interface(mol) for mol in mols):
        return True
    if parent_process() is None:  # and not once for each worker
        warnings.warn(
            f"RDKit {rdBase.rdkitVersion} writes molecules in a form that this version of Mesomer cannot read, so "
            "each atom is asked for: results are the same, featurising is about three times slower.",
            stacklevel=2,
        )
    return False
