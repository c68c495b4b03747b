"""What a table holds, seen once from the first row to the last: structures, and columns that may be targets.

Duplicates are counted by 64-bit hashes of canonical SMILES, up to `TRACKED` molecules, so that memory stays bounded
(about 1 GB at the limit); beyond it the count is of the first ones and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mesomer.data.decimals import are_decimal_commas, has_decimal_comma, with_point
from mesomer.data.readers import cell_text
from mesomer.data.tables import Chunk, Table
from mesomer.data.tasks import to_number

TRACKED = 10_000_000
_PROFILED_ROWS = 100_000
_DISTINCT = 20


@dataclass
class Structures:
    """Counts over the readable molecules of a table."""

    rows: int = 0
    readable: int = 0
    duplicates: int = 0
    duplicates_complete: bool = True
    several_parts: int = 0
    charged: int = 0
    dummy_atoms: int = 0
    atom_maps: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)
    _seen: set[int] = field(default_factory=set, repr=False)

    def watch(self, chunk: Chunk) -> None:
        """Takes a parsed chunk into account."""
        from rdkit import Chem

        self.rows += len(chunk)
        assert chunk.mols is not None
        for at in chunk.good:
            mol = chunk.mols[at]
            assert mol is not None
            self.readable += 1
            canonical = Chem.MolToSmiles(mol)
            self._count_duplicate(hash(canonical))
            self.several_parts += "." in canonical
            self.sizes[mol.GetNumAtoms()] += 1
            symbols = {atom.GetSymbol() for atom in mol.GetAtoms()}
            self.elements.update(symbols)
            self.dummy_atoms += "*" in symbols
            self.charged += Chem.GetFormalCharge(mol) != 0
            self.atom_maps += any(atom.GetAtomMapNum() for atom in mol.GetAtoms())

    def _count_duplicate(self, key: int) -> None:
        if key in self._seen:
            self.duplicates += 1
        elif len(self._seen) < TRACKED:
            self._seen.add(key)
        else:
            self.duplicates_complete = False

    @property
    def median_size(self) -> int:
        """Median number of atoms."""
        left = self.readable / 2
        for size in sorted(self.sizes):
            left -= self.sizes[size]
            if left <= 0:
                return size
        return 0

    @property
    def largest(self) -> int:
        """Atoms of the largest molecule."""
        return max(self.sizes, default=0)


@dataclass
class Column:
    """What the cells of one column look like."""

    name: str
    filled: int = 0
    numbers: int = 0
    distinct: set[str] = field(default_factory=set)
    """Up to a few different values."""
    commas: int = 0
    """Cells that would be numbers with a decimal point in place of a comma."""

    @property
    def may_be_target(self) -> bool:
        """Whether it could be a target: mostly numbers, or a few words; and more than one value."""
        if self.filled == 0 or len(self.distinct) < 2 or self.has_decimal_commas:
            return False
        few_words = len(self.distinct) < _DISTINCT and self.filled >= 3 * len(self.distinct)
        return self.numbers >= 0.9 * self.filled or (self.numbers == 0 and few_words)

    @property
    def has_decimal_commas(self) -> bool:
        """Whether it is a column of numbers with decimal commas, which is refused as a target."""
        return are_decimal_commas(self.commas, self.numbers, self.filled)


class Columns:
    """Looks at all columns but the SMILES column, in the first rows."""

    def __init__(self, table: Table, leave_out: Sequence[str] = ()) -> None:
        names = [name for name in table.columns if name != table.smiles_column and name not in leave_out]
        self.columns = [Column(name) for name in names]
        self._rows, self._decimal = 0, table.decimal

    def watch(self, chunk: Chunk) -> None:
        """Takes a chunk into account."""
        from mesomer.chem.parse import is_missing

        if self._rows >= _PROFILED_ROWS:
            return
        self._rows += len(chunk)
        for column in self.columns:
            for cell in chunk.cells[column.name]:
                text = cell_text(with_point(cell, self._decimal))
                if is_missing(text):
                    continue
                column.filled += 1
                column.numbers += to_number(text) is not None
                column.commas += has_decimal_comma(text)
                if len(column.distinct) < _DISTINCT:
                    column.distinct.add(text)

    @property
    def possible_targets(self) -> list[str]:
        """Names of the columns that may be targets; those that look like numbering or splits are left out."""
        return [
            column.name
            for column in self.columns
            if column.may_be_target and column.name.casefold() not in ("id", "index", "row", "split", "fold", "")
        ]

    @property
    def comma_warnings(self) -> list[str]:
        """A sentence on columns of numbers that no command can read as such."""
        found = [repr(column.name) for column in self.columns if column.has_decimal_commas]
        if not found:
            return []
        which = f"{found[0]} has" if len(found) == 1 else f"{', '.join(found[:5])}{', …' * (len(found) > 5)} have"
        return [f"{which} decimal commas (1,3): to use numbers of them, say --decimal , or write points instead."]
