"""R-MAT's encoder: attention over all pairs of nodes that is told how each pair is related (Maziarka et al., J.
Cheminform. 16:3, 2024, arXiv 2110.05841).

A dummy node stands before each molecule's atoms, is attended to and is pooled. A pair is described by its bond, its
neighbourhood order and radial functions of its distance in space; in each block two small networks, one for keys and
one for values, turn that into what attention adds. Coordinates come with the batch.

`rules` decides which atom the relative terms speak of. `code` (default, and on import): the query atom's key, as in
the published code that all weights were trained with; `relative_u` and one bias then cancel in the softmax and are
kept as they came, without being trained. `paper`: the key atom's key, which brings both to life. Everything else,
also which terms are divided by the square root of the head width, is the code's.

The pair networks' second layers are never applied to pairs. They are linear, so queries go through them backwards
before they meet the hidden units, and mixed hidden units go through them afterwards (rmat.md 3.4). Mixing hidden units
needs the attention weights themselves, which is why no fused attention is called here.

Shapes: `M` molecules, `T` nodes of all of them, `n` nodes of the largest one, `H` hidden size, `h` heads, `c` = H / h,
`E` pair channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import register
from mesomer.encoders.blocks import Dropout
from mesomer.encoders.rmat_blocks import LEAKY_SLOPE, NodeAttention, NodeEncoder, Part
from mesomer.encoders.rmat_features import Layout, NodeFeatures, PairFeatures, coordinates_of
from mesomer.errors import MesomerError, unknown_name

RULES = ("code", "paper")


class PairNetwork(nn.Module):
    """Two layers of which the first is for all heads: hidden units [..., c] of pairs [..., E]; the second gives each
    head its slice.
    """

    def __init__(self, channels: int, hidden_size: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.Linear(channels, hidden_size // heads)
        self.second = nn.Linear(hidden_size // heads, hidden_size)
        if not bias:  # its gradient is zero, and an optimiser or several processes would wait for one
            del self.second.bias
            self.second.register_buffer("bias", torch.zeros(hidden_size))
        self.dropout = Dropout(dropout)

    def hidden(self, pairs: Tensor) -> Tensor:
        """The hidden units of all pairs, [M, n, n, c]."""
        # in place: what came before it is needed no more, and there is much of it
        return self.dropout(F.leaky_relu(self.first(pairs), LEAKY_SLOPE, inplace=True))

    def slices(self) -> Tensor:
        """The second layer head by head: [h, c out, c hidden]."""
        return self.second.weight.view(self.heads, -1, self.second.in_features)

    def forward(self, pairs: Tensor) -> Tensor:
        """Both layers on every pair, [M, n, n, H]: the definition, of which attention makes no use."""
        return self.second(self.hidden(pairs))


class _Padded(NamedTuple):
    """States of one block, [M, h, n, c]; `asking` and `asked` [M, n, h, c] meet the hidden units of their pairs."""

    query: Tensor
    key: Tensor
    value: Tensor
    asking: Tensor
    asked: Tensor | None


class RelativeAttention(NodeAttention):
    """Attention with a relative term for keys and one for values."""

    u: Tensor

    def __init__(self, hidden_size: int, heads: int, channels: int, dropout: float, rules: str) -> None:
        super().__init__(hidden_size, heads, dropout)
        self.paper = rules == "paper"
        self.keys = PairNetwork(channels, hidden_size, heads, dropout, bias=self.paper)
        self.values = PairNetwork(channels, hidden_size, heads, dropout, bias=True)
        width = hidden_size // heads
        bound = math.sqrt(6 / (hidden_size + width))  # Xavier's, with the published fans
        u = torch.empty(1, heads, 1, width).uniform_(-bound, bound)
        if self.paper:
            self.u = nn.Parameter(u)
        else:
            self.register_buffer("u", u)
        self.v = nn.Parameter(torch.empty(1, heads, 1, width, 1).uniform_(-bound, bound))

    def asking(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values [T, 3, h, c]; and once or twice, what meets the hidden units of pairs [T, h, c]."""
        states = self.states(x)
        query, key = states[:, 0], states[:, 1]
        scale = 1 / math.sqrt(query.shape[-1])
        v = self.v.view(1, self.heads, -1)
        slices = self.keys.slices()
        if self.paper:
            return states, _through(query * scale + v, slices), _through(key * scale, slices)
        return states, _through((query + key) * scale + v, slices)

    def _padded(self, rows: Sequence[Tensor], layout: Layout) -> _Padded:
        # apart, because the states of a part are not kept for the gradient, but copies of them are
        states, *asking = (layout.pad(x) for x in rows)
        query, key, value = states.unbind(2)
        scale = 1 / math.sqrt(query.shape[-1])
        query, key, value = (part.transpose(1, 2) for part in (query * scale, key, value))
        return _Padded(query, key, value, asking[0], asking[1] if self.paper else None)

    def _probabilities(self, padded: _Padded, layout: Layout, pairs: Tensor) -> Tensor:
        hidden = self.keys.hidden(pairs)
        scores = padded.query @ padded.key.transpose(-1, -2)
        scores = scores + (padded.asking @ hidden.transpose(-1, -2)).transpose(1, 2)
        if padded.asked is not None:
            # here a row of pairs is seen from its key atom
            scores = scores + (padded.asked @ hidden.transpose(1, 2).transpose(-1, -2)).permute(0, 2, 3, 1)
            alone = self.u + self.keys.second.bias.view(self.u.shape) / math.sqrt(self.u.shape[-1])
            scores = scores + (padded.key * alone).sum(-1).unsqueeze(2)
        scores = scores.masked_fill(~layout.present[:, None, None, :], -torch.inf)
        return torch.softmax(scores, dim=-1)

    def probabilities(self, x: Tensor, part: Part) -> Tensor:
        """Attention weights [M, h, n, n] of normed rows x, by query and key; padded query rows mean nothing."""
        return self._probabilities(self._padded(self.asking(x), part.layout), part.layout, part.relations)

    def attend(self, rows: Sequence[Tensor], part: Part) -> Tensor:
        """Mixed values and mixed hidden units, [T', 2, h, c]."""
        layout, padded = part.layout, self._padded(rows, part.layout)
        weights = self.dropout(self._probabilities(padded, layout, part.relations))
        by_query = weights.transpose(1, 2)  # [M, n, h, n]
        bias = self.values.second.bias.view(self.heads, -1)
        if self.training and self.dropout.rate > 0:  # else the weights sum to 1
            bias = bias * by_query.sum(-1, keepdim=True)
        values = (weights @ padded.value).transpose(1, 2) + bias
        return layout.pack(torch.stack([values, by_query @ self.values.hidden(part.relations)], dim=2))

    def answer(self, mixed: Tensor) -> Tensor:
        values, hidden = mixed.unbind(1)
        return (values + _through(hidden, self.values.slices().transpose(1, 2))).flatten(1)


