"""Mol to small integer arrays: the codes of `chem.schema` for every atom and bond.

Decided here: the four SMARTS flags of the published features, and that a flag is set by RDKit's own matcher at its
default limit of 1000 matches, as the published code does.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from rdkit import Chem

from .graph import MolGraph
from .parse import DEFAULT_MAX_ATOMS, parse_smiles
from .schema import (
    ATOM_BYTES,
    ATOM_CIP,
    ATOM_FIELDS,
    BOND_BYTES,
    BOND_CIP,
    BOND_DIRECTIONS,
    BOND_FIELDS,
    BOND_STEREO,
    BOND_TYPES,
    CHARGE_OFFSET,
    CHIRALITY_TAGS,
    HYBRIDIZATIONS,
    RING_SIZES,
)

SMARTS = {
    "acceptor": (
        "[$([O,S;H1;v2;!$(*-*=[O,N,P,S])]),$([O,S;H0;v2]),$([O,S;-]),$([N;v3;!$(N-*=[O,N,P,S])]),"
        "n&H0&+0,$([o,s;+0;!$([o,s]:n);!$([o,s]:c:n)])]"
    ),
    "donor": "[$([N;!H0;v3,v4&+1]),$([O,S;H1;+0]),n&H1&+0]",
    "acidic": "[$([C,S](=[O,S,P])-[O;H1,-1])]",
    "basic": (
        "[#7;+,$([N;H2&+0][$([C,a]);!$([C,a](=O))]),"
        "$([N;H1&+0]([$([C,a]);!$([C,a](=O))])[$([C,a]);!$([C,a](=O))]),"
        "$([N;H0&+0]([C;!$(C(=O))])([C;!$(C(=O))])[C;!$(C(=O))])]"
    ),
}


def graph_from_smiles(text: str | None, max_atoms: int = DEFAULT_MAX_ATOMS) -> tuple[MolGraph | None, str | None]:
    """The graph of a SMILES and None, or None and the reason for refusing it."""
    mol, reason = parse_smiles(text, max_atoms)
    return (None, reason) if mol is None else (featurize(mol), None)


def featurize(mol: Chem.Mol, coordinates: bool = False) -> MolGraph:
    """The codes of a sanitised molecule; with `coordinates` also the positions of its first conformer."""
    atoms = np.zeros((mol.GetNumAtoms(), ATOM_BYTES), dtype=np.uint8)
    for atom in mol.GetAtoms():
        _set(atoms[atom.GetIdx()], ATOM_FIELDS, {
            "atomic_number": atom.GetAtomicNum(),
            "degree": atom.GetDegree(),
            "total_degree": atom.GetTotalDegree(),
            "charge": atom.GetFormalCharge() + CHARGE_OFFSET,
            "chirality_tag": CHIRALITY_TAGS[atom.GetChiralTag().name],
            "cip": ATOM_CIP[atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""],
            "hydrogens": atom.GetTotalNumHs(),
            "hybridization": HYBRIDIZATIONS[atom.GetHybridization().name],
            "implicit_valence": atom.GetValence(Chem.ValenceType.IMPLICIT),
            "aromatic": atom.GetIsAromatic(),
            "in_ring": atom.IsInRing(),
            "isotope_low": atom.GetIsotope() & 255,
            "isotope_high": atom.GetIsotope() >> 8,
            "radicals": min(3, atom.GetNumRadicalElectrons()),
            "ring_sizes": sum(atom.IsInRingSize(size) << bit for bit, size in enumerate(RING_SIZES)),
        })
    for name in SMARTS:
        for (index,) in mol.GetSubstructMatches(_pattern(name)):
            _set(atoms[index], ATOM_FIELDS, {name: 1})
    bonds = np.zeros((mol.GetNumBonds(), BOND_BYTES), dtype=np.uint8)
    ends = np.zeros((mol.GetNumBonds(), 2), dtype=np.uint16)
    for bond in mol.GetBonds():
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        ends[bond.GetIdx()] = sorted((begin, end))
        _set(bonds[bond.GetIdx()], BOND_FIELDS, {
            "type": BOND_TYPES[bond.GetBondType().name],
            "aromatic": bond.GetIsAromatic(),
            "conjugated": bond.GetIsConjugated(),
            "in_ring": bond.IsInRing(),
            "stereo": BOND_STEREO[bond.GetStereo().name],
            "direction": BOND_DIRECTIONS[bond.GetBondDir().name],
            "backwards": begin > end,
            "cip": BOND_CIP[bond.GetProp("_CIPCode") if bond.HasProp("_CIPCode") else ""],
        })
    return MolGraph(atoms, bonds, ends, _coordinates(mol) if coordinates else None)


@cache
def _pattern(name: str) -> Chem.Mol:
    return Chem.MolFromSmarts(SMARTS[name])


def _set(row: np.ndarray, fields: dict, values: dict[str, int]) -> None:
    for name, value in values.items():
        row[fields[name].byte] |= int(value) << fields[name].shift


def _coordinates(mol: Chem.Mol) -> np.ndarray:
    return mol.GetConformer().GetPositions().astype(np.float32)
