"""A small trainee with all that is hard: two terms with counts that vary, a head that most batches do not touch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mesomer.training.context import Context


@dataclass(frozen=True)
class ToyBatch:
    """Rows of numbers in the place of molecules."""

    x: Tensor
    key: Tensor

    @property
    def num_molecules(self) -> int:
        return len(self.x)

    def to(self, device: Any) -> ToyBatch:
        return replace(self, x=self.x.to(device))


@dataclass(frozen=True)
class ToyDraw:
    """Which rows count, and which of them have the rare property."""

    chosen: Tensor
    rare: Tensor

    def to(self, device: Any) -> ToyDraw:
        return ToyDraw(self.chosen.to(device), self.rare.to(device))


class ToyModule(nn.Module):
    """`rare` is used only by batches with a rare row, `never` by none."""

    def __init__(self, dropout: float = 0.0, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Dropout(dropout))
        self.common = nn.Linear(width, 1)
        self.rare = nn.Linear(width, 1)
        self.never = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class ToyTrainee:
    """Fits a sum and, for rare rows, a product."""

    weights: Mapping[str, float] = {"common": 1.0, "rare": 0.5}

    def __init__(self, dropout: float = 0.0, poison: int | None = None, monitor: bool = True) -> None:
        torch.manual_seed(11)
        self.module: nn.Module = ToyModule(dropout)
        self.poison = poison
        self.monitor = ("error", "min") if monitor else None
        self.validations: list[float] | None = None

    def prepare(self, batch: ToyBatch, epoch: int) -> tuple[ToyBatch, ToyDraw]:
        chosen = (batch.key * 7 + epoch) % 5 != 0
        return batch, ToyDraw(chosen, chosen & (batch.key % 16 < 4))

    def counts(self, draw: ToyDraw) -> dict[str, float]:
        return {"common": float(draw.chosen.sum()), "rare": float(draw.rare.sum())}

    def terms(self, module: nn.Module, batch: ToyBatch, draw: ToyDraw) -> dict[str, Tensor]:
        hidden = module(batch.x)
        target = batch.x.sum(1)
        if self.poison is not None:
            target = torch.where(batch.key == self.poison, torch.nan, target)
        common = ((module.common(hidden)[:, 0] - target) ** 2)[draw.chosen].sum()
        rare = hidden.new_zeros(())
        if draw.rare.any():
            rare = ((module.rare(hidden)[:, 0] - batch.x.prod(1)) ** 2)[draw.rare].sum()
        return {"common": common, "rare": rare}

    def parameter_groups(self) -> list[dict[str, Any]]:
        body = list(self.module.body.parameters())
        others = [p for name, p in self.module.named_parameters() if not name.startswith("body")]
        return [{"params": body, "lr_scale": 0.5}, {"params": others}]

    def validate(self, context: Context) -> dict[str, float]:
        if self.validations is not None:
            return {"error": self.validations.pop(0)}
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(5)).to(context.device)
        error = ((self.module.common(self.module(x))[:, 0] - x.sum(1)) ** 2).sum()
        totals = context.sums({"error": error, "count": 32.0})
        return {"error": totals["error"] / totals["count"]}


class ToyBatches:
    """`rows` rows in micro-batches of uneven size, dealt to ranks as one process with `accumulate` would take them."""

    def __init__(self, rows: int = 240, size: int = 8, accumulate: int = 1, rank: int = 0, world: int = 1) -> None:
        self.x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(3))
        self.size, self.accumulate, self.rank, self.world = size, accumulate, rank, world

    def _plan(self, epoch: int) -> list[list[Tensor]]:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(epoch))
        micro, at = [], 0
        while at < len(order):
            size = self.size + len(micro) % 3
            micro.append(order[at : at + size])
            at += size
        together = self.accumulate * self.world
        return [micro[i : i + together] for i in range(0, len(micro) - together + 1, together)]

    def steps(self, epoch: int) -> int:
        return len(self._plan(epoch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[ToyBatch]]:
        for step in self._plan(epoch)[start:]:
            yield [ToyBatch(self.x[rows], rows) for rows in step[self.rank :: self.world]]
