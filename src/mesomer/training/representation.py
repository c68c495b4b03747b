"""Whether representations get better while a network is pre-trained: a ridge regression on a small labelled set.

The loss of an objective can fall while the vectors become no more useful. At each validation the molecules of the
demonstration set (aqueous solubility, which the objective never sees) are embedded, and their label is predicted by
ridge regression in five fixed folds. The score is R² over the left-out predictions; 0 is what the mean predicts.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray

from mesomer.chem.featurize import featurize, graph_from_smiles
from mesomer.chem.graph import GraphBatch, MolGraph, collate
from mesomer.chem.parse import parse_smiles
from mesomer.data.geometry import placed_graphs
from mesomer.encoders.base import Encoder
from mesomer.metrics import r2
from mesomer.run import stop_signals
from mesomer.training.context import Context
from mesomer.training.probe import linear_inputs
from mesomer.training.scaling import Scaling

SET, MOLECULES, FOLDS = "biogen_sol", 600, 5
_BATCH = 100
_PENALTIES = np.logspace(-1, 5, 13)


class RepresentationProbe:
    """The labelled molecules, featurised once, by the rank that needs them; `score` embeds them and fits."""

    def __init__(self, molecules: int = MOLECULES, coordinates: bool = False) -> None:
        self.molecules, self.coordinates = molecules, coordinates
        self._ready: tuple[list[GraphBatch], NDArray[np.float64]] | None = None

    def prepare(self, context: Context) -> None:
        """Featurises the molecules, before a training listens to signals; a signal ends it at once, as atoms may have
        to be placed in space, which takes long and saves nothing.
        """
        with stop_signals(at_once=True):
            context.first(self._look)

    def _look(self) -> None:
        self._data()

    def _data(self) -> tuple[list[GraphBatch], NDArray[np.float64]]:
        """The batches and the labels."""
        if self._ready is None:
            self._ready = self._read()
        return self._ready

    def _read(self) -> tuple[list[GraphBatch], NDArray[np.float64]]:
        packed = files("mesomer").joinpath(f"demo/{SET}.csv.gz").read_bytes()
        rows = list(csv.DictReader(gzip.decompress(packed).decode().splitlines()))
        chosen = np.random.default_rng(0).permutation(len(rows))[: self.molecules]
        if self.coordinates:
            graphs = _placed([rows[at]["smiles"] for at in chosen])
        else:
            graphs = [graph_from_smiles(rows[at]["smiles"])[0] for at in chosen]
        labels = [float(rows[at]["activity"]) for at in chosen]
        good = [(graph, label) for graph, label in zip(graphs, labels, strict=True) if graph is not None]
        # like sizes together; the folds are dealt afterwards, so that each has all sizes
        good.sort(key=lambda pair: len(pair[0].atoms))
        ready = [graph for graph, _ in good]
        batches = [collate(ready[at : at + _BATCH]) for at in range(0, len(ready), _BATCH)]
        return batches, np.array([label for _, label in good])

    def score(self, encoder: Encoder, context: Context) -> float:
        """R² of solubility from the encoder's present vectors; computed on the first rank, told to all."""
        return context.first(lambda: self._score(encoder, context))

    @torch.no_grad()
    def _score(self, encoder: Encoder, context: Context) -> float:
        batches, labels = self._data()
        training = encoder.training
        encoder.eval()
        with context.autocast():
            moved = (batch.to(context.device) for batch in batches)
            rows = [encoder.molecule_vectors(encoder(batch), batch).float().cpu().numpy() for batch in moved]
        encoder.train(training)
        return ridge_r2(np.concatenate(rows).astype(np.float64), labels)


def _placed(smiles: Sequence[str]) -> list[MolGraph | None]:
    """Graphs with computed coordinates; None where a SMILES cannot be read."""
    mols = [parse_smiles(text)[0] for text in smiles]
    good = [mol for mol in mols if mol is not None]
    ready = iter(placed_graphs([featurize(mol) for mol in good], good))
    return [None if mol is None else next(ready) for mol in mols]


def ridge_r2(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """R² over the left-out predictions of a cross-validated ridge regression: x [M, D], y [M].

    Inputs are standardised and bounded, as those of the linear probe are.
    """
    from sklearn.linear_model import RidgeCV

    predicted = np.empty_like(y)
    fold = np.arange(len(y)) % FOLDS
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        inputs = linear_inputs(Scaling.fit(x[train]), x)
        predicted[test] = RidgeCV(_PENALTIES).fit(inputs[train], y[train]).predict(inputs[test])
    return r2(y, predicted)
