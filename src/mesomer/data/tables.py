"""Any table of molecules as chunks of rows, in input order, with constant memory.

`open_table` takes a path, a pattern or a list of paths, a frame, a list of SMILES or of RDKit molecules. No row is ever
lost or moved: rows count from 1 over all files, and a row that cannot be used carries the reason. Files that hold no
usable molecule at all are an error, since nothing that follows could make sense of them; lists and frames, which come
from a program, are not.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesomer.data.readers import READERS, Block, Reader, format_suffix, holds_structures, is_absent
from mesomer.data.readers.frames import Frame, Molecules
from mesomer.data.readers.text import reading
from mesomer.data.roles import find_smiles_column, listed, named_columns
from mesomer.errors import InputError, MesomerError

if TYPE_CHECKING:
    import pyarrow as pa
    from rdkit.Chem import Mol

_SAMPLE_ROWS = 50
_OTHER_FORMATS = {".cdx", ".cdxml", ".cif", ".ent", ".mae", ".mol2", ".pdb", ".pdbqt", ".xyz"}
_FRAMES = ("pandas", "polars", "pyarrow")


@dataclass
class Chunk:
    """Consecutive rows of a table."""

    rows: list[int]
    """Row numbers, from 1, the header excluded, running on over all files."""
    lines: list[int]
    """Physical lines, from 1, at which the rows start; 0 where the source has no lines."""
    cells: dict[str, list[Any]]
    """The input's columns, as they stand."""
    smiles: list[str | None]
    """The SMILES cell of each row."""
    reasons: list[str | None]
    """Why a row cannot be used; None for good rows (of unparsed chunks: as far as the file tells)."""
    mols: list[Mol | None] | None = None
    """Molecules, None for bad rows; only in parsed chunks, and always from sources that hold molecules."""
    file: str = ""
    """Name of the source."""
    batch: pa.RecordBatch | None = None
    """The same rows as Arrow columns, from sources that have types to keep."""

    @property
    def first_row(self) -> int:
        """Number of the first row."""
        return self.rows[0]

    @property
    def good(self) -> list[int]:
        """Positions in the chunk of the rows that can be used."""
        return [at for at, reason in enumerate(self.reasons) if reason is None]

    def __len__(self) -> int:
        return len(self.rows)

    def parse(self, max_atoms: int = 500) -> None:
        """Fills `mols`, and `reasons` of the rows that are no molecule."""
        from mesomer.chem.parse import check_mol, parse_smiles

        ready = self.mols or [None] * len(self)
        self.mols = [None] * len(self)
        for at in self.good:
            mol = ready[at]
            if mol is not None:
                self.reasons[at] = check_mol(mol, max_atoms)
            else:
                mol, self.reasons[at] = parse_smiles(self.smiles[at], max_atoms)
            self.mols[at] = mol if self.reasons[at] is None else None


class Table:
    """One or several sources with the same columns; iterate it (or `chunks`) as often as needed."""

    def __init__(
        self,
        readers: Sequence[Reader],
        smiles_column: str | None,
        max_atoms: int,
        chunk_rows: int,
        decimal: str | None = None,
    ) -> None:
        self._readers = readers
        self.decimal = decimal
        self.max_atoms = max_atoms
        self.chunk_rows = chunk_rows
        first = readers[0]
        self.name = first.name if len(readers) == 1 else f"{first.name} (and {len(readers) - 1} more)"
        self.columns = first.columns
        self.schema = first.schema
        self.is_file = not isinstance(first, Frame | Molecules)
        for other in readers[1:]:
            self._check_same_columns(other)
        known = [reader.rows for reader in readers]
        self.rows: int | None = None if None in known else sum(rows for rows in known if rows is not None)
        self._role_note: list[str] = []
        if smiles_column is None and first.smiles_column is not None:
            self.smiles_column = first.smiles_column
        else:
            sample = next(first.blocks(_SAMPLE_ROWS), Block([], {}, [])).cells
            self.smiles_column, note = find_smiles_column(first.name, self.columns, sample, smiles_column)
            self._role_note = [note]

    def _check_same_columns(self, other: Reader) -> None:
        first = self._readers[0]
        if set(other.columns) != set(self.columns):
            raise MesomerError(
                f"{other.name} has other columns ({listed(other.columns)}) than {first.name} ({listed(self.columns)}).",
                "Give files of the same columns, or one command for each.",
            )
        if other.schema is not None and self.schema is not None and not other.schema.equals(self.schema):
            self.schema = None

    @property
    def files(self) -> list[str]:
        """Names of the sources."""
        return [reader.name for reader in self._readers]

    @property
    def notes(self) -> list[str]:
        """What the user should hear: the SMILES column taken, the encoding assumed, …; may grow while rows are read."""
        return [*self._role_note, *(note for reader in self._readers for note in reader.notes)]

    @property
    def estimated_rows(self) -> int | None:
        """About how many rows there are, for progress displays; exact where `rows` is known."""
        parts = [reader.estimated_rows() for reader in self._readers]
        return None if None in parts else sum(part for part in parts if part is not None)

    def named_columns(self, names: Sequence[str], option: str = "") -> list[str]:
        """The columns that `names` names (see `roles.named_columns`); stops with a list if one is not there."""
        return named_columns(self.name, names, self.columns, option)

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()

    def chunks(self, parse: bool = False) -> Iterator[Chunk]:
        """All rows in order; with `parse` the molecules too, and an error at the end if no row of a file was one."""
        row, good = 0, 0
        reasons: Counter[str] = Counter()
        for reader in self._readers:
            for block in reader.blocks(self.chunk_rows):
                chunk = self._chunk(reader, block, row)
                row += len(chunk)
                if parse:
                    chunk.parse(self.max_atoms)
                good += len(chunk.good)
                reasons.update(reason for reason in chunk.reasons if reason is not None)
                yield chunk
        if self.is_file and row == 0:
            raise InputError(f"{self.name} has no rows, only the columns {listed(self.columns)}.", "Add molecules.")
        if self.is_file and good == 0:
            raise self.nothing_readable(reasons)

    def nothing_readable(self, reasons: Counter[str]) -> MesomerError:
        """The error for a table without one usable molecule; `reasons` counts why."""
        counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        return InputError(
            f"No row of {self.name} is a readable molecule ({counted}).",
            self._readers[0].unreadable_hint,
        )

    def _chunk(self, reader: Reader, block: Block, rows_before: int) -> Chunk:
        count = len(block.lines)
        smiles = [_text(value) for value in block.cells[self.smiles_column]]
        cells = {name: block.cells[name] for name in self.columns}
        batch = block.batch if self.schema is not None else None
        return Chunk(
            rows=list(range(rows_before + 1, rows_before + count + 1)),
            lines=block.lines,
            cells=cells,
            smiles=smiles,
            reasons=block.reasons,
            mols=block.mols,
            file=reader.name,
            batch=batch.select(list(self.columns)) if batch is not None else None,
        )


