"""What the steps of a training gave: read from the device one step late where that pays, checked, averaged.

A step's figures lie in one small tensor on the device, which is sent back behind the step. Reading it at once would
make the device wait for the next step to be prepared; the loop therefore reads it after the next step was sent.
Decisions that all ranks take together (stop, time) come from the same tensor, so that every rank takes them at the same
step.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mesomer.errors import MesomerError
from mesomer.training.context import Context
from mesomer.training.state import LoopState

_SHOWN_KEYS = 10


class Diverged(MesomerError):
    """A training whose loss or gradient is not finite."""


class StepReport(NamedTuple):
    """One finished optimiser step; figures over all ranks. `step` counts from 1, `epoch` is a fraction."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    molecules: int
    stop: bool
    time_up: bool


@dataclass
class Entry:
    """One step whose figures are still on the device.

    `packed` gives, once the step is done, [sum of each term, molecules, stop, time, count of each term, gradient norm];
    `parts` holds this rank's sums of each micro-batch [terms], `keys` its molecules.
    """

    step: int
    epoch: float
    learning_rate: float
    seconds: float
    waited: float
    packed: Callable[[], list[float]]
    parts: list[Tensor]
    keys: list[Tensor | None]
    report: StepReport | None = None
    finite: bool = True


class Ledger:
    """Entries of the steps in order; `take` gives those that are due, `read_all` reads ahead without deciding."""

    def __init__(
        self,
        weights: Mapping[str, float],
        context: Context,
        state: LoopState,
        log_steps: int,
        on_log: Callable[[dict[str, Any]], None],
    ) -> None:
        self.terms = list(weights)
        self._weights = [float(weights[name]) for name in self.terms]
        self._context, self._state, self._log_steps, self._on_log = context, state, log_steps, on_log
        self._delay = 1 if context.device.type == "cuda" else 0
        self._open: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Notes a step that was sent to the device."""
        self._open.append(entry)

    def read_all(self) -> bool:
        """Reads every step so far; False if one of them was not finite: then nothing may be saved."""
        for entry in self._open:
            self._read(entry)
        return all(entry.finite for entry in self._open)

    def take(self, everything: bool = False) -> list[StepReport]:
        """Reports of the steps that are due; a step that was not finite raises on every rank."""
        due = []
        while len(self._open) > (0 if everything else self._delay):
            entry = self._open.popleft()
            report = self._read(entry)
            if not entry.finite:
                raise self._failure(entry, report)
            due.append(report)
        return due

    def _read(self, entry: Entry) -> StepReport:
        if entry.report is not None:
            return entry.report
        number = len(self.terms)
        row = entry.packed()
        sums, (molecules, stop, time_up), counts, norm = (
            row[:number],
            row[number : number + 3],
            row[number + 3 : -1],
            row[-1],
        )
        loss = weighted_mean(sums, counts, self._weights)
        entry.finite = math.isfinite(loss) and math.isfinite(norm)
        entry.report = StepReport(
            entry.step, entry.epoch, loss, entry.learning_rate, norm, round(molecules), stop > 0, time_up > 0
        )
        if entry.finite:
            self._state.molecules += entry.report.molecules
            self._measure(entry, sums, counts)
        return entry.report

    def _measure(self, entry: Entry, sums: Sequence[float], counts: Sequence[float]) -> None:
        report, meter = entry.report, self._state.meter
        assert report is not None
        parts = {"steps": 1.0, "molecules": float(report.molecules), "norm": report.gradient_norm}
        parts |= {"seconds": entry.seconds, "waited": entry.waited}
        parts |= {f"sum {name}": value for name, value in zip(self.terms, sums, strict=True)}
        parts |= {f"count {name}": value for name, value in zip(self.terms, counts, strict=True)}
        for name, value in parts.items():
            meter[name] = meter.get(name, 0.0) + value
        if entry.step % self._log_steps == 0:
            self._on_log(self._row(report))
            meter.clear()

    def _row(self, report: StepReport) -> dict[str, Any]:
        meter = self._state.meter
        sums = [meter[f"sum {name}"] for name in self.terms]
        counts = [meter[f"count {name}"] for name in self.terms]
        means = {name: s / c for name, s, c in zip(self.terms, sums, counts, strict=True) if c > 0}
        seconds = max(meter["seconds"], 1e-9)
        return {
            "part": "train",
            "step": report.step,
            "epoch": round(report.epoch, 6),
            "loss": weighted_mean(sums, counts, self._weights),
            **means,
            "learning_rate": report.learning_rate,
            "gradient_norm": meter["norm"] / meter["steps"],
            "molecules_per_second": meter["molecules"] / seconds,
            "waiting_share": meter["waited"] / seconds,
        }

    def _failure(self, entry: Entry, report: StepReport) -> Diverged:
        """The error that names the step and the molecules; every rank tells which of its micro-batches failed."""
        bad = [not bool(torch.isfinite(part).all()) for part in entry.parts]
        own = [keys.tolist() for keys, found in zip(entry.keys, bad, strict=True) if found and keys is not None]
        if math.isfinite(report.loss):
            own = [keys.tolist() for keys in entry.keys if keys is not None]
        keys = sorted({key for rank in self._context.gather(own) for part in rank for key in part})
        named = ", ".join(str(key) for key in keys[:_SHOWN_KEYS]) + (", …" if len(keys) > _SHOWN_KEYS else "")
        what = "gradient" if math.isfinite(report.loss) else "loss"
        whose = f"; molecules of the batch ({len(keys):,}): {named}" if keys else ""
        return Diverged(
            f"The {what} is not a finite number at step {entry.step} (epoch {entry.epoch:.2f}){whose}.",
            "The last checkpoint is from before it. Try a lower --max_lr, a smaller --clip or --precision 32.",
        )


def weighted_mean(sums: Sequence[float], counts: Sequence[float], weights: Sequence[float]) -> float:
    """The loss: weight times sum over count, added up over the terms that have values."""
    parts = zip(sums, counts, weights, strict=True)
    return sum(weight * total / count for total, count, weight in parts if count > 0)
