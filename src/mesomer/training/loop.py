"""The one training loop: every pre-training and every fine-tuning runs through `fit`.

The loss of an optimiser step is, for each of its terms, the sum over all ranks and micro-batches divided by the count
over all ranks and micro-batches. Counts are added up before the forward passes, so that the gradient is exactly that of
one big batch, however it is dealt out. Everything random is a function of (seed, step, number of the micro-batch in the
step over all ranks): a checkpoint needs no generator state, a resumed run takes the very steps of an uninterrupted one,
and two processes draw the dropout and the depths that one process draws which accumulates over two micro-batches.

Decided: the loop waits for the device once for each step, one step late on GPUs (objectives may wait on their own).
A step whose loss or gradient is not finite ends the training before anything of it is saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mesomer.errors import MesomerError
from mesomer.machine import keep_freed_memory
from mesomer.run import Interrupted, StopRequest, stop_signals
from mesomer.training.context import Context
from mesomer.training.ledger import Entry, Ledger, StepReport
from mesomer.training.placement import place
from mesomer.training.state import (
    LoopState,
    module_tensors,
    read_state,
    restore_module,
    save_state,
)
from mesomer.training.trainee import OPTIMIZERS, Batches, FitResult, Listener, LoopOptions, Trainee

__all__ = ["BEST", "LAST", "Batches", "FitResult", "Listener", "LoopOptions", "StepReport", "Trainee", "fit"]

LAST, BEST = "last.safetensors", "best.safetensors"
# Checkpoints at the end of an epoch may cost up to this share of the time; those by the clock come on top.
_SAVING_SHARE = 0.05


def fit(
    trainee: Trainee,
    batches: Batches,
    options: LoopOptions,
    folder: Path | None = None,
    *,
    context: Context | None = None,
    listener: Listener | None = None,
    stop: StopRequest | None = None,
) -> FitResult:
    """Trains `trainee.module` in place.

    With a `folder` the training saves `last.safetensors` and `best.safetensors` there, goes on from the former if it
    is there, and SIGTERM, SIGINT and SIGUSR1 save and raise `Interrupted`. Without one nothing is written and signals
    are left alone, unless `stop` is given. The caller's random generators are left as they were.
    """
    catch: AbstractContextManager[StopRequest] = nullcontext(stop or StopRequest())
    if folder is not None and stop is None:
        catch = stop_signals()
    context = context or Context.start(options.accelerator, options.precision)
    keep_freed_memory()
    devices = [context.device] if context.device.type == "cuda" else []
    with catch as request, torch.random.fork_rng(devices=devices):
        return _Training(trainee, batches, options, folder, context, listener or Listener(), request).run()


class _Work:
    """A batch and its draw on their way through the wrappers, which would take plain containers apart."""

    def __init__(self, batch: Any, draw: Any) -> None:
        self.batch, self.draw = batch, draw


class _Terms(nn.Module):
    """The module as DDP sees it: one forward pass gives all terms."""

    def __init__(self, trainee: Trainee, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._terms = trainee.terms
        # DDP looks for parameters without gradient, and warns for each process where it finds none: here is one
        self.spare = nn.Parameter(torch.zeros(()))

    def forward(self, work: _Work) -> dict[str, Tensor]:
        return self._terms(self.module, work.batch, work.draw)


class _Training:
    """One call of `fit`."""

    def __init__(
        self,
        trainee: Trainee,
        batches: Batches,
        options: LoopOptions,
        folder: Path | None,
        context: Context,
        listener: Listener,
        request: StopRequest,
    ) -> None:
        self.trainee, self.batches, self.options, self.folder = trainee, batches, options, folder
        self.context, self.listener, self.request = context, listener, request
        self.place = place(trainee, context)
        # what is trained; it holds parts of the weights of `trainee.module` where those are cut into shards
        self.module = self.place.module
        self.state = LoopState(seed=options.seed, steps_per_epoch=batches.steps(0))
        self.total_steps = _total_steps(options, self.state.steps_per_epoch)
        self.schedule = options.schedule_of(self.state.steps_per_epoch, self.total_steps)
        self.weights = {name: float(weight) for name, weight in trainee.weights.items()}
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in self.module.named_parameters()}
        self.optimizer = _build_optimizer(self.place.parameter_groups(), options, context)
        self.history: list[dict[str, Any]] = []
        self.best_tensors: dict[str, Tensor] = {}
        self.forward: nn.Module = self.module
        self.trainable: list[bool] | None = None
        self.resumed_from: int | None = None
        self.waited = self.saving_took = 0.0

    def run(self) -> FitResult:
        self._resume()
        state = self.state
        self.ledger = Ledger(self.weights, self.context, state, self.options.log_steps, self._log)
        self.started = self.step_ended = self.saved_at = time.monotonic()
        self.seconds_before = state.seconds
        self.listener.on_start(state, self.total_steps)
        if state.step and not state.finished:
            self._after_step([])  # a validation that was due when the checkpoint was written
        while not state.finished:
            self._epoch()
        if self.folder is None:
            state.seconds = self._seconds()
        self._end()
        return FitResult(
            steps=state.step,
            epochs=state.epoch + state.epoch_step / max(state.steps_per_epoch, 1),
            molecules=state.molecules,
            seconds=state.seconds,
            stopped=state.finished,
            best=state.best,
            best_step=state.best_step if state.best is not None else None,
            validation=dict(state.last_validation),
            resumed_from=self.resumed_from,
            history=self.history,
        )

    def _epoch(self) -> None:
        state = self.state
        state.steps_per_epoch = self.batches.steps(state.epoch)
        start_epoch = getattr(self.trainee, "start_epoch", None)
        if start_epoch is not None:
            start_epoch(state.epoch)
        self._wrap()
        epoch = state.epoch
        waiting = time.monotonic()
        for micro in self.batches.epoch(epoch, state.epoch_step):
            self.waited = time.monotonic() - waiting
            self._step(micro)
            state.step += 1
            state.epoch_step += 1
            self._after_step(self.ledger.take(everything=self._ends_here()))
            if state.finished or state.epoch != epoch:
                return
            waiting = time.monotonic()
        raise RuntimeError(f"epoch {epoch} gave {state.epoch_step} steps instead of {state.steps_per_epoch}")

    def _wrap(self) -> None:
        """Wraps the module for its ranks; again if parameters were frozen or thawed, which DDP looks at only once."""
        trainable = [parameter.requires_grad for parameter in self.module.parameters()]
        if trainable != self.trainable:
            self.trainable = trainable
            self.module.train()
            self.forward = self.place.wrap(_Terms(self.trainee, self.module))

    def _step(self, micro: list[Any]) -> None:
        """One optimiser step on this rank's micro-batches."""
        state, context, options = self.state, self.context, self.options
        work = [self.trainee.prepare(batch, state.epoch) for batch in micro]
        terms, dtype = self.ledger.terms, context.wide
        own = [self.trainee.counts(draw) for _, draw in work]
        counts = torch.tensor([[float(part[name]) for name in terms] for part in own], dtype=dtype).sum(0)
        counts = context.add_up(context.send(counts))
        weights = context.send(torch.tensor(list(self.weights.values()), dtype=dtype))
        # DDP averages the gradients over the ranks; the loss is a sum over them
        factor = (torch.where(counts > 0, weights / counts.clamp(min=1e-30), 0.0) * context.world).float()
        rate = self.schedule.rate(state.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        parts = []
        for index, (batch, draw) in enumerate(work):
            with self.place.without_exchange(self.forward) if index + 1 < len(work) else nullcontext():
                # micro-batches are dealt out in turns: this is the number that one process would give it
                torch.manual_seed(_step_seed(options.seed, state.step, index * context.world + context.rank))
                moved = _Work(batch.to(context.device), None if draw is None else draw.to(context.device))
                with context.autocast():
                    sums = self.forward(moved)
                row = torch.stack([sums[name].float() for name in terms])
                self.place.backward((row * factor).sum())
            parts.append(row.detach().to(dtype))
        limit = math.inf if options.clip is None else options.clip
        norm = self.place.norm(torch.nn.utils.clip_grad_norm_(self.module.parameters(), limit))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        molecules = sum(int(batch.num_molecules) for batch, _ in work)
        flags = context.send(torch.tensor([molecules, self.request.requested, self._time_up()], dtype=dtype))
        reduced = context.add_up(torch.cat([torch.stack(parts).sum(0), flags]))
        now = time.monotonic()
        entry = Entry(
            step=state.step + 1,
            epoch=state.epoch + (state.epoch_step + 1) / state.steps_per_epoch,
            learning_rate=rate,
            seconds=now - self.step_ended,
            waited=self.waited,
            packed=context.bring(torch.cat([reduced, counts, norm.detach().to(dtype).reshape(1)])),
            parts=parts,
            keys=[getattr(batch, "key", None) for batch, _ in work],
        )
        self.step_ended = now
        self.ledger.add(entry)

    def _time_up(self) -> bool:
        limit = self.options.max_minutes
        return self.context.rank == 0 and limit is not None and self._seconds() >= 60 * limit

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _at_epoch_end(self) -> bool:
        return self.state.epoch_step >= self.state.steps_per_epoch

    def _out_of_steps(self) -> bool:
        options, state = self.options, self.state
        if options.max_steps is not None and state.step >= options.max_steps:
            return True
        return options.epochs is not None and self._at_epoch_end() and state.epoch + 1 >= options.epochs

    def _validation_due(self) -> bool:
        options, state = self.options, self.state
        if state.validated_step == state.step:
            return False
        by_epoch = self._at_epoch_end() and (state.epoch + 1) % options.validate_every == 0
        by_step = options.validate_steps is not None and state.step % options.validate_steps == 0
        return by_epoch or by_step or self._out_of_steps()

    def _ends_here(self) -> bool:
        """Whether something follows this step that needs every figure so far."""
        return self._at_epoch_end() or self._validation_due()

    def _after_step(self, reports: list[StepReport]) -> None:
        """All that may follow a step, in the order that a resumed run repeats: stop, validation, end, saving."""
        state = self.state
        for report in reports:
            self.listener.on_step(report)
        time_up = any(report.time_up for report in reports)
        if any(report.stop for report in reports) and not self._out_of_steps():
            self._save()
            raise Interrupted
        if self._validation_due() or (time_up and state.validated_step != state.step):
            self._validate()
        patience = self.options.patience
        if self._out_of_steps():
            state.finished = "done"
        elif patience is not None and state.without_gain >= patience:
            state.finished = "early"
        elif time_up:
            state.finished = "time"
        epoch_ended = self._at_epoch_end()
        if epoch_ended:
            state.epoch, state.epoch_step = state.epoch + 1, 0
        if state.finished or self._saving_due(epoch_ended):
            self._save()

    def _saving_due(self, epoch_ended: bool) -> bool:
        together = self.place.saves_together
        if self.folder is None or (self.context.rank != 0 and not together):
            return False
        # asking the first rank's clock makes all ranks wait
        if together and not epoch_ended and self.state.step % self.options.log_steps:
            return False
        passed = time.monotonic() - self.saved_at
        due = passed >= 60 * self.options.save_minutes or (epoch_ended and passed >= self.saving_took / _SAVING_SHARE)
        return self.context.first(lambda: due) if together else due

    def _validate(self) -> None:
        """Validates, tells, and keeps the best weights."""
        state = self.state
        for report in self.ledger.take(everything=True):
            self.listener.on_step(report)
        self.place.collect()
        self.trainee.module.eval()
        with torch.no_grad(), self.context.autocast():
            figures = self.trainee.validate(self.context)
        self.module.train()
        state.validated_step, state.last_validation = state.step, dict(figures)
        epoch = state.epoch + state.epoch_step / state.steps_per_epoch
        self._log({"part": "valid", "step": state.step, "epoch": round(epoch, 6), **figures})
        if self.trainee.monitor is not None:
            self._judge(figures)
        self.step_ended = time.monotonic()

    def _judge(self, figures: Mapping[str, float]) -> None:
        state = self.state
        assert self.trainee.monitor is not None
        name, direction = self.trainee.monitor
        if direction not in ("min", "max"):
            raise ValueError(f"the monitored figure is to be 'min' or 'max', not {direction!r}")
        value = figures[name]
        better = state.best is None or (value < state.best if direction == "min" else value > state.best)
        if not (better and math.isfinite(value)):
            state.without_gain += 1
            return
        state.best, state.best_step, state.without_gain = value, state.step, 0
        if self.folder is None:
            if self.options.keep_best:
                self.best_tensors = {
                    name: x.detach().to("cpu", copy=True) for name, x in module_tensors(self.trainee.module).items()
                }
        elif self.context.rank == 0:
            save_state(self.folder / BEST, state, module_tensors(self.trainee.module))

    def _save(self) -> None:
        """Writes the checkpoint of this moment, unless a step before it was not finite."""
        if self.folder is None or (self.context.rank != 0 and not self.place.saves_together):
            return
        if not self.ledger.read_all():
            return
        started = time.monotonic()
        self.state.seconds = self._seconds()
        self.place.collect()
        tensors = self.place.optimizer_tensors(self.optimizer, self.names)
        if self.context.rank == 0:
            save_state(self.folder / LAST, self.state, module_tensors(self.trainee.module) | tensors)
        self.saved_at = self.step_ended = time.monotonic()
        self.saving_took = self.saved_at - started

    def _resume(self) -> None:
        folder = self.folder
        if folder is None or not self.context.first(lambda: (folder / LAST).exists()):
            return
        path = folder / LAST
        state, tensors = read_state(path)
        steps = self.batches.steps(state.epoch)
        if not state.finished and state.epoch_step and steps != state.steps_per_epoch:
            raise MesomerError(
                f"The training in {folder} stopped in an epoch of {state.steps_per_epoch} steps; now it has {steps}.",
                "Use the same number of processes as before, or choose another --output.",
            )
        self.place.restore(self.optimizer, self.names, tensors, path)
        self.state, self.resumed_from = state, state.step

    def _end(self) -> None:
        """Leaves the wanted weights in the trainee's module, in evaluation mode."""
        self.place.collect()
        if self.options.keep_best and self.state.best is not None:
            tensors = self.best_tensors
            if self.folder is not None:
                self.context.first(lambda: None)  # the file is whole when rank 0 has come here
                kept, tensors = read_state(self.folder / BEST)
                # after a kill this file may be newer than what the training went on from
                self.state.best, self.state.best_step = kept.best, kept.best_step
            restore_module(self.trainee.module, tensors, (self.folder or Path()) / BEST)
        self.trainee.module.eval()

    def _log(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        self.listener.on_log(row)


def _total_steps(options: LoopOptions, steps_per_epoch: int) -> int:
    if steps_per_epoch < 1:
        raise MesomerError("There is not one batch to train on.", "Give more molecules or smaller batches.")
    ends = [options.max_steps] if options.max_steps is not None else []
    if options.epochs is not None:
        ends.append(options.epochs * steps_per_epoch)
    if not ends:
        raise MesomerError("A training needs --epochs or --max_steps.")
    return min(ends)


def _build_optimizer(parameters: list[dict[str, Any]], options: LoopOptions, context: Context) -> torch.optim.Optimizer:
    groups = [{"lr_scale": 1.0, **group} for group in parameters if group["params"]]
    # one kernel for all parameters: on a CPU twice as fast as the default for many small ones
    fused = context.device.type in ("cpu", "cuda")
    return OPTIMIZERS[options.optimizer](groups, lr=options.max_lr, weight_decay=options.weight_decay, fused=fused)


def _step_seed(seed: int, step: int, micro: int) -> int:
    """A seed for the random numbers of one micro-batch: well mixed, so that neighbours have nothing in common."""
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 + micro * 0x8CB92BA72F3D8DD7 + 1) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & _MASK
    return x ^ (x >> 31)


_MASK = (1 << 64) - 1
