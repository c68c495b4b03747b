"""One GTransformer block as one function with a gradient of its own, for the settings that training on a CPU has.

It computes what `GTransformerBlock` computes part by part (LeakyReLU, no padding rows, at least one round of
messages). What it saves is passes over memory: states stay network by network [N, R, H], as batched products want
them; activation and dropout are one factor for each value, written over the mask and used in both directions; sums
are made in place; weights are cast once.

Networks may run to depths of their own: sorted by falling depth (`order`), those that still run are the first ones in
every round (`running`), so that each round is one batched product over a prefix.

Shapes: `R` rows, `H` hidden size, `n` heads, `N` = 3n networks, `g` = n attention heads of width `d` = H / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mesomer.encoders.row_steps import in_steps
from mesomer.encoders.rows import NeighbourLists

LEAKY_SLOPE = 0.1


class BlockSettings(NamedTuple):
    """What is fixed of a block; `mask` makes dropout's factors for a tensor, None where nothing is dropped.

    Every network runs all rounds, unless `running` has the number of those that run in each; then `order` has the
    number of each network, those that run longest first.
    """

    heads: int
    rounds: int
    add_input: bool
    eps: float
    dtype: torch.dtype
    mask: Callable[[Tensor], Tensor] | None
    running: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


class BlockWeights(NamedTuple):
    """The parameters; those of linear layers are [in, out]."""

    network: Tensor  # [N, H, H]
    network_bias: Tensor | None  # [N, H]
    mapping: Tensor  # [3, H, H]: query, key, value
    mapping_bias: Tensor  # [3, H]
    merge: Tensor  # [n, H, H]
    merge_bias: Tensor | None  # [H]
    scale: Tensor  # [H], of the layer norm
    shift: Tensor  # [H]

    def cast(self, dtype: torch.dtype) -> BlockWeights:
        """In the precision of the products; the layer norm keeps its own."""
        return BlockWeights(
            network=self.network.to(dtype),
            network_bias=None if self.network_bias is None else self.network_bias.to(dtype),
            mapping=self.mapping.to(dtype),
            mapping_bias=self.mapping_bias.to(dtype),
            merge=self.merge.to(dtype),
            merge_bias=None if self.merge_bias is None else self.merge_bias.to(dtype),
            scale=self.scale,
            shift=self.shift,
        )

    def ordered(self, order: tuple[int, ...]) -> BlockWeights:
        """With the networks in that order; as they are if it is empty."""
        if not order:
            return self
        places = torch.tensor(order, device=self.network.device)
        bias = None if self.network_bias is None else self.network_bias.index_select(0, places)
        return self._replace(network=self.network.index_select(0, places), network_bias=bias)


@dataclass
class _Kept:
    """What the gradient needs of a forward pass."""

    messages: list[Tensor] = field(default_factory=list)  # [R, H] of the first round, then [N, R, H]
    factors: list[Tensor] = field(default_factory=list)  # [N, R, H] of each round
    rest: tuple[Tensor, ...] = ()
    masks: tuple[Tensor, ...] = ()  # of the attention's shares and of the output

    def tensors(self) -> tuple[Tensor, ...]:
        """All of it in one tuple."""
        return (*self.messages, *self.factors, *self.rest, *self.masks)

    @classmethod
    def of(cls, tensors: Sequence[Tensor], rounds: int) -> _Kept:
        """The inverse of `tensors`."""
        rest = tensors[2 * rounds :]
        return cls(list(tensors[:rounds]), list(tensors[rounds : 2 * rounds]), tuple(rest[:7]), tuple(rest[7:]))


def fused_block(x: Tensor, weights: BlockWeights, lists: NeighbourLists, settings: BlockSettings) -> Tensor:
    """[R, H] -> [R, H] in the precision of `settings`."""
    rows = x.shape[0]
    x = in_steps(x.to(settings.dtype))
    lists = lists.up_to(x.shape[0])
    if torch.is_grad_enabled():
        return _FusedBlock.apply(lists, settings, x, *weights)[:rows]
    with torch.autocast(x.device.type, enabled=False):
        return _run(x, weights.cast(settings.dtype).ordered(settings.order), lists, settings, None)[:rows]


class _FusedBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lists: NeighbourLists, settings: BlockSettings, x: Tensor, *weights: Tensor) -> Tensor:
        kept = _Kept()
        with torch.autocast(x.device.type, enabled=False):
            cast = BlockWeights(*weights).cast(settings.dtype).ordered(settings.order)
            y = _run(x, cast, lists, settings, kept)
        ctx.lists, ctx.settings = lists, settings
        ctx.dtypes = [None if weight is None else weight.dtype for weight in weights]
        ctx.save_for_backward(*cast, *kept.tensors())
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        weights = BlockWeights(*ctx.saved_tensors[: len(BlockWeights._fields)])
        kept = _Kept.of(ctx.saved_tensors[len(weights) :], ctx.settings.rounds)
        with torch.autocast(gradient.device.type, enabled=False):
            of_x, found = _gradients(gradient, weights, ctx.lists, ctx.settings, kept)
        casts = (None if part is None else part.to(dtype) for part, dtype in zip(found, ctx.dtypes, strict=True))
        return None, None, of_x, *casts


def _run(
    x: Tensor, weights: BlockWeights, lists: NeighbourLists, settings: BlockSettings, kept: _Kept | None
) -> Tensor:
    (rows, hidden), n, mask = x.shape, settings.heads, settings.mask
    state = _states(x, weights, lists, settings, kept)
    mapped = torch.baddbmm(weights.mapping_bias.unsqueeze(1), state.view(3, n * rows, hidden), weights.mapping)
    q, k, v = mapped.view(3, n, rows, hidden).unbind(0)
    scores = _pair_products(q, k) / math.sqrt(hidden // n)
    share = _softmax(scores.to(_wide(x.dtype))).to(x.dtype)
    masks = () if mask is None else (mask(share), mask(x))
    mixed = _weighted_sums(_widened(share * masks[0] if masks else share, hidden), v)
    merged = torch.mm(mixed[0], weights.merge[0])
    for head in range(1, n):
        torch.addmm(merged, mixed[head], weights.merge[head], out=merged)
    if weights.merge_bias is not None:
        merged.add_(weights.merge_bias)
    y, mean, spread = torch.native_layer_norm(merged, (hidden,), weights.scale, weights.shift, settings.eps)
    if kept is not None:
        kept.rest, kept.masks = (state, mapped, share, mixed, merged, mean, spread), masks
    return y.mul_(masks[1]) if masks else y


def _states(
    x: Tensor, weights: BlockWeights, lists: NeighbourLists, settings: BlockSettings, kept: _Kept | None
) -> Tensor:
    """The states of the networks after their rounds [N, R, H], network by network."""
    networks, (rows, hidden), mask = weights.network.shape[0], x.shape, settings.mask
    state = x.expand(networks, rows, hidden)
    ended: list[Tensor] = []  # states of the networks that have ended, from the last network on
    added = _added(x, weights, settings.add_input)
    for step in range(settings.rounds):
        still = settings.running[step] if settings.running else networks
        ended += reversed(state[still:].unbind(0))
        message = lists.sum(state[:still] if step else x)
        each = message if step else message.expand(still, rows, hidden)
        if added is None:
            state = torch.bmm(each, weights.network[:still])
        else:
            last_use = added[:still] if step + 1 == settings.rounds else None
            state = torch.baddbmm(added[:still], each, weights.network[:still], out=last_use)
        if kept is None:
            F.leaky_relu_(state, LEAKY_SLOPE)
            if mask is not None:
                state.mul_(mask(state))
        else:
            factors = torch.ones_like(state) if mask is None else mask(state)
            # the gradient of LeakyReLU for the mask: the factor of activation and dropout together
            torch.ops.aten.leaky_relu_backward.grad_input(factors, state, LEAKY_SLOPE, False, grad_input=factors)
            state.mul_(factors)
            kept.messages.append(message)
            kept.factors.append(factors)
    if settings.order:
        state = _by_network([*state.unbind(0), *reversed(ended)], settings.order)
    return state


def _added(x: Tensor, weights: BlockWeights, add_input: bool) -> Tensor | None:
    """What every round adds before the activation [N, R, H]: the bias, the input, both or nothing."""
    networks = weights.network.shape[0]
    if weights.network_bias is None:
        return _copied(x, networks, *x.shape) if add_input else None
    # a broadcast copy is fast and a broadcast sum is not, in bfloat16 by a factor of seven
    added = _copied(weights.network_bias.unsqueeze(1), networks, *x.shape)
    return added.add_(x) if add_input else added


def _copied(x: Tensor, *shape: int) -> Tensor:
    """A broadcast copy that may be written to: `contiguous` alone would give x itself where nothing is repeated."""
    return x.expand(shape).clone(memory_format=torch.contiguous_format)


def _gradients(
    gradient: Tensor, weights: BlockWeights, lists: NeighbourLists, settings: BlockSettings, kept: _Kept
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The gradient of the input, and of each of the weights."""
    n, (rows, hidden) = settings.heads, gradient.shape
    state, mapped, share, mixed, merged, mean, spread = kept.rest
    if kept.masks:
        gradient = gradient * kept.masks[1]
    of_merged, of_scale, of_shift = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), merged, (hidden,), mean, spread, weights.scale, weights.shift, [True, True, True]
    )
    each = of_merged.expand(n, rows, hidden)
    of_merge = torch.bmm(mixed.transpose(1, 2), each)
    of_merge_bias = None if weights.merge_bias is None else of_merged.sum(0)
    of_mixed = torch.bmm(each, weights.merge.transpose(1, 2))
    of_mapped = _attention_gradient(of_mixed, mapped.view(3, n, rows, hidden), share, kept.masks)
    of_mapped = of_mapped.view(3, n * rows, hidden)
    of_mapping = torch.bmm(state.view(3, n * rows, hidden).transpose(1, 2), of_mapped)
    of_final = torch.bmm(of_mapped, weights.mapping.transpose(1, 2)).view(3 * n, rows, hidden)

    running = settings.running or (3 * n,) * settings.rounds
    if settings.order:
        of_final = of_final.index_select(0, torch.tensor(settings.order, device=of_final.device))
    of_network = torch.zeros_like(weights.network, dtype=of_scale.dtype)
    of_bias = None if weights.network_bias is None else torch.zeros_like(weights.network_bias, dtype=of_scale.dtype)
    of_x = of_final[running[0] :].sum(0, dtype=_wide(of_final.dtype))  # of networks without a round
    of_state = of_final[: running[-1]]
    for step in reversed(range(settings.rounds)):
        still = running[step]
        if len(of_state) < still:
            of_state = torch.cat([of_state, of_final[len(of_state) : still]])
        of_hidden = of_state.mul_(kept.factors[step])
        message = kept.messages[step]
        of_network[:still] += _product_sums(message, of_hidden)
        if of_bias is not None:
            of_bias[:still] += of_hidden.sum(1)
        if settings.add_input:
            of_x = of_x + of_hidden.sum(0, dtype=_wide(of_hidden.dtype))
        back = weights.network[:still].transpose(1, 2)
        if step:
            of_state = lists.transposed_sum(torch.bmm(of_hidden, back))
        else:
            of_message = torch.mm(of_hidden[0], back[0])
            for network in range(1, still):
                torch.addmm(of_message, of_hidden[network], back[network], out=of_message)
            of_x = of_x + lists.transposed_sum(of_message)
    if settings.order:
        of_network = _by_network(of_network.unbind(0), settings.order)
        of_bias = None if of_bias is None else _by_network(of_bias.unbind(0), settings.order)
    found = (
        of_network, of_bias, of_mapping, of_mapped.sum(1), of_merge, of_merge_bias, of_scale, of_shift
    )  # fmt: skip
    return of_x.to(gradient.dtype), found


