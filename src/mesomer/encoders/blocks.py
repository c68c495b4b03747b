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
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.encoders.fused_block import LEAKY_SLOPE, BlockSettings, BlockWeights, fused_block
from mesomer.encoders.repeated_rows import RepeatedRows
from mesomer.encoders.row_steps import RowLinear, in_steps
from mesomer.encoders.rows import EdgeRows, NeighbourLists, NodeRows
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
            return F.leaky_relu(x, LEAKY_SLOPE)
        plain: dict[str, Callable[[Tensor], Tensor]] = {
            "ReLU": F.relu,
            "tanh": torch.tanh,
            "SELU": F.selu,
            "ELU": F.elu,
        }
        return plain[self.name](x)


class Dropout(nn.Module):
    """Dropout whose masks cost little on a CPU, where torch draws one Bernoulli number at a time (20 ms at 5,544 x
    600; this takes 2).

    Eight masks are cut from each 64-bit number, so the rate is a multiple of 1/256; kept values are scaled by that
    very rate. The masks are bytes and never bool, which torch's CPU kernels make and cast ten times as slowly.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise MesomerError(f"The dropout rate is {rate}, and has to lie from 0 to below 1.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.rate)
        return x * self.factors(x)

    def factors(self, x: Tensor) -> Tensor:
        """What a tensor like `x` on a CPU is multiplied by: 0 where it is dropped, else the scale."""
        dropped = min(max(round(256 * self.rate), 1), 255)
        numbers = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.uint8)[: x.numel()].view(x.shape)
        torch.ge(kept, dropped, out=kept)
        scale = 256 / (256 - dropped)
        if x.dtype in (torch.bfloat16, torch.float16):
            # the bits of the scale, or none: a cast to half precision and a product in it take four times as long
            bits = int(torch.tensor(scale, dtype=x.dtype).view(torch.int16))
            return kept.to(torch.int16).mul_(bits).view(x.dtype)
        return kept.to(x.dtype).mul_(scale)


class _LeakyDropout(torch.autograd.Function):
    """LeakyReLU and dropout by given factors, with one pass over memory less in each direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor) -> Tensor:
        y = F.leaky_relu(x, LEAKY_SLOPE).mul_(factors)
        ctx.save_for_backward(y, factors)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        y, factors = ctx.saved_tensors
        gradient = gradient * factors
        # the sign of y is that of x, or it is 0, and then the factor was 0 as well
        return torch.ops.aten.leaky_relu_backward(gradient, y, LEAKY_SLOPE, True), None


def activate_and_drop(x: Tensor, activation: Activation, dropout: Dropout) -> Tensor:
    """`dropout(activation(x))`."""
    dropping = dropout.training and dropout.rate > 0 and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if dropping and activation.name == "LeakyReLU" and torch.is_grad_enabled():
        return _LeakyDropout.apply(x, dropout.factors(x))
    return dropout(activation(x))


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
        state = x
        for step in range(self.depth - 1):
            hidden = mapped_messages(
                rows.message(state), self.weight, self.bias, x if self.add_input else None, step > 0
            )
            state = activate_and_drop(hidden, self.activation, self.dropout)
        return state if self.depth > 1 else x.repeat(1, self.networks)


def mapped_messages(
    message: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, separate: bool
) -> Tensor:
    """One round of N networks, before the activation: a common message [R, H], or a separate one for each [R, N * H]
    -> [R, N * H]; `weight` [N, in, out], and `added` [R, H] is added to each network's.
    """
    networks, hidden_size = weight.shape[:2]
    if not separate:
        flat = weight.permute(0, 2, 1).reshape(networks * hidden_size, hidden_size)
        hidden = F.linear(message, flat, None if bias is None else bias.reshape(-1))
        if added is None:
            return hidden
        return (hidden.view(-1, networks, hidden_size) + added.unsqueeze(1)).view(hidden.shape)
    split = message.view(-1, networks, hidden_size).transpose(0, 1)  # [N, R, H]
    hidden = torch.bmm(split, weight).transpose(0, 1)
    # what is added stands first, so that the sum has its memory order and the product is not copied into it
    if added is not None and bias is not None:
        hidden = (added.unsqueeze(1) + bias.to(added.dtype)) + hidden
    elif added is not None:
        hidden = hidden + added.unsqueeze(1)
    elif bias is not None:
        hidden = hidden + bias.to(hidden.dtype)
    return hidden.reshape(message.shape)


class _PairProducts(torch.autograd.Function):
    """Products of all pairs of states of one row: q [R, n, g, d], k [R, n, g, d] -> [R, i, j, g].

    With 2 to 4 states a row, plain products beat batched products of 2 x 50 x 2; the loops keep what they write small,
    and the gradients need no [R, n, n, g, d] at all.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
        ctx.save_for_backward(q, k)
        return _pair_products(q, k)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        q, k = ctx.saved_tensors
        return _weighted_sum(gradient, k), _weighted_sum(gradient.transpose(1, 2), q)


class _WeightedSum(torch.autograd.Function):
    """Sums of the states of one row: share [R, i, j, g], v [R, j, g, d] -> [R, i, g, d]."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(share, v)
        return _weighted_sum(share, v)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        share, v = ctx.saved_tensors
        return _pair_products(gradient, v), _weighted_sum(share.transpose(1, 2), gradient)


def _pair_products(q: Tensor, k: Tensor) -> Tensor:
    return torch.stack([(q[:, i, None] * k).sum(-1) for i in range(q.shape[1])], dim=1)


