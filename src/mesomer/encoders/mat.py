"""MAT's encoder: attention mixed with adjacency and with distance in space (Maziarka et al., arXiv 2002.08264).

The weights of attention are `attention_share` of the softmax, `distance_share` of a function of the distance and the
rest of the normalised adjacency, the last two the same in all heads and blocks (rmat.md 12). With the kernel `exp` the
rows of weights do not sum to 1. R-MAT, its successor, has the same nodes and blocks (`rmat_blocks`).

Shapes: `M` molecules, `T` nodes of all of them, `n` nodes of the largest one, `H` hidden size, `h` heads, `c` = H / h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import register
from mesomer.encoders.rmat_blocks import NodeAttention, NodeEncoder, Part
from mesomer.encoders.rmat_features import Layout, NodeFeatures, adjacency, coordinates_of, distances
from mesomer.errors import MesomerError, unknown_name

KERNELS = ("exp", "softmax")
_SMALL = 1e-6


class MixedAttention(NodeAttention):
    """A share of attention beside given weights [M, n, n]."""

    def __init__(self, hidden_size: int, heads: int, dropout: float, share: float) -> None:
        super().__init__(hidden_size, heads, dropout)
        self.share = share

    def _weights(self, query: Tensor, key: Tensor, layout: Layout) -> Tensor:
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
        return torch.softmax(scores.masked_fill(~layout.present[:, None, None, :], -torch.inf), dim=-1)

    def probabilities(self, x: Tensor, part: Part) -> Tensor:
        """The softmax alone [M, h, n, n], by query and key; padded query rows mean nothing."""
        query, key, _ = part.layout.pad(self.states(x)).transpose(1, 3).unbind(2)
        return self._weights(query, key, part.layout)

    def attend(self, rows: Sequence[Tensor], part: Part) -> Tensor:
        query, key, value = part.layout.pad(rows[0]).transpose(1, 3).unbind(2)  # [M, h, n, c] each
        weights = self.share * self._weights(query, key, part.layout) + part.relations.unsqueeze(1)
        return part.layout.pack((self.dropout(weights) @ value).transpose(1, 2)).unsqueeze(1)


@register
class Mat(NodeEncoder):
    """The encoder; views `node_from_node` [T, H] and `atom_from_atom` [A, H]."""

    name = "mat"
    SIZES: ClassVar = {
        "base": {"hidden_size": 1024, "heads": 16, "blocks": 8},
        "small": {"hidden_size": 128, "heads": 8, "blocks": 4},
    }

    def __init__(
        self,
        *,
        hidden_size: int = 1024,
        heads: int = 16,
        blocks: int = 8,
        ffn_layers: int = 1,
        activation: str = "LeakyReLU",
        dropout: float = 0.0,
        kernel: str = "exp",
        attention_share: float = 0.33,
        distance_share: float = 0.33,
        pooling: str = "mean",
        summary: int = 0,
    ) -> None:
        if kernel not in KERNELS:
            raise unknown_name("kernel of distances", kernel, KERNELS)
        if min(attention_share, distance_share) < 0 or attention_share + distance_share > 1:
            raise MesomerError(
                f"The shares of attention and distance are {attention_share} and {distance_share}.",
                "They have to be 0 or more, and at most 1 together; adjacency has the rest.",
            )
        super().__init__(
            NodeFeatures(leading=1),
            lambda: MixedAttention(hidden_size, heads, dropout, attention_share),
            hidden_size=hidden_size,
            heads=heads,
            blocks=blocks,
            ffn_hidden=hidden_size,
            ffn_layers=ffn_layers,
            activation=activation,
            dropout=dropout,
            pooling=pooling,
            summary=summary,
            own={"kernel": kernel, "attention_share": attention_share, "distance_share": distance_share},
        )
        self.kernel, self.attention_share, self.distance_share = kernel, attention_share, distance_share

    def relations(self, batch: GraphBatch, layout: Layout) -> Tensor:
        """The fixed part of the weights, [M, n, n]: distance and adjacency in their shares."""
        bonded, apart = adjacency(batch, layout), distances(coordinates_of(batch, "MAT"), layout)
        bonded = bonded / (bonded.sum(-1, keepdim=True) + _SMALL)
        apart = apart.masked_fill(~layout.present.unsqueeze(1), torch.inf)
        near = torch.exp(-apart) if self.kernel == "exp" else torch.softmax(-apart, dim=-1)
        return self.distance_share * near + (1 - self.attention_share - self.distance_share) * bonded
