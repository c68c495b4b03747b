"""GROVER's own additions to the shared blocks: message-passing depth drawn for each network, and attention over the
rows of a molecule.

Networks of a block run side by side. Sorted by falling depth, those that still run are always the first ones, so that
each round is one batched product over a prefix and finished networks cost nothing.

Shapes: `R` rows of a branch, `H` hidden size, `n` heads, `N` = 3n networks, `S` segments (each padding row, then each
molecule), `T` rows of the largest segment.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mesomer.encoders.blocks import (
    GTransformerBlock,
    HeadAttention,
    MessageNetworks,
    activate_and_drop,
    mapped_messages,
)
from mesomer.encoders.fused_block import BlockSettings, fused_block
from mesomer.encoders.repeated_rows import RepeatedRows
from mesomer.encoders.rows import EdgeRows, NeighbourLists, NodeRows

Depths = list[int]
_SPREAD = 3  # depths are drawn within three standard deviations


def draw_depths(mean: int, networks: int) -> Depths:
    """A depth for each network: a normal of that mean and deviation 1, cut at three deviations, then truncated to an
    integer. It is drawn from torch's generator on the CPU, which the loop seeds anew for each step.
    """

    def below(x: float) -> float:
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    shares = torch.tensor([below(k + 1) - below(k) for k in range(-_SPREAD, _SPREAD)])
    steps = torch.multinomial(shares, networks, replacement=True)
    return [mean - _SPREAD + int(step) for step in steps]


class Neighbourhood(NamedTuple):
    """The rows of a branch: their neighbour lists, and where each molecule's rows begin [M + 1], padding rows aside."""

    lists: NodeRows | EdgeRows
    starts: Tensor
    padding: int

    @property
    def bonds(self) -> EdgeRows:
        """The lists of the edge branch."""
        assert isinstance(self.lists, EdgeRows)
        return self.lists


class DynamicNetworks(MessageNetworks):
    """Message-passing networks of which each may run to a depth of its own."""

    def forward(self, x: Tensor, rows: NodeRows | EdgeRows, depths: Depths | None = None) -> Tensor:
        """[R, H] -> [R, N * H], network by network; every network to the full depth if `depths` are not given."""
        return super().forward(x, rows) if depths is None else self.to_depths(x, rows, depths)

    def to_depths(self, x: Tensor, rows: NodeRows | EdgeRows, depths: Depths) -> Tensor:
        """Each network to its own depth. Never compiled as a whole, which would be done anew for each draw."""
        if depths.count(self.depth) == self.networks:
            return super().forward(x, rows)
        order, running, place = self.by_depth(depths)
        places = torch.tensor(order, device=x.device)
        weight = self.weight.index_select(0, places)
        bias = None if self.bias is None else self.bias.index_select(0, places)
        slopes = None if self.activation.slope is None else self.activation.slope.index_select(0, places)
        added = x if self.add_input else None
        state = x  # of every network before the first round
        finished = [x] * (self.networks - running[0])  # states of networks [R, H], from the last place on
        for step, still in enumerate(running[:-1]):
            message = rows.message(state[:, : still * self.hidden].contiguous() if step else x)
            own = None if bias is None else bias[:still]
            hidden = mapped_messages(message, weight[:still], own, added, step > 0)
            if slopes is None:
                state = activate_and_drop(hidden, self.activation, self.dropout)
            else:
                slope = slopes[:still].repeat_interleave(self.hidden).to(hidden.dtype)
                state = self.dropout(F.prelu(hidden, slope))
            finished += reversed(state.split(self.hidden, dim=1)[running[step + 1] :])
        return torch.cat(itemgetter(*place)(finished), dim=1)

    @staticmethod
    def by_depth(depths: Depths) -> tuple[list[int], list[int], list[int]]:
        """The networks by falling depth; how many of them run in each round, and 0 at last; and where each network's
        state is in a list of them that have ended.
        """
        order = sorted(range(len(depths)), key=lambda network: -depths[network])
        running = [sum(depth > step for depth in depths) for step in range(1, max(1, *depths) + 1)]
        return order, running, [len(order) - 1 - order.index(network) for network in range(len(order))]


