"""Training one network of a fine-tuning: its batches, its loss, its validation, as the loop takes them.

Batches are a pure function of (seed, epoch), so that a resumed training takes the very steps of an uninterrupted one.
The encoder may be frozen for the first epochs, and may have a rate of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch, collate
from mesomer.files import atomic_write, writing
from mesomer.heads import PropertyModel
from mesomer.metrics import mean_over_targets, metric_for
from mesomer.outputs import final_outputs, property_loss
from mesomer.training.context import Context
from mesomer.training.finetune_plan import FinetuneOptions, PropertyData, selection
from mesomer.training.ledger import StepReport
from mesomer.training.predictor import class_columns, scaled_descriptors
from mesomer.training.scaling import Scaling
from mesomer.training.state import LoopState
from mesomer.training.trainee import Listener, LoopOptions

TERM = "property"
VALIDATION_ATOMS = 2048
# Published fine-tuning starts and ends at a tenth of the highest rate.
RATE_SPAN = 10.0


class PropertyBatches:
    """Shuffled batches of a training part, each one optimiser step; labels and descriptors travel in `extras`."""

    def __init__(
        self,
        data: PropertyData,
        part: NDArray[np.integer],
        scaling: Scaling,
        descriptor_scaling: Scaling | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.data, self.part, self.batch_size, self.seed = data, part, batch_size, seed
        self.labels = torch.from_numpy(scaling.apply(data.y).astype(np.float32))
        self.descriptors: Tensor | None = None
        if data.descriptors is not None and descriptor_scaling is not None:
            self.descriptors = scaled_descriptors(data.descriptors, descriptor_scaling)

    def steps(self, epoch: int) -> int:
        """Optimiser steps of every epoch; the last batch may be smaller."""
        return math.ceil(len(self.part) / self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[GraphBatch]]:
        """The epoch's batches from step `start` on, one micro-batch each."""
        order = self.part[np.random.default_rng([self.seed, epoch]).permutation(len(self.part))]
        for step in range(start, self.steps(epoch)):
            yield [self.batch(order[step * self.batch_size : (step + 1) * self.batch_size])]

    def batch(self, positions: Sequence[int] | NDArray[np.integer]) -> GraphBatch:
        """These molecules as one batch; `key` is the row in the table."""
        extras: dict[str, Tensor] = {"labels": self.labels[torch.as_tensor(positions)]}
        if self.descriptors is not None:
            extras["descriptors"] = self.descriptors[torch.as_tensor(positions)]
        keys = [self.data.rows[at] for at in positions]
        return collate([self.data.graphs[at] for at in positions], keys, extras)


class _Labels(NamedTuple):
    """What the loop wants to know of a batch before the forward pass; nothing here is random."""

    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> _Labels:
        return self


