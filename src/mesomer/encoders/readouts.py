"""From rows to the molecule as the strategies paper does it: mean, sum, maximum, gated sum, set2set (study.md 2.2).

`mean_sum`, the readout of our new models, has a scaled sum beside the mean. `gate` is what the paper calls attention:
a sum weighted by a softmax over the rows, of one linear score. `set2setT` asks T times, each time with what it knows
so far (Vinyals et al. 2016). A molecule without rows gives zeros, and with set2set what is asked of nothing.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from mesomer.encoders.base import POOLINGS, pool_rows
from mesomer.encoders.segments import segment_softmax, segment_sum
from mesomer.errors import unknown_name

READOUTS = ("mean", "mean_sum", "sum", "max", "gate", "set2set2")


class GraphReadout(nn.Module):
    """Rows [R, D] with their molecules [R] -> [M, out_width]; a kind of `READOUTS`, or set2set with other steps."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        steps = re.fullmatch(r"set2set([1-9]\d?)", kind)
        if steps is None and kind not in READOUTS:
            raise unknown_name("readout", kind, READOUTS)
        self.kind, self.steps = kind, int(steps[1]) if steps else 0
        self.out_width = 2 * width if steps or kind == "mean_sum" else width
        if kind == "gate":
            self.gate = nn.Linear(width, 1)
        if steps:
            self.memory = nn.LSTM(2 * width, width)

    def forward(self, rows: Tensor, molecule: Tensor, molecules: int) -> Tensor:
        """One vector for each molecule."""
        rows = rows.float() if rows.dtype in (torch.bfloat16, torch.float16) else rows
        if self.kind in POOLINGS:
            return torch.cat([pool_rows(rows, molecule, molecules, kind) for kind in POOLINGS[self.kind]], dim=1)
        if self.kind == "sum":
            return segment_sum(rows, molecule, molecules)
        if self.kind == "max":
            index = molecule[:, None].expand_as(rows)
            none = rows.new_zeros(molecules, rows.shape[1])
            return none.scatter_reduce(0, index, rows, "amax", include_self=False)
        if self.kind == "gate":
            return segment_sum(
                segment_softmax(self.gate(rows).to(rows.dtype), molecule, molecules) * rows, molecule, molecules
            )
        return self._set2set(rows, molecule, molecules)

    def _set2set(self, rows: Tensor, molecule: Tensor, molecules: int) -> Tensor:
        known = rows.new_zeros(molecules, self.out_width)
        state: tuple[Tensor, Tensor] | None = None
        for _ in range(self.steps):
            asked, state = self.memory(known.unsqueeze(0), state)
            question = asked.squeeze(0).to(rows.dtype)
            scores = (rows * question.index_select(0, molecule)).sum(1, keepdim=True)
            answer = segment_sum(segment_softmax(scores, molecule, molecules) * rows, molecule, molecules)
            known = torch.cat([question, answer], dim=1)
        return known
