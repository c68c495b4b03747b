"""An objective as the loop trains it, and its figures on held-out molecules.

`figures` gives for each field the loss and the accuracy beside those of the trivial guess: always the commonest value
(for the accuracy), or the frequencies of the values as probabilities (for the loss; it is their entropy).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.data.corpus import Corpus
from mesomer.data.stream import ValidationBatches
from mesomer.errors import MesomerError
from mesomer.objectives.base import Draw, Objective
from mesomer.training.context import Context
from mesomer.training.representation import RepresentationProbe

# Held-out molecules are hidden as in an epoch that no training reaches.
_VALIDATION_EPOCH = 1 << 40


class ObjectiveTrainee:
    """The loop's `Trainee` around an objective."""

    monitor: tuple[str, str] | None = ("loss", "min")

    def __init__(
        self,
        objective: Objective,
        corpus: Corpus,
        seed: int,
        *,
        atoms_per_batch: int,
        limit: int | None = None,
        probe: RepresentationProbe | None = None,
    ) -> None:
        self.module: nn.Module = objective
        self.objective, self.corpus, self.seed = objective, corpus, seed
        self.weights: Mapping[str, float] = objective.weights
        self.atoms_per_batch, self.limit, self.probe = atoms_per_batch, limit, probe

    def prepare(self, batch: GraphBatch, epoch: int) -> tuple[GraphBatch, Draw]:
        return batch, self.objective.draw(batch, epoch, self.seed)

    def counts(self, draw: Draw) -> Mapping[str, float]:
        return draw.counts

    def terms(self, module: nn.Module, batch: GraphBatch, draw: Draw) -> dict[str, Tensor]:
        return module(batch, draw)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.objective.parameters())}]

    def validate(self, context: Context) -> dict[str, float]:
        """The loss, loss and accuracy (`accuracy_…`) of each field, and the score of the probe."""
        figures = self.figures(context)
        loss = sum(self.weights[term] * row["loss"] for term, row in figures.items())
        fields = {term: row["loss"] for term, row in figures.items()}
        accuracies = {f"accuracy_{term}": row["accuracy"] for term, row in figures.items()}
        return {"loss": loss, **fields, **accuracies, **self.probe_score(context)}

    def probe_score(self, context: Context) -> dict[str, float]:
        """`probe_r2`, or nothing without a probe."""
        return {} if self.probe is None else {"probe_r2": self.probe.score(self.objective.encoder, context)}

    def figures(self, context: Context) -> dict[str, dict[str, float]]:
        """Per field: values, loss, accuracy, trivial_loss, trivial_accuracy; over the held-out part, on all ranks."""
        training = self.objective.training
        self.objective.eval()
        sums: dict[str, Tensor] = {}
        batches = ValidationBatches(
            self.corpus,
            atoms_per_batch=self.atoms_per_batch,
            rank=context.rank,
            world=context.world,
            extras=self.objective.extras,
            limit=self.limit,
        )
        with torch.no_grad(), context.autocast():
            for batch in batches:
                draw = self.objective.draw(batch, _VALIDATION_EPOCH, self.seed)
                found = self.objective.figures(batch.to(context.device), draw.to(context.device))
                for term, figure in found.items():
                    count = torch.tensor([figure.count], device=context.device)
                    parts = (figure.loss.reshape(1), figure.correct.reshape(1), count, figure.class_counts)
                    row = torch.cat([part.to(context.wide) for part in parts])
                    sums[term] = row if term not in sums else sums[term] + row
        self.objective.train(training)
        return _joined(context.gather({term: row.tolist() for term, row in sums.items()}))


def _joined(ranks: list[dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """The figures over all ranks; a rank without a batch has none."""
    figures = {}
    for term in next((rank for rank in ranks if rank), {}):
        loss, correct, count, *classes = (sum(parts) for parts in zip(*(r[term] for r in ranks if r), strict=True))
        if count > 0:
            shares = [number / count for number in classes if number > 0]
            figures[term] = {
                "values": round(count),
                "loss": loss / count,
                "accuracy": correct / count,
                "trivial_loss": -sum(share * math.log(share) for share in shares),
                "trivial_accuracy": max(shares),
            }
    if not figures:
        raise MesomerError("No held-out molecule has anything to predict.", "Prepare a larger corpus.")
    return figures
