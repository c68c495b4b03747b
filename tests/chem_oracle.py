"""The codes of a molecule, asked field by field of RDKit's public interface: slow, plain, and written without a look at
how `chem.featurize` does it. Also spellings and numberings of molecules to test with.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
from rdkit import Chem

from mesomer.chem.groups import SMARTS
from mesomer.chem.schema import (
    ATOM_BYTES,
    ATOM_FIELDS,
    BOND_BYTES,
    BOND_DIRECTIONS,
    BOND_FIELDS,
    BOND_STEREO,
    BOND_TYPES,
    CHIRALITY_TAGS,
    HYBRIDIZATIONS,
    RING_SIZES,
)

# Chosen to meet every branch: charges, radicals, isotopes, dative and other rare bonds, hydrogens as nodes, dummies,
# maps, metals, aromatic hetero atoms, amines and acids of all kinds, cages, allenes, ring stereo, queries of no kind.
MOLECULES = [
    "C",
    "[Na+].[Cl-]",
    "[H][H]",
    "[2H]C([2H])([2H])O",
    "[13CH4]",
    "[235U]",
    "*CC*",
    "[*:1]c1ccccc1",
    "[CH3:1][OH:2]",
    "[CH3]",
    "[CH2]C[CH2]",
    "[O]",
    "[NH3]->[Pt](Cl)(Cl)<-[NH3]",
    "[Fe]<-N",
    "O=[Os](=O)(=O)=O",
    "[O-][N+](=O)c1ccccc1",
    "F[P-](F)(F)(F)(F)F",
    "OS(=O)(=O)O",
    "OP(O)(=O)OC",
    "CS(=O)(=O)NC",
    "CC(=S)O",
    "CC(=O)[O-].[Na+]",
    "CC(=O)NO",
    "CN(C)C",
    "CNC",
    "CN",
    "N",
    "C[N+](C)(C)C",
    "CC(=O)N(C)C",
    "CN(C)c1ccccc1",
    "c1ccc(Nc2ccccc2)cc1",
    "OC=C",
    "Oc1ccccc1",
    "OC(=C)C=O",
    "SC",
    "CSC",
    "[S-]C",
    "[O-]Cc1ccccc1",
    "c1cc[nH]c1",
    "c1ccncc1",
    "c1ccoc1",
    "c1ccsc1",
    "c1cnco1",
    "c1cscn1",
    "c1conc1",
    "c1ncon1",
    "c1cc2occc2cn1",
    "C[n+]1ccccc1",
    "[O-][n+]1ccccc1",
    "[nH]1cc[nH+]c1",
    "O=c1cc[nH]cc1",
    "C[Se]c1ccc[se]1",
    "c1ccc2c(c1)c1ccccc1[nH]2",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "C1CC1",
    "C1CCC1",
    "C1CCCCCCCC1",
    "C12C3C4C1C5C2C3C45",
    "C1C2CC3CC1CC(C2)C3",
    "C1CC2CCC1C2",
    "C1CC11CC1",
    "F/C=C/F",
    "F/C=C\\Cl",
    "C/C=C/C=C\\C",
    "CC=C=CC",
    "C[C@H](N)C(=O)O",
    "C[C@@H](O)[C@H](N)C",
    "C[C@H]1CC[C@@H](C)CC1",
    "C[C@H]1CC[C@H](C)CC1",
    "C[C@H]1C[C@@H](C)C1",
    "OC[C@H]1CC[C@@H](CO)CC1",
    "O[C@H]1C[C@@H](O)C[C@@H](O)C1",
    "C[C@H](O)[C@@H](O)[C@@H](C)O",
    "N[C@H]1C2CC3CC1C[C@](O)(C3)C2",
    "C[S@](=O)c1ccccc1",
    "C[P@](=O)(O)c1ccccc1",
    "C/C(=N\\O)c1ccccc1",
    "B(O)O",
    "C[Si](C)(C)C",
    "[U]",
    "[He]",
    "C#N",
    "[C-]#[O+]",
    "[C-]#[N+]C",
    "N#N",
    "N=[N+]=[N-]",
    "OO",
    "O=C=O",
    "C$C",
    "S(F)(F)(F)(F)(F)F",
    "Cl[I](Cl)c1ccccc1",
    "[O-][Cl+3]([O-])([O-])O",
    "CCN(CC)CC",
    "OC(=O)c1ccc(N)cc1O",
    "NC(=N)N",
    "NC(=O)N",
    "C1=CC=CC=CC=C1",
    "c1ccc2cc3ccccc3cc2c1",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
]


def asked(mol: Chem.Mol) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atom codes, bond codes and ends of a molecule, `cip` left at 0."""
    atoms = np.zeros((mol.GetNumAtoms(), ATOM_BYTES), dtype=np.uint8)
    matches = {name: {i for (i,) in mol.GetSubstructMatches(Chem.MolFromSmarts(SMARTS[name]))} for name in SMARTS}
    for row, atom in zip(atoms, mol.GetAtoms(), strict=True):
        values = {
            "atomic_number": atom.GetAtomicNum(),
            "degree": atom.GetDegree(),
            "total_degree": atom.GetTotalDegree(),
            "charge": atom.GetFormalCharge() + 128,
            "chirality_tag": CHIRALITY_TAGS[str(atom.GetChiralTag())],
            "hydrogens": atom.GetTotalNumHs(),
            "hybridization": HYBRIDIZATIONS[str(atom.GetHybridization())],
            "implicit_valence": atom.GetValence(Chem.ValenceType.IMPLICIT),
            "aromatic": atom.GetIsAromatic(),
            "in_ring": atom.IsInRing(),
            "isotope_low": atom.GetIsotope() % 256,
            "isotope_high": atom.GetIsotope() // 256,
            "radicals": min(3, atom.GetNumRadicalElectrons()),
            "ring_sizes": sum(2**bit for bit, size in enumerate(RING_SIZES) if atom.IsInRingSize(size)),
            **{name: atom.GetIdx() in found for name, found in matches.items()},
        }
        for name, value in values.items():
            row[ATOM_FIELDS[name].byte] |= int(value) << ATOM_FIELDS[name].shift
    bonds = np.zeros((mol.GetNumBonds(), BOND_BYTES), dtype=np.uint8)
    ends = np.zeros((mol.GetNumBonds(), 2), dtype=np.uint16)
    for index, bond in enumerate(mol.GetBonds()):
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        ends[index] = min(begin, end), max(begin, end)
        values = {
            "type": BOND_TYPES[str(bond.GetBondType())],
            "aromatic": bond.GetIsAromatic(),
            "conjugated": bond.GetIsConjugated(),
            "in_ring": bond.IsInRing(),
            "stereo": BOND_STEREO[str(bond.GetStereo())],
            "direction": BOND_DIRECTIONS[str(bond.GetBondDir())],
            "backwards": begin > end,
        }
        for name, value in values.items():
            bonds[index, BOND_FIELDS[name].byte] |= int(value) << BOND_FIELDS[name].shift
    return atoms, bonds, ends


