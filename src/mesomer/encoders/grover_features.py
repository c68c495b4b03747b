"""GROVER's input columns, looked up byte by byte in the codes of atoms and bonds.

A `ByteColumns` table has one row for each value of a byte of the code, so that the features of all atoms are a few
gathers side by side. The tables of the published columns are read off `chem.published`, which is their definition;
only the mass depends on more than one byte. A charge outside -6 … +5, at which the published code stops, takes the
slot of the nearest charge that it knows.

The sound columns hold what does not depend on the spelling: CIP labels in place of tags, ring membership in place of
ring sizes and implicit hydrogens, charges clamped instead of wrapped, and radicals. Isotopes are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mesomer.chem import published
from mesomer.chem.schema import (
    ATOM_BYTES,
    ATOM_FIELDS,
    BOND_BYTES,
    BOND_FIELDS,
    BOND_TYPES,
    CHARGE_OFFSET,
    HYBRIDIZATIONS,
    MAX_ISOTOPE,
    Field,
)

# codes outside these have no column, or are no element
_KNOWN_TO_THE_PUBLISHED_CODE = {"charge": (CHARGE_OFFSET - 6, CHARGE_OFFSET + 5), "atomic_number": (0, 118)}
MASS_SCALE = 0.01
_MASS = slice(132, 133)
# first column, end and field of the published atom columns that one byte decides, in order; the mass is missing
_PUBLISHED_ATOM = (
    (0, 101, "atomic_number"),
    (101, 108, "total_degree"),
    (108, 114, "charge"),
    (114, 119, "chirality_tag"),
    (119, 125, "hydrogens"),
    (125, 131, "hybridization"),
    (131, 132, "aromatic"),
    (133, 141, "implicit_valence"),
    (141, 145, "acceptor"),
    (145, 151, "ring_sizes"),
)
_PUBLISHED_BOND = ((0, 7, "type"), (7, 14, "stereo"))


class ByteColumns(NamedTuple):
    """Columns that one byte of the code decides, or only the bits `used` of it: `table` [256, columns]."""

    byte: int
    table: Tensor
    used: int = 255


class FeatureTables(nn.Module):
    """Codes uint8 [R, bytes] -> columns float32 [R, width]."""

    def __init__(self, columns: Sequence[ByteColumns], mass_before: int | None = None) -> None:
        super().__init__()
        self.used: Tensor
        self.bytes = [part.byte for part in columns]
        self.mass_before = mass_before
        for number, part in enumerate(columns):
            self.register_buffer(f"table_{number}", part.table, persistent=False)
        if mass_before is not None:
            self.register_buffer("masses", _masses().clone(), persistent=False)
        self.register_buffer("used", self._used(columns), persistent=False)
        self.width = sum(part.table.shape[1] for part in columns) + (mass_before is not None)

    def forward(self, codes: Tensor) -> Tensor:
        """Columns of these rows."""
        parts = [
            self.get_buffer(f"table_{number}").index_select(0, codes[:, byte].int())
            for number, byte in enumerate(self.bytes)
        ]
        if self.mass_before is not None:
            parts.insert(self.mass_before, self._mass(codes))
        return torch.cat(parts, dim=1)

    def _used(self, columns: Sequence[ByteColumns]) -> Tensor:
        """The bits of each byte that a column depends on: uint8 [12]."""
        used = [0] * ATOM_BYTES
        for part in columns:
            used[part.byte] |= part.used
        if self.mass_before is not None:
            for name in ("atomic_number", "isotope_low", "isotope_high"):
                used[ATOM_FIELDS[name].byte] |= ATOM_FIELDS[name].mask
        return torch.tensor(used, dtype=torch.uint8)

    def _mass(self, codes: Tensor) -> Tensor:
        low, high = ATOM_FIELDS["isotope_low"], ATOM_FIELDS["isotope_high"]
        isotope = codes[:, low.byte].long() + 256 * (codes[:, high.byte].long() >> high.shift)
        number = codes[:, ATOM_FIELDS["atomic_number"].byte].long()
        return self.get_buffer("masses").index_select(0, number * (MAX_ISOTOPE + 1) + isotope).unsqueeze(1)


@cache
def _masses() -> Tensor:
    """Scaled mass of each (element, isotope), as published: float32 [256 * 1024]."""
    numbers, isotopes = np.divmod(np.arange(256 * (MAX_ISOTOPE + 1)), MAX_ISOTOPE + 1)
    # RDKit knows elements to 118 and isotopes to about 300; all others weigh their mass number
    mass = np.where(numbers > 0, isotopes, 0).astype(np.float64)
    known = (numbers <= 118) & (isotopes <= 320)
    codes = np.zeros((int(known.sum()), ATOM_BYTES), dtype=np.uint8)
    codes[:, ATOM_FIELDS["atomic_number"].byte] = numbers[known]
    codes[:, ATOM_FIELDS["isotope_low"].byte] = isotopes[known] & 255
    codes[:, ATOM_FIELDS["isotope_high"].byte] = (isotopes[known] >> 8) << ATOM_FIELDS["isotope_high"].shift
    mass[known] = published.masses(codes)
    return torch.from_numpy((mass * MASS_SCALE).astype(np.float32))


def published_tables() -> tuple[FeatureTables, FeatureTables]:
    """The 151 atom columns and the 14 bond columns of GROVER."""
    atoms = _read_off(published.grover_atoms, ATOM_BYTES, ATOM_FIELDS, _PUBLISHED_ATOM)
    before = [stop <= _MASS.start for _, stop, _ in _PUBLISHED_ATOM].count(True)
    bonds = _read_off(published.grover_bonds, BOND_BYTES, BOND_FIELDS, _PUBLISHED_BOND)
    return FeatureTables(atoms, before), FeatureTables(bonds)


def _read_off(
    features: Callable[[np.ndarray], np.ndarray],
    size: int,
    fields: dict[str, Field],
    plan: Sequence[tuple[int, int, str]],
) -> list[ByteColumns]:
    """Tables of columns `start` to `stop` from the published function, asked for every value of the field's byte."""
    found = []
    for start, stop, name in plan:
        byte, known = fields[name].byte, np.arange(256)
        if name in _KNOWN_TO_THE_PUBLISHED_CODE:
            known = np.clip(known, *_KNOWN_TO_THE_PUBLISHED_CODE[name])
        codes = np.zeros((256, size), dtype=np.uint8)
        if "charge" in fields:
            codes[:, fields["charge"].byte] = CHARGE_OFFSET
        codes[:, byte] = known
        found.append(_decided(byte, features(codes)[:, start:stop]))
    return found


