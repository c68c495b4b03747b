"""From an input table to an output table: the two jobs that touch every row of a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mesomer.data.geometry import Geometry
from mesomer.data.outputs import Result
from mesomer.data.readers import format_suffix
from mesomer.data.tables import Chunk, Table
from mesomer.data.writers import TableWriter, check_names
from mesomer.errors import MesomerError
from mesomer.files import check_writable
from mesomer.inference.embed import Embedder
from mesomer.inference.predict import TablePredictor
from mesomer.inference.rows import Rows, Wanted, present, table_rows
from mesomer.progress import Progress

DTYPES = ("float32", "float16")
TABLES = (".csv", ".tsv", ".parquet")


def predict_table(
    table: Table,
    predictor: TablePredictor,
    output: str | os.PathLike[str],
    on_error: str = "keep",
    workers: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes the input's rows with predictions; returns counts of rows and failures."""
    check_writable(output, overwrite)
    if format_suffix(Path(output)) not in TABLES:
        raise MesomerError(f"{output} cannot be written as a table.", "End its name in .csv, .tsv or .parquet.")
    predictor.check(table)
    columns = predictor.columns()
    check_names(table.columns, columns)
    reason = f"mesomer_error{predictor.suffix}"
    return _write(
        table, output, columns, {}, predictor.wanted, predictor.predict_chunk, reason, on_error, workers, "predicting"
    )


def embed_table(
    table: Table,
    embedder: Embedder,
    output: str | os.PathLike[str],
    dtype: str = "float32",
    suffix: str = "",
    on_error: str = "keep",
    workers: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes the input's rows with vectors; returns counts of rows and failures."""
    check_writable(output, overwrite)
    if embedder.level != "molecule" and format_suffix(Path(output)) != ".parquet":
        raise MesomerError(
            f"{output} cannot hold a list of vectors for each molecule.",
            "End its name in .parquet, or take --level molecule.",
        )
    name, error = f"embedding{suffix}", f"mesomer_error{suffix}"
    kind = "vector" if embedder.level == "molecule" else "vectors"
    columns = [Result(name, kind, embedder.width, dtype), Result(error, "text")]
    check_names(table.columns, columns)

    def compute(chunk: Chunk, rows: Rows) -> dict[str, Any]:
        vectors: Any = embedder.vectors(rows.graphs) if kind == "vector" else embedder.vector_lists(rows.graphs)
        if dtype == "float16":
            _check_half(vectors)
        return {name: vectors, error: rows.reasons}

    metadata = embedder.metadata() | {"dtype": dtype}
    return _write(table, output, columns, metadata, embedder.wanted, compute, error, on_error, workers, "embedding")


def _check_half(vectors: Any) -> None:
    """float16 ends at 65,504: a larger number would silently become infinite."""
    parts = [vectors] if isinstance(vectors, np.ndarray) else [part for part in vectors if part is not None]
    if any(np.nanmax(np.abs(part), initial=0.0) > np.finfo(np.float16).max for part in parts):
        raise MesomerError("A vector holds numbers too large for float16.", "Use --dtype float32.")


def _write(
    table: Table,
    output: str | os.PathLike[str],
    columns: list[Result],
    metadata: Mapping[str, Any],
    wanted: Wanted,
    compute: Callable[[Chunk, Rows], dict[str, Any]],
    reason_column: str,
    on_error: str,
    workers: int,
    label: str,
) -> dict[str, Any]:
    """Chunk by chunk: molecules, results, file; the file appears when the last row is in it."""
    failures: Counter[str] = Counter()
    geometry = Geometry()
    total = table.rows if table.rows is not None else table.estimated_rows
    with Progress(total, "molecules", label) as bar, TableWriter.like(table, output, columns, metadata) as writer:
        for chunk, rows in table_rows(table, wanted, workers, bar.advance):
            results = compute(chunk, rows)
            for at, reason in enumerate(results[reason_column]):
                if reason is None:
                    continue
                failures[reason] += 1
                if on_error == "stop":
                    raise _stopped(table, chunk, at, reason)
            if wanted.coordinates:
                _, graphs, mols = present(chunk, rows)
                geometry.add(graphs, mols)
            writer.write(chunk, results)
        count = writer.rows
        rate = bar.rate
    return {
        "output": os.fspath(output),
        "rows": count,
        "failed": sum(failures.values()),
        "failures": dict(failures.most_common()),
        "molecules_per_second": round(rate, 1 if rate >= 10 else 3),
        "geometry": geometry.counts,
        "geometry_warnings": geometry.sentences(),
    }


def _stopped(table: Table, chunk: Chunk, at: int, reason: str) -> MesomerError:
    line = f" (line {chunk.lines[at]})" if chunk.lines[at] else ""
    shown = chunk.smiles[at]
    text = f": {shown[:60]!r}" if shown else ""
    return MesomerError(
        f"Row {chunk.rows[at]}{line} of {table.name} cannot be used: {reason}{text}.",
        "Correct it, or leave out --on_error stop to keep such rows with an empty result.",
    )
