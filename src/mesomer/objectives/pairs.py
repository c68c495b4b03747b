"""Terms about pairs that belong together and pairs that do not, judged by one score each.

Each kind of pair is a term of its own, a mean over its pairs, so that both count alike whatever their numbers. The
trivial guess gives every pair the score 0, which is one half: a loss of log 2, right in half of the pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mesomer.objectives.figures import Figures, Sums


@dataclass(frozen=True)
class PairFigures:
    """One kind of pairs: summed loss [], how many were judged right [], and how many there are []."""

    loss: Tensor
    correct: Tensor
    count: Tensor

    def sums(self) -> dict[str, Tensor]:
        """What is added up over batches."""
        return {"loss": self.loss, "correct": self.correct, "count": self.count}

    @staticmethod
    def row(sums: Sums) -> dict[str, float]:
        """Loss and accuracy beside those of the trivial guess."""
        count = float(sums["count"])
        if count == 0:
            return {}
        return {
            "values": round(count),
            "loss": float(sums["loss"] / count),
            "trivial_loss": math.log(2),
            "accuracy": float(sums["correct"] / count),
            "trivial_accuracy": 0.5,
        }


def pair_loss(scores: Tensor, belong: bool) -> Tensor:
    """Summed binary cross-entropy of scores [P], all of pairs that belong together, or all of others."""
    return F.softplus(-scores if belong else scores).sum()


def pair_figures(scores: Tensor, belong: bool) -> Figures:
    """What scores [P] of one kind of pairs say."""
    right = ((scores > 0) == belong).sum()
    return PairFigures(pair_loss(scores, belong), right, scores.new_tensor(float(len(scores))))
