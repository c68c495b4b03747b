"""Tables that are in memory already: pandas and polars frames, Arrow tables, lists of SMILES or of molecules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mesomer.data.readers.base import Block, Reader, is_absent
from mesomer.errors import MesomerError


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
            raise MesomerError("The table names a column twice.", "Rename one of them.")
        self.rows = len(frame)
        if self.kind == "pyarrow":
            self.schema = frame.schema

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        for start in range(0, len(self.frame), rows):
            count = min(rows, len(self.frame) - start)
            yield Block([0] * count, self._cells(start, count), [None] * count)

    def _cells(self, start: int, count: int) -> dict[str, list[Any]]:
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
        from rdkit import Chem

        from mesomer.chem.parse import as_parsed

        for start in range(0, len(self.molecules), rows):
            part = self.molecules[start : start + rows]
            ready: list[Any] = [None] * len(part)
            reasons: list[str | None] = [None] * len(part)
            smiles = list(part)
            for at, item in enumerate(part):
                if isinstance(item, Chem.Mol):
                    ready[at], reasons[at] = as_parsed(item)
                    smiles[at] = None if ready[at] is None else Chem.MolToSmiles(ready[at])
            given = any(isinstance(item, Chem.Mol) for item in part)
            cells = {"smiles": smiles} | {
                name: list(column[start : start + rows]) for name, column in self.cells.items()
            }
            yield Block([0] * len(part), cells, reasons, mols=ready if given else None)
