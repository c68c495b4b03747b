"""Mol to small integer arrays: the codes of `chem.schema` for every atom and bond.

Decided here: RDKit's public interface is the only source of meaning. It is asked once for every distinct atom and bond
record (`chem.records`) and the answers are remembered, a few hundred for millions of molecules; where records cannot be
told apart it is asked atom by atom, with the same result. Stereo labels are computed only for molecules with stereo marks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from rdkit import Chem

from . import groups
from .graph import MolGraph
from .parse import DEFAULT_MAX_ATOMS, parse_smiles
from .records import split_records
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
    Field,
)
from .stereo import cip_labels


class _AtomEntry(NamedTuple):
    code: bytes  # the 12 bytes, as far as the atom alone decides them
    kind: int  # groups.atom_class
    marked: bool  # carries a stereo mark


class _BondEntry(NamedTuple):
    code: bytes  # the 2 bytes, as far as the bond alone decides them
    kind: int  # groups.SINGLE, DOUBLE, AROMATIC, OTHER
    marked: bool  # cis or trans, which only the surroundings translate into E or Z
    usual: bool  # type and aromatic flag agree


Entry = TypeVar("Entry", _AtomEntry, _BondEntry)

_ATOM_MEMORY: dict[bytes, _AtomEntry] = {}
_BOND_MEMORY: dict[bytes, _BondEntry] = {}
_MEMORY_LIMIT = 50_000  # reached by no real corpus; keeps memory constant whatever comes in

_IN_RING = 1 << ATOM_FIELDS["in_ring"].shift
_RING_BIT = {size: 1 << bit for bit, size in enumerate(RING_SIZES)}
_DEGREE, _TOTAL_DEGREE, _FLAGS, _RING_SIZES = (
    ATOM_FIELDS[name].byte for name in ("degree", "total_degree", "in_ring", "ring_sizes")
)
_BOND_IN_RING, _BACKWARDS = BOND_FIELDS["in_ring"], BOND_FIELDS["backwards"]
_E_OR_Z = {"STEREOE": "E", "STEREOZ": "Z"}
_CIS_OR_TRANS = ("STEREOCIS", "STEREOTRANS")
_KINDS = {"SINGLE": groups.SINGLE, "DOUBLE": groups.DOUBLE, "AROMATIC": groups.AROMATIC}


def graph_from_smiles(text: str | None, max_atoms: int = DEFAULT_MAX_ATOMS) -> tuple[MolGraph | None, str | None]:
    """The graph of a SMILES and None, or None and the reason for refusing it."""
    mol, reason = parse_smiles(text, max_atoms)
    return (None, reason) if mol is None else (_featurize(mol, False, just_parsed=True), None)


def featurize(mol: Chem.Mol, coordinates: bool = False) -> MolGraph:
    """The codes of a sanitised molecule; with `coordinates` also the positions of its first conformer, if it has one."""
    return _featurize(mol, coordinates, just_parsed=False)


def featurize_by_interface(mol: Chem.Mol, coordinates: bool = False) -> MolGraph:
    """The same as `featurize`, asking RDKit for every atom and bond: several times slower, right for any RDKit."""
    atoms, bonds = list(mol.GetAtoms()), list(mol.GetBonds())
    pairs = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds], np.uint16).reshape(-1, 2).T
    rings = mol.GetRingInfo().AtomRings()
    graph = _assemble(mol, [_read_atom(a) for a in atoms], [_read_bond(b) for b in bonds], pairs, rings, False)
    return graph._replace(coordinates=_positions(mol)) if coordinates else graph


def _featurize(mol: Chem.Mol, coordinates: bool, just_parsed: bool) -> MolGraph:
    records = split_records(mol)
    if records is None:
        return featurize_by_interface(mol, coordinates)
    atoms, bonds = _recall_atoms(mol, records.atoms), _recall_bonds(mol, records.bonds)
    graph = _assemble(mol, atoms, bonds, records.pairs, records.rings, just_parsed)
    return graph._replace(coordinates=_positions(mol)) if coordinates else graph


def _recall_atoms(mol: Chem.Mol, records: Sequence[bytes]) -> list[_AtomEntry]:
    try:
        return [_ATOM_MEMORY[record] for record in records]
    except KeyError:
        return _recall(_ATOM_MEMORY, records, lambda index: _read_atom(mol.GetAtomWithIdx(index)))


def _recall_bonds(mol: Chem.Mol, records: Sequence[bytes]) -> list[_BondEntry]:
    try:
        return [_BOND_MEMORY[record] for record in records]
    except KeyError:
        return _recall(_BOND_MEMORY, records, lambda index: _read_bond(mol.GetBondWithIdx(index)))


def _recall(memory: dict[bytes, Entry], records: Sequence[bytes], read: Callable[[int], Entry]) -> list[Entry]:
    """The entries of records that are not all known yet."""
    if len(memory) > _MEMORY_LIMIT:
        memory.clear()
    entries = []
    for index, record in enumerate(records):
        entry = memory.get(record)
        if entry is None:
            entry = memory[record] = read(index)
        entries.append(entry)
    return entries


def _read_atom(atom: Chem.Atom) -> _AtomEntry:
    """What RDKit says of one atom, without its surroundings."""
    number, charge, hydrogens = atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetTotalNumHs()
    aromatic, isotope = atom.GetIsAromatic(), atom.GetIsotope()
    tag = CHIRALITY_TAGS[atom.GetChiralTag().name]
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
    code[_FLAGS] |= flags
    return _AtomEntry(bytes(code), kind, tag != 0)


def _read_bond(bond: Chem.Bond) -> _BondEntry:
    """What RDKit says of one bond, without its surroundings."""
    kind_name, aromatic = bond.GetBondType().name, bond.GetIsAromatic()
    stereo = bond.GetStereo().name
    code = _pack(
        BOND_FIELDS,
        BOND_BYTES,
        type=BOND_TYPES.get(kind_name, BOND_TYPES["OTHER"]),
        aromatic=aromatic,
        conjugated=bond.GetIsConjugated(),
        stereo=BOND_STEREO[stereo],
        cip=BOND_CIP[_E_OR_Z.get(stereo, "")],
        direction=BOND_DIRECTIONS[bond.GetBondDir().name],
    )
    kind = _KINDS.get(kind_name, groups.OTHER)
    return _BondEntry(bytes(code), kind, stereo in _CIS_OR_TRANS, aromatic == (kind == groups.AROMATIC))


def _pack(fields: dict[str, Field], size: int, **values: int) -> bytearray:
    code = bytearray(size)
    for name, value in values.items():
        field = fields[name]
        if not 0 <= value < field.size:
            raise ValueError(f"{name} {value} does not fit the schema; check_mol refuses such a molecule")
        code[field.byte] |= int(value) << field.shift
    return code


def _assemble(
    mol: Chem.Mol,
    atoms: list[_AtomEntry],
    bonds: list[_BondEntry],
    pairs: np.ndarray,
    rings: Sequence[Sequence[int]],
    just_parsed: bool,
) -> MolGraph:
    """Join what the atoms and bonds say with what follows from the graph: degrees, rings, groups, stereo labels."""
    rows, classes, atom_marks = zip(*atoms, strict=True)
    bond_rows, kinds, bond_marks, usual = zip(*bonds, strict=True) if bonds else ((), (), (), ())
    begins, ends = pairs.tolist()
    flags, sizes, bond_flags = _ring_flags(len(atoms), begins, ends, rings)
    atom_codes = np.frombuffer(bytearray(b"".join(rows)), np.uint8).reshape(-1, ATOM_BYTES)
    bond_codes = np.frombuffer(bytearray(b"".join(bond_rows)), np.uint8).reshape(-1, BOND_BYTES)
    degree = np.bincount(pairs.reshape(-1), minlength=len(atoms))
    if groups.can_walk(classes, kinds, int(degree.max())) and all(usual):
        groups.add_group_flags(flags, classes, begins, ends, kinds)
    else:
        atom_codes[:, _FLAGS] &= 255 - groups.ALL_FLAGS
        groups.add_matched_groups(flags, mol)
    atom_codes[:, _DEGREE] = degree
    atom_codes[:, _TOTAL_DEGREE] += atom_codes[:, _DEGREE]
    atom_codes[:, _FLAGS] |= np.frombuffer(flags, np.uint8)
    atom_codes[:, _RING_SIZES] |= np.frombuffer(sizes, np.uint8)
    bond_codes[:, _BOND_IN_RING.byte] |= np.frombuffer(bond_flags, np.uint8)
    if True in atom_marks or True in bond_marks:
        _add_stereo(mol, atom_codes, bond_codes, atom_marks, bond_marks, just_parsed)
    ordered = np.empty((len(bonds), 2), dtype=np.uint16)
    np.minimum(pairs[0], pairs[1], out=ordered[:, 0])
    np.maximum(pairs[0], pairs[1], out=ordered[:, 1])
    bond_codes[:, _BACKWARDS.byte] |= (pairs[0] > pairs[1]).view(np.uint8) << _BACKWARDS.shift
    return MolGraph(atom_codes, bond_codes, ordered)


def _ring_flags(
    num_atoms: int, begins: list[int], ends: list[int], rings: Sequence[Sequence[int]]
) -> tuple[bytearray, bytearray, bytes]:
    """The atoms' bytes of flags and of ring sizes and the bonds' first byte, as far as rings decide them."""
    member = [0] * num_atoms  # bit k: in ring k
    sizes = bytearray(num_atoms)
    for number, ring in enumerate(rings):
        bit, size_bit = 1 << number, _RING_BIT.get(len(ring), 0)
        for atom in ring:
            member[atom] |= bit
            sizes[atom] |= size_bit
    flags = bytearray([_IN_RING if bits else 0 for bits in member])
    # Two bound atoms of one ring: if the bond is not in this ring, it is a chord and closes another one.
    bond_flag = 1 << _BOND_IN_RING.shift
    return flags, sizes, bytes([bond_flag if member[b] & member[e] else 0 for b, e in zip(begins, ends, strict=True)])


def _add_stereo(
    mol: Chem.Mol,
    atom_codes: np.ndarray,
    bond_codes: np.ndarray,
    atom_marks: tuple[bool, ...],
    bond_marks: tuple[bool, ...],
    just_parsed: bool,
) -> None:
    atom_labels, bond_labels = cip_labels(
        mol,
        [index for index, marked in enumerate(atom_marks) if marked],
        [index for index, marked in enumerate(bond_marks) if marked],
        just_parsed,
    )
    for index, label in atom_labels.items():
        atom_codes[index, ATOM_FIELDS["cip"].byte] = ATOM_CIP[label]
    for index, label in bond_labels.items():
        bond_codes[index, BOND_FIELDS["cip"].byte] |= BOND_CIP[label] << BOND_FIELDS["cip"].shift


def _positions(mol: Chem.Mol) -> np.ndarray | None:
    return mol.GetConformer().GetPositions().astype(np.float32) if mol.GetNumConformers() else None
