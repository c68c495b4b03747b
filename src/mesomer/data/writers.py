"""Output tables: exactly the input's rows in order, the input's columns as they were, then the results.

The suffix says the format: `.csv`, `.tsv` (both also `.gz`, `.zst`), `.parquet`, `.npy` (one vector per row and nothing
else). Nothing appears at the path before the last row is written. Values that are absent (NaN, None) are empty cells in
text and null in Parquet; a row without a vector is null in Parquet and NaN in `.npy`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesomer.data.outputs import Csv, Format, Npy, Parquet, Result
from mesomer.data.readers import format_suffix
from mesomer.data.tables import Chunk, Table
from mesomer.errors import MesomerError
from mesomer.files import atomic_write, writing

if TYPE_CHECKING:
    import pyarrow as pa


def check_names(columns: Sequence[str], results: Iterable[Result | str]) -> None:
    """Stops if a result would have the name of an input column."""
    names = [result if isinstance(result, str) else result.name for result in results]
    clashes = [name for name in names if name in columns]
    if clashes:
        raise MesomerError(
            f"The input has a column named {clashes[0]!r} already, as the output would.",
            "Give --suffix TEXT, which is added to the names of the results, or rename the column.",
        )


class TableWriter:
    """Writes chunks with their results; a context manager whose file appears when it ends without an error.

    Args:
        path: Where to write; the suffix says the format.
        columns: The input's columns.
        results: The result columns, after them.
        schema: Arrow types of the input's columns, if known (Parquet output; otherwise they are text).
        metadata: Facts about the results, kept in Parquet as JSON under the key `mesomer`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[str],
        results: Sequence[Result],
        schema: pa.Schema | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.columns = tuple(columns)
        self.results = tuple(results)
        check_names(self.columns, self.results)
        self._format = _format(self.path, self.columns, self.results, schema, metadata)
        self._stack = ExitStack()
        self.rows = 0

    @classmethod
    def like(
        cls,
        table: Table,
        path: str | os.PathLike[str],
        results: Sequence[Result],
        metadata: Mapping[str, Any] | None = None,
    ) -> TableWriter:
        """A writer for the rows of `table`."""
        return cls(path, table.columns, results, table.schema, metadata)

    def __enter__(self) -> TableWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            self._format.open(temporary, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> bool | None:
        return self._stack.__exit__(*exception)  # type: ignore[arg-type]

    def write(self, chunk: Chunk, results: Mapping[str, Any]) -> None:
        """Appends the rows of `chunk`; `results` has an array or a list of as many values for each result column.

        A `vector` is an array [rows, width], of which rows that are all NaN have no vector; `vectors` is a list of
        arrays [items, width] or None.
        """
        for result in self.results:
            if len(results[result.name]) != len(chunk):
                raise ValueError(f"{result.name}: {len(results[result.name])} values for {len(chunk)} rows")
        with writing(self.path):
            self._format.write(chunk, results)
        self.rows += len(chunk)


def output_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix that says the output format; an error if it says none."""
    suffix = format_suffix(Path(path))
    if suffix not in (".csv", ".tsv", ".parquet", ".npy"):
        raise MesomerError(f"{path} does not say the output's format.", "End its name in .parquet, .csv, .tsv or .npy.")
    return suffix


def _format(
    path: Path,
    columns: tuple[str, ...],
    results: tuple[Result, ...],
    schema: pa.Schema | None,
    metadata: Mapping[str, Any] | None,
) -> Format:
    suffix, last = output_suffix(path), path.suffix.lower()
    if suffix == ".parquet":
        return Parquet(columns, results, schema, metadata)
    if any(result.kind == "vectors" for result in results):
        raise MesomerError(f"{path} cannot hold a list of vectors per row.", "Write atom and bond levels to .parquet.")
    if suffix == ".npy":
        if not any(result.kind == "vector" for result in results):
            raise MesomerError(f"{path} cannot hold these results.", "Write them to .csv or .parquet.")
        return Npy(columns, results)
    if last == ".bz2":
        raise MesomerError(f"{path} would be compressed with bzip2, which is only read.", "Use .gz or .zst.")
    text = Csv(columns, results, "\t" if suffix == ".tsv" else ",", last)
    check_names(columns, text.result_names)
    return text
