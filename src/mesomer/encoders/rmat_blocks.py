"""What R-MAT and MAT share of the network: pre-norm blocks over nodes, and an encoder made of them (rmat.md 3).

Rows are packed: padding is there inside attention only, so that linear layers never work on it. Attention goes part by
part through molecules of like sizes, so that one large molecule does not pad the others; linear layers see all rows at
once.

Shapes: `A` atoms, `M` molecules, `T` = A + M nodes, dummy first in each molecule; `n` nodes of the largest molecule,
`H` hidden size, `h` heads, `c` = H / h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import POOLINGS, Encoder, EncoderOutput
from mesomer.encoders.blocks import Activation, Dropout
from mesomer.encoders.rmat_features import Layout, NodeFeatures, layout_of
from mesomer.encoders.rmat_groups import like_sized, ragged, taken
from mesomer.errors import MesomerError, unknown_name

NODES, ATOMS = "node_from_node", "atom_from_atom"
LINEAR = "Linear"
LEAKY_SLOPE = 0.1


class Part(NamedTuple):
    """Molecules of like sizes: which packed rows are theirs, how these are padded, and how their pairs are related."""

    rows: slice
    layout: Layout
    relations: Tensor


def activation_module(name: str) -> nn.Module:
    """An activation by its published name; `Linear` is none."""
    return nn.Identity() if name == LINEAR else Activation(name)


class FeedForward(nn.Module):
    """Linear layers with an activation and dropout after each but the last; a single layer has them behind it."""

    def __init__(self, width: int, hidden: int, layers: int, activation: str, dropout: float) -> None:
        super().__init__()
        widths = [width] + [hidden] * (layers - 1) + [width]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation_module(activation)
        self.leaky = activation == "LeakyReLU"
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for number, linear in enumerate(self.linears, 1):
            x = linear(x)
            if number < len(self.linears) or number == 1:
                # in place where the gradient can be told from the result: the widest rows are kept once
                x = self.dropout(F.leaky_relu(x, LEAKY_SLOPE, inplace=True) if self.leaky else self.activation(x))
        return x


class NodeAttention(nn.Module):
    """Queries, keys and values of the nodes, and what is made of them; how nodes attend to each other is a subclass's.

    `weight` and `bias` hold query, key and value one after the other.
    """

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(3, hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(3, hidden_size).uniform_(-1, 1) / hidden_size**0.5)
        for part in self.weight:
            nn.init.xavier_uniform_(part)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.dropout = Dropout(dropout)

    def states(self, x: Tensor) -> Tensor:
        """[T, H] -> queries, keys and values side by side, [T, 3, h, c]."""
        found = F.linear(x, self.weight.flatten(0, 1), self.bias.flatten())
        return found.view(len(x), 3, self.heads, -1)

    def asking(self, x: Tensor) -> tuple[Tensor, ...]:
        """What is made of each row before pairs are looked at: [T, H] -> [T, k, h, c] each."""
        return (self.states(x),)

    def attend(self, rows: Sequence[Tensor], part: Part) -> Tensor:
        """What the heads mix of one part, whose rows are given: [T', k, h, c] each -> [T', j, h, c]."""
        raise TypeError(f"{type(self).__name__} does not say how nodes attend to each other")

    def answer(self, mixed: Tensor) -> Tensor:
        """What is made of the mixtures: [T, j, h, c] -> [T, H]."""
        return mixed.flatten(1)

    def forward(self, x: Tensor, parts: Sequence[Part]) -> Tensor:
        rows = self.asking(x)
        mixed = [self.attend([x[part.rows] for x in rows], part) for part in parts]
        return self.output(self.answer(mixed[0] if len(mixed) == 1 else torch.cat(mixed)))


class NodeBlock(nn.Module):
    """Attention and feed-forward network, each behind a norm and beside the residual."""

    def __init__(self, attention: NodeAttention, feed_forward: FeedForward, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, parts: Sequence[Part]) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), parts))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class NodeEncoder(Encoder):
    """Blocks over the atoms and one dummy node of each molecule.

    Views: `node_from_node` [T, H], which readouts pool, and `atom_from_atom` [A, H], the same without the dummies.
    """

    length_buckets = 8
    needs_coordinates: ClassVar[bool] = True

    def __init__(
        self,
        features: NodeFeatures,
        attention: Callable[[], NodeAttention],
        *,
        hidden_size: int,
        heads: int,
        blocks: int,
        ffn_hidden: int,
        ffn_layers: int,
        activation: str,
        dropout: float,
        pooling: str,
        summary: int,
        own: dict[str, Any],
    ) -> None:
        """`attention` makes that of one block; `own` are the options that the subclass has besides the shared ones.

        Raises `MesomerError` at sizes that no network has, and at an unknown pooling.
        """
        if min(hidden_size, heads, blocks, ffn_hidden, ffn_layers) < 1 or hidden_size % heads:
            raise MesomerError(
                f"No network has hidden size {hidden_size}, {heads} heads, {blocks} blocks, {ffn_layers} layers of "
                f"{ffn_hidden} units in its feed-forward networks.",
                "All are 1 or more, and the hidden size is a multiple of the heads.",
            )
        if pooling not in POOLINGS:
            raise unknown_name("pooling", pooling, POOLINGS)
        super().__init__()
        self.width, self.pooling = hidden_size, pooling
        self._options = {
            "hidden_size": hidden_size, "heads": heads, "blocks": blocks, "ffn_layers": ffn_layers,
            "activation": activation, "dropout": dropout, "pooling": pooling,
            "summary": summary, **own,
        }  # fmt: skip
        # before the embedding, so that a seed gives the weights it always gave
        made = [
            NodeBlock(
                attention(),
                FeedForward(hidden_size, ffn_hidden, ffn_layers, activation, dropout),
                hidden_size,
                dropout,
            )
            for _ in range(blocks)
        ]
        self.features = features
        self.embed = nn.Linear(features.width, hidden_size)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(made)
        self.norm = nn.LayerNorm(hidden_size)
        self.readout_views = (NODES,)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)  # as published; biases are torch's
        self.make_summary(summary)

    def config(self) -> dict[str, Any]:
        return dict(self._options)

    @property
    def output_views(self) -> tuple[str, ...]:
        return (NODES, ATOMS)

    def relations(self, batch: GraphBatch, layout: Layout) -> Tensor:
        """What attention is told of each pair of nodes, [M, n, n, ...]."""
        raise TypeError(f"{type(self).__name__} does not say how nodes are related")

    def part(self, batch: GraphBatch, start: int = 0) -> Part:
        """A batch as one part of a larger one, in which its rows begin at `start`."""
        layout = layout_of(batch)
        return Part(slice(start, start + len(layout.place)), layout, self.relations(batch, layout))

    def embedded(self, batch: GraphBatch, layout: Layout) -> Tensor:
        """Rows [T, H] before the first block."""
        return self.dropout(self.embed(self.features(batch, layout)))

    def states(self, batch: GraphBatch) -> tuple[Part, list[Tensor]]:
        """The batch as one part, and rows [T, H] after the embedding, after each block and after the final norm."""
        part = self.part(batch)
        found = [self.embedded(batch, part.layout)]
        for block in self.blocks:
            found.append(block(found[-1], [part]))
        return part, [*found, self.norm(found[-1])]

    def forward(self, batch: GraphBatch) -> EncoderOutput:
        """Both views."""
        groups = like_sized(batch)
        if len(groups) == 1:
            parts, rows = [self.part(batch)], None
            x = self.embedded(batch, parts[0].layout)
        else:
            parts = []
            for molecules in groups:
                parts.append(self.part(taken(batch, molecules), parts[-1].rows.stop if parts else 0))
            number = torch.arange(batch.num_molecules + 1, device=batch.atom_offsets.device)
            rows, _ = ragged(batch.atom_offsets + number, torch.cat(groups).to(number.device))
            x = self.embedded(batch, layout_of(batch)).index_select(0, rows)
        for block in self.blocks:
            x = block(x, parts)
        nodes = self.norm(x)
        if rows is not None:  # back into the order of the batch
            nodes = nodes.index_select(0, torch.argsort(rows))
        atoms = torch.arange(batch.num_atoms, device=nodes.device) + batch.atom_molecule + 1
        return EncoderOutput({NODES: nodes, ATOMS: nodes.index_select(0, atoms)})
