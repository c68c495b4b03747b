"""Batches cut into groups of like sizes, so that padding stays small whatever molecules come together.

Attention over pairs pads to the largest molecule: one of 500 atoms among forty of 30 would take two hundred times the
memory that they need. Molecules do not see each other, so a batch may be encoded group by group.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mesomer.chem.conformers import CONFORMERS
from mesomer.chem.graph import GraphBatch
from mesomer.chem.masking import CENTRES
from mesomer.encoders.rows import offsets_of

LARGEST_WASTE = 1.3
"""Padded pairs for each pair that is there, up to which a batch stays whole."""
SPAN = 2.0
"""Pairs of the largest molecule of a group for each pair of its smallest one, at most."""


def like_sized(batch: GraphBatch) -> list[Tensor]:
    """Numbers of the molecules of each group; one group, if the sizes are alike enough."""
    sizes = [size + 1 for size in batch.atom_offsets.diff().tolist()]
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    if len(sizes) * sizes[order[-1]] ** 2 <= LARGEST_WASTE * sum(size**2 for size in sizes):
        return [torch.arange(len(sizes))]
    groups: list[list[int]] = []
    for number in order:
        if not groups or sizes[number] ** 2 > SPAN * sizes[groups[-1][0]] ** 2:
            groups.append([])
        groups[-1].append(number)
    return [torch.tensor(group) for group in groups]


def taken(batch: GraphBatch, molecules: Tensor) -> GraphBatch:
    """The batch of some molecules, with their coordinates, what is hidden of them, and no other extras."""
    molecules = molecules.to(batch.key.device)
    atoms, atom_offsets = ragged(batch.atom_offsets, molecules)
    bonds, bond_offsets = ragged(batch.bond_offsets, molecules)
    number = torch.arange(len(molecules), device=molecules.device)
    directed = torch.stack([2 * bonds, 2 * bonds + 1], dim=1).flatten()
    bond_molecule = number.repeat_interleave(bond_offsets.diff())
    moved = (atom_offsets[:-1] - batch.atom_offsets.index_select(0, molecules)).index_select(0, bond_molecule)
    source, target = (
        ends.index_select(0, directed) + moved.repeat_interleave(2) for ends in (batch.source, batch.target)
    )
    kept = {name: rows.index_select(0, atoms) for name, rows in batch.extras.items() if name in (CONFORMERS, CENTRES)}
    return replace(
        batch,
        atom_codes=batch.atom_codes.index_select(0, atoms),
        bond_codes=batch.bond_codes.index_select(0, bonds),
        source=source,
        target=target,
        atom_molecule=number.repeat_interleave(atom_offsets.diff()),
        bond_molecule=bond_molecule,
        atom_offsets=atom_offsets,
        bond_offsets=bond_offsets,
        incoming=torch.argsort(target, stable=True),
        incoming_offsets=offsets_of(target, len(atoms)),
        key=batch.key.index_select(0, molecules),
        coordinates=None if batch.coordinates is None else batch.coordinates.index_select(0, atoms),
        extras=kept,
    )


def ragged(offsets: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of some segments one after the other, and the offsets of these segments among them."""
    sizes = offsets.diff().index_select(0, numbers)
    starts = torch.zeros(len(sizes) + 1, dtype=torch.int64, device=offsets.device)
    starts[1:] = sizes.cumsum(0)
    shift = offsets.index_select(0, numbers) - starts[:-1]
    rows = torch.arange(int(starts[-1]), device=offsets.device) + shift.repeat_interleave(sizes)
    return rows, starts