def _through(x: Tensor, slices: Tensor) -> Tensor:
    """Each head's vectors times its matrix: [T, h, c] and [h, c, c] -> [T, h, c]."""
    return torch.bmm(x.transpose(0, 1), slices).transpose(0, 1)


@register
class RMat(NodeEncoder):
    """The encoder; views `node_from_node` [T, H] and `atom_from_atom` [A, H]."""

    name = "rmat"
    SIZES: ClassVar = {
        "base": {"hidden_size": 768, "heads": 12, "blocks": 10, "ffn_hidden": 1536},
        "small": {"hidden_size": 128, "heads": 8, "blocks": 4, "ffn_hidden": 256},
    }

    def __init__(
        self,
        *,
        hidden_size: int = 768,
        heads: int = 12,
        blocks: int = 10,
        ffn_hidden: int = 1536,
        ffn_layers: int = 2,
        activation: str = "LeakyReLU",
        dropout: float = 0.0,
        radial_functions: int = 32,
        cutoff: float = 20.0,
        exponent: float = 5.0,
        rules: str = "code",
        pooling: str = "mean",
        summary: int = 0,
    ) -> None:
        if rules not in RULES:
            raise unknown_name("value of R-MAT's option rules", rules, RULES)
        if radial_functions < 1 or cutoff <= 0 or exponent < 0:
            raise MesomerError(
                f"No R-MAT has {radial_functions} radial functions, cutoff {cutoff} and exponent {exponent}.",
                "Functions are 1 or more, the cutoff (in Å) is above 0, the exponent 0 or more.",
            )
        pairs = PairFeatures(radial_functions, cutoff, exponent)
        super().__init__(
            NodeFeatures(leading=2),
            lambda: RelativeAttention(hidden_size, heads, pairs.width, dropout, rules),
            hidden_size=hidden_size,
            heads=heads,
            blocks=blocks,
            ffn_hidden=ffn_hidden,
            ffn_layers=ffn_layers,
            activation=activation,
            dropout=dropout,
            pooling=pooling,
            summary=summary,
            own={
                "ffn_hidden": ffn_hidden, "radial_functions": radial_functions, "cutoff": cutoff, "exponent": exponent,
                "rules": rules,
            },
        )  # fmt: skip
        self.pairs = pairs

    def relations(self, batch: GraphBatch, layout: Layout) -> Tensor:
        """Pair features [M, n, n, E]."""
        return self.pairs(batch, layout, coordinates_of(batch, "R-MAT"))
