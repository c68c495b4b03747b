"""What a file format gives to the table: blocks of rows, in input order, a bounded number at a time.

A reader knows its columns before the first row, can be started again (`blocks` opens the file anew), and reads nothing
it does not have to. It never drops a row: what it cannot take apart comes with a reason. Each format is one file of
this folder and one entry of the registry, under the suffixes that name it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from rdkit.Chem import Mol

WRONG_CELLS = "wrong number of cells"
COMPRESSED = {".gz", ".zst", ".bz2"}


@dataclass
class Block:
    """Some rows of one source."""

    lines: list[int]
    """Physical line (from 1) at which each row starts; 0 where the source has no lines."""
    cells: dict[str, list[Any]]
    """The input's columns, as they stand."""
    reasons: list[str | None]
    """Why the row cannot be used, as far as reading the file tells."""
    mols: list[Mol | None] | None = None
    """Molecules, from sources that hold molecules instead of SMILES."""
    batch: pa.RecordBatch | None = None
    """The same rows as Arrow columns, from sources that have types to keep."""


class Reader(ABC):
    """One opened source."""

    columns: tuple[str, ...]
    """Names of all columns, in order."""
    smiles_column: str | None = None
    """The SMILES column, where the format says which it is."""
    rows: int | None = None
    """Number of rows, where it is known without reading them."""
    schema: pa.Schema | None = None
    """Arrow types of the columns, where the source has them."""

    unreadable_hint = "Does another column hold the SMILES? --smiles_column names it."
    """Advice where no row is a readable molecule."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []

    @abstractmethod
    def blocks(self, rows: int) -> Iterator[Block]:
        """All rows from the first one, at most `rows` in a block."""

    def estimated_rows(self) -> int | None:
        """About how many rows there are (exact where known), for progress displays."""
        return self.rows

    def note(self, text: str) -> None:
        """Keeps something that the user should hear once."""
        if text not in self.notes:
            self.notes.append(text)


def is_absent(value: Any) -> bool:
    """Whether a cell of a typed source holds no value: None, NaN, pandas' NA and NaT."""
    if value is None or isinstance(value, str):
        return value is None
    return (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")


def cell_text(value: Any) -> str:
    """A cell as text, without surrounding white space; empty where there is no value."""
    return "" if is_absent(value) else str(value).strip()


READERS: dict[str, Callable[[Path], Reader]] = {}


def reader(*suffixes: str) -> Callable[[Any], Any]:
    """Registers a reader class (or a function of the path) for file suffixes."""

    def register(opener: Any) -> Any:
        for suffix in suffixes:
            READERS[suffix] = opener
        return opener

    return register


def format_suffix(path: Path) -> str:
    """The suffix that names the format, lower case, compression taken off: `.csv` for `a.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