class PropertyTrainee:
    """A property network as the loop trains it."""

    weights: Mapping[str, float] = {TERM: 1.0}

    def __init__(
        self,
        module: PropertyModel,
        batches: PropertyBatches,
        valid: NDArray[np.integer],
        scaling: Scaling,
        options: FinetuneOptions,
    ) -> None:
        self.module: nn.Module = module
        self.model = module
        self.options, self.scaling, self.data = options, scaling, batches.data
        chosen = None if options.select == "last" else selection(self.data.targets, options.select)
        self.monitor: tuple[str, str] | None = chosen
        self.valid = valid
        sizes = np.array([len(self.data.graphs[at].atoms) for at in valid])
        self.valid_order = [valid[part] for part in atom_parts(sizes, VALIDATION_ATOMS)]
        self.valid_batches = [batches.batch(positions) for positions in self.valid_order]

    def prepare(self, batch: GraphBatch, epoch: int) -> tuple[GraphBatch, _Labels]:
        """The batch as it is, and the number of its labels."""
        return batch, _Labels({TERM: float((~torch.isnan(batch.extras["labels"])).sum())})

    def start_epoch(self, epoch: int) -> None:
        """Freezes or thaws the encoder."""
        self.model.freeze_encoder(self.options.frozen(epoch))

    def counts(self, draw: _Labels) -> Mapping[str, float]:
        """Labels of the batch."""
        return draw.counts

    def terms(self, module: nn.Module, batch: GraphBatch, draw: _Labels) -> dict[str, Tensor]:
        """The loss summed over the labels of the batch."""
        raw = module(batch, batch.extras.get("descriptors"))
        return {TERM: property_loss(raw, batch.extras["labels"], self.data.outputs, self.options.disagreement)[0]}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder at its own rate, unless it is never trained; readout and heads at the full rate."""
        encoder = list(self.model.encoder.parameters())
        own = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.model.parameters() if id(parameter) not in own]
        groups: list[dict[str, Any]] = [{"params": rest, "lr_scale": 1.0}]
        if not self.options.shared_encoder:
            groups.append({"params": encoder, "lr_scale": self.options.encoder_lr_scale})
        return groups

    def validate(self, context: Context) -> dict[str, float]:
        """Loss for each label, and the common metric of the targets, on the validation part."""
        total, count = 0.0, 0.0
        predicted = np.zeros((len(self.data.y), sum(output.width for output in self.data.outputs)))
        for positions, waiting in zip(self.valid_order, self.valid_batches, strict=True):
            batch = waiting.to(context.device)
            raw = self.model(batch, batch.extras.get("descriptors"))
            loss, labels = property_loss(raw, batch.extras["labels"], self.data.outputs, self.options.disagreement)
            total, count = total + float(loss), count + float(labels)
            predicted[positions] = final_outputs(raw, self.data.outputs).cpu().double().numpy()
        figures = {"loss": total / count}
        name, _ = selection(self.data.targets, "metric")
        if name != "loss":
            figures[name] = self._metric(name, predicted)
        return figures

    def _metric(self, name: str, scaled: NDArray[np.float64]) -> float:
        """Mean over targets. One regression target is judged on its own scale, several in units of their deviations."""
        several = len(self.data.targets) > 1
        values = scaled if several else self.scaling.undo(scaled, self.data.outputs)
        truth = self.scaling.apply(self.data.y) if several else self.data.y
        figures = {}
        for at, (target, columns) in enumerate(class_columns(self.data.targets)):
            y = truth[self.valid, at]
            present = ~np.isnan(y)
            part = values[self.valid, columns][present]
            part = part if target.type == "multiclass" else part[:, 0]
            value = metric_for(target.type, name)[1].compute(y[present], part) if present.any() else float("nan")
            figures[target.name] = {name: value}
        return mean_over_targets(figures, name)


def atom_parts(sizes: NDArray[np.integer], atoms: int) -> list[NDArray[np.integer]]:
    """Positions by size, cut where the atom budget is full."""
    order = np.argsort(sizes, kind="stable")
    number = (np.cumsum(sizes[order]) - 1) // atoms
    return np.split(order, np.flatnonzero(np.diff(number)) + 1)


def loop_options(options: FinetuneOptions, seed: int, steps_per_epoch: int) -> LoopOptions:
    """The options of the loop for one cell."""
    lowest = 0.0 if options.schedule == "inverse_sqrt" else options.max_lr / RATE_SPAN
    return LoopOptions(
        epochs=options.epochs,
        schedule=options.schedule,
        init_lr=lowest,
        max_lr=options.max_lr,
        final_lr=lowest,
        warmup_epochs=options.warmup_epochs,
        weight_decay=options.weight_decay,
        clip=options.clip,
        precision=options.precision,
        accelerator=options.accelerator,
        seed=seed,
        patience=options.patience,
        keep_best=True,
        log_steps=steps_per_epoch,
        save_minutes=options.save_minutes,
    )


class CurveListener(Listener):
    """Keeps the learning curve of a cell, through interruptions too, and tells each step to `on_step`."""

    def __init__(self, path: Path | None, on_step: Any = None) -> None:
        self.path, self._on_step = path, on_step
        self.rows: list[dict[str, Any]] = []

    def on_start(self, state: LoopState, total_steps: int) -> None:
        """Keeps what was measured before the checkpoint that the training goes on from."""
        self.rows = []
        if self.path is not None and self.path.exists():
            whole = self.path.read_text(encoding="utf-8").rpartition("\n")[0]
            kept = [json.loads(line) for line in whole.splitlines()]
            self.rows = [row for row in kept if row["step"] <= state.step]
            if state.validated_step != state.step:  # the validation of this very step is made again
                self.rows = [row for row in self.rows if row["part"] == "train" or row["step"] < state.step]
            with atomic_write(self.path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def on_step(self, report: StepReport) -> None:
        """Passes the report on."""
        if self._on_step is not None:
            self._on_step(report)

    def on_log(self, row: dict[str, Any]) -> None:
        """Notes a row of the curve."""
        self.rows.append(row)
        if self.path is not None:
            with writing(self.path), open(self.path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")


def curve_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """One row for each epoch: training loss, rate, and the validation figures."""
    table: dict[int, dict[str, float]] = {}
    for row in rows:
        entry = table.setdefault(round(row["epoch"]), {"epoch": round(row["epoch"])})
        if row["part"] == "train":
            entry |= {"train_loss": row["loss"], "learning_rate": row["learning_rate"]}
        else:
            entry |= {f"valid_{name}": v for name, v in row.items() if name not in ("part", "step", "epoch")}
    return [table[epoch] for epoch in sorted(table)]