def open_table(
    source: Any,
    smiles_column: str | None = None,
    max_atoms: int = 500,
    chunk_rows: int = 4096,
    decimal: str | None = None,
) -> Table:
    """Opens a table of molecules.

    Args:
        source: A path, a pattern such as `'big/*.parquet'`, the name of a benchmark set (a path of that name wins), a
            list of paths, a pandas or polars frame, an Arrow table, a list (array, series) of SMILES or of RDKit
            molecules.
        smiles_column: Name of the SMILES column; found by its name if not given.
        max_atoms: Molecules with more atoms are rejected.
        chunk_rows: Rows in memory at a time.
        decimal: What labels and descriptors have before their decimals, "." or ","; a point if not given. Cells stay
            as they are until they are read as numbers.
    """
    if max_atoms < 1:
        raise MesomerError(f"--max_atoms is {max_atoms}, and must be 1 or more.")
    return Table(_readers(source), smiles_column, max_atoms, chunk_rows, decimal)


def is_frame(source: Any) -> bool:
    """Whether it is a pandas or polars frame or an Arrow table."""
    return type(source).__module__.split(".")[0] in _FRAMES and hasattr(type(source), "columns")


def refuse_frame(source: Any, command: str) -> None:
    """For what keeps a record of its input file: a frame in memory has none."""
    if is_frame(source):
        raise MesomerError(
            f"{command} takes a file, not a {type(source).__name__}: its record names the input by its SHA-256.",
            "Write the frame to a file, for example with to_csv or write_csv, and give its path.",
        )


def _readers(source: Any) -> list[Reader]:
    if isinstance(source, str | os.PathLike):
        return [_file_reader(path) for path in find_files(source)]
    if is_frame(source):
        return [Frame(source)]
    if isinstance(source, bytes) or not hasattr(source, "__iter__"):
        raise MesomerError(f"A {type(source).__name__} is no table.", "Give a path, a frame or a list of SMILES.")
    items = list(source)
    if items and all(_is_path(item) for item in items):
        return [_file_reader(path) for item in items for path in find_files(item)]
    return [Molecules(items)]


def _is_path(item: Any) -> bool:
    # No SMILES ends like a file of one of these formats.
    return isinstance(item, os.PathLike) or (isinstance(item, str) and format_suffix(Path(item)) in set(READERS) - {""})


def find_files(source: str | os.PathLike[str]) -> list[Path]:
    """The files that a path, a pattern or the name of a benchmark set names, sorted."""
    text = os.fspath(source)
    if "://" in text:
        raise MesomerError(f"{text} is not a local file.", "Copy it here first.")
    path = Path(text)
    if path.exists() or not glob.has_magic(text):
        if isinstance(source, str) and os.sep not in text and not path.suffix and not path.exists():
            from mesomer.data.benchmarks import resolve_data

            path = Path(resolve_data(text))
        with reading(path):
            os.stat(path)
        return [path]
    found = sorted(Path(match) for match in glob.glob(text, recursive=True))
    if not found:
        raise MesomerError(f"No file matches {text}.", "Check the pattern.")
    return found


def _file_reader(path: Path) -> Reader:
    with reading(path), open(path, "rb") as handle:
        if handle.read(4) == b"PAR1":
            return READERS[".parquet"](path)
    suffix = format_suffix(path)
    if suffix in _OTHER_FORMATS:
        raise MesomerError(
            f"{path} is named as a {suffix} file, a format that is not read here.",
            "Write the molecules to an SDF file, which keeps coordinates, or their SMILES to a CSV file.",
        )
    opener = READERS.get(suffix, READERS[""])
    with reading(path):
        renamed = opener is not READERS[".sdf"] and holds_structures(path)
    if not renamed:
        return opener(path)
    found = READERS[".sdf"](path)
    found.note(f"{path} is an SDF file by its content; read as such.")
    return found


def _text(value: Any) -> str | None:
    """A SMILES cell as text; None where the source has no value (None, NaN, NA)."""
    if is_absent(value) or isinstance(value, str):
        return value if isinstance(value, str) else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
