"""Input fields of the GIN family: which row of its table each atom and each bond looks up (study.md 2.1).

`published`: atom type and chirality tag, bond type and direction mark, as pretrain-gnns has them; the tables are read
off `chem.published`, which is their definition. Where the published code stops, a dummy atom takes the unused row
118, any other tag or mark counts as none, and any other kind of bond as single.

`sound`, for new models, depends on no spelling: CIP labels in place of tags, E and Z in place of marks. `basic` is
otherwise the published set, `rich` has what the spelling-independent part of GROVER's features has. Fields stand in
tables of one list, so that an atom's input is one gather.

Rows of the mask and of the self-loop are the published ones in all sets: atom type 119, bond type 5, bond type 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem import published
from mesomer.chem.masking import MASK_BOND_TYPE, MASK_ELEMENT
from mesomer.chem.schema import (
    ATOM_BYTES,
    ATOM_FIELDS,
    BOND_BYTES,
    BOND_FIELDS,
    BOND_TYPES,
    CHARGE_OFFSET,
    Field,
)

DUMMY_ROW, ATOM_MASK_ROW, ATOM_ROWS = 118, 119, 120
LOOP_ROW, BOND_MASK_ROW = 4, 5
_LISTED_BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
_RICH_ATOM = {
    "total_degree": 7,
    "hydrogens": 6,
    "hybridization": 9,
    "aromatic": 2,
    "in_ring": 2,
    "acceptor": 2,
    "donor": 2,
    "acidic": 2,
    "basic": 2,
    "radicals": 4,
}
_RICH_BOND = {"conjugated": 2, "in_ring": 2}


class CodeField(NamedTuple):
    """One field: `slots[value of the byte]` is its row in a table of `size` rows."""

    name: str
    byte: int
    slots: np.ndarray  # int64 [256]
    size: int


def input_fields(rules: str, features: str) -> tuple[list[CodeField], list[CodeField]]:
    """The fields of atoms and of bonds."""
    if rules == "published":
        return _published_atoms(), _published_bonds()
    atoms, bonds = _sound_atoms(), _sound_bonds()
    if features == "rich":
        atoms += [_counted(ATOM_FIELDS[name], size) for name, size in _RICH_ATOM.items()] + [_charge()]
        bonds += [_counted(BOND_FIELDS[name], size) for name, size in _RICH_BOND.items()]
    return atoms, bonds


def _published_atoms() -> list[CodeField]:
    number, tag = ATOM_FIELDS["atomic_number"], ATOM_FIELDS["chirality_tag"]
    types = _asked(published.basic_atoms, ATOM_BYTES, number.byte, 0, otherwise=DUMMY_ROW)
    types[MASK_ELEMENT] = ATOM_MASK_ROW
    tags = _asked(published.basic_atoms, ATOM_BYTES, tag.byte, 1, otherwise=0)
    return [CodeField("type", number.byte, types, ATOM_ROWS), CodeField("chirality", tag.byte, tags, 3)]


def _published_bonds() -> list[CodeField]:
    kind, mark = BOND_FIELDS["type"], BOND_FIELDS["direction"]
    types = _asked(published.basic_bonds, BOND_BYTES, kind.byte, 0, otherwise=0)
    types[_values(kind) == MASK_BOND_TYPE] = BOND_MASK_ROW
    marks = _asked(published.basic_bonds, BOND_BYTES, mark.byte, 1, otherwise=0)
    return [CodeField("type", kind.byte, types, 6), CodeField("direction", mark.byte, marks, 3)]


def _asked(
    features: Callable[[np.ndarray], np.ndarray], size: int, byte: int, column: int, otherwise: int
) -> np.ndarray:
    """What the published rule says of each value of a byte; `otherwise` where it has no index."""
    codes = np.zeros((256, size), dtype=np.uint8)
    codes[:, byte] = np.arange(256)
    found = features(codes)[:, column]
    return np.where(found < 0, otherwise, found)


def _sound_atoms() -> list[CodeField]:
    return [_published_atoms()[0], _counted(ATOM_FIELDS["cip"], 6)]


def _sound_bonds() -> list[CodeField]:
    """Bonds of unlisted kinds have a row of their own, the last."""
    kind, slots = BOND_FIELDS["type"], np.full(256, 6)
    for row, name in enumerate(_LISTED_BONDS):
        slots[_values(kind) == BOND_TYPES[name]] = row
    slots[_values(kind) == MASK_BOND_TYPE] = BOND_MASK_ROW
    return [CodeField("type", kind.byte, slots, 7), _counted(BOND_FIELDS["cip"], 3)]


def _charge() -> CodeField:
    byte = ATOM_FIELDS["charge"].byte
    return CodeField("charge", byte, np.clip(np.arange(256) - CHARGE_OFFSET, -3, 3) + 3, 7)


def _counted(field: Field, size: int) -> CodeField:
    """The field's own values; those past the table share its last row."""
    return CodeField(field.name, field.byte, np.minimum(_values(field), size - 1), size)


def _values(field: Field) -> np.ndarray:
    return (np.arange(256) >> field.shift) & (field.size - 1)


class FieldRows(nn.Module):
    """Codes uint8 [R, bytes] -> rows int64 [R, fields] in a list in which the fields' tables follow each other."""

    slots: Tensor

    def __init__(self, fields: Sequence[CodeField]) -> None:
        super().__init__()
        self.names = [field.name for field in fields]
        self.bytes = [field.byte for field in fields]
        self.sizes = [field.size for field in fields]
        starts = np.cumsum([0, *self.sizes[:-1]])
        slots = np.stack([field.slots + start for field, start in zip(fields, starts, strict=True)])
        self.register_buffer("slots", torch.from_numpy(slots.astype(np.int64)), persistent=False)
        self.rows = sum(self.sizes)

    def forward(self, codes: Tensor) -> Tensor:
        """Rows of these codes."""
        return torch.stack(
            [self.slots[at].index_select(0, codes[:, byte].int()) for at, byte in enumerate(self.bytes)], dim=1
        )

    def loop(self) -> Tensor:
        """Rows of a self-loop [fields]: a type of its own, nothing in all other fields."""
        loop = self.slots[:, 0].clone()
        loop[0] = LOOP_ROW
        return loop


def field_table(sizes: Sequence[int], width: int) -> nn.Parameter:
    """A list of tables [sum of sizes, width], each Xavier uniform on its own."""
    parts = [torch.empty(size, width).uniform_(-1, 1) * math.sqrt(6 / (size + width)) for size in sizes]
    return nn.Parameter(torch.cat(parts))


def look_up(table: Tensor, rows: Tensor) -> Tensor:
    """The sum of the rows of each atom or bond: table [K, D], rows [R, fields] -> [R, D]."""
    return F.embedding_bag(rows, table, mode="sum")
