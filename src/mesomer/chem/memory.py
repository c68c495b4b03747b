"""What RDKit says of one atom or bond apart from its surroundings, asked once for each distinct record.

Decided here: RDKit's public interface is the only source of meaning. Answers are remembered by record
(`chem.records`), a few hundred of them for millions of molecules. What a field cannot hold raises `OutsideSchema`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from rdkit import Chem

from ..errors import MesomerError
from . import groups
from .schema import (
    ATOM_BYTES,
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
    Field,
)


class OutsideSchema(MesomerError):
    """A molecule has an atom or bond that the fields of `chem.schema` cannot hold."""


class AtomEntry(NamedTuple):
    """One atom; degrees, rings, groups that depend on neighbours, and stereo labels are still missing."""

    code: bytes
    kind: int  # groups.atom_class
    marked: bool  # carries a chirality tag


class BondEntry(NamedTuple):
    """One bond; rings and labels of cis and trans bonds are still missing."""

    code: bytes
    kind: int  # groups.SINGLE, DOUBLE, …
    marked: bool  # cis or trans, which only the surroundings translate into E or Z
    odd: bool  # type and aromatic flag disagree


Entry = TypeVar("Entry", AtomEntry, BondEntry)

_ATOMS: dict[bytes, AtomEntry] = {}
_BONDS: dict[bytes, BondEntry] = {}
_LIMIT = 50_000  # reached by no real corpus; keeps memory constant whatever comes in

_E_OR_Z = {"STEREOE": "E", "STEREOZ": "Z"}
_CIS_OR_TRANS = ("STEREOCIS", "STEREOTRANS")
_KINDS = {
    "SINGLE": groups.SINGLE,
    "DOUBLE": groups.DOUBLE,
    "TRIPLE": groups.TRIPLE,
    "AROMATIC": groups.AROMATIC,
}


def recall_atoms(mol: Chem.Mol, records: Sequence[bytes]) -> list[AtomEntry]:
    """The entry of each atom of `mol`, whose records are given."""
    try:
        return [_ATOMS[record] for record in records]
    except KeyError:
        return _recall(_ATOMS, records, lambda index: read_atom(mol.GetAtomWithIdx(index)))


def recall_bonds(mol: Chem.Mol, records: Sequence[bytes]) -> list[BondEntry]:
    """The entry of each bond of `mol`, whose records are given."""
    try:
        return [_BONDS[record] for record in records]
    except KeyError:
        return _recall(_BONDS, records, lambda index: read_bond(mol.GetBondWithIdx(index)))


def _recall(memory: dict[bytes, Entry], records: Sequence[bytes], read: Callable[[int], Entry]) -> list[Entry]:
    if len(memory) > _LIMIT:
        memory.clear()
    entries = []
    for index, record in enumerate(records):
        entry = memory.get(record)
        if entry is None:
            entry = memory[record] = read(index)
        entries.append(entry)
    return entries


def read_atom(atom: Chem.Atom) -> AtomEntry:
    """Ask RDKit for one atom."""
    number, charge, hydrogens = atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetTotalNumHs()
    aromatic, isotope = atom.GetIsAromatic(), atom.GetIsotope()
    tag = CHIRALITY_TAGS.get(atom.GetChiralTag().name, CHIRALITY_TAGS["CHI_OTHER"])
    kind, flags = groups.atom_class(number, aromatic, charge, hydrogens, atom.GetTotalValence())
    code = _pack(
        ATOM_FIELDS,
        ATOM_BYTES,
        atomic_number=number,
        total_degree=hydrogens,
        charge=charge + CHARGE_OFFSET,
        chirality_tag=tag,
        hydrogens=hydrogens,
        hybridization=HYBRIDIZATIONS.get(atom.GetHybridization().name, HYBRIDIZATIONS["OTHER"]),
        implicit_valence=atom.GetValence(Chem.ValenceType.IMPLICIT),
        aromatic=aromatic,
        isotope_low=isotope & 255,
        isotope_high=isotope >> 8,
        radicals=min(3, atom.GetNumRadicalElectrons()),
    )
    code[groups.FLAG_BYTE] |= flags
    return AtomEntry(bytes(code), kind, tag != 0)


def read_bond(bond: Chem.Bond) -> BondEntry:
    """Ask RDKit for one bond."""
    kind_name, stereo, aromatic = bond.GetBondType().name, bond.GetStereo().name, bond.GetIsAromatic()
    code = _pack(
        BOND_FIELDS,
        BOND_BYTES,
        type=BOND_TYPES.get(kind_name, BOND_TYPES["OTHER"]),
        aromatic=aromatic,
        conjugated=bond.GetIsConjugated(),
        stereo=BOND_STEREO.get(stereo, BOND_STEREO["STEREOANY"]),
        cip=BOND_CIP[_E_OR_Z.get(stereo, "")],
        direction=BOND_DIRECTIONS.get(bond.GetBondDir().name, BOND_DIRECTIONS["UNKNOWN"]),
    )
    kind = _KINDS.get(kind_name, groups.OTHER)
    return BondEntry(bytes(code), kind, stereo in _CIS_OR_TRANS, aromatic != (kind == groups.AROMATIC))


def _pack(fields: dict[str, Field], size: int, **values: int) -> bytearray:
    code = bytearray(size)
    for name, value in values.items():
        field = fields[name]
        if not 0 <= value < field.size:
            raise OutsideSchema(f"The schema of atoms and bonds has no {name.replace('_', ' ')} code {value}.")
        code[field.byte] |= int(value) << field.shift
    return code
