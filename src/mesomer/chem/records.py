"""A molecule's atoms and bonds as byte strings, one short record each, in one call to RDKit.

A Python call for every property of every atom costs more than reading the SMILES did. `Mol.ToBinary` writes the whole
state in one call, and what a record says about its atom (element, charge, hydrogens, valence, hybridisation, tag,
isotope, radicals) is the same for all atoms with the same bytes. So `chem.featurize` asks RDKit's public interface
once for each *distinct* record and remembers the answer; nothing here interprets a record, it only finds where each
one ends.

Decided here: any doubt gives None, and the caller asks atom by atom. Doubt is: queries, atom maps, residues, unknown
bits, a section that does not end where it must. The version of the byte format is handed on: `chem.featurize` trusts
those that were tried on many molecules, and tries others itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from rdkit import Chem

Version = tuple[int, int, int]
KNOWN_FORMATS: frozenset[Version] = frozenset({(16, 3, 0), (16, 4, 0)})
"""Of RDKit 2026.03 and 2026.09: 63,000 molecules gave the codes that RDKit's interface gives."""

_HEADER = struct.Struct("<IIIIIiiBB")  # endian mark, always 0, version (3), atoms, bonds, flag, tag of the atoms
_FIXED = (0xDEADBEEF, 0, 0x80, 0x01)
_TAG_BONDS, _TAG_RINGS = 0x0B, 0x42
_NARROW_ATOMS = 255  # up to here an atom number takes one byte, above four


class Records(NamedTuple):
    """A molecule taken apart. Equal records mean atoms (bonds) in equal state, apart from their surroundings."""

    version: Version
    atoms: Sequence[bytes]
    bonds: Sequence[bytes]
    begins: Sequence[int]
    ends: Sequence[int]
    pairs: bytes  # begin and end of each bond, two bytes each
    rings: Sequence[Sequence[int]]  # atom numbers of each ring


def split_records(mol: Chem.Mol) -> Records | None:
    """The records of a molecule, or None where they cannot be told apart with certainty."""
    blob = mol.ToBinary()
    if len(blob) <= _HEADER.size:
        return None
    mark, zero, major, minor, patch, num_atoms, num_bonds, flag, tag = _HEADER.unpack_from(blob)
    if (mark, zero, flag, tag) != _FIXED:
        return None
    version = (major, minor, patch)
    width = 1 if num_atoms <= _NARROW_ATOMS else 4
    atom_pattern, bond_pattern, marked_pattern = _patterns(width)
    start = _HEADER.size
    # No atom reaches into the last 3 bytes for each bond, which keeps the search from running through all of them.
    atoms = atom_pattern.findall(blob, start, len(blob) - 3 * num_bonds)[:num_atoms]
    joined = b"".join(atoms)
    position = start + len(joined)
    if len(atoms) != num_atoms or not blob.startswith(joined, start) or blob[position] != _TAG_BONDS:
        return None
    if not num_bonds:
        rings = _rings(blob, position + 1, width)
        return None if rings is None else Records(version, atoms, (), (), (), b"", rings)
    bonds = bond_pattern.findall(blob, position + 1)[:num_bonds]
    joined = b"".join(bonds)
    if len(bonds) != num_bonds or not blob.startswith(joined, position + 1):
        # A bond with a stereo mark, or something unknown: the plain pattern was in vain.
        parts = marked_pattern.findall(blob, position + 1)[:num_bonds]
        joined = b"".join(chain.from_iterable(parts))
        if len(parts) != num_bonds or not blob.startswith(joined, position + 1):
            return None
        bonds = [head + (plain or marked) for head, plain, marked, _ in parts]
    rings = _rings(blob, position + 1 + len(joined), width)
    if rings is None:
        return None
    states = [bond[2 * width :] for bond in bonds]
    if width == 1:
        begins, ends = bytes([bond[0] for bond in bonds]), bytes([bond[1] for bond in bonds])
        pairs = bytearray(4 * num_bonds)
        pairs[::4], pairs[2::4] = begins, ends
        return Records(version, atoms, states, begins, ends, bytes(pairs), rings)
    numbers = b"".join([bond[: 2 * width] for bond in bonds])
    wide = np.frombuffer(numbers, "<u4")
    ends_of_bonds = wide[::2].tolist(), wide[1::2].tolist()
    return Records(version, atoms, states, *ends_of_bonds, wide.astype("<u2").tobytes(), rings)


def _rings(blob: bytes, position: int, width: int) -> Sequence[Sequence[int]] | None:
    if blob[position] != _TAG_RINGS:
        return None
    count = int.from_bytes(blob[position + 1 : position + 5], "little")
    position += 5
    rings: list[Sequence[int]] = []
    for _ in range(count):
        size = int.from_bytes(blob[position : position + width], "little")
        members = blob[position + width : position + width * (1 + size)]
        if len(members) != width * size:
            return None
        rings.append(members if width == 1 else np.frombuffer(members, f"<u{width}").tolist())
        position += width * (1 + size)
    return rings


@cache
def _patterns(width: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """An atom; a bond without stereo mark (atom numbers, record); any bond (the same, marked record, its atoms)."""
    # An atom: element, flags (0x20 no implicit hydrogens, 0x40 aromatic), 4 bytes of property bits, the properties:
    # one byte for each of the bits 1 to 7, four for bit 8 (isotope). Every other bit is unknown or brings more data.
    by_size = {size: [low for low in range(0, 256, 2) if low.bit_count() == size] for size in range(8)}
    atom = b"|".join(
        _one_of(lows) + high + b"\\x00\\x00.{%d}" % (size + extra)
        for high, extra in ((b"\\x00", 0), (b"\\x01", 4))
        for size, lows in by_size.items()
    )
    # A bond: two atom numbers, flags (0x40 aromatic, 0x20 conjugated; 8 type, 4 direction, 2 stereo bring a byte
    # each); after a stereo mark the atoms that it refers to, none or two.
    known = [flags for flags in range(256) if not flags & 0b1001_0001]
    plain, marked = (
        b"|".join(
            _one_of([f for f in known if bool(f & 2) == stereo and (f & 0b1110).bit_count() == size]) + b".{%d}" % size
            for size in sizes
        )
        for stereo, sizes in ((False, (0, 1, 2)), (True, (1, 2, 3)))
    )
    return (
        re.compile(b".[\\x00\\x20\\x40\\x60](?:" + atom + b")", re.DOTALL),
        re.compile(b".{%d}(?:%b)" % (2 * width, plain), re.DOTALL),
        re.compile(
            b"(.{%d})(?:(%b)|(%b)(\\x00|\\x02.{%d}))" % (2 * width, plain, marked, 2 * width),
            re.DOTALL,
        ),
    )


def _one_of(values: list[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % value for value in values) + b"]"
