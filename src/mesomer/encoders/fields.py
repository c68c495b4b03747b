"""One-hot columns rebuilt from the integer codes: which field fills which columns, for the published and for our own
feature sets.

A `Group` is one field of the schema with a table from its 8-bit code to a slot. A group of size 1 is a flag:
its column is set where the code is 1. Published groups put unknown values into the last listed slot (batmannet.md
1.2); ours clamp charges and degrees instead, keep an "other" slot, use the labels that do not depend on the spelling,
and see hydrogens, without which the published features cannot tell a pyrrole's nitrogen from a pyridine's. Isotopes
are in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mesomer.chem.schema import ATOM_BYTES, ATOM_FIELDS, BOND_BYTES, BOND_FIELDS, atom_field, bond_field

ELEMENTS = [
    "C",
    "N",
    "O",
    "S",
    "F",
    "Si",
    "P",
    "Cl",
    "Br",
    "Mg",
    "Na",
    "Ca",
    "Fe",
    "Al",
    "I",
    "B",
    "K",
    "Se",
    "Zn",
    "H",
    "Cu",
    "Mn",
]
_ATOMIC_NUMBERS = [6, 7, 8, 16, 9, 14, 15, 17, 35, 12, 11, 20, 26, 13, 53, 5, 19, 34, 30, 1, 29, 25]


class Group(NamedTuple):
    """One field's columns: `slots[code]` is the column inside the group."""

    name: str
    level: str
    field: str
    slots: Tensor
    size: int


def _group(name: str, level: str, field: str, known: dict[int, int], size: int, unknown: int) -> Group:
    return Group(name, level, field, torch.tensor([known.get(code, unknown) for code in range(256)]), size)


def _listed(values: Sequence[int]) -> dict[int, int]:
    return {value: slot for slot, value in enumerate(values)}


def _clamped(top: int) -> dict[int, int]:
    return {value: min(value, top) for value in range(256)}


_CHARGE_ORDER = [127, 126, 129, 130, 128]  # -1, -2, +1, +2, 0, stored with an offset of 128
_CLAMPED_CHARGE = {code: _CHARGE_ORDER.index(128 + max(-2, min(2, code - 128))) for code in range(256)}

_BOND_TYPES = {1: 0, 2: 1, 3: 2, 4: 3}  # single, double, triple, aromatic

_ELEMENT = _group("element", "atom", "atomic_number", _listed(_ATOMIC_NUMBERS), 23, 22)
_DEGREE = _group("degree", "atom", "degree", _clamped(5), 6, 5)
_AROMATIC = _group("aromatic", "atom", "aromatic", {1: 1}, 1, 0)

PUBLISHED_ATOM = (
    _ELEMENT,
    _DEGREE,
    _group("charge", "atom", "charge", _listed(_CHARGE_ORDER), 5, 4),
    _group("chirality", "atom", "chirality_tag", _listed([0, 1, 2, 3]), 4, 3),
    _AROMATIC,
)
PUBLISHED_BOND = (
    # single, double, triple, aromatic; nothing for other types. The ring flag is the fifth column of the published
    # target.
    _group("bond_type", "bond", "type", _BOND_TYPES, 4, 4),
    _group("ring", "bond", "in_ring", {1: 1}, 1, 0),
    _group("stereo", "bond", "stereo", _listed([0, 1, 2, 3, 4, 5]), 6, 5),
)
SOUND_ATOM = (
    _ELEMENT,
    _DEGREE,
    _group("charge", "atom", "charge", _CLAMPED_CHARGE, 5, 4),
    _group("chirality", "atom", "cip", _listed([0, 1, 2, 3, 4]), 6, 5),
    _group("hydrogens", "atom", "hydrogens", _clamped(4), 5, 4),
    _AROMATIC,
)
SOUND_BOND = (
    _group("bond_type", "bond", "type", _BOND_TYPES, 5, 4),
    _group("ring", "bond", "in_ring", {1: 1}, 1, 0),
    _group("stereo", "bond", "cip", _listed([0, 1, 2]), 3, 0),
)


def width(groups: Sequence[Group]) -> int:
    """Columns that the groups fill together."""
    return sum(group.size for group in groups)


class OneHot:
    """The groups' columns of the codes of atoms or bonds; `used` uint8 [bytes] has the bits that they depend on."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        atoms = groups[0].level == "atom"
        used = [0] * (ATOM_BYTES if atoms else BOND_BYTES)
        for group in groups:
            field = (ATOM_FIELDS if atoms else BOND_FIELDS)[group.field]
            used[field.byte] |= field.mask
        self.used = torch.tensor(used, dtype=torch.uint8)

    def __call__(self, codes: Tensor) -> Tensor:
        return one_hot(self.groups, slots(self.groups, codes))


def slots(groups: Sequence[Group], codes: Tensor) -> Tensor:
    """The slot of each row in each group: codes uint8 [R, bytes] -> int64 [R, groups]."""
    if codes.shape[0] == 0:
        return torch.zeros(0, len(groups), dtype=torch.int64, device=codes.device)
    columns = []
    for group in groups:
        read = atom_field if group.level == "atom" else bond_field
        columns.append(group.slots.to(codes.device)[read(codes, group.field).long()])
    return torch.stack(columns, dim=1)


def one_hot(groups: Sequence[Group], chosen: Tensor) -> Tensor:
    """Dense 0/1 columns [R, width] float32 of slots [R, groups]; a slot past the group's size sets nothing, a flag's
    column is set by 1.
    """
    total = width(groups)
    columns = []
    start = 0
    for i, group in enumerate(groups):
        slot = chosen[:, i]
        on = slot == 1 if group.size == 1 else slot < group.size
        columns.append(torch.where(on, start + (0 if group.size == 1 else slot), total))
        start += group.size
    dense = torch.zeros(chosen.shape[0], total + 1, device=chosen.device)
    if columns:
        dense.scatter_(1, torch.stack(columns, dim=1), 1.0)
    return dense[:, :total]