def _weighted_sum(share: Tensor, v: Tensor) -> Tensor:
    total = share[:, :, 0, :, None] * v[:, 0, None]
    for j in range(1, v.shape[1]):
        total.addcmul_(share[:, :, j, :, None], v[:, j, None])
    return total


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
        return self.output(self.mix(torch.stack([query, key, value])))

    def mix(self, states: Tensor) -> Tensor:
        """The attention before its output layer: states of query, key and value [3, R, n, H] -> [R, n, H]."""
        _, rows, n, hidden = states.shape
        layers = (self.query, self.key, self.value)
        weight = torch.stack([layer.weight for layer in layers]).transpose(1, 2)
        bias = torch.stack([layer.bias for layer in layers]).unsqueeze(1)
        mapped = torch.baddbmm(bias, states.reshape(3, rows * n, hidden), weight)
        q, k, v = mapped.view(3, rows, n, n, hidden // n).unbind(0)
        scores = _PairProducts.apply(q, k) / math.sqrt(hidden // n)  # [R, i, j, g]
        wide = torch.promote_types(scores.dtype, torch.float32)
        share = self.dropout(torch.softmax(scores, dim=2, dtype=wide)).to(v.dtype)
        return _WeightedSum.apply(share, v).reshape(rows, n, hidden)


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
        kinds: tuple[type[MessageNetworks], type[HeadAttention]] = (MessageNetworks, HeadAttention),
    ) -> None:
        super().__init__()
        self.heads = heads
        networks, attention = kinds
        if width is not None:
            self.project = RowLinear(width, hidden, bias=bias)
            self.project_activation = Activation(activation)
            self.project_norm = nn.LayerNorm(hidden)
        self.networks = networks(hidden, 3 * heads, depth, activation, bias, dropout, add_input)
        self.attention = attention(hidden, heads, bias, dropout)
        self.merge = nn.Linear(heads * hidden, hidden, bias=bias)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout)

    def enter(self, projected: RepeatedRows) -> Tensor:
        """The block's input from the projected features [R, H], with a positional code already added where there is
        one.
        """
        return self.dropout(projected.map(lambda x: self.project_norm(self.project_activation(x))).dense())

    def forward(self, x: Tensor, rows: NodeRows | EdgeRows, lists: NeighbourLists | None = None) -> Tensor:
        """[R, H] -> [R, H]; fused where the settings allow it and the `lists` of the rows are given."""
        if lists is not None and self.fusible(x):
            return fused_block(x, self._weights(), lists, self._settings(x))
        states = self.networks(x, rows).view(x.shape[0], 3, self.heads, x.shape[1])
        mixed = self.attention.mix(states.transpose(0, 1))
        return self.dropout(self.norm(F.linear(mixed.flatten(1), *self._output_and_merge())))

    def fusible(self, x: Tensor) -> bool:
        """Whether `fused_block` computes this block on these rows."""
        leaky = self.networks.activation.name == "LeakyReLU"
        return leaky and self.networks.depth > 1 and x.device.type == "cpu" and x.shape[0] > 0

    def _settings(self, x: Tensor) -> BlockSettings:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        dropping = self.training and self.dropout.rate > 0
        return BlockSettings(
            heads=self.heads,
            rounds=self.networks.depth - 1,
            add_input=self.networks.add_input,
            eps=self.norm.eps,
            dtype=dtype,
            mask=self.dropout.factors if dropping else None,
        )

    def _weights(self) -> BlockWeights:
        layers = (self.attention.query, self.attention.key, self.attention.value)
        merge, merge_bias = self._output_and_merge()
        hidden = merge.shape[0]
        return BlockWeights(
            network=self.networks.weight,
            network_bias=self.networks.bias,
            mapping=torch.stack([layer.weight for layer in layers]).transpose(1, 2),
            mapping_bias=torch.stack([layer.bias for layer in layers]),
            merge=merge.t().view(self.heads, hidden, hidden),
            merge_bias=merge_bias,
            scale=self.norm.weight,
            shift=self.norm.bias,
        )

    def _output_and_merge(self) -> tuple[Tensor, Tensor | None]:
        """The attention's output layer and the merge as one layer: nothing but linear maps lies between them.

        In float32 whatever the precision of the forward pass, so that only their product is rounded.
        """
        output, merge = self.attention.output, self.merge
        with torch.autocast(merge.weight.device.type, enabled=False):
            parts = merge.weight.view(-1, self.heads, output.out_features)  # [H, n, H]
            weight = (parts @ output.weight).flatten(1)
            bias = merge.bias if output.bias is None else torch.addmv(merge.bias, parts.sum(1), output.bias)
        return weight, bias


def run_blocks(blocks: nn.ModuleList, x: Tensor, rows: NodeRows | EdgeRows) -> list[Tensor]:
    """The output of each block [R, H], one block after the other."""
    # padding rows are summed by a rule that the lists do not have
    lists = (
        rows.lists()
        if rows.padding is None and all(cast(GTransformerBlock, block).fusible(x) for block in blocks)
        else None
    )
    states = [x]
    for block in blocks:
        states.append(block(states[-1], rows, lists))
    return states[1:]


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

    def forward(self, joined: Tensor | RepeatedRows, aggregated: Tensor) -> Tensor:
        # two products into one sum instead of one product of the rows side by side, which would have to be copied
        rows, width = aggregated.shape
        raw, summed = self.lift.weight.split([self.lift.in_features - width, width], dim=1)
        aggregated = in_steps(aggregated)

        def lift(x: Tensor) -> Tensor:
            return F.linear(in_steps(x.to(aggregated.dtype)), raw, self.lift.bias)

        lifted = joined.map(lift).dense(len(aggregated)) if isinstance(joined, RepeatedRows) else lift(joined)
        x = torch.addmm(lifted, aggregated, summed.t())
        return self.dropout(self.norm(self.lower(activate_and_drop(x, self.activation, self.dropout))))[:rows]
