"""The GTransformer block that GROVER and BatmanNet share, and the output network (grover.md 3.1 to 3.4, batmannet.md
3.1 to 3.3).

A block has n heads with three message-passing networks each (query, key, value). All 3n networks run side by side:
their states lie in one tensor [R, 3nH], one neighbour sum serves all of them, and their weights are one batched
product. The first round has one common input, so it is a single product H -> 3nH.

Attention runs over the n heads of one row, as in the published code.

Shapes: `R` rows of a branch, `H` hidden size, `n` heads, `N` = 3n networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.encoders.rows import EdgeRows, NodeRows
from mesomer.errors import MesomerError, unknown_name

ACTIVATIONS = ("ReLU", "LeakyReLU", "PReLU", "tanh", "SELU", "ELU")


class Activation(nn.Module):
    """An activation by its published name. PReLU has one learned slope for each of `groups` equal parts of the last
    axis.
    """

    def __init__(self, name: str, groups: int = 1) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise unknown_name("activation", name, ACTIVATIONS)
        self.name = name
        self.slope = nn.Parameter(torch.full((groups,), 0.25)) if name == "PReLU" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.slope is not None:
            slope = self.slope.to(x.dtype)
            return F.prelu(x, slope if slope.numel() == 1 else slope.repeat_interleave(x.shape[-1] // slope.numel()))
        if self.name == "LeakyReLU":
            return F.leaky_relu(x, 0.1)
        plain: dict[str, Callable[[Tensor], Tensor]] = {
            "ReLU": F.relu,
            "tanh": torch.tanh,
            "SELU": F.selu,
            "ELU": F.elu,
        }
        return plain[self.name](x)


class Dropout(nn.Module):
    """Dropout whose masks cost little on a CPU, where torch draws one Bernoulli number at a time (20 ms at 5,544 x
    600; this takes 5).

    Eight masks are cut from each 64-bit number, so the rate is a multiple of 1/256; kept values are scaled by that
    very rate.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise MesomerError(f"The dropout rate is {rate}, and has to lie from 0 to below 1.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        dropped = min(max(round(256 * self.rate), 1), 255)
        numbers = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


class MessageNetworks(nn.Module):
    """N message-passing networks with a common input: `depth` - 1 rounds each (grover.md 3.2).

    With `add_input` the input is added before the activation in every round (GROVER's published setting; not
    BatmanNet's).
    """

    def __init__(
        self, hidden: int, networks: int, depth: int, activation: str, bias: bool, dropout: float, add_input: bool
    ) -> None:
        super().__init__()
        self.hidden, self.networks, self.depth, self.add_input = hidden, networks, depth, add_input
        bound = 1 / math.sqrt(hidden)
        self.weight = nn.Parameter(torch.empty(networks, hidden, hidden).uniform_(-bound, bound))  # [N, in, out]
        self.bias = nn.Parameter(torch.empty(networks, hidden).uniform_(-bound, bound)) if bias else None
        self.activation = Activation(activation, networks)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rows: NodeRows | EdgeRows) -> Tensor:
        """[R, H] -> [R, N * H], network by network."""
        first = x
        state = x
        for step in range(self.depth - 1):
            message = rows.message(state)
            hidden = self._common(message) if step == 0 else self._separate(message)
            if self.add_input:
                hidden = hidden + first.repeat(1, self.networks)
            state = self.dropout(self.activation(hidden))
        return state if self.depth > 1 else first.repeat(1, self.networks)

    def _common(self, message: Tensor) -> Tensor:
        weight = self.weight.permute(0, 2, 1).reshape(self.networks * self.hidden, self.hidden)
        return F.linear(message, weight, None if self.bias is None else self.bias.reshape(-1))

    def _separate(self, message: Tensor) -> Tensor:
        split = message.view(-1, self.networks, self.hidden).transpose(0, 1)  # [N, R, H]
        hidden = torch.bmm(split, self.weight).transpose(0, 1).reshape(message.shape)
        return hidden if self.bias is None else hidden + self.bias.reshape(-1).to(hidden.dtype)


class HeadAttention(nn.Module):
    """Multi-head attention over the n states of one row (grover.md 3.3): three [R, n, H] -> [R, n, H]."""

    def __init__(self, hidden: int, heads: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
        )
        self.output = nn.Linear(hidden, hidden, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, n, hidden = query.shape
        q, k, v = (
            layer(x).view(rows, n, n, hidden // n)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        # [R, i, 1, g, d] * [R, 1, j, g, d]: with 2 to 4 heads the plain product beats batched products of 2 x 50 x 2
        scores = (q.unsqueeze(2) * k.unsqueeze(1)).sum(-1) / math.sqrt(hidden // n)  # [R, i, j, g]
        share = self.dropout(torch.softmax(scores.float(), dim=2)).to(v.dtype)
        mixed = (share.unsqueeze(-1) * v.unsqueeze(1)).sum(2)  # [R, i, g, d]
        return self.output(mixed.reshape(rows, n, hidden))


class GTransformerBlock(nn.Module):
    """One block. `width` is the incoming width if the block projects its input, None if the input is already H wide."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        depth: int,
        activation: str,
        bias: bool,
        dropout: float,
        add_input: bool,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        if width is not None:
            self.project = nn.Linear(width, hidden, bias=bias)
            self.project_activation = Activation(activation)
            self.project_norm = nn.LayerNorm(hidden)
        self.networks = MessageNetworks(hidden, 3 * heads, depth, activation, bias, dropout, add_input)
        self.attention = HeadAttention(hidden, heads, bias, dropout)
        self.merge = nn.Linear(heads * hidden, hidden, bias=bias)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout)

    def enter(self, projected: Tensor) -> Tensor:
        """The block's input from the projected features [R, H], with a positional code already added where there is
        one.
        """
        return self.dropout(self.project_norm(self.project_activation(projected)))

    def forward(self, x: Tensor, rows: NodeRows | EdgeRows) -> Tensor:
        """[R, H] -> [R, H]."""
        states = self.networks(x, rows).view(x.shape[0], 3, self.heads, x.shape[1])
        mixed = self.attention(states[:, 0], states[:, 1], states[:, 2])
        return self.dropout(self.norm(self.merge(mixed.flatten(1))))


class OutputNetwork(nn.Module):
    """Feed-forward over the joined and the aggregated rows, then layer norm (grover.md 3.4): [R, joined] and [R, H]
    -> [R, H].
    """

    def __init__(self, joined: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.lift = nn.Linear(joined + hidden, 4 * hidden)
        self.activation = Activation(activation)
        self.lower = nn.Linear(4 * hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout)

    def forward(self, joined: Tensor, aggregated: Tensor) -> Tensor:
        x = torch.cat([joined.to(aggregated.dtype), aggregated], dim=1)
        return self.dropout(self.norm(self.lower(self.dropout(self.activation(self.lift(x))))))
