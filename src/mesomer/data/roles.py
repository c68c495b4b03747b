"""Which column holds the SMILES: by its name, said aloud; never guessed from the values alone.

Names that can mean nothing else are taken in the order of the list. Names that often mean something else (`Drug`,
`molecule`, …) count only if most of their values are SMILES. Several columns that merely contain the word are a
question to the user. What a column holds serves the error message: which one looks like SMILES, and whether the header
is missing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from mesomer.errors import InputError, MesomerError

_PLAIN = (
    "smiles", "canonicalsmiles", "isomericsmiles", "smilesstring", "cansmiles", "isosmiles", "rdkitsmiles",
    "cxsmiles", "smi", "molsmiles", "compoundsmiles", "drugsmiles", "ligandsmiles",
)  # fmt: skip
_WEAK = ("drug", "structure", "mol", "molecule", "compound", "ligand", "chemical")
_SHOWN = 30
_MEANT = 3


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def find_smiles_column(
    name: str, columns: Sequence[str], sample: Mapping[str, Sequence[Any]], wanted: str | None = None
) -> tuple[str, str]:
    """The SMILES column and a sentence that says which it is; `sample` holds values of the first rows."""
    if wanted is not None:
        if wanted not in columns:
            raise missing_column(name, wanted, columns)
        return wanted, f"SMILES column: {wanted!r}."
    found = [column for plain in _PLAIN for column in columns if _plain(column) == plain]
    if found:
        others = ", ".join(repr(column) for column in found[1:])
        also = f" (also there: {others}; --smiles_column chooses)" if others else ""
        return found[0], f"SMILES column: {found[0]!r}{also}."
    containing = [column for column in columns if "smiles" in _plain(column)]
    if len(containing) > 1:
        listed = ", ".join(repr(column) for column in containing)
        raise InputError(
            f"{name} has {len(containing)} columns that may hold the SMILES: {listed}.",
            f"Choose one: --smiles_column {_quoted(containing[0])}.",
        )
    weak = [column for plain in _WEAK for column in columns if _plain(column) == plain]
    for column in [*containing, *(c for c in weak if _share_readable(sample.get(c, ())) >= 0.5)]:
        return column, f"SMILES column: {column!r}."
    raise _no_column(name, columns, sample)


def missing_column(name: str, wanted: str, columns: Sequence[str], option: str = "") -> MesomerError:
    """The error for a column that is not there: lists those that are, and the nearest name."""
    near = difflib.get_close_matches(wanted.lower(), [column.lower() for column in columns], n=1, cutoff=0.6)
    meant = [column for column in columns if near and column.lower() == near[0]][:1]
    meant = meant or [column for column in columns if len(wanted) > 2 and wanted.lower() in column.lower()]
    hint = f"Did you mean {' or '.join(map(repr, meant[:_MEANT]))}?" if meant else option
    return InputError(f"{name} has no column {wanted!r}; its columns are {listed(columns)}.", hint)


def named_columns(name: str, wanted: Sequence[str], columns: Sequence[str], option: str = "") -> list[str]:
    """The columns that `wanted` names, in that order; an error for one that is not there.

    A list written with commas on the command line cuts names that hold commas; their pieces are joined again.
    """
    plain = {_without_blanks(column): column for column in columns}
    found: list[str] = []
    at = 0
    while at < len(wanted):
        if wanted[at] in columns:
            found.append(wanted[at])
            at += 1
            continue
        ends = [end for end in range(at + 1, len(wanted) + 1) if _without_blanks(",".join(wanted[at:end])) in plain]
        if not ends:
            raise missing_column(name, wanted[at], columns, option)
        found.append(plain[_without_blanks(",".join(wanted[at : ends[-1]]))])
        at = ends[-1]
    return found


def _without_blanks(name: str) -> str:
    return ",".join(piece.strip() for piece in name.split(","))


def listed(columns: Sequence[str]) -> str:
    """Column names for a sentence."""
    more = f", … ({len(columns)} in all)" if len(columns) > _SHOWN else ""
    return ", ".join(columns[:_SHOWN]) + more


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _share_readable(values: Sequence[Any]) -> float:
    """Share of the values that are SMILES, among those that are not empty."""
    from mesomer.chem.parse import parse_smiles

    texts = [str(value) for value in values if value is not None and str(value).strip()]
    return sum(parse_smiles(text)[0] is not None for text in texts) / max(1, len(texts))


def likeliest_column(sample: Mapping[str, Sequence[Any]]) -> str | None:
    """The column most of whose values are SMILES, if there is one of which half of them are."""
    shares = {column: _share_readable(values) for column, values in sample.items()}
    likely = max(shares, key=lambda column: shares[column], default=None)
    return likely if likely is not None and shares[likely] >= 0.5 else None


def _no_column(name: str, columns: Sequence[str], sample: Mapping[str, Sequence[Any]]) -> MesomerError:
    likely = likeliest_column({column: sample.get(column, ()) for column in columns})
    if likely is None:
        return InputError(
            f"{name} has no SMILES column: its columns are {listed(columns)}.",
            "The values of none of them look like SMILES; if one is, name it with --smiles_column.",
        )
    if _share_readable([likely]) == 1:
        return InputError(
            f"{name} has no header: its first line holds {listed(columns)}, of which {likely!r} is a molecule.",
            "Put a line of column names first (smiles, …), or name a list of SMILES .smi.",
        )
    return InputError(
        f"{name} has no column named as SMILES: its columns are {listed(columns)}.",
        f"The values of {likely!r} look like SMILES: --smiles_column {_quoted(likely)}.",
    )
