"""The four message-passing layers of the strategies paper: GIN, GCN, GraphSAGE, GAT (study.md 2.2).

All sum over the neighbours of an atom and the atom itself; each bond, and the self-loop, adds a vector that depends
on its fields alone. There are some ten different bonds, so that sums over bonds are counts [A, K] times a table
[K, D]: one small product where the published code adds a row to every neighbour's.

Shapes: `A` atoms, `B` directed bonds, `P` = B + A pairs of receiver and sender, `K` rows of the bond table, `D` width,
`H` heads of GAT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.gin_features import field_table
from mesomer.encoders.rows import NodeRows, node_rows, offsets_of
from mesomer.encoders.segments import segment_softmax

_LEAKY_SLOPE = 0.2


class Around:
    """Who is around each atom, itself included: computed once in a batch, for all layers.

    Args:
        batch: The molecules.
        bonds: Rows of each undirected bond in the bond table, [E, fields].
        loop: Rows of a self-loop, [fields].
        rows: Rows of the bond table.
    """

    def __init__(self, batch: GraphBatch, bonds: Tensor, loop: Tensor, rows: int) -> None:
        self.batch, self.bonds, self.loop, self.rows = batch, bonds, loop, rows
        self.neighbours: NodeRows = node_rows(batch)

    def total(self, x: Tensor) -> Tensor:
        """Sum over the neighbours and the atom itself: [A, D] -> [A, D]."""
        return self.neighbours.message(x) + x

    @cached_property
    def degree(self) -> Tensor:
        """Neighbours and the atom itself: [A, 1]."""
        return (self.batch.incoming_offsets.diff() + 1).float().unsqueeze(1)

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Receiver [P], sender [P] and rows in the bond table [P, fields], receiver by receiver."""
        batch = self.batch
        own = torch.arange(batch.num_atoms, device=batch.source.device)
        rows = torch.cat([self.bonds.repeat_interleave(2, dim=0), self.loop.expand(batch.num_atoms, -1)])
        receiver, order = torch.cat([batch.target, own]).sort(stable=True)
        return receiver, torch.cat([batch.source, own])[order], rows[order]

    def weighted(self, x: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum over the pairs of each receiver and over heads: x [A, H, D], weights [P, H] -> [A, D].

        One reduction over a list of pairs and heads: half the time of gathering rows and adding them up.
        """
        receiver, sender, _ = self.pairs
        heads = x.shape[1]
        listed = sender[:, None] * heads + torch.arange(heads, device=sender.device)
        offsets = heads * offsets_of(receiver, len(x))
        return F.embedding_bag(
            listed.reshape(-1), x.flatten(0, 1), offsets, mode="sum",
            include_last_offset=True, per_sample_weights=weights.reshape(-1),
        )  # fmt: skip

    @cached_property
    def counts(self) -> Tensor:
        """How often each row of the bond table is around each atom: [A, K]."""
        receiver = self.pairs[0]
        return self.tally(torch.ones(len(receiver), 1, device=receiver.device)).squeeze(1)

    @cached_property
    def roots(self) -> tuple[Tensor, Tensor]:
        """1 / sqrt(degree) [A, 1], and the counts in which each neighbour weighs that much [A, K]."""
        root = self.degree.rsqrt()
        return root, self.tally(root.index_select(0, self.pairs[1])).squeeze(1)

    def tally(self, weights: Tensor) -> Tensor:
        """Sum of the weights with which each row of the bond table is around each atom: [P, H] -> [A, H, K]."""
        receiver, _, rows = self.pairs
        heads, fields = weights.shape[1], rows.shape[1]
        head = torch.arange(heads, device=rows.device)
        place = (receiver[:, None, None] * heads + head[None, :, None]) * self.rows + rows[:, None, :]  # [P, H, fields]
        atoms = self.batch.num_atoms
        total = weights.new_zeros(atoms * heads * self.rows)
        spread = weights[:, :, None].expand(-1, -1, fields).reshape(-1)
        return total.index_add(0, place.reshape(-1), spread).view(atoms, heads, self.rows)


class Layer(nn.Module):
    """Base of the layers: [A, D] -> [A, D]. `bond_sizes` are the sizes of the tables of the bond fields."""

    def __init__(self, width: int, bond_sizes: Sequence[int], heads: int = 1) -> None:
        super().__init__()
        self.bonds = field_table(bond_sizes, heads * width)

    def forward(self, x: Tensor, around: Around) -> Tensor:
        raise TypeError(f"{type(self).__name__} computes nothing")


class GIN(Layer):
    """A network of one hidden layer on the sum."""

    def __init__(self, width: int, bond_sizes: Sequence[int], heads: int = 1) -> None:
        super().__init__(width, bond_sizes)
        self.lift = nn.Linear(width, 2 * width)
        self.lower = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, around: Around) -> Tensor:
        return self.lower(torch.relu(self.lift(around.total(x) + around.counts @ self.bonds)))


class GCN(Layer):
    """A linear map, summed with the weight 1 / sqrt(degree of one · degree of the other)."""

    def __init__(self, width: int, bond_sizes: Sequence[int], heads: int = 1) -> None:
        super().__init__(width, bond_sizes)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, around: Around) -> Tensor:
        root, counts = around.roots
        return root * (around.total(root * self.linear(x)) + counts @ self.bonds)


class GraphSAGE(Layer):
    """A linear map, averaged and brought to length 1."""

    def __init__(self, width: int, bond_sizes: Sequence[int], heads: int = 1) -> None:
        super().__init__(width, bond_sizes)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, around: Around) -> Tensor:
        mean = (around.total(self.linear(x)) + around.counts @ self.bonds) / around.degree
        return F.normalize(mean, dim=1, eps=1e-12)


class GAT(Layer):
    """Attention of each atom over its neighbours and itself; the mean of the heads.

    The bond is added to the sender before the score and stays in what is passed on; the receiver's half of the score
    has no bond in it.
    """

    def __init__(self, width: int, bond_sizes: Sequence[int], heads: int = 1) -> None:
        super().__init__(width, bond_sizes, heads)
        self.heads, self.width = heads, width
        self.linear = nn.Linear(width, heads * width)
        bound = math.sqrt(6 / (heads + 2 * width))
        self.attention = nn.Parameter(torch.empty(heads, 2 * width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, around: Around) -> Tensor:
        receiver, sender, rows = around.pairs
        mapped = self.linear(x).float().view(-1, self.heads, self.width)  # [A, H, D]
        table = self.bonds.view(-1, self.heads, self.width)  # [K, H, D]
        to_receiver, to_sender = self.attention.split(self.width, dim=1)
        of_receiver, of_sender, of_bond = (
            (part * half).sum(-1) for part, half in ((mapped, to_receiver), (mapped, to_sender), (table, to_sender))
        )
        bond = of_bond.index_select(0, rows.reshape(-1)).view(*rows.shape, self.heads).sum(1)
        scores = of_receiver.index_select(0, receiver) + of_sender.index_select(0, sender) + bond  # [P, H]
        share = segment_softmax(F.leaky_relu(scores, _LEAKY_SLOPE), receiver, len(x))
        bonds = torch.einsum("ahk,khd->ad", around.tally(share), table)
        return (around.weighted(mapped, share) + bonds) / self.heads + self.bias


LAYERS: dict[str, type[Layer]] = {"gin": GIN, "gcn": GCN, "graphsage": GraphSAGE, "gat": GAT}
