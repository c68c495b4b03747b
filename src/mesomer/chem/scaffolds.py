"""The Bemis-Murcko scaffold of a molecule, as the published splits compute it.

Decided here: RDKit's Murcko scaffold with substituents removed and atom types kept, as canonical SMILES. A molecule
without rings has the empty scaffold. It is computed from the molecule as it was read: the published rules never
canonicalise first.
"""

from __future__ import annotations

from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from ..errors import MesomerError


def scaffold(smiles_or_mol: str | Chem.Mol, chirality: bool) -> str:
    """The scaffold's SMILES; with `chirality` the stereo marks that remain on it are written."""
    mol = Chem.MolFromSmiles(smiles_or_mol) if isinstance(smiles_or_mol, str) else smiles_or_mol
    if mol is None:
        raise MesomerError(f"The scaffold of {smiles_or_mol!r} is not defined: RDKit cannot read it.")
    return MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=chirality)
