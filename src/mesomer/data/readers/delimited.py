"""CSV, TSV and their relatives: a header, then one row per record.

Separators are told from the content (comma, semicolon, tab, bar, and spaces if every row agrees). Quotes are read as
Python's `csv` reads them: a field that starts with a quote ends at the next single one and may hold separators, doubled
quotes and line breaks. Unlike `csv`, there is no limit to a field, and a quote that never closes costs one row, not
the rest of the file. A row with more or fewer cells than the header is kept, filled up or cut, with the reason
`wrong number of cells`. A blank line is no row, except in a table of one column, where it is an empty cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mesomer.data.readers.base import WRONG_CELLS, Block, Reader, reader
from mesomer.data.readers.text import Lines, TextFile, empty_file, has_control_characters
from mesomer.errors import MesomerError

MAX_RECORD_LINES = 10_000
MAX_RECORD_CHARACTERS = 1 << 24
_SEPARATORS = (",", "\t", ";", "|", " ")
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SNIFF_RECORDS = 50


class Record:
    """Takes one record apart, line by line: `feed` says whether the record is complete."""

    def __init__(self, separator: str) -> None:
        self.cells: list[str] = []
        self._separator = separator
        self._open: list[str] | None = None

    def feed(self, text: str) -> bool:
        """Adds a line (with its end). False: a quoted field is open and the next line belongs to it."""
        at = 0
        if self._open is None:
            text_end = len(text.rstrip("\r\n"))
        else:
            at = self._quoted(text, 0)
            if at < 0:
                return False
            text_end = len(text.rstrip("\r\n"))
            at = self._close(text, at, text_end)
        while at <= text_end:
            if text.startswith('"', at):
                self._open = []
                at = self._quoted(text, at + 1)
                if at < 0:
                    return False
                at = self._close(text, at, text_end)
            else:
                end = text.find(self._separator, at, text_end)
                end = text_end if end < 0 else end
                self.cells.append(text[at:end])
                at = end + 1
        return True

    def _quoted(self, text: str, at: int) -> int:
        """Reads the open field from `at`; position after the closing quote, or -1 if it does not close here."""
        assert self._open is not None
        while True:
            end = text.find('"', at)
            if end < 0:
                self._open.append(text[at:])
                return -1
            self._open.append(text[at:end])
            if not text.startswith('"', end + 1):
                return end + 1
            self._open.append('"')
            at = end + 2

    def _close(self, text: str, at: int, text_end: int) -> int:
        """Ends the quoted field (what follows its quote belongs to it); start of the next field."""
        assert self._open is not None
        end = text.find(self._separator, at, text_end)
        end = text_end if end < 0 else end
        self.cells.append("".join(self._open) + text[at:end])
        self._open = None
        return end + 1


def read_record(lines: Lines, separator: str) -> tuple[int, list[str], bool] | None:
    """The next record: line of its start, cells, and whether its quotes closed; None at the end."""
    text = lines.next()
    if text is None:
        return None
    start = lines.line
    if '"' not in text:
        return start, text.rstrip("\r\n").split(separator), True
    record = Record(separator)
    taken: list[str] = []
    size = 0
    line: str | None = text
    while line is not None and not record.feed(line):
        line = lines.next() if len(taken) < MAX_RECORD_LINES and size < MAX_RECORD_CHARACTERS else None
        if line is not None:
            taken.append(line)
            size += len(line)
    if line is None:
        lines.give_back(taken)
        return start, text.rstrip("\r\n").split(separator), False
    return start, record.cells, True


def _records(lines: Lines, separator: str, count: int) -> list[list[str]]:
    """The first records that are not blank."""
    found: list[list[str]] = []
    while len(found) < count:
        record = read_record(lines, separator)
        if record is None:
            break
        if any(cell.strip() for cell in record[1]):
            found.append(record[1])
    return found


@reader(".csv", ".tsv", ".tab", ".txt", "")
class Delimited(Reader):
    """A delimited text file with a header."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.file = TextFile(path)
        self.notes = self.file.notes
        self._skip = 0
        self.separator = self._find_separator()
        with self.file.open() as lines:
            header = self._header(lines)
        self.columns = self._names(header)

    def _find_separator(self) -> str:
        with self.file.open() as lines:
            first = lines.next()
            while first is not None and not first.strip():
                first = lines.next()
        if first is not None and has_control_characters(first):
            raise MesomerError(f"{self.name} is no table: control characters in its first line.", "Give a text file.")
        declared = _SEP_LINE.fullmatch(first or "")
        if declared:
            self._skip = 1
            return declared.group(1)
        best, best_score = ",", (0.0, 0)
        for separator in _SEPARATORS:
            with self.file.open() as lines:
                records = _records(lines, separator, _SNIFF_RECORDS)
            width = len(records[0]) if records else 0
            if width < 2:
                continue
            same = sum(len(record) == width for record in records[1:]) / max(1, len(records) - 1)
            if separator == " " and (same < 1 or len(records) < 2):
                continue
            if (same, width) > best_score:
                best, best_score = separator, (same, width)
        return best

    def _header(self, lines: Lines) -> list[str]:
        for _ in range(self._skip):
            lines.next()
        while True:
            record = read_record(lines, self.separator)
            if record is None:
                raise empty_file(self.file.path)
            if any(cell.strip() for cell in record[1]):
                return record[1]

    def _names(self, header: list[str]) -> tuple[str, ...]:
        """Column names: stripped, and a repeated one numbered so that none hides another."""
        names: list[str] = []
        for cell in header:
            name = wanted = cell.strip()
            number = 1
            while name in names:
                name = f"{wanted}.{number}"
                number += 1
            if name != wanted:
                self.note(f"{self.name} has two columns named {wanted!r}; the later one is called {name!r}.")
            names.append(name)
        return tuple(names)

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        width = len(self.columns)
        with self.file.open() as lines:
            self._header(lines)
            starts: list[int] = []
            table: list[list[str]] = []
            reasons: list[str | None] = []
            while (record := read_record(lines, self.separator)) is not None:
                start, cells, closed = record
                if len(cells) == 1 and width > 1 and not cells[0].strip():
                    continue
                reason = None
                if len(cells) != width or not closed:
                    reason = WRONG_CELLS
                    cells = (cells + [""] * width)[:width]
                starts.append(start)
                table.append(cells)
                reasons.append(reason)
                if len(table) == rows:
                    yield self._block(starts, table, reasons)
                    starts, table, reasons = [], [], []
            if table:
                yield self._block(starts, table, reasons)

    def _block(self, starts: list[int], table: list[list[str]], reasons: list[str | None]) -> Block:
        columns = zip(*table, strict=True)
        return Block(starts, {name: list(cells) for name, cells in zip(self.columns, columns, strict=True)}, reasons)

    def estimated_rows(self) -> int | None:
        """See `Reader`."""
        return max(1, self.file.estimated_lines() - 1)
