"""Rows that were not used, with the reason: counted, sampled, and written to a CSV file.

The file has the columns `row` (from 1, header excluded), `line` (physical line, from 1; empty where the source has no
lines), `smiles` and `reason`; `cell` where labels were read, with the cell that is no label; and `file` if there are
several input files. It is written as rows come, appears when the
work is done (atomically), and not at all if no row was rejected; one of an earlier run is removed then.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from mesomer.data.outputs import csv_line
from mesomer.data.tables import Chunk
from mesomer.files import atomic_write, writing

_LONGEST_SMILES = 10_000


class Reject(NamedTuple):
    """One row that was not used."""

    row: int
    line: int
    smiles: str | None
    reason: str
    file: str = ""
    cell: str = ""
    """The target and its cell that made the row unusable, if it was one."""


class Rejects:
    """Collects rejected rows; a context manager that writes `path` when it ends without an error.

    Without a path, rows are only kept in `items`, and `write` writes them later. With one, `items` holds the first
    `keep` rows and memory stays constant.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        several_files: bool = False,
        keep: int = 1000,
        with_cells: bool = False,
    ) -> None:
        self.path = Path(path) if path is not None else None
        self.several_files = several_files
        self.with_cells = with_cells
        self.counts: Counter[str] = Counter()
        self.items: list[Reject] = []
        self._keep = keep if path is not None else None
        self._stack = ExitStack()
        self._handle: IO[str] | None = None

    @property
    def total(self) -> int:
        """Number of rejected rows."""
        return sum(self.counts.values())

    def add(self, row: int, line: int, smiles: str | None, reason: str, file: str = "", cell: str = "") -> None:
        """Records one row."""
        item = Reject(row, line, smiles, reason, file, cell)
        self.counts[reason] += 1
        if self._keep is None or len(self.items) < self._keep:
            self.items.append(item)
        if self.path is not None:
            if self._handle is None:
                self._open(self.path)
            self._write(item)

    def add_chunk(self, chunk: Chunk) -> None:
        """Records every bad row of a parsed chunk."""
        for at, reason in enumerate(chunk.reasons):
            if reason is not None:
                self.add(chunk.rows[at], chunk.lines[at], chunk.smiles[at], reason, chunk.file)

    def summary(self) -> str:
        """Counts by reason for a sentence, the most frequent first."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.counts.most_common())

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes all rows kept in memory; nothing if there are none."""
        if self._keep is not None:
            raise ValueError("these rejects are written as they come")
        if not self.items:
            return
        with Rejects(path, self.several_files, keep=0, with_cells=self.with_cells) as file:
            for item in sorted(self.items, key=lambda item: item.row):
                file.add(*item)

    def __enter__(self) -> Rejects:
        return self

    def __exit__(self, *exception: object) -> bool | None:
        if self.path is not None and self._handle is None and exception[0] is None:
            with writing(self.path):
                self.path.unlink(missing_ok=True)  # of an earlier run, which this one replaces
        return self._stack.__exit__(*exception)  # type: ignore[arg-type]

    def _open(self, path: Path) -> None:
        temporary = self._stack.enter_context(atomic_write(path))
        self._handle = self._stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
        self._handle.write(csv_line(["row", "line", "smiles", "reason", *self._optional("cell", "file")]))

    def _write(self, item: Reject) -> None:
        assert self._handle is not None and self.path is not None
        smiles = item.smiles if item.smiles is None else item.smiles[:_LONGEST_SMILES]
        more = self._optional(item.cell, item.file)
        with writing(self.path):
            self._handle.write(csv_line([item.row, item.line or None, smiles, item.reason, *more]))

    def _optional(self, cell: str, file: str) -> list[str]:
        return [*([cell] if self.with_cells else []), *([file] if self.several_files else [])]
