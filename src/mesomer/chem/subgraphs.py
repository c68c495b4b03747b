"""Parts of the molecules of a batch: how far atoms are from a root, and the batch that is left of some atoms.

Codes are kept as they are: an atom at the edge of a part still tells of the neighbours that it had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .conformers import CONFORMERS
from .graph import GraphBatch

if TYPE_CHECKING:
    from torch import Tensor


def distances(batch: GraphBatch, roots: Tensor, limit: int) -> Tensor:
    """Bonds between each atom and the root of its molecule, and `limit` + 1 where there are more: roots int64 [M],
    atoms of the batch -> int64 [A].
    """
    import torch

    found = torch.full((batch.num_atoms,), limit + 1, dtype=torch.int64, device=batch.source.device)
    found[roots] = 0
    for step in range(1, limit + 1):
        reached = batch.target[found.index_select(0, batch.source) == step - 1]
        found[reached] = found[reached].clamp(max=step)
    return found


def induced(batch: GraphBatch, atoms: Tensor, bonds: Tensor | None = None) -> GraphBatch:
    """The batch of these atoms, bool [A], and of the bonds between them, of these undirected ones [E] if given, in
    order; molecules of which nothing is left are left out, and so are extras.
    """
    import torch

    number = atoms.cumsum(0) - 1
    directed = atoms[batch.source] & atoms[batch.target]
    if bonds is not None:
        directed &= bonds.repeat_interleave(2)
    of_atom, of_bond = batch.atom_molecule[atoms], batch.bond_molecule[directed[::2]]
    molecules = batch.num_molecules
    counts, bond_counts = (torch.bincount(owner, minlength=molecules) for owner in (of_atom, of_bond))
    left = counts > 0
    place = left.cumsum(0) - 1
    incoming = batch.incoming[directed[batch.incoming]]
    target = number[batch.target[directed]]
    return GraphBatch(
        atom_codes=batch.atom_codes[atoms],
        bond_codes=batch.bond_codes[directed[::2]],
        source=number[batch.source[directed]],
        target=target,
        atom_molecule=place[of_atom],
        bond_molecule=place[of_bond],
        atom_offsets=_offsets(counts[left]),
        bond_offsets=_offsets(bond_counts[left]),
        incoming=(directed.cumsum(0) - 1)[incoming],
        incoming_offsets=_offsets(torch.bincount(target, minlength=len(of_atom))),
        key=batch.key[left],
        coordinates=None if batch.coordinates is None else batch.coordinates[atoms],
        extras={name: rows[atoms] for name, rows in batch.extras.items() if name == CONFORMERS},
    )


def _offsets(counts: Tensor) -> Tensor:
    offsets = counts.new_zeros(len(counts) + 1)
    offsets[1:] = counts.cumsum(0)
    return offsets
