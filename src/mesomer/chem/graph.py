"""Molecules as flat arrays: one `MolGraph` per molecule, many of them in one `GraphBatch`.

Legend: A atoms, E undirected bonds, B = 2E directed bonds, M molecules.

Decided here: undirected bond j becomes the directed bonds 2j (smaller atom number to larger) and 2j + 1 (back), so the
reverse of b is `b ^ 1` and its undirected bond `b >> 1`; there are no padding rows. Features are looked up by the
encoders: a batch carries codes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .schema import ATOM_BYTES, BOND_BYTES

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class MolGraph(NamedTuple):
    """One molecule as codes; atoms in RDKit's order, bonds in RDKit's bond order."""

    atoms: np.ndarray  # uint8 [A, 12], see chem.schema
    bonds: np.ndarray  # uint8 [E, 2], see chem.schema
    ends: np.ndarray  # uint16 [E, 2], smaller atom number first
    coordinates: np.ndarray | None = None  # float32 [A, 3]


class GraphArrays(NamedTuple):
    """Several molecules, one after the other: the first five arguments of `batch_from_arrays`."""

    atoms: np.ndarray  # uint8 [A, 12]
    bonds: np.ndarray  # uint8 [E, 2]
    ends: np.ndarray  # uint16 [E, 2], counted from 0 in each molecule
    atom_counts: np.ndarray  # int64 [M]
    bond_counts: np.ndarray  # int64 [M]


@dataclass(frozen=True)
class GraphBatch:
    """Several molecules side by side, as tensors on one device."""

    atom_codes: Tensor  # uint8 [A, 12]
    bond_codes: Tensor  # uint8 [E, 2]
    source: Tensor  # int64 [B]
    target: Tensor  # int64 [B]
    atom_molecule: Tensor  # int64 [A]
    bond_molecule: Tensor  # int64 [E]
    atom_offsets: Tensor  # int64 [M + 1]
    bond_offsets: Tensor  # int64 [M + 1], of undirected bonds
    incoming: Tensor  # int64 [B], directed bonds sorted by target, in creation order for each target
    incoming_offsets: Tensor  # int64 [A + 1]
    key: Tensor  # int64 [M], identifies the molecule in its corpus or table: random draws depend on it
    coordinates: Tensor | None  # float32 [A, 3]
    extras: dict[str, Tensor]  # what an objective stored with each molecule

    @property
    def num_atoms(self) -> int:
        return self.atom_codes.shape[0]

    @property
    def num_bonds(self) -> int:
        """Directed bonds."""
        return self.source.shape[0]

    @property
    def num_molecules(self) -> int:
        return self.key.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = True) -> GraphBatch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                moved[field.name] = {name: item.to(device, non_blocking=non_blocking) for name, item in value.items()}
            elif value is not None:
                moved[field.name] = value.to(device, non_blocking=non_blocking)
        return replace(self, **moved)


def collate(
    graphs: Sequence[MolGraph],
    keys: np.ndarray | Sequence[int] | None = None,
    extras: Mapping[str, Any] | None = None,
) -> GraphBatch:
    """One batch of `graphs` in the given order; coordinates are kept if every molecule has them."""
    if not graphs:
        raise ValueError("a batch needs at least one molecule")
    with_coordinates = all(graph.coordinates is not None for graph in graphs)
    return batch_from_arrays(
        np.concatenate([graph.atoms for graph in graphs]),
        np.concatenate([graph.bonds for graph in graphs]),
        np.concatenate([graph.ends for graph in graphs]),
        np.array([len(graph.atoms) for graph in graphs]),
        np.array([len(graph.bonds) for graph in graphs]),
        keys=keys,
        coordinates=np.concatenate([graph.coordinates for graph in graphs]) if with_coordinates else None,
        extras=extras,
    )


def batch_from_arrays(
    atoms: np.ndarray,
    bonds: np.ndarray,
    ends: np.ndarray,
    atom_counts: np.ndarray,
    bond_counts: np.ndarray,
    keys: np.ndarray | Sequence[int] | None = None,
    coordinates: np.ndarray | None = None,
    extras: Mapping[str, Any] | None = None,
) -> GraphBatch:
    """A batch from arrays in which molecules already lie one after the other.

    `ends` [E, 2] counts atoms from 0 in each molecule; `atom_counts` and `bond_counts` [M] cut the other arrays.
    """
    import torch

    num_atoms, num_bonds, num_molecules = len(atoms), len(bonds), len(atom_counts)
    atom_offsets = np.zeros(num_molecules + 1, dtype=np.int64)
    bond_offsets = np.zeros(num_molecules + 1, dtype=np.int64)
    np.cumsum(atom_counts, out=atom_offsets[1:])
    np.cumsum(bond_counts, out=bond_offsets[1:])
    if atom_offsets[-1] != num_atoms or bond_offsets[-1] != num_bonds or len(ends) != num_bonds:
        raise ValueError("atom and bond counts do not add up to the arrays' lengths")
    molecule = np.arange(num_molecules)
    bond_molecule = np.repeat(molecule, bond_counts)
    absolute = ends.astype(np.int64) + atom_offsets[bond_molecule, None]  # [E, 2]
    source = absolute.reshape(-1)
    target = np.ascontiguousarray(absolute[:, ::-1]).reshape(-1)
    incoming_offsets = np.zeros(num_atoms + 1, dtype=np.int64)
    np.cumsum(np.bincount(target, minlength=num_atoms), out=incoming_offsets[1:])
    return GraphBatch(
        atom_codes=torch.from_numpy(_owned(atoms, np.uint8).reshape(num_atoms, ATOM_BYTES)),
        bond_codes=torch.from_numpy(_owned(bonds, np.uint8).reshape(num_bonds, BOND_BYTES)),
        source=torch.from_numpy(source),
        target=torch.from_numpy(target),
        atom_molecule=torch.from_numpy(np.repeat(molecule, atom_counts)),
        bond_molecule=torch.from_numpy(bond_molecule),
        atom_offsets=torch.from_numpy(atom_offsets),
        bond_offsets=torch.from_numpy(bond_offsets),
        incoming=torch.from_numpy(np.argsort(target, kind="stable")),
        incoming_offsets=torch.from_numpy(incoming_offsets),
        key=torch.from_numpy(np.array(molecule if keys is None else keys, dtype=np.int64)),
        coordinates=None if coordinates is None else torch.from_numpy(_owned(coordinates, np.float32)),
        extras={name: torch.as_tensor(value) for name, value in (extras or {}).items()},
    )


def _owned(array: np.ndarray, dtype: type) -> np.ndarray:
    """The array with its own writable memory: tensors over read-only memory (an Arrow file) are not allowed."""
    array = np.ascontiguousarray(array, dtype=dtype)
    return array if array.flags.writeable else array.copy()
