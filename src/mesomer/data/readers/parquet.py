"""Parquet: batches of rows with their types, never the whole file in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mesomer.data.readers.base import Block, Reader, reader
from mesomer.data.readers.text import reading
from mesomer.errors import MesomerError


@reader(".parquet", ".pq")
class Parquet(Reader):
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        file = self._open()
        with file:
            self.schema = file.schema_arrow
            self.rows = file.metadata.num_rows
        self.columns = tuple(self.schema.names)
        if len(set(self.columns)) < len(self.columns):
            raise MesomerError(f"{path} names a column twice.", "Rename one of them.")

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with reading(self.path):
            try:
                return pq.ParquetFile(self.path)
            except pa.ArrowInvalid as error:
                raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> MesomerError:
        return MesomerError(
            f"{self.path} is not a readable Parquet file: {str(error).splitlines()[0].rstrip('.')}.",
            "Is it cut short? Copy or write it again.",
        )

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        import pyarrow as pa

        with self._open() as file:
            batches = file.iter_batches(batch_size=rows)
            while True:
                with reading(self.path):
                    try:
                        batch = next(batches, None)
                    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                        raise self._damaged(error) from error
                if batch is None:
                    return
                cells = {name: batch.column(at).to_pylist() for at, name in enumerate(self.columns)}
                yield Block([0] * batch.num_rows, cells, [None] * batch.num_rows, batch=batch)
