"""Tables that are in memory already: pandas and polars frames, Arrow tables, lists of SMILES or of molecules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mesomer.data.readers.base import Block, Reader, is_absent
from mesomer.errors import InputError


class Frame(Reader):
    """A pandas frame, a polars frame or an Arrow table."""

    def __init__(self, frame: Any) -> None:
        super().__init__("the table")
        self.kind = type(frame).__module__.split(".")[0]
        if type(frame).__name__ == "LazyFrame":
            frame = frame.collect()
        self.frame = frame
        names = frame.column_names if self.kind == "pyarrow" else list(frame.columns)
        self.columns = tuple(str(name) for name in names)
        if len(set(self.columns)) < len(self.columns):
            raise InputError("The table names a column twice.", "Rename one of them.")
        self.rows = len(frame)
        if self.kind == "pyarrow":
            self.schema = frame.schema
        elif self.kind == "pandas":
            objects = [at for at, kind in enumerate(frame.dtypes) if kind.kind == "O"]
            self.smiles_column = molecule_column({self.columns[at]: frame.iloc[:, at] for at in objects})

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        for start in range(0, len(self.frame), rows):
            count = min(rows, len(self.frame) - start)
            cells = self.cells_as_they_are(start, count)
            reasons: list[str | None] = [None] * count
            mols = None
            if self.smiles_column is not None:
                cells[self.smiles_column], reasons, mols = _as_parsed(cells[self.smiles_column])
            yield Block([0] * count, cells, reasons, mols=mols)

    def cells_as_they_are(self, start: int, count: int) -> dict[str, list[Any]]:
        """Every column of some rows; molecules are not made SMILES."""
        if self.kind == "pandas":
            part = self.frame.iloc[start : start + count]
            parts = [part.iloc[:, at].tolist() for at in range(len(self.columns))]
            return {
                name: [None if is_absent(cell) else cell for cell in cells]
                for name, cells in zip(self.columns, parts, strict=True)
            }
        part = self.frame.slice(start, count)
        if self.kind == "polars":
            return {name: part.to_series(at).to_list() for at, name in enumerate(self.columns)}
        return {name: part.column(at).to_pylist() for at, name in enumerate(self.columns)}


class Molecules(Reader):
    """SMILES or RDKit molecules from a list, an array or a series; `cells` are further columns, of the same length."""

    smiles_column = "smiles"
    unreadable_hint = "Give SMILES or RDKit molecules, one for each label."

    def __init__(self, molecules: Iterable[Any], cells: Mapping[str, Sequence[Any]] | None = None) -> None:
        super().__init__("the list")
        self.molecules = list(molecules)
        self.cells = dict(cells or {})
        self.columns = (self.smiles_column, *self.cells)
        self.rows = len(self.molecules)

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        for start in range(0, len(self.molecules), rows):
            smiles, reasons, mols = _as_parsed(self.molecules[start : start + rows])
            cells = {"smiles": smiles} | {
                name: list(column[start : start + rows]) for name, column in self.cells.items()
            }
            yield Block([0] * len(smiles), cells, reasons, mols=mols)


def _as_parsed(items: Sequence[Any]) -> tuple[list[Any], list[str | None], list[Any] | None]:
    """SMILES, reasons against molecules, and molecules as their SMILES would be read; None if all items are SMILES."""
    from rdkit import Chem

    from mesomer.chem.parse import as_parsed

    smiles = list(items)
    reasons: list[str | None] = [None] * len(items)
    mols: list[Any] = [None] * len(items)
    given = False
    for at, item in enumerate(items):
        if isinstance(item, Chem.Mol):
            given = True
            mols[at], reasons[at] = as_parsed(item)
            smiles[at] = None if mols[at] is None else Chem.MolToSmiles(mols[at])
    return smiles, reasons, mols if given else None


def molecule_column(columns: Mapping[str, Sequence[Any]]) -> str | None:
    """The one column that holds RDKit molecules, which say more than their SMILES: where the atoms lie."""
    from rdkit import Chem

    held = [name for name, cells in columns.items() if any(isinstance(cell, Chem.Mol) for cell in cells)]
    return held[0] if len(held) == 1 else None