def sound_tables() -> tuple[FeatureTables, FeatureTables]:
    """The columns of new models: nothing in them depends on the spelling."""
    charge = {code: min(max(code - CHARGE_OFFSET, -3), 3) + 3 for code in range(256)}
    hybridizations = [HYBRIDIZATIONS[name] for name in ("SP", "SP2", "SP3", "SP3D", "SP3D2")]
    atoms = [
        _one_hot("atomic_number", ATOM_FIELDS, {number: number - 1 for number in range(1, 101)}, 101),
        _one_hot("total_degree", ATOM_FIELDS, {value: value for value in range(6)}, 7),
        _one_hot("charge", ATOM_FIELDS, charge, 7),
        _one_hot("cip", ATOM_FIELDS, {value: value for value in range(5)}, 6),
        _one_hot("hydrogens", ATOM_FIELDS, {value: value for value in range(5)}, 6),
        _one_hot("hybridization", ATOM_FIELDS, {value: slot for slot, value in enumerate(hybridizations)}, 6),
        _flags(("aromatic", "in_ring", "acceptor", "donor", "acidic", "basic"), ATOM_FIELDS),
        _one_hot("radicals", ATOM_FIELDS, {value: value for value in range(4)}, 4),
    ]
    types = {BOND_TYPES[name]: slot for slot, name in enumerate(("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC"))}
    bonds = [
        _one_hot("type", BOND_FIELDS, types, 5),
        _flags(("conjugated", "in_ring"), BOND_FIELDS),
        _one_hot("cip", BOND_FIELDS, {value: value for value in range(3)}, 3),
    ]
    return FeatureTables(atoms), FeatureTables(bonds)


def _values(field: Field) -> np.ndarray:
    """The field's value for each value of its byte, [256]."""
    return (np.arange(256) >> field.shift) & (field.size - 1)


def _one_hot(name: str, fields: dict[str, Field], slots: dict[int, int], size: int) -> ByteColumns:
    """One column for each slot; values that are not listed share the last one."""
    chosen = [slots.get(int(value), size - 1) for value in _values(fields[name])]
    return _decided(fields[name].byte, np.eye(size, dtype=np.float32)[chosen])


def _flags(names: Sequence[str], fields: dict[str, Field]) -> ByteColumns:
    """One column for each flag; all of them lie in the same byte."""
    (byte,) = {fields[name].byte for name in names}
    columns = np.stack([_values(fields[name]) for name in names], axis=1)
    return _decided(byte, columns.astype(np.float32))


def _decided(byte: int, columns: np.ndarray) -> ByteColumns:
    """These columns [256, columns] and the bits of the byte that change one of them."""
    values = np.arange(256)
    used = sum(1 << bit for bit in range(8) if (columns != columns[values ^ 1 << bit]).any())
    return ByteColumns(byte, torch.from_numpy(columns.copy()), used)
