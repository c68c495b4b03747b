"""The integer codes of atoms and bonds: one superset that every encoder reads, 12 bytes an atom and 2 a bond.

Decided here: the fields, their place in the bytes and the numbering of categories. Categories are numbered by RDKit's
names, never by its integers, because those move between releases (SP2D was inserted before SP3D). What the fields
cannot hold is refused while parsing (`chem.parse`), so a stored code is never a clamped or wrapped value.

Some fields depend on how a SMILES was written (`SPELLING_DEPENDENT`): published features and foreign weights need
them, new models must leave them alone. `cip` of atoms and bonds says what stereo marks say without depending on the
spelling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Codes = TypeVar("Codes", np.ndarray, "Tensor")

SCHEMA_VERSION = 1
ATOM_BYTES = 12
BOND_BYTES = 2
CHARGE_OFFSET = 128
MAX_ISOTOPE = 1023
MAX_ATOMS = 65_535  # `MolGraph.ends` holds atom numbers in 16 bits


class Field(NamedTuple):
    """Some bits of one byte: `(codes[..., byte] >> shift) & (2**bits - 1)`."""

    name: str
    byte: int
    shift: int
    bits: int
    meaning: str

    @property
    def size(self) -> int:
        """How many values the field can take, used or not."""
        return 1 << self.bits

    @property
    def mask(self) -> int:
        """The field's bits in its byte."""
        return (self.size - 1) << self.shift


CHIRALITY_TAGS = {
    "CHI_UNSPECIFIED": 0,
    "CHI_TETRAHEDRAL_CW": 1,
    "CHI_TETRAHEDRAL_CCW": 2,
    "CHI_OTHER": 3,
    "CHI_TETRAHEDRAL": 4,
    "CHI_ALLENE": 5,
    "CHI_SQUAREPLANAR": 6,
    "CHI_TRIGONALBIPYRAMIDAL": 7,
    "CHI_OCTAHEDRAL": 8,
}
HYBRIDIZATIONS = {
    "UNSPECIFIED": 0,
    "S": 1,
    "SP": 2,
    "SP2": 3,
    "SP3": 4,
    "SP2D": 5,
    "SP3D": 6,
    "SP3D2": 7,
    "OTHER": 8,
}
ATOM_CIP = {"": 0, "R": 1, "S": 2, "r": 3, "s": 4, "M": 5, "P": 6, "m": 7, "p": 8}
BOND_TYPES = {
    "OTHER": 0,
    "SINGLE": 1,
    "DOUBLE": 2,
    "TRIPLE": 3,
    "AROMATIC": 4,
    "DATIVE": 5,
    "QUADRUPLE": 6,
    "ZERO": 7,
    "QUINTUPLE": 8,
    "HEXTUPLE": 9,
    "ONEANDAHALF": 10,
    "TWOANDAHALF": 11,
    "THREEANDAHALF": 12,
    "FOURANDAHALF": 13,
    "FIVEANDAHALF": 14,
    "IONIC": 15,
    "HYDROGEN": 16,
    "THREECENTER": 17,
    "DATIVEONE": 18,
    "DATIVEL": 19,
    "DATIVER": 20,
    "UNSPECIFIED": 21,
}
BOND_STEREO = {
    "STEREONONE": 0,
    "STEREOANY": 1,
    "STEREOZ": 2,
    "STEREOE": 3,
    "STEREOCIS": 4,
    "STEREOTRANS": 5,
    "STEREOATROPCW": 6,
    "STEREOATROPCCW": 7,
}
BOND_DIRECTIONS = {
    "NONE": 0,
    "ENDUPRIGHT": 1,
    "ENDDOWNRIGHT": 2,
    "BEGINWEDGE": 3,
    "BEGINDASH": 3,
    "EITHERDOUBLE": 3,
    "UNKNOWN": 3,
}
BOND_CIP = {"": 0, "Z": 1, "E": 2}
RING_SIZES = (3, 4, 5, 6, 7, 8)

