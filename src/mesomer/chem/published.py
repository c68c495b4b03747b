"""The dense features of published models, rebuilt from the codes of `chem.schema` exactly.

Encoders look rows up by code and never build these matrices; they are here as the definition that the lookups are
tested against, and for whoever wants the published features themselves. Sources: GROVER 1.2 and 1.3, BatmanNet 1.2
and 1.3, R-MAT 1.2 and 1.3 (MAT has the same atoms), pretrain-gnns.

Decided here: functions take the codes of any number of atoms or bonds and know nothing of molecules, except
`published_bond_order`, which gives the order of bonds in which GROVER and BatmanNet number directed bonds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from rdkit import Chem

from ..errors import MesomerError
from .schema import BOND_TYPES, CHARGE_OFFSET, HYBRIDIZATIONS, atom_field, bond_field, charges, isotopes

BATMANNET_ELEMENTS = (6, 7, 8, 16, 9, 14, 15, 17, 35, 12, 11, 20, 26, 13, 53, 5, 19, 34, 30, 1, 29, 25)
RMAT_ELEMENTS = (5, 6, 7, 8, 9, 15, 16, 17, 35, 53)
_COMMON_TYPES = [BOND_TYPES[name] for name in ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")]
_GROVER_HYBRIDIZATIONS = [HYBRIDIZATIONS[name] for name in ("SP", "SP2", "SP3", "SP3D", "SP3D2")]
_GROVER_FLAGS = ("acceptor", "donor", "acidic", "basic")
_ORDER_ONE = [BOND_TYPES[name] for name in ("SINGLE", "DATIVE", "DATIVEONE", "DATIVEL", "DATIVER")]
_ORDER_ONE_AND_A_HALF = [BOND_TYPES[name] for name in ("AROMATIC", "ONEANDAHALF")]


def grover_atoms(atoms: np.ndarray) -> np.ndarray:
    """GROVER's atom features: codes [A, 12] -> float32 [A, 151]."""
    charge = charges(atoms)
    if len(charge) and (charge.min() < -6 or charge.max() > 5):
        raise MesomerError(
            f"GROVER's features have no column for a formal charge of {charge[np.argmax(np.abs(charge))]}.",
            "They reach from -6 to +5; leave such molecules out.",
        )
    return np.concatenate(
        [
            _one_hot(_listed(atom_field(atoms, "atomic_number"), range(1, 101)), 101),
            _one_hot(_listed(atom_field(atoms, "total_degree"), range(6)), 7),
            _one_hot(charge % 6, 6),  # the published code indexes a list of 6 with the charge itself
            _one_hot(_listed(atom_field(atoms, "chirality_tag"), range(4)), 5),
            _one_hot(_listed(atom_field(atoms, "hydrogens"), range(5)), 6),
            _one_hot(_listed(atom_field(atoms, "hybridization"), _GROVER_HYBRIDIZATIONS), 6),
            _flag(atom_field(atoms, "aromatic")),
            (masses(atoms) * 0.01).astype(np.float32)[:, None],
            _one_hot(_listed(atom_field(atoms, "implicit_valence"), range(7)), 8),
            *(_flag(atom_field(atoms, name)) for name in _GROVER_FLAGS),
            np.unpackbits(atom_field(atoms, "ring_sizes")[:, None], axis=1, count=6, bitorder="little"),
        ],
        axis=1,
        dtype=np.float32,
    )


def grover_bonds(bonds: np.ndarray) -> np.ndarray:
    """GROVER's bond features: codes [E, 2] -> float32 [E, 14]."""
    return np.concatenate(
        [
            np.zeros((len(bonds), 1)),  # the flag of an absent bond
            _one_hot(_listed(bond_field(bonds, "type"), _COMMON_TYPES), 4),
            _flag(bond_field(bonds, "conjugated")),
            _flag(bond_field(bonds, "in_ring")),
            _one_hot(_listed(bond_field(bonds, "stereo"), range(6)), 7),
        ],
        axis=1,
        dtype=np.float32,
    )


def batmannet_atoms(atoms: np.ndarray) -> np.ndarray:
    """BatmanNet's atom features: codes [A, 12] -> float32 [A, 39]. Unknown values use the last listed one."""
    return np.concatenate(
        [
            _one_hot(_listed(atom_field(atoms, "atomic_number"), BATMANNET_ELEMENTS), 23),
            _one_hot(np.minimum(atom_field(atoms, "degree"), 5), 6),
            _one_hot(_listed(charges(atoms), (-1, -2, 1, 2)), 5),
            _one_hot(np.minimum(atom_field(atoms, "chirality_tag"), 3), 4),
            _flag(atom_field(atoms, "aromatic")),
        ],
        axis=1,
        dtype=np.float32,
    )


def batmannet_bonds(bonds: np.ndarray) -> np.ndarray:
    """BatmanNet's bond features: codes [E, 2] -> float32 [E, 11]."""
    return np.concatenate(
        [
            _one_hot(_listed(bond_field(bonds, "type"), _COMMON_TYPES), 4),
            _flag(bond_field(bonds, "in_ring")),
            _one_hot(np.minimum(bond_field(bonds, "stereo"), 5), 6),
        ],
        axis=1,
        dtype=np.float32,
    )


