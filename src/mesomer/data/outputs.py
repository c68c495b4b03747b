"""The formats of output tables: how each takes rows and what a value looks like in it.

A format writes to the temporary path that the table writer gives it; it neither renames nor checks names.
"""

from __future__ import annotations

import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mesomer.data.readers import is_absent
from mesomer.data.tables import Chunk

if TYPE_CHECKING:
    import pyarrow as pa

_SPECIAL = re.compile(r'[",\r\n]|^\s|\s$')
_SPECIAL_TAB = re.compile(r'["\t\r\n]|^\s|\s$')
_BUFFERED_ROWS, _BUFFERED_BYTES = 32_768, 32 << 20


class Result(NamedTuple):
    """A column of results."""

    name: str
    kind: str
    """`number`, `text`, `vector` (one per row) or `vectors` (a list per row: one for each atom or bond)."""
    width: int = 1
    """Length of a vector."""
    dtype: str = "float32"
    """Of numbers and vectors: float16, float32, float64."""


def csv_line(cells: Iterable[Any], separator: str = ",") -> str:
    """One line of a CSV file, such that reading it gives the same texts again."""
    special = _SPECIAL if separator == "," else _SPECIAL_TAB
    texts = [_text(cell) for cell in cells]
    if texts == [""]:
        return '""\n'  # a blank line would be no row
    return separator.join('"' + t.replace('"', '""') + '"' if special.search(t) else t for t in texts) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if is_absent(value):
        return ""
    if isinstance(value, float):
        return repr(value)
    return str(value)


class Format(ABC):
    """How one file format takes rows."""

    def __init__(self, columns: tuple[str, ...], results: tuple[Result, ...]) -> None:
        self.columns, self.results = columns, results

    @abstractmethod
    def open(self, path: Path, stack: ExitStack) -> None:
        """Opens the file and leaves its closing on the stack."""

    @abstractmethod
    def write(self, chunk: Chunk, results: Mapping[str, Any]) -> None:
        """Appends rows."""