ATOM_FIELDS = {
    field.name: field
    for field in (
        Field("atomic_number", 0, 0, 8, "protons; 0 is a dummy atom"),
        Field("degree", 1, 0, 8, "neighbours that are nodes of the graph"),
        Field("total_degree", 2, 0, 8, "neighbours, hydrogens included"),
        Field("charge", 3, 0, 8, "formal charge + 128"),
        Field("chirality_tag", 4, 0, 8, "CHIRALITY_TAGS; depends on the spelling"),
        Field("cip", 5, 0, 8, "ATOM_CIP; does not depend on the spelling"),
        Field("hydrogens", 6, 0, 8, "hydrogens that are not nodes"),
        Field("hybridization", 7, 0, 8, "HYBRIDIZATIONS"),
        Field("implicit_valence", 8, 0, 8, "hydrogens that the SMILES leaves to the valence rules"),
        Field("aromatic", 9, 0, 1, "aromatic"),
        Field("in_ring", 9, 1, 1, "in a ring"),
        Field("acceptor", 9, 2, 1, "hydrogen-bond acceptor"),
        Field("donor", 9, 3, 1, "hydrogen-bond donor"),
        Field("acidic", 9, 4, 1, "centre of an acidic group"),
        Field("basic", 9, 5, 1, "basic nitrogen"),
        Field("isotope_high", 9, 6, 2, "isotope // 256"),
        Field("ring_sizes", 10, 0, 6, "bit k: in a ring of k + 3 atoms"),
        Field("radicals", 10, 6, 2, "unpaired electrons; 3 means three or more"),
        Field("isotope_low", 11, 0, 8, "isotope % 256; isotope 0 is the natural mixture"),
    )
}
BOND_FIELDS = {
    field.name: field
    for field in (
        Field("type", 0, 0, 5, "BOND_TYPES"),
        Field("aromatic", 0, 5, 1, "aromatic"),
        Field("conjugated", 0, 6, 1, "conjugated"),
        Field("in_ring", 0, 7, 1, "in a ring"),
        Field("stereo", 1, 0, 3, "BOND_STEREO as RDKit gives it; cis and trans depend on the spelling"),
        Field("direction", 1, 3, 2, "BOND_DIRECTIONS, seen from RDKit's begin atom; depends on the spelling"),
        Field("backwards", 1, 5, 1, "RDKit's begin atom is the one with the larger number; depends on the spelling"),
        Field("cip", 1, 6, 2, "BOND_CIP; does not depend on the spelling"),
    )
}
# Found by spelling 22,000 real molecules anew: tags, marks and directions are relative to the order of atoms;
# hydrogens written in brackets are not implicit; and in 1 cage of 5,000 RDKit chooses other rings, though the same
# atoms and bonds are in some ring.
SPELLING_DEPENDENT = {
    "atom": frozenset({"chirality_tag", "implicit_valence", "ring_sizes"}),
    "bond": frozenset({"stereo", "direction", "backwards"}),
}


def atom_field(codes: Codes, name: str) -> Codes:
    """One field of atom codes [..., 12]: uint8 for numpy arrays, int64 for tensors."""
    return _field(codes, ATOM_FIELDS[name])


def bond_field(codes: Codes, name: str) -> Codes:
    """One field of bond codes [..., 2]: uint8 for numpy arrays, int64 for tensors."""
    return _field(codes, BOND_FIELDS[name])


def isotopes(codes: np.ndarray) -> np.ndarray:
    """Mass numbers [A] of atom codes [A, 12]; 0 is the natural mixture."""
    return atom_field(codes, "isotope_low").astype(np.int64) + 256 * atom_field(codes, "isotope_high").astype(np.int64)


def charges(codes: np.ndarray) -> np.ndarray:
    """Formal charges [A] of atom codes [A, 12]."""
    return atom_field(codes, "charge").astype(np.int64) - CHARGE_OFFSET


def _field(codes: Any, field: Field) -> Any:
    value = codes[..., field.byte]
    if field.bits < 8:
        value = (value >> field.shift) & (field.size - 1)
    return value if isinstance(value, np.ndarray | np.generic) else value.long()
