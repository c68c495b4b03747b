"""Molecules as a program holds them, to a table: lists, tuples, arrays, columns of frames, RDKit molecules, or a mix.

Decided: molecules are one column. A frame of one column is that column whatever its name; of several the SMILES column
is found by its name as in any table, and the others stay at hand as descriptors. Numbers are refused before anything
is computed: a matrix of features given where molecules belong would else become a table of unreadable rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

from mesomer.data.readers import is_absent
from mesomer.data.readers.frames import Frame, molecule_column
from mesomer.data.roles import find_smiles_column, likeliest_column
from mesomer.data.tables import Table, is_frame
from mesomer.errors import InputError, MesomerError
from mesomer.inference.reasons import GivenMolecules

_SAMPLE = 50


def molecule_table(
    source: Any, max_atoms: int = 500, cells: Mapping[str, Sequence[Any]] | None = None, chunk_rows: int = 4096
) -> Table:
    """A table of these molecules; `cells` are further columns of the same length, which hide columns of the frame."""
    if max_atoms < 1:
        raise MesomerError(f"--max_atoms is {max_atoms}, and must be 1 or more.")
    items, others = molecules_of(source)
    cells = dict(cells or {})
    if GivenMolecules.smiles_column in cells:
        raise InputError(f"A column of labels is named {GivenMolecules.smiles_column!r}.", "Rename it.")
    others.pop(GivenMolecules.smiles_column, None)
    return Table([GivenMolecules(items, others | cells)], None, max_atoms, chunk_rows)


def molecules_of(source: Any) -> tuple[list[Any], dict[str, list[Any]]]:
    """The molecules (SMILES, RDKit molecules, None or NaN), and of a frame its other columns."""
    if is_frame(source):
        return _of_frame(source)
    items = _listed(source)
    if items and all(_is_row(item) for item in items):
        items = [_only(item) for item in items]
    if items and all(isinstance(item, Number) and not is_absent(item) for item in items):
        raise _no_molecules(f"{len(items)} numbers", "are")
    return items, {}


def _of_frame(frame: Any) -> tuple[list[Any], dict[str, list[Any]]]:
    reader = Frame(frame)
    columns = reader.cells_as_they_are(0, reader.rows or 0)
    if len(columns) == 1:
        ((name, items),) = columns.items()
    else:
        sample = {name: column[:_SAMPLE] for name, column in columns.items()}
        name = molecule_column(columns) or _named_as_smiles(reader, sample)
        items = columns[name]
    if items and all(isinstance(item, Number) and not is_absent(item) for item in items):
        raise _no_molecules(f"The column {name!r}")
    return items, {other: column for other, column in columns.items() if other != name}


def _named_as_smiles(reader: Frame, sample: Mapping[str, Sequence[Any]]) -> str:
    """The SMILES column of a frame; where none or several are named so, the way out is to give one column."""
    try:
        return find_smiles_column(reader.name, reader.columns, sample)[0]
    except InputError as error:
        likely = likeliest_column(sample)
        example = "" if likely is None else f", for example frame[{likely!r}]"
        raise InputError(error.message, f"Give the column of molecules alone{example}.") from None


def _listed(source: Any) -> list[Any]:
    from rdkit import Chem

    if isinstance(source, str):
        raise InputError("One SMILES is no list.", f"Write [{source!r}].")
    if isinstance(source, Chem.Mol):
        raise InputError("One molecule is no list.", "Write [molecule].")
    if isinstance(source, Mapping | set | frozenset | bytes) or not hasattr(source, "__iter__"):
        raise InputError(
            f"A {type(source).__name__} is no list of molecules.",
            "Give a list, an array or a column of SMILES or of RDKit molecules.",
        )
    shape = getattr(source, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        if len(shape) != 2 or shape[1] != 1:
            raise _no_molecules(f"An array of shape {shape}")
        source = source.reshape(-1)
    for method in ("tolist", "to_pylist"):  # numpy's and Arrow's values become Python's own
        if hasattr(source, method):
            source = getattr(source, method)()
            break
    return [item if type(item) is str else _own(item) for item in source]


def _own(item: Any) -> Any:
    """One value of numpy's, such as those of `list(array)`, as Python's own; anything else as it is."""
    return item.item() if getattr(item, "shape", None) == () and hasattr(item, "item") else item


def _is_row(item: Any) -> bool:
    return isinstance(item, list | tuple) or (hasattr(item, "shape") and hasattr(item, "__len__"))


def _only(row: Any) -> Any:
    """The one cell of a row."""
    if len(row) != 1:
        raise _no_molecules(f"A row of {len(row)} cells")
    return row[0]


def _no_molecules(what: str, verb: str = "is") -> InputError:
    return InputError(
        f"{what} {verb} no column of molecules.", "Give one column of SMILES or of RDKit molecules, a row for each."
    )
