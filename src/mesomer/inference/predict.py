"""Predictions of a fine-tuned model for the rows of a table: values, spread, interval, similarity to the training set.

Decided: values are means over members, the deviation is theirs (empty with one member); intervals are the stored
split-conformal half-widths; a class target names the likeliest class and every probability. Columns come in a fixed
order, target by target, then `similarity` and `mesomer_error`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.graph import GraphBatch, MolGraph
from mesomer.data.decimals import has_other_point, with_point
from mesomer.data.outputs import Result
from mesomer.data.tables import Chunk, Table
from mesomer.errors import MesomerError
from mesomer.inference.batches import Runner, choose_device
from mesomer.inference.rows import Rows, Wanted
from mesomer.training.finetune_plan import descriptor_number
from mesomer.training.predictor import (
    RDKIT_DESCRIPTORS,
    Predictor,
    class_columns,
    descriptor_columns,
    load_predictor,
)
from mesomer.uncertainty import nearest_similarity

BAD_DESCRIPTOR = "bad descriptor"


class TablePredictor:
    """A fine-tuned model ready for tables.

    Args:
        model: Fine-tuned model: model folder, run folder or hub name.
        accelerator: auto, cpu, cuda or mps.
        atoms_per_batch: Atoms at a time; a suitable number if None.
        suffix: Added to the names of the result columns.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Predictor,
        accelerator: str = "auto",
        atoms_per_batch: int | None = None,
        suffix: str = "",
    ) -> None:
        self.predictor = model if isinstance(model, Predictor) else load_predictor(model)
        self.runner = Runner(choose_device(accelerator), atoms_per_batch)
        self.predictor.to(self.runner.device)
        self.suffix = suffix
        self.decimal: str | None = None
        self.wanted = Wanted(
            fingerprints=len(self.predictor.fingerprints) > 0,
            descriptors=RDKIT_DESCRIPTORS in self.predictor.descriptors,
            coordinates=self.predictor.members[0].encoder.needs_coordinates,
        )

    def columns(self) -> list[Result]:
        """The result columns, in order."""
        columns = []
        for target in self.predictor.targets:
            kind = "text" if target.type == "multiclass" else "number"
            columns.append(self._column(f"{target.name}_pred", kind))
            if target.type == "multiclass":
                columns += [self._column(f"{target.name}_prob_{name}") for name in target.classes]
            columns.append(self._column(f"{target.name}_pred_std"))
            if target.type == "regression":
                columns += [self._column(f"{target.name}_pred_{end}") for end in ("low", "high")]
        return [*columns, self._column("similarity"), self._column("mesomer_error", "text")]

    def _column(self, name: str, kind: str = "number") -> Result:
        return Result(f"{name}{self.suffix}", kind)

    def check(self, table: Table) -> None:
        """Stops if the table lacks a descriptor column that the model was trained with; takes its decimal sign."""
        self.decimal = table.decimal
        for name in descriptor_columns(self.predictor.descriptors):
            if name not in table.columns:
                raise MesomerError(
                    f"The model was trained with the descriptor column {name!r}, which {table.name} does not have.",
                    f"Its columns are {', '.join(table.columns)}. Add the column.",
                )

    def predict_chunk(self, chunk: Chunk, rows: Rows) -> dict[str, Any]:
        """The result columns of a chunk; rows that cannot be predicted are empty and say why in `mesomer_error`."""
        found, reasons = self.chunk_outputs(chunk, rows)
        results = self._target_results(found)
        similarity = np.full(len(chunk), np.nan, np.float32)
        good = [at for at, reason in enumerate(reasons) if reason is None]
        if good and rows.fingerprints is not None:
            similarity[good] = nearest_similarity(rows.fingerprints[good], self.predictor.fingerprints)
        results["similarity"], results["mesomer_error"] = similarity, reasons
        return {f"{name}{self.suffix}": values for name, values in results.items()}

    def chunk_outputs(self, chunk: Chunk, rows: Rows) -> tuple[NDArray[np.float64], list[str | None]]:
        """(every member's outputs [members, n, T'], why a row has none): what `predict_chunk` makes columns of."""
        graphs, reasons = list(rows.graphs), list(rows.reasons)
        descriptors = self._descriptors(chunk, rows, reasons)
        for at, reason in enumerate(reasons):
            if reason is not None:
                graphs[at] = None
        return self.member_outputs(graphs, descriptors), reasons

    def member_outputs(
        self, graphs: Sequence[MolGraph | None], descriptors: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Every member's outputs on the original scale: [members, n, T'], NaN where there is no graph."""
        width = sum(output.width for output in self.predictor.outputs)
        found = np.full((len(self.predictor.members), len(graphs), width), np.nan)
        good = np.array([at for at, graph in enumerate(graphs) if graph is not None], dtype=np.int64)

        def outputs(batch: GraphBatch, positions: NDArray[np.int64]) -> NDArray[np.float64]:
            extra = None if descriptors is None else descriptors[good[positions]]
            return self.predictor.predict(batch, extra)

        present = [graph for graph in graphs if graph is not None]
        for positions, values in self.runner.run(present, outputs):
            found[:, good[positions]] = values
        return found

    def _descriptors(self, chunk: Chunk, rows: Rows, reasons: list[str | None]) -> NDArray[np.float64] | None:
        """Extra features [rows, columns]; a cell that is no number makes its row unusable, an empty one is missing."""
        blocks: list[NDArray[Any]] = []
        for name in self.predictor.descriptors:
            if name == RDKIT_DESCRIPTORS:
                assert rows.descriptors is not None
                blocks.append(rows.descriptors)
                continue
            values = np.full((len(chunk), 1), np.nan)
            for at, cell in enumerate(chunk.cells[name]):
                values[at], bad = descriptor_number(with_point(cell, self.decimal))
                if (bad or has_other_point(cell, self.decimal)) and reasons[at] is None:
                    reasons[at] = BAD_DESCRIPTOR
            blocks.append(values)
        return np.concatenate(blocks, 1).astype(np.float64) if blocks else None

    def _target_results(self, found: NDArray[np.float64]) -> dict[str, Any]:
        mean = found.mean(0)
        deviation = found.std(0) if len(found) > 1 else np.full(mean.shape, np.nan)
        results: dict[str, Any] = {}
        for at, (target, columns) in enumerate(class_columns(self.predictor.targets)):
            values, spread = mean[:, columns], deviation[:, columns]
            name = target.name
            if target.type == "multiclass":
                known = ~np.isnan(values[:, 0])
                chosen = np.where(known, np.nan_to_num(values).argmax(1), 0)
                words = [target.classes[c] if ok else None for c, ok in zip(chosen, known, strict=True)]
                results[f"{name}_pred"] = words
                results |= {f"{name}_prob_{word}": values[:, place] for place, word in enumerate(target.classes)}
                results[f"{name}_pred_std"] = spread[np.arange(len(chosen)), chosen]
                continue
            results[f"{name}_pred"], results[f"{name}_pred_std"] = values[:, 0], spread[:, 0]
            if target.type == "regression":
                width = self.predictor.half_widths[at]
                width = np.nan if width is None else width
                results[f"{name}_pred_low"], results[f"{name}_pred_high"] = values[:, 0] - width, values[:, 0] + width
        return results
