"""Bytes to lines: decompression, encoding, line ends, for every text format.

Compression is told by the content, not by the name (gzip, Zstandard, bzip2). Text is UTF-8 or, by its byte order mark,
UTF-16; bytes that are no UTF-8 are read as Windows-1252 (which contains Latin-1), and that is said. A line ends with
LF, CRLF or CR. Files that are no text at all end in one sentence that says what they look like.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mesomer.errors import MesomerError

SAMPLE_BYTES = 1 << 16
MAX_LINE = 1 << 26
_ESTIMATE_BLOCKS = 4

_COMPRESSION = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_SUFFIX_OF = {"gzip": ".gz", "zstd": ".zst", "bz2": ".bz2"}
_FOREIGN = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "Save the sheet as CSV."),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "Save the sheet as CSV."),
    b"%PDF": ("a PDF document", "Give a table of SMILES."),
    b"\x89HDF": ("an HDF5 file", "Save the table as CSV or Parquet."),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it first."),
    b"\xfd7zXZ": ("an xz-compressed file", "Compress it as .gz or .zst, or unpack it first."),
}
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_ESCAPED = re.compile("[\udc80-\udcff]")
_WINDOWS = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "replace").replace("\ufffd", chr(byte)) for byte in range(128, 256)
}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a file is read into a `MesomerError` that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise MesomerError(f"There is no file {path}.", "Check the path.") from error
    except IsADirectoryError as error:
        raise MesomerError(f"{path} is a folder.", f"Name its files, for example '{path}/*.csv'.") from error
    except UnicodeDecodeError as error:
        raise MesomerError(f"{path} is not valid {error.encoding} text.", "Save it as UTF-8.") from error
    except (OSError, EOFError) as error:
        raise MesomerError(
            f"Cannot read {path}: {_cause(error)}.", "Is it cut short or damaged? Copy or download it again."
        ) from error


def _cause(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "runcated" in text or isinstance(error, EOFError):
        return "its compressed content ends in the middle"
    return text.strip().rstrip(".").splitlines()[0]


def _compression(path: Path) -> str | None:
    with open(path, "rb") as handle:
        head = handle.read(4)
    return next((kind for magic, kind in _COMPRESSION.items() if head.startswith(magic)), None)


def _decompressed(raw: Any, kind: str | None) -> Any:
    if kind is None:
        return raw
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), kind), 1 << 18)  # type: ignore[arg-type]


def open_bytes(path: Path) -> Any:
    """The file's content as a buffered binary stream, decompressed."""
    kind = _compression(path)
    return _decompressed(open(path, "rb"), kind)


class TextFile:
    """A text file whose nature has been looked at once: `open` gives its lines, any number of times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        with reading(path):
            self.compression = _compression(path)
            with open_bytes(path) as stream:
                sample = stream.read(SAMPLE_BYTES)
        self._check_suffix()
        self.encoding, self.mark = _encoding(path, sample)
        if not sample.strip(b"\x00\xef\xbb\xbf\xff\xfe \t\r\n"):
            raise empty_file(path)

    def _check_suffix(self) -> None:
        suffix = self.path.suffix.lower()
        if suffix in _SUFFIX_OF.values() and suffix != _SUFFIX_OF.get(self.compression or ""):
            self.note(f"{self.path} is named {suffix} but is {self.compression or 'not compressed'}; read as such.")

    def note(self, text: str) -> None:
        """Keeps something that the user should hear once."""
        if text not in self.notes:
            self.notes.append(text)

    def open(self) -> Lines:
        """The lines from the first one."""
        with reading(self.path):
            stream = open_bytes(self.path)
            stream.read(self.mark)
            errors = "surrogateescape" if self.encoding == "utf-8" else "strict"
            return Lines(self, io.TextIOWrapper(stream, encoding=self.encoding, errors=errors, newline=""))

    def estimated_lines(self) -> int:
        """About how many lines the file has: the lines of its first megabytes, scaled to its size."""
        size = self.path.stat().st_size
        lines = 0
        with reading(self.path), open(self.path, "rb") as raw:
            stream = _decompressed(raw, self.compression)
            for _ in range(_ESTIMATE_BLOCKS):
                block = stream.read(1 << 20)
                lines += block.count(b"\n")
                if not block:
                    return max(1, lines)
            return max(1, lines * size // max(1, raw.tell()))


class Lines:
    """Physical lines with their numbers; a context manager. `line` is the number of the line given last."""

    def __init__(self, file: TextFile, stream: TextIO) -> None:
        self._file = file
        self._stream = stream
        self._returned: deque[str] = deque()
        self.line = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def next(self) -> str | None:
        """The next line with its end, or None at the end of the file."""
        if self._returned:
            self.line += 1
            return self._returned.popleft()
        with reading(self._file.path):
            text = self._stream.readline(MAX_LINE)
        if not text:
            return None
        self.line += 1
        if len(text) == MAX_LINE and text[-1] not in "\r\n":
            raise MesomerError(f"Line {self.line} of {self._file.path} never ends.", "Is this a table of molecules?")
        if not text.isascii() and _ESCAPED.search(text):
            text = text.translate(_WINDOWS)
            self._file.note(f"{self._file.path} is not valid UTF-8; its other bytes were read as Windows-1252.")
        return text

    def give_back(self, lines: list[str]) -> None:
        """Puts lines back, to be given again."""
        self._returned.extendleft(reversed(lines))
        self.line -= len(lines)


def empty_file(path: Path) -> MesomerError:
    """The error for a file without content."""
    return MesomerError(f"{path} is empty.", "A table has a line of column names and one row per molecule.")


def has_control_characters(text: str) -> bool:
    """Whether text holds characters that no table's text has."""
    return _CONTROL_TEXT.search(text) is not None


def _encoding(path: Path, sample: bytes) -> tuple[str, int]:
    """Encoding and length of the byte order mark; an error for content that is no text."""
    for magic, (what, hint) in _FOREIGN.items():
        if sample.startswith(magic):
            raise MesomerError(f"{path} is {what}, not a table that can be read.", hint)
    if sample[257:262] == b"ustar":
        raise MesomerError(f"{path} is a tar archive, not a table.", "Unpack it first.")
    if sample.startswith(b"\xef\xbb\xbf"):
        return "utf-8", 3
    if sample[:2] in _UTF16:
        return _UTF16[sample[:2]], 2
    if len(sample) >= 8:
        zeros = [sample[start::2].count(0) * 2 / len(sample) for start in (0, 1)]
        if max(zeros) > 0.6 and min(zeros) < 0.1:
            return ("utf-16-le", 0) if zeros[1] > zeros[0] else ("utf-16-be", 0)
    if len(_CONTROL.findall(sample)) > max(4, 0.02 * len(sample)):
        raise MesomerError(f"{path} holds binary data, not text.", "Give a CSV, SMI, SDF or Parquet file.")
    return "utf-8", 0
