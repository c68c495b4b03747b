"""The learning rate of each step: a linear warm-up, then a decay to the final rate.

`exponential` is GROVER's published rule: the rate falls by the same factor at every step. `cosine` follows half a
cosine, `constant` stays at the maximum after the warm-up. `inverse_sqrt` is the rule of the Transformer, of R-MAT and
of MAT: the rate falls with the square root of the step's number, but not below the final one, and the first step has
the number 1. A step is one optimiser step; for the others the first has the number 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mesomer.errors import MesomerError, unknown_name

SHAPES = ("exponential", "cosine", "constant", "inverse_sqrt")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate as a pure function of the step."""

    shape: str
    init_lr: float
    max_lr: float
    final_lr: float
    warmup_steps: int
    total_steps: int

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise unknown_name("schedule", self.shape, SHAPES)
        for name in ("init_lr", "max_lr", "final_lr"):
            rate = getattr(self, name)
            if not (math.isfinite(rate) and rate >= 0):
                raise MesomerError(f"{name} is {rate}, and a learning rate is a number of 0 or more.")
        if self.shape == "exponential" and not (self.max_lr > 0 and self.final_lr > 0):
            raise MesomerError("An exponential decay needs max_lr and final_lr above 0.", "Take --schedule cosine.")

    def rate(self, step: int) -> float:
        """The learning rate of the optimiser step with this number."""
        warm, total = self.warmup_steps, self.total_steps
        step += self.shape == "inverse_sqrt"
        if step <= warm and warm > 0:
            return (self.init_lr * (warm - step) + self.max_lr * step) / warm  # exact at both ends
        if self.shape == "constant":
            return self.max_lr
        if self.shape == "inverse_sqrt":
            return max(self.final_lr, self.max_lr * math.sqrt(max(warm, 1) / step))
        if step >= total:
            return self.final_lr
        done = (step - warm) / (total - warm)
        if self.shape == "cosine":
            return self.final_lr + (self.max_lr - self.final_lr) * (1 + math.cos(math.pi * done)) / 2
        return self.max_lr * (self.final_lr / self.max_lr) ** done


def warmup_steps(warmup_epochs: float, steps_per_epoch: int, total_steps: int) -> int:
    """Steps of the warm-up; one as long as the whole run would never reach the maximum and is cut to half the run."""
    steps = int(warmup_epochs * steps_per_epoch)
    return steps if steps < total_steps else total_steps // 2
