"""What R-MAT and MAT see of molecules: nodes with a dummy in front, and a relation for every pair of nodes (rmat.md 1
and 2).

Everything is computed on the device from the codes, bonds and coordinates of one batch, and nothing of size N x N is
kept longer than the batch. Coordinates are taken to four decimals, the precision of an SDF file, which float32
holds: a corpus that stores them as float32 and the file they came from give the same numbers.

Shapes: `A` atoms, `M` molecules, `T` = A + M nodes, dummy first in each molecule; `n` nodes of the largest molecule,
`E` pair channels, `R` radial functions, `B` directed bonds. Coordinates, distances and the cutoff are in Å.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mesomer.chem import published
from mesomer.chem.conformers import CONFORMERS
from mesomer.chem.graph import GraphBatch
from mesomer.chem.masking import CENTRES, MASK_BOND_TYPE, MASK_ELEMENT
from mesomer.chem.schema import (
    ATOM_BYTES,
    ATOM_FIELDS,
    BOND_BYTES,
    BOND_FIELDS,
    CHARGE_OFFSET,
    atom_field,
    bond_field,
)
from mesomer.encoders.grover_features import ByteColumns, FeatureTables
from mesomer.errors import MesomerError

DUMMY_DISTANCE = 1e6
ORDERS = 6
"""Buckets of the neighbourhood order: the node itself, 1, 2, 3, 4 and more bonds away, not connected."""
BOND_CHANNELS = 8
_DECIMALS = 1e4
# first column, end and field of the published atom columns, the dummy's left out; flags share a byte
_ATOM_COLUMNS = (
    (1, 12, "atomic_number"), (12, 18, "degree"), (18, 23, "hydrogens"), (23, 34, "charge"), (34, 36, "in_ring"),
)  # fmt: skip
ATOM_WIDTH = 35


class Layout(NamedTuple):
    """Where the nodes of a batch stand: packed as rows [T, ...], or padded to the largest molecule [M, n, ...]."""

    molecules: int
    size: int
    place: Tensor
    """int64 [T]: number of each node's row among the M * n padded ones."""
    dummies: Tensor
    """int64 [M]: packed row of each molecule's dummy."""
    atoms: Tensor
    """int64 [A]: packed row of each atom."""
    present: Tensor
    """bool [M, n]: which padded rows are nodes."""

    def pad(self, rows: Tensor) -> Tensor:
        """[T, ...] -> [M, n, ...], zeros in between."""
        slots = self.molecules * self.size
        padded = rows if len(rows) == slots else _Spread.apply(rows, self.place, slots)
        return padded.reshape(self.molecules, self.size, *rows.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """[M, n, ...] -> [T, ...]."""
        rows = padded.reshape(self.molecules * self.size, *padded.shape[2:])
        return rows if len(rows) == len(self.place) else _Collect.apply(rows, self.place)


class _Spread(torch.autograd.Function):
    """Rows to their places among `slots`, zeros in between. `index_copy` would keep the rows for its gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor, slots: int) -> Tensor:
        ctx.save_for_backward(place)
        return rows.new_zeros(slots, *rows.shape[1:]).index_copy_(0, place, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (place,) = ctx.saved_tensors
        return gradient.index_select(0, place), None, None


class _Collect(torch.autograd.Function):
    """The way back. No place comes twice, so that its gradient needs no sums, as that of `index_select` does."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.slots = len(rows)
        return rows.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (place,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.slots, *gradient.shape[1:]).index_copy_(0, place, gradient), None


def layout_of(batch: GraphBatch) -> Layout:
    """The layout of a batch: node 0 of a molecule is its dummy, node i + 1 its atom i."""
    device, molecules = batch.atom_offsets.device, batch.num_molecules
    counts = batch.atom_offsets.diff() + 1
    size = int(counts.max())
    number = torch.arange(molecules, device=device)
    dummies = batch.atom_offsets[:-1] + number
    owner = number.repeat_interleave(counts)
    place = owner * size + torch.arange(len(owner), device=device) - dummies.index_select(0, owner)
    atoms = torch.arange(batch.num_atoms, device=device) + batch.atom_molecule + 1
    present = torch.arange(size, device=device) < counts.unsqueeze(1)
    return Layout(molecules, size, place, dummies, atoms, present)


class NodeFeatures(nn.Module):
    """Codes of atoms -> published node features: [T, leading + 35], `leading` 2 (mask flag, dummy flag) or 1 (dummy
    flag). With a mask flag, it is all that is known of a hidden atom; without one, such an atom is of an unknown
    element.
    """

    def __init__(self, leading: int) -> None:
        super().__init__()
        self.leading, self.width = leading, leading + ATOM_WIDTH
        self.tables = FeatureTables([_atom_table(*plan) for plan in _ATOM_COLUMNS])

    def forward(self, batch: GraphBatch, layout: Layout) -> Tensor:
        columns = self.tables(batch.atom_codes)
        nodes = columns.new_zeros(len(layout.place), self.width)
        nodes[layout.dummies, self.leading - 1] = 1
        if self.leading > 1:
            hidden = atom_field(batch.atom_codes, "atomic_number") == MASK_ELEMENT
            columns = columns.masked_fill(hidden.unsqueeze(1), 0.0)
            nodes[layout.atoms, 0] = hidden.to(nodes.dtype)
        nodes[layout.atoms, self.leading :] = columns
        return nodes


def _atom_table(start: int, stop: int, name: str) -> ByteColumns:
    """Published columns `start` to `stop` for every value of a field's byte."""
    byte = ATOM_FIELDS[name].byte
    codes = np.zeros((256, ATOM_BYTES), dtype=np.uint8)
    codes[:, ATOM_FIELDS["charge"].byte] = CHARGE_OFFSET
    codes[:, byte] = np.arange(256)
    return ByteColumns(byte, torch.from_numpy(published.rmat_atoms(codes)[:, start:stop].copy()))


def pair_places(batch: GraphBatch, layout: Layout) -> Tensor:
    """Number of each directed bond's pair (source, target) among the M * n * n pairs: int64 [B]."""
    molecule = batch.bond_molecule.repeat_interleave(2)
    first = batch.atom_offsets.index_select(0, molecule) - 1
    source, target = batch.source - first, batch.target - first
    return (molecule * layout.size + source) * layout.size + target


def adjacency(batch: GraphBatch, layout: Layout) -> Tensor:
    """1 for bonded pairs and for an atom with itself, 0 for all else: float32 [M, n, n]."""
    bonded = torch.zeros(layout.molecules * layout.size**2, device=batch.source.device)
    bonded[pair_places(batch, layout)] = 1
    bonded = bonded.view(layout.molecules, layout.size, layout.size)
    diagonal = torch.zeros(layout.molecules, layout.size, device=batch.source.device)
    diagonal[:, 1:] = layout.present[:, 1:]
    return bonded + torch.diag_embed(diagonal)


def neighbourhood_order(near: Tensor, layout: Layout) -> Tensor:
    """Bucket 0 to 5 of each pair of nodes, -1 in padding: int64 [M, n, n]; `near` is the adjacency."""
    within = [near, _reach(near, near)]
    within.append(_reach(within[1], near))
    connected = within[2]
    for _ in range(((layout.size - 2) // 3).bit_length()):  # paths of up to 3, 6, 12, ... bonds
        connected = _reach(connected, connected)
    same = torch.eye(layout.size, device=near.device)
    # each further set of pairs that is reached lowers the bucket by one
    order = ORDERS - 1 - (same + within[0] + within[1] + within[2] + connected).clamp_(max=ORDERS - 1)
    order[:, 0, 0] = 0
    both = layout.present.unsqueeze(2) & layout.present.unsqueeze(1)
    return order.long().masked_fill_(~both, -1)


def _reach(first: Tensor, then: Tensor) -> Tensor:
    return torch.bmm(first, then).clamp_(max=1)


def coordinates_of(batch: GraphBatch, encoder: str) -> Tensor:
    """Coordinates of all atoms [A, 3]: a molecule's own, and where it has none those of the added column.

    Raises `MesomerError` if a molecule has neither.
    """
    own, computed = batch.coordinates, batch.extras.get(CONFORMERS)
    if own is not None and computed is not None:
        own = torch.where(torch.isnan(own), computed.to(own.dtype), own)
    found = computed if own is None else own
    if found is None or bool(torch.isnan(found).any()):
        raise MesomerError(
            f"{encoder} needs coordinates of every atom, and {'no' if found is None else 'not every'} molecule has "
            "them.",
            f"Add computed ones to the corpus (`mesomer prepare CORPUS --add {CONFORMERS}`), "
            "or give molecules with coordinates, as an SDF file has them.",
        )
    return found


def distances(coordinates: Tensor, layout: Layout) -> Tensor:
    """Distances of all pairs of nodes: float32 [M, n, n]; 1e6 from and to the dummy, itself included, 0 in padding."""
    wide = torch.float32 if coordinates.device.type == "mps" else torch.float64
    whole = torch.round(coordinates.to(wide) * _DECIMALS)
    nodes = whole.new_zeros(len(layout.place), 3).index_copy(0, layout.atoms, whole)
    points = layout.pad(nodes)
    apart = (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(3).sqrt() / _DECIMALS
    found = apart.float()
    found[:, 0, :] = DUMMY_DISTANCE
    found[:, :, 0] = DUMMY_DISTANCE
    both = layout.present.unsqueeze(2) & layout.present.unsqueeze(1)
    return found.masked_fill_(~both, 0.0)


class RadialBasis(nn.Module):
    """Sine functions of the distance under an envelope that ends at the cutoff: [...] -> [..., R] (rmat.md 2.4)."""

    frequencies: Tensor

    def __init__(self, functions: int, cutoff: float, exponent: float) -> None:
        super().__init__()
        self.cutoff, self.power = cutoff, exponent + 1
        frequencies = torch.arange(1, functions + 1, dtype=torch.float32) * math.pi
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        p = self.power
        x = (distance + 1e-6) / self.cutoff
        envelope = (
            1 / x
            - (p + 1) * (p + 2) / 2 * x.pow(p - 1)
            + p * (p + 2) * x.pow(p)
            - p * (p + 1) / 2 * x.pow(p + 1)
        )  # fmt: skip
        envelope = torch.where(x < 1, envelope, 0.0)
        return envelope.unsqueeze(-1) * torch.sin(x.unsqueeze(-1) * self.frequencies)


class PairFeatures(nn.Module):
    """The relation of every pair of nodes: mask flag and 7 bond channels, neighbourhood order, radial functions of the
    distance: [M, n, n, 14 + R].

    Hidden bonds have the mask flag in place of the 7 channels; so has the pair of an atom with itself, where the atom
    is a centre of what is hidden (`masking.CENTRES`).
    """

    bonds: Tensor

    def __init__(self, functions: int, cutoff: float, exponent: float) -> None:
        super().__init__()
        self.radial = RadialBasis(functions, cutoff, exponent)
        self.width = BOND_CHANNELS + ORDERS + functions
        codes = np.zeros((256, BOND_BYTES), dtype=np.uint8)
        codes[:, BOND_FIELDS["type"].byte] = np.arange(256)  # the flags lie in the same byte
        table = torch.zeros(256, BOND_CHANNELS)
        table[:, 1:] = torch.from_numpy(published.rmat_bonds(codes))
        hidden = torch.from_numpy(bond_field(codes, "type") == MASK_BOND_TYPE)
        table[hidden] = torch.eye(BOND_CHANNELS)[0]
        self.register_buffer("bonds", table, persistent=False)

    def forward(self, batch: GraphBatch, layout: Layout, coordinates: Tensor) -> Tensor:
        found = self.bonds.new_zeros(layout.molecules, layout.size, layout.size, self.width)
        kinds = self.bonds.index_select(0, batch.bond_codes[:, BOND_FIELDS["type"].byte].int())
        found.view(-1, self.width)[pair_places(batch, layout), :BOND_CHANNELS] = kinds.repeat_interleave(2, dim=0)
        if CENTRES in batch.extras:
            flags = found.new_zeros(len(layout.place)).index_copy(
                0, layout.atoms, batch.extras[CENTRES].to(found.dtype)
            )
            torch.diagonal(found[..., 0], dim1=1, dim2=2).copy_(layout.pad(flags))
        order = neighbourhood_order(adjacency(batch, layout), layout).unsqueeze(-1)
        buckets = torch.arange(ORDERS, device=order.device)
        found[..., BOND_CHANNELS : BOND_CHANNELS + ORDERS] = order == buckets
        found[..., BOND_CHANNELS + ORDERS :] = self.radial(distances(coordinates, layout))
        return found