class Csv(Format):
    """Text with a separator; a vector becomes one column for each of its numbers."""

    def __init__(self, columns: tuple[str, ...], results: tuple[Result, ...], separator: str, compression: str) -> None:
        super().__init__(columns, results)
        self._separator, self._compression = separator, compression
        self._handle: Any = None
        self.result_names: list[str] = []
        for result in results:
            numbered = [f"{result.name}_{at}" for at in range(result.width)]
            self.result_names += numbered if result.kind == "vector" else [result.name]

    def open(self, path: Path, stack: ExitStack) -> None:
        """See `Format`."""
        if self._compression == ".gz":
            import gzip

            raw = stack.enter_context(path.open("wb"))
            stream = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
            self._handle = stack.enter_context(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
        elif self._compression == ".zst":
            import zstandard

            self._handle = stack.enter_context(zstandard.open(path, "wt", encoding="utf-8", newline=""))
        else:
            self._handle = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        self._handle.write(csv_line([*self.columns, *self.result_names], self._separator))

    def write(self, chunk: Chunk, results: Mapping[str, Any]) -> None:
        """See `Format`."""
        columns: list[Sequence[Any]] = [chunk.cells[name] for name in self.columns]
        for result in self.results:
            columns += _text_columns(result, results[result.name])
        lines = [csv_line(cells, self._separator) for cells in zip(*columns, strict=True)]
        self._handle.write("".join(lines))


def _text_columns(result: Result, values: Any) -> list[Sequence[Any]]:
    if result.kind == "text":
        return [values]
    numbers = np.asarray(values, dtype=result.dtype)
    # NumPy's text of a float32 is the shortest that reads back equal; of a Python float it would be 17 digits.
    texts = np.where(np.isnan(numbers), "", numbers.astype(str))
    return [texts.tolist()] if result.kind == "number" else list(texts.T.tolist())


class Npy(Format):
    """NumPy's file format, appended to: the number of rows is filled in at the end."""

    def open(self, path: Path, stack: ExitStack) -> None:
        """See `Format`."""
        self._result = next(result for result in self.results if result.kind == "vector")
        self._rows = 0
        self._handle = stack.enter_context(path.open("r+b"))
        stack.push(self._finish)
        self._handle.write(self._header())

    def _header(self) -> bytes:
        shape = (self._rows, self._result.width)
        text = repr({"descr": np.dtype(self._result.dtype).str, "fortran_order": False, "shape": shape})
        return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"

    def _finish(self, kind: object, *_: object) -> None:
        if kind is None:
            self._handle.seek(0)
            self._handle.write(self._header())

    def write(self, chunk: Chunk, results: Mapping[str, Any]) -> None:
        """See `Format`."""
        array = np.ascontiguousarray(results[self._result.name], dtype=self._result.dtype)
        self._handle.write(array.data)
        self._rows += len(array)


class Parquet(Format):
    """Parquet with the input's types, where they are known, and vectors as lists of fixed size."""

    def __init__(
        self,
        columns: tuple[str, ...],
        results: tuple[Result, ...],
        schema: pa.Schema | None,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        import pyarrow as pa

        super().__init__(columns, results)
        inputs = [schema.field(name) if schema is not None else pa.field(name, pa.string()) for name in columns]
        outputs = [pa.field(result.name, _arrow_type(result)) for result in results]
        about = {"mesomer": json.dumps(dict(metadata))} if metadata else None
        self._schema = pa.schema([*inputs, *outputs], metadata=about)
        self._typed = schema is not None
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._held_bytes = 0

    def open(self, path: Path, stack: ExitStack) -> None:
        """See `Format`."""
        import pyarrow.parquet as pq

        self._writer = stack.enter_context(pq.ParquetWriter(path, self._schema, compression="zstd"))
        stack.push(self._finish)

    def _finish(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()

    def write(self, chunk: Chunk, results: Mapping[str, Any]) -> None:
        """See `Format`."""
        import pyarrow as pa

        arrays = []
        for at, name in enumerate(self.columns):
            if chunk.batch is not None and self._typed:
                arrays.append(chunk.batch.column(at).cast(self._schema.field(at).type))
            elif self._typed:
                arrays.append(pa.array(chunk.cells[name], self._schema.field(at).type))
            else:
                texts = [None if is_absent(cell) else _text(cell) for cell in chunk.cells[name]]
                arrays.append(pa.array(texts, pa.string()))
        arrays += [_arrow_array(result, results[result.name]) for result in self.results]
        self._held.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._held_rows += len(chunk)
        self._held_bytes += self._held[-1].nbytes
        if self._held_rows >= _BUFFERED_ROWS or self._held_bytes >= _BUFFERED_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held), row_group_size=_BUFFERED_ROWS)
        self._held, self._held_rows, self._held_bytes = [], 0, 0


def _arrow_type(result: Result) -> pa.DataType:
    import pyarrow as pa

    if result.kind == "text":
        return pa.string()
    number = pa.from_numpy_dtype(np.dtype(result.dtype))
    if result.kind == "number":
        return number
    vector = pa.list_(number, result.width)
    return vector if result.kind == "vector" else pa.list_(vector)


def _arrow_array(result: Result, values: Any) -> pa.Array:
    import pyarrow as pa

    if result.kind == "text":
        return pa.array(list(values), pa.string())
    if result.kind == "vectors":
        counts = [0 if value is None else len(value) for value in values]
        parts = [np.asarray(value, dtype=result.dtype).reshape(-1) for value in values if value is not None]
        flat = np.concatenate(parts) if parts else np.zeros(0, dtype=result.dtype)
        inner = pa.FixedSizeListArray.from_arrays(pa.array(flat), result.width)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        missing = pa.array([value is None for value in values])
        return pa.ListArray.from_arrays(pa.array(offsets), inner, mask=missing)
    numbers = np.asarray(values, dtype=result.dtype)
    if result.kind == "number":
        return pa.array(numbers, mask=np.isnan(numbers))
    missing = pa.array(np.isnan(numbers).all(axis=1))
    flat = pa.array(np.ascontiguousarray(numbers).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, result.width, mask=missing)