def rmat_atoms(atoms: np.ndarray) -> np.ndarray:
    """R-MAT's node features of atoms without the mask column, and MAT's: codes [A, 12] -> float32 [A, 36].

    Column 0 marks the dummy node, which is no atom: it is 0 here.
    """
    charge = charges(atoms)
    return np.concatenate(
        [
            np.zeros((len(atoms), 1)),
            _one_hot(_listed(atom_field(atoms, "atomic_number"), RMAT_ELEMENTS), 11),
            _one_hot(np.minimum(atom_field(atoms, "degree"), 5), 6),
            _one_hot(np.minimum(atom_field(atoms, "hydrogens"), 4), 5),
            _one_hot(np.where(np.abs(charge) <= 5, charge + 5, 10), 11),
            _flag(atom_field(atoms, "in_ring")),
            _flag(atom_field(atoms, "aromatic")),
        ],
        axis=1,
        dtype=np.float32,
    )


def rmat_bonds(bonds: np.ndarray) -> np.ndarray:
    """R-MAT's bond channels without the mask channel: codes [E, 2] -> float32 [E, 7]."""
    kind = bond_field(bonds, "type")
    slot = np.full(len(bonds), 3)  # order 3, and whatever is not listed
    slot[np.isin(kind, _ORDER_ONE)] = 0
    slot[np.isin(kind, _ORDER_ONE_AND_A_HALF)] = 1
    slot[kind == BOND_TYPES["DOUBLE"]] = 2
    flags = [_flag(bond_field(bonds, name)) for name in ("aromatic", "conjugated", "in_ring")]
    return np.concatenate([_one_hot(slot, 4), *flags], axis=1, dtype=np.float32)


def basic_atoms(atoms: np.ndarray) -> np.ndarray:
    """pretrain-gnns' atom indices: codes [A, 12] -> int64 [A, 2] (type, chirality); -1 where it has no index."""
    number = atom_field(atoms, "atomic_number").astype(np.int64)
    tag = atom_field(atoms, "chirality_tag").astype(np.int64)
    return np.stack([np.where((number >= 1) & (number <= 118), number - 1, -1), np.where(tag <= 2, tag, -1)], axis=1)


def basic_bonds(bonds: np.ndarray) -> np.ndarray:
    """pretrain-gnns' bond indices: codes [E, 2] -> int64 [E, 2] (type, direction); -1 where it has no index."""
    kind = _listed(bond_field(bonds, "type"), _COMMON_TYPES)
    direction = bond_field(bonds, "direction").astype(np.int64)
    return np.stack([np.where(kind < 4, kind, -1), np.where(direction <= 2, direction, -1)], axis=1)


def begin_end(ends: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Begin and end atom of each bond as RDKit has them: `direction` is seen from the begin atom."""
    return np.where(bond_field(bonds, "backwards")[:, None] == 1, ends[:, ::-1], ends)


def published_bond_order(ends: np.ndarray, bond_counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Indices [E] that put each molecule's bonds into the order of GROVER and BatmanNet: by smaller, then larger atom.

    `ends` [E, 2] counts atoms from 0 in each molecule; `bond_counts` [M] says where molecules end.
    """
    molecule = np.repeat(np.arange(len(bond_counts)), bond_counts)
    return np.lexsort((ends[:, 1], ends[:, 0], molecule))


def masses(atoms: np.ndarray) -> np.ndarray:
    """Atomic masses as RDKit's `GetMass` gives them, float64 [A]."""
    pairs = np.stack([atom_field(atoms, "atomic_number").astype(np.int64), isotopes(atoms)], axis=1)
    distinct, where = np.unique(pairs, axis=0, return_inverse=True)
    return np.array([_mass(*pair) for pair in distinct.tolist()], dtype=np.float64)[where.reshape(-1)]


@cache
def _mass(number: int, isotope: int) -> float:
    table = Chem.GetPeriodicTable()
    if not isotope:
        return table.GetAtomicWeight(number)
    # An isotope that the table does not know weighs its mass number; a dummy atom weighs nothing.
    return table.GetMassForIsotope(number, isotope) or (float(isotope) if number else 0.0)


def _listed(values: np.ndarray, known: Iterable[int]) -> np.ndarray:
    """Position of each value in `known`, or one past its end."""
    known = list(known)
    slots = np.full(256 + CHARGE_OFFSET, len(known))
    for slot, value in enumerate(known):
        slots[value + CHARGE_OFFSET] = slot  # values may be negative
    return slots[values.astype(np.int64) + CHARGE_OFFSET]


def _one_hot(slots: np.ndarray, size: int) -> np.ndarray:
    """[R] -> [R, size]; a slot past the end sets nothing."""
    return slots.astype(np.int64)[:, None] == np.arange(size)


def _flag(values: np.ndarray) -> np.ndarray:
    return values[:, None]
