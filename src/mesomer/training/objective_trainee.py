"""An objective as the loop trains it, and its figures on held-out molecules.

`figures` gives for each term the loss beside that of the trivial guess, and accuracies where classes are named
(objectives/figures.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.data.corpus import Corpus
from mesomer.data.stream import ValidationBatches
from mesomer.errors import MesomerError
from mesomer.objectives.base import Draw, Objective
from mesomer.objectives.figures import Figures
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
        """The loss, loss and accuracy (`accuracy_…`) or R² (`explained_…`) of each term, and the score of the probe."""
        figures = self.figures(context)
        loss = sum(self.weights[term] * row["loss"] for term, row in figures.items())
        fields = {term: row["loss"] for term, row in figures.items()}
        rights = {
            f"{kind}_{term}": row[kind]
            for term, row in figures.items()
            for kind in ("accuracy", "explained")
            if kind in row
        }
        return {"loss": loss, **fields, **rights, **self.probe_score(context)}

    def probe_score(self, context: Context) -> dict[str, float]:
        """`probe_r2`, or nothing without a probe."""
        return {} if self.probe is None else {"probe_r2": self.probe.score(self.objective.encoder, context)}

    def figures(self, context: Context) -> dict[str, dict[str, float]]:
        """Per term what its kind of figures tells, over the held-out part, on all ranks."""
        training = self.objective.training
        self.objective.eval()
        sums: dict[str, dict[str, Tensor]] = {}
        kinds: dict[str, type[Figures]] = {}
        batches = ValidationBatches(
            self.corpus,
            atoms_per_batch=self.atoms_per_batch,
            rank=context.rank,
            world=context.world,
            extras=self.objective.batch_columns(self.corpus),
            limit=self.limit,
        )
        with torch.no_grad(), context.autocast():
            for batch in batches:
                draw = self.objective.draw(batch, _VALIDATION_EPOCH, self.seed)
                found = self.objective.figures(batch.to(context.device), draw.to(context.device))
                for term, figure in found.items():
                    kinds[term] = type(figure)
                    own = {name: value.to(context.wide) for name, value in figure.sums().items()}
                    before = sums.get(term)
                    sums[term] = own if before is None else {name: before[name] + own[name] for name in own}
        self.objective.train(training)
        told = {term: {name: value.cpu().numpy() for name, value in own.items()} for term, own in sums.items()}
        return _joined(context.gather((kinds, told)))


def _joined(
    ranks: Sequence[tuple[dict[str, type[Figures]], dict[str, dict[str, np.ndarray]]]],
) -> dict[str, dict[str, float]]:
    """The figures over all ranks; a rank may have none of a term."""
    figures = {}
    every = {term: kind for kinds, _ in reversed(ranks) for term, kind in kinds.items()}
    for term, kind in every.items():
        parts = [told[term] for _, told in ranks if term in told]
        row = kind.row({name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]})
        if row:
            figures[term] = row
    if not figures:
        raise MesomerError("No held-out molecule has anything to predict.", "Prepare a larger corpus.")
    return figures