class MoleculeAttention(HeadAttention):
    """The paper's attention: each head's rows attend to the rows of the same molecule.

    It has the weights of the attention over heads. A padding row is a molecule of its own.
    """

    def mix_over(self, states: Tensor, rows: Neighbourhood) -> Tensor:
        """The attention before its output layer: states of query, key and value [3, R, n, H] -> [R, n, H]."""
        query, key, value = states.unbind(0)
        counts = torch.cat([rows.starts.new_ones(rows.padding), rows.starts.diff()])  # [S]
        longest = int(counts.max()) if counts.numel() else 0
        if longest == 0:
            return self.value(value)
        first = counts.cumsum(0) - counts
        segment = torch.repeat_interleave(torch.arange(counts.numel(), device=counts.device), counts)
        place = segment * longest + torch.arange(query.shape[0], device=counts.device) - first[segment]
        size = (counts.numel() * longest, *query.shape[1:])

        def packed(layer: torch.nn.Module, x: Tensor) -> Tensor:
            x = layer(x)
            padded = x.new_zeros(size).index_copy(0, place, x)
            return padded.view(counts.numel(), longest, *size[1:]).transpose(1, 2)  # [S, n, T, H]

        # the first place is always open, so that an empty segment has something to attend to
        seen = torch.arange(longest, device=counts.device) < counts.clamp(min=1).unsqueeze(1)
        mixed = F.scaled_dot_product_attention(
            packed(self.query, query),
            packed(self.key, key),
            packed(self.value, value),
            attn_mask=seen[:, None, None, :],
            dropout_p=self.dropout.rate if self.training else 0.0,
        )
        return mixed.transpose(1, 2).reshape(size).index_select(0, place)


class DynamicBlock(GTransformerBlock):
    """A block whose networks may draw their depths, and whose attention may run over the molecule."""

    def __init__(
        self, hidden: int, heads: int, depth: int, activation: str, bias: bool, dropout: float, add_input: bool,
        width: int | None = None, *, over_molecule: bool = False,
    ) -> None:  # fmt: skip
        kinds = (DynamicNetworks, MoleculeAttention if over_molecule else HeadAttention)
        super().__init__(hidden, heads, depth, activation, bias, dropout, add_input, width, kinds=kinds)
        self.networks: DynamicNetworks

    def forward(  # type: ignore[override]
        self,
        x: Tensor | RepeatedRows,
        rows: Neighbourhood,
        depths: Depths | None = None,
        lists: NeighbourLists | None = None,
    ) -> Tensor:
        """[R, H] -> [R, H]; a first block is given the input columns, which it projects, in place of states."""
        if isinstance(x, RepeatedRows):
            x = self.enter(x.map(self.project))
        if lists is not None and self.fusible(x) and (depths is None or max(depths) > 1):
            return fused_block(x, self._weights(), lists, self._with_depths(self._settings(x), depths))
        states = self.networks(x, rows.lists, depths).view(x.shape[0], 3, self.heads, x.shape[1])
        mixed = self.mix(states, rows)
        # One product in place of two, which has to be made first: in training where there are more rows than columns,
        # in use always, as products in bfloat16 round otherwise and a result must not depend on its batch.
        if not self.training or x.shape[0] > x.shape[1]:
            merged = F.linear(mixed.flatten(1), *self._output_and_merge())
        else:
            merged = self.merge(self.attention.output(mixed).flatten(1))
        return self.dropout(self.norm(merged))

    def fusible(self, x: Tensor) -> bool:
        """As for every block, and only attention over heads; what is compiled is fused by the compiler."""
        if torch.compiler.is_compiling():
            return False
        return super().fusible(x) and not isinstance(self.attention, MoleculeAttention)

    def _with_depths(self, settings: BlockSettings, depths: Depths | None) -> BlockSettings:
        if depths is None or all(depth == self.networks.depth for depth in depths):
            return settings
        order, running, _ = self.networks.by_depth(depths)
        return settings._replace(rounds=len(running) - 1, running=tuple(running[:-1]), order=tuple(order))

    def mix(self, states: Tensor, rows: Neighbourhood) -> Tensor:
        """Attention over the states [R, 3, n, H] of the networks, before its output layer -> [R, n, H]."""
        if isinstance(self.attention, MoleculeAttention):
            return self.attention.mix_over(states.transpose(0, 1), rows)
        return self.attention.mix(states.transpose(0, 1))

    def attend(self, states: Tensor, rows: Neighbourhood) -> Tensor:
        """The same with the output layer, as published code has it."""
        return self.attention.output(self.mix(states, rows))
