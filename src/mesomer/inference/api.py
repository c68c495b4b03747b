"""A model in a program: `load("batmannet-1").embed(smiles)`, `load("runs/sol").predict(smiles)`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.data.tables import is_frame, open_table
from mesomer.errors import MesomerError
from mesomer.inference.embed import Embedder
from mesomer.inference.predict import TablePredictor
from mesomer.inference.rows import Wanted, table_rows
from mesomer.training.checkpoint import default_model, load_model
from mesomer.training.predictor import descriptor_columns, is_predictor, predictor_of


class Model:
    """A loaded model.

    Args:
        name: Model folder, run folder, bundled or hub name; the bundled encoder if None.
        accelerator: auto, cpu, cuda or mps.
    """

    def __init__(self, name: str | os.PathLike[str] | None = None, accelerator: str = "auto") -> None:
        self.folder = load_model(name or default_model())
        self.accelerator = accelerator
        self._embedders: dict[str, Embedder] = {}
        self._predictor: TablePredictor | None = None

    def embedder(self, level: str = "molecule") -> Embedder:
        """The embedder of a level."""
        if level not in self._embedders:
            self._embedders[level] = Embedder(self.folder, level, self.accelerator)
        return self._embedders[level]

    def embed(self, smiles: Any, level: str = "molecule") -> Any:
        """Vectors: float32 [n, width] with a row of NaN for a bad molecule, or a list of arrays by atom or bond.

        smiles: SMILES or RDKit molecules, as a list, an array or a column of a frame.
        """
        embedder = self.embedder(level)
        parts: list[Any] = []
        for _, rows in table_rows(open_table(_listed(smiles), max_atoms=embedder.max_atoms), Wanted()):
            parts.append(embedder.vectors(rows.graphs) if level == "molecule" else embedder.vector_lists(rows.graphs))
        if level != "molecule":
            return [part for chunk in parts for part in chunk]
        return np.concatenate(parts) if parts else np.zeros((0, embedder.width), np.float32)

    def reasons(self, smiles: Any) -> list[str | None]:
        """Why molecules cannot be used; None for good ones."""
        return [reason for _, rows in table_rows(open_table(_listed(smiles)), Wanted()) for reason in rows.reasons]

    def predict(self, smiles: Any) -> dict[str, NDArray[Any]]:
        """The columns that `mesomer predict` writes, by name; NaN (or None) for bad molecules."""
        if not is_predictor(self.folder):
            raise MesomerError(
                f"{self.folder.path} holds an encoder, which predicts no property.",
                "Fine-tune it on labels first: `mesomer finetune`.",
            )
        if self._predictor is None:
            self._predictor = TablePredictor(predictor_of(self.folder), self.accelerator)
        predictor = self._predictor
        if columns := descriptor_columns(predictor.predictor.descriptors):
            raise MesomerError(
                f"The model was trained with descriptor columns ({', '.join(columns)}), which a list of SMILES lacks.",
                "Give a table to `mesomer predict`.",
            )
        parts: dict[str, list[Any]] = {column.name: [] for column in predictor.columns()}
        table = open_table(_listed(smiles), max_atoms=predictor.predictor.max_atoms)
        for chunk, rows in table_rows(table, predictor.wanted):
            for name, values in predictor.predict_chunk(chunk, rows).items():
                parts[name].extend(values)
        return {name: np.array(values) for name, values in parts.items()}


def _listed(smiles: Any) -> Any:
    """A list of SMILES or molecules; a frame stays one, and its SMILES column is found as in any table."""
    if isinstance(smiles, str):
        raise MesomerError("One SMILES is no list.", f"Write [{smiles!r}].")
    return smiles if is_frame(smiles) else list(smiles)


def load(name: str | os.PathLike[str] | None = None, accelerator: str = "auto") -> Model:
    """Opens a model folder, a run folder, a bundled or a hub model; the bundled encoder if no name is given."""
    return Model(name, accelerator)
