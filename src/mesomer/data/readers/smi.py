"""SMI: on each line a SMILES, then, after white space, its name.

There is no header unless the first word of the first line is a name of a SMILES column. Blank lines are no rows (their
line numbers count). A CXSMILES extension between bars belongs to the SMILES. Without a header the columns are `smiles`
and `name`; a header with more names splits the rest of the line at white space, the last column taking what remains.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mesomer.data.readers.base import Block, Reader, reader
from mesomer.data.readers.text import Lines, TextFile, empty_file
from mesomer.errors import MesomerError

_HEADER_WORDS = {"smiles", "canonical_smiles", "isomeric_smiles", "cxsmiles", "smi", "#smiles"}


def split_line(text: str, columns: int) -> list[str]:
    """The cells of a line: SMILES (with its extension), then `columns - 1` more, empty where the line ends early."""
    parts = text.split(None, 1)
    smiles, rest = parts[0], parts[1].strip() if len(parts) > 1 else ""
    if rest.startswith("|") and (end := rest.find("|", 1)) > 0:
        smiles, rest = f"{smiles} {rest[: end + 1]}", rest[end + 1 :].strip()
    if columns == 1:
        return [smiles]
    others = rest.split(None, columns - 2) if rest else []
    return [smiles, *others, *[""] * (columns - 1 - len(others))]


@reader(".smi", ".smiles", ".ism", ".can", ".cxsmiles")
class Smi(Reader):
    """A list of SMILES with names."""

    unreadable_hint = "Each line must be a SMILES, then white space and a name; is this a CSV file?"

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.file = TextFile(path)
        self.notes = self.file.notes
        self.has_header = False
        self.columns = self._columns()
        self.smiles_column = self.columns[0]

    def _columns(self) -> tuple[str, ...]:
        with self.file.open() as lines:
            first = self._first(lines)
        words = first.split()
        if words[0].lower() not in _HEADER_WORDS:
            return ("smiles", "name")
        self.has_header = True
        self.note(f"{self.name}: the first line is a header ({', '.join(words)}).")
        if len(set(words)) < len(words):
            raise MesomerError(f"{self.name} names a column twice: {', '.join(words)}.", "Rename one of them.")
        return tuple(words) if len(words) > 1 else (words[0], "name")

    def _first(self, lines: Lines) -> str:
        while (text := lines.next()) is not None:
            if text.strip():
                return text
        raise empty_file(self.file.path)

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        width = len(self.columns)
        with self.file.open() as lines:
            if self.has_header:
                self._first(lines)
            starts: list[int] = []
            table: list[list[str]] = []
            while (text := lines.next()) is not None:
                if not text.strip():
                    continue
                starts.append(lines.line)
                table.append(split_line(text, width))
                if len(table) == rows:
                    yield self._block(starts, table)
                    starts, table = [], []
            if table:
                yield self._block(starts, table)

    def _block(self, starts: list[int], table: list[list[str]]) -> Block:
        columns = zip(*table, strict=True)
        cells = {name: list(values) for name, values in zip(self.columns, columns, strict=True)}
        return Block(starts, cells, [None] * len(table))

    def estimated_rows(self) -> int | None:
        """See `Reader`."""
        return self.file.estimated_lines()