def without_cip(atoms: np.ndarray, bonds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes with `cip` set to 0, to compare with `asked`."""
    atoms, bonds = atoms.copy(), bonds.copy()
    atoms[:, ATOM_FIELDS["cip"].byte] = 0
    bonds[:, BOND_FIELDS["cip"].byte] &= 255 - (3 << BOND_FIELDS["cip"].shift)
    return atoms, bonds


def respelt(mol: Chem.Mol) -> tuple[Chem.Mol, np.ndarray] | None:
    """The molecule read from a random spelling, and for each of its atoms the number it had.

    None if atoms got lost, or if RDKit wrote another stereoisomer, as it does with some of many equal centres
    (hexachlorocyclohexane; the InChIs differ).
    """
    written = Chem.Mol(mol)
    text = Chem.MolToSmiles(written, doRandom=True, canonical=False)
    order = np.array(list(written.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"]))
    read = Chem.MolFromSmiles(text)
    if read is None or read.GetNumAtoms() != len(order) or Chem.MolToSmiles(read) != Chem.MolToSmiles(mol):
        return None
    return read, order


def real_smiles(folder: Path, name: str, every: int, limit: int) -> list[str]:
    """Some SMILES of one of the real files."""
    with gzip.open(folder / name, "rt") as file:
        rows = [row["smiles"] for row in csv.DictReader(file)]
    return rows[::every][:limit]