def _attention_gradient(of_mixed: Tensor, mapped: Tensor, share: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
    """The gradient of query, key and value [3, n, R, H]."""
    q, k, v = mapped.unbind(0)
    n, hidden = q.shape[0], q.shape[-1]
    of_mapped = torch.empty_like(mapped)
    used = _widened(share * masks[0] if masks else share, hidden)
    _weighted_sums(used.transpose(0, 1), of_mixed, out=of_mapped[2])
    of_share = _pair_products(of_mixed, v)
    if masks:
        of_share.mul_(masks[0])
    # of the scores: share * (gradient - sum over j of share * gradient), and the scale of the products
    weighted = share.to(_wide(share.dtype)) * of_share
    of_scores = weighted - share * weighted.sum(1, keepdim=True)
    wide = _widened(of_scores.div_(math.sqrt(hidden // n)).to(q.dtype), hidden)
    _weighted_sums(wide, k, out=of_mapped[0])
    _weighted_sums(wide.transpose(0, 1), q, out=of_mapped[1])
    return of_mapped


def _by_network(parts: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Parts that stand in an order, network by network."""
    found = parts[0].new_empty(len(order), *parts[0].shape)
    for network, part in zip(order, parts, strict=True):
        found[network].copy_(part)
    return found


def _pair_products(a: Tensor, b: Tensor) -> Tensor:
    """Products of all pairs of states of one row, head by head: [n, R, H] twice -> [i, j, R, g]."""
    n, rows, hidden = a.shape
    return (a.unsqueeze(1) * b.unsqueeze(0)).view(n, n, rows, n, hidden // n).sum(-1)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over j of [i, j, R, g]. torch's own, along any but the last axis, rounds the last few rows of a tensor
    in another way than the others, and a molecule's vector would depend on its place in the batch.
    """
    powers = (scores - scores.amax(1, keepdim=True)).exp_()
    return powers / powers.sum(1, keepdim=True)


def _widened(share: Tensor, hidden: int) -> Tensor:
    """[i, j, R, g] -> [i, j, R, H]: written out, because products with a broadcast last axis are slow in bfloat16."""
    return share.unsqueeze(-1).expand(*share.shape, hidden // share.shape[-1]).flatten(3)


def _weighted_sums(share: Tensor, states: Tensor, out: Tensor | None = None) -> Tensor:
    """Sums over j of share [i, j, R, H] times states [j, R, H] -> [i, R, H]."""
    total = torch.mul(share[:, 0], states[0], out=out)
    for j in range(1, states.shape[0]):
        total.addcmul_(share[:, j], states[j])
    return total


def _product_sums(message: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weights [N, H, H] of one round, whose messages [R, H] or [N, R, H] it is given."""
    if message.dim() == 3:
        return torch.bmm(message.transpose(1, 2), gradient)
    # a batched product would first copy the one message for each network
    found = gradient.new_empty(gradient.shape[0], message.shape[1], gradient.shape[2])
    for network, part in enumerate(gradient):
        torch.mm(message.t(), part, out=found[network])
    return found


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
