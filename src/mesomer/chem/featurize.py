"""Mol to small integer arrays: the codes of `chem.schema` for every atom and bond.

The way of a molecule: records (`chem.records`), what RDKit says of each (`chem.memory`), what follows from the graph
(rings here, `chem.groups`, `chem.stereo`), arrays. Many molecules share the last step: `graphs_from_smiles` returns
the arrays of all of them one after the other, as a corpus shard or a batch wants them, in 4/5 of the time.

Decided here: where records cannot be told apart (or not be trusted, `chem.formats`), RDKit is asked atom by atom, with
the same result. Stereo labels are computed only for molecules with stereo marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from . import groups
from .formats import trusted
from .graph import GraphArrays, MolGraph
from .memory import (
    AtomEntry,
    BondEntry,
    OutsideSchema,
    read_atom,
    read_bond,
    recall_atoms,
    recall_bonds,
)
from .parse import DEFAULT_MAX_ATOMS, NOT_IN_SCHEMA, read_many, read_smiles, stands_for_many
from .records import Records, split_records
from .schema import ATOM_BYTES, ATOM_CIP, ATOM_FIELDS, BOND_BYTES, BOND_CIP, BOND_FIELDS, RING_SIZES
from .stereo import cip_labels

_DEGREE, _TOTAL_DEGREE, _FLAGS, _RING_SIZES, _CIP = (
    ATOM_FIELDS[name].byte for name in ("degree", "total_degree", "in_ring", "ring_sizes", "cip")
)
_IN_RING = 1 << ATOM_FIELDS["in_ring"].shift
_RING_BIT = {size: 1 << bit for bit, size in enumerate(RING_SIZES)}
_BOND_CIP, _BACKWARDS = BOND_FIELDS["cip"], BOND_FIELDS["backwards"]
_BOND_RING_BYTE, _BOND_RING_BIT = BOND_FIELDS["in_ring"].byte, 1 << BOND_FIELDS["in_ring"].shift
_MAX_NEIGHBOURS = 255
_BLOCK = 100  # reading this many before encoding them keeps the processor's caches warm: a fifth faster than by turns


class _Parts(NamedTuple):
    """One molecule as bytes: rows of codes, and what is to be merged into them by columns."""

    atom_rows: bytes | bytearray
    bond_rows: bytes | bytearray
    flags: bytearray  # per atom
    ring_sizes: bytes  # per atom
    bond_rings: bytes  # per bond
    pairs: bytes  # begin and end atom of each bond, two bytes each


def graph_from_smiles(text: str | None, max_atoms: int = DEFAULT_MAX_ATOMS) -> tuple[MolGraph | None, str | None]:
    """The graph of a SMILES and None, or None and the reason for refusing it."""
    parts, reason = _encode(*read_smiles(text, max_atoms))
    return (None, reason) if parts is None else (_single(parts), None)


def graphs_from_smiles(
    texts: Iterable[str | None], max_atoms: int = DEFAULT_MAX_ATOMS
) -> tuple[GraphArrays, list[str | None]]:
    """The graphs of the good SMILES, in order, as joined arrays; and for every SMILES None or the reason against it."""
    found, texts = [], iter(texts)
    while block := list(islice(texts, _BLOCK)):
        found += [_encode(mol, reason) for mol, reason in read_many(block, max_atoms)]
    return _join([parts for parts, _ in found if parts is not None]), [reason for _, reason in found]


def featurize(mol: Chem.Mol, coordinates: bool = False) -> MolGraph:
    """The codes of a sanitised molecule; with `coordinates` also the positions of its first conformer, if any."""
    graph = _single(_parts(mol, just_parsed=False))
    return graph._replace(coordinates=_positions(mol)) if coordinates else graph


def featurize_many(mols: Iterable[Chem.Mol], just_parsed: bool = False) -> GraphArrays:
    """The codes of sanitised molecules as joined arrays.

    `just_parsed` says that they come from the parser and were not changed since, so that its stereo labels hold.
    """
    return _join([_parts(mol, just_parsed) for mol in mols])


def featurize_by_interface(mol: Chem.Mol, coordinates: bool = False) -> MolGraph:
    """The same as `featurize`, asking RDKit for every atom and bond: several times slower, right for any RDKit."""
    graph = _single(_parts_by_interface(mol))
    return graph._replace(coordinates=_positions(mol)) if coordinates else graph


def _positions(mol: Chem.Mol) -> np.ndarray | None:
    return mol.GetConformer().GetPositions().astype(np.float32) if mol.GetNumConformers() else None


def _encode(mol: Chem.Mol | None, reason: str | None) -> tuple[_Parts | None, str | None]:
    """The parts of a molecule fresh from the parser, or the reason against it."""
    if mol is None:
        return None, reason
    try:
        return _parts(mol, just_parsed=True), None
    except OutsideSchema:
        return None, NOT_IN_SCHEMA


def _parts(mol: Chem.Mol, just_parsed: bool) -> _Parts:
    records = split_records(mol)
    if records is None or not trusted(records.version, _parts_by_records, _parts_by_interface):
        return _parts_by_interface(mol)
    return _assemble(mol, recall_atoms(mol, records.atoms), recall_bonds(mol, records.bonds), records, just_parsed)


def _parts_by_records(mol: Chem.Mol) -> _Parts | None:
    """None where the records cannot be told apart."""
    records = split_records(mol)
    if records is None:
        return None
    return _assemble(mol, recall_atoms(mol, records.atoms), recall_bonds(mol, records.bonds), records, False)


def _parts_by_interface(mol: Chem.Mol) -> _Parts:
    if stands_for_many(mol):
        raise OutsideSchema("A molecule has query atoms or bonds, which stand for many.")
    atoms, bonds = list(mol.GetAtoms()), list(mol.GetBonds())
    begins, ends = [bond.GetBeginAtomIdx() for bond in bonds], [bond.GetEndAtomIdx() for bond in bonds]
    pairs = np.array([begins, ends], "<u2").T.tobytes()
    records = Records((0, 0, 0), (), (), begins, ends, pairs, mol.GetRingInfo().AtomRings())
    return _assemble(mol, [read_atom(atom) for atom in atoms], [read_bond(bond) for bond in bonds], records, False)


def _assemble(
    mol: Chem.Mol, atoms: list[AtomEntry], bonds: list[BondEntry], records: Records, just_parsed: bool
) -> _Parts:
    """Join what atoms and bonds say with what follows from the graph."""
    rows, classes, marks = zip(*atoms, strict=True)
    bond_rows, kinds, bond_marks, odd = zip(*bonds, strict=True) if bonds else ((), (), (), ())
    atom_bytes: bytes | bytearray = b"".join(rows)
    bond_bytes: bytes | bytearray = b"".join(bond_rows)
    begins, ends = records.begins, records.ends
    if len(atoms) > _MAX_NEIGHBOURS:
        _check_degrees(rows, begins, ends)
    flags, ring_sizes, bond_rings = _rings(len(atoms), begins, ends, records.rings)
    if True not in odd and groups.can_walk(classes, kinds):
        groups.add_group_flags(flags, classes, begins, ends, kinds)
    else:
        atom_bytes = bytearray(atom_bytes)
        atom_bytes[_FLAGS::ATOM_BYTES] = bytes([code[_FLAGS] & ~groups.ALL_FLAGS for code in rows])
        groups.add_matched_groups(flags, mol)
    if True in marks or True in bond_marks:
        atom_bytes, bond_bytes = bytearray(atom_bytes), bytearray(bond_bytes)
        marked, marked_bonds = ([i for i, mark in enumerate(m) if mark] for m in (marks, bond_marks))
        labels, bond_labels = cip_labels(mol, marked, marked_bonds, just_parsed)
        for index, label in labels.items():
            atom_bytes[index * ATOM_BYTES + _CIP] = ATOM_CIP[label]
        for index, label in bond_labels.items():
            bond_bytes[index * BOND_BYTES + _BOND_CIP.byte] |= BOND_CIP[label] << _BOND_CIP.shift
    return _Parts(atom_bytes, bond_bytes, flags, ring_sizes, bond_rings, records.pairs)


def _rings(
    num_atoms: int, begins: Sequence[int], ends: Sequence[int], rings: Sequence[Sequence[int]]
) -> tuple[bytearray, bytes, bytes]:
    """The atoms' flags and ring sizes and the bonds' ring bits."""
    if not rings:
        return bytearray(num_atoms), bytes(num_atoms), bytes(len(begins))
    member = [0] * num_atoms  # the byte of ring sizes; above it one bit for each ring
    for number, ring in enumerate(rings):
        bits = (256 << number) | _RING_BIT.get(len(ring), 0)
        for atom in ring:
            member[atom] |= bits
    # Two bound atoms of one ring: where the bond is not in this ring, it is a chord and closes another.
    return (
        bytearray([_IN_RING if bits else 0 for bits in member]),
        bytes([bits & 255 for bits in member]),
        bytes([_BOND_RING_BIT if member[b] & member[e] > 255 else 0 for b, e in zip(begins, ends, strict=True)]),
    )


def _check_degrees(rows: Sequence[bytes], begins: Sequence[int], ends: Sequence[int]) -> None:
    degrees = Counter(begins) + Counter(ends)
    if any(degree + rows[atom][_TOTAL_DEGREE] > _MAX_NEIGHBOURS for atom, degree in degrees.items()):
        raise OutsideSchema(f"An atom has more than {_MAX_NEIGHBOURS} neighbours, which the schema cannot hold.")


def _single(parts: _Parts) -> MolGraph:
    arrays = _join([parts])
    return MolGraph(arrays.atoms, arrays.bonds, arrays.ends)


def _join(molecules: list[_Parts]) -> GraphArrays:
    """One array of each kind for all molecules."""
    if not molecules:
        none = np.zeros(0, dtype=np.int64)
        return _join([_Parts(b"", b"", bytearray(), b"", b"", b"")])._replace(atom_counts=none, bond_counts=none)
    atom_rows, bond_rows, flags, ring_sizes, bond_rings, pair_bytes = zip(*molecules, strict=True)
    atom_counts = np.array([len(column) for column in flags])
    bond_counts = np.array([len(column) for column in bond_rings])
    pairs = np.frombuffer(b"".join(pair_bytes), "<u2").reshape(-1, 2)
    atoms = np.frombuffer(bytearray(b"".join(atom_rows)), np.uint8).reshape(-1, ATOM_BYTES)
    bonds = np.frombuffer(bytearray(b"".join(bond_rows)), np.uint8).reshape(-1, BOND_BYTES)
    first_atom = np.repeat(np.cumsum(atom_counts) - atom_counts, 2 * bond_counts)
    degree = np.bincount(pairs.reshape(-1) + first_atom, minlength=len(atoms))
    atoms[:, _DEGREE] = degree
    atoms[:, _TOTAL_DEGREE] += atoms[:, _DEGREE]
    atoms[:, _FLAGS] |= np.frombuffer(b"".join(flags), np.uint8)
    atoms[:, _RING_SIZES] |= np.frombuffer(b"".join(ring_sizes), np.uint8)
    bonds[:, _BOND_RING_BYTE] |= np.frombuffer(b"".join(bond_rings), np.uint8)
    bonds[:, _BACKWARDS.byte] |= (pairs[:, 0] > pairs[:, 1]).view(np.uint8) << _BACKWARDS.shift
    return GraphArrays(atoms, bonds, np.sort(pairs, axis=1), atom_counts, bond_counts)
