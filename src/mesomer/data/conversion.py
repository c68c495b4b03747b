"""From a public benchmark file to our table: which columns, which rows.

Our table has the SMILES first, in a column `smiles`, then the targets under the names of the registry. Rows keep the
public order. A `Conversion` says all that is done; it is data, so that the docs can show it. `table_digest` is a sum
over the content (SMILES and values as numbers), equal for two files that write `0` and `0.0`: it tells whether a
converted file is the table that the reference results were made with.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.files import atomic_write

Row = list[str]


class UnexpectedFile(MesomerError):
    """The public file is not what the rule is for: cut short, a web page, other columns."""


@dataclass(frozen=True)
class Conversion:
    """What is done to the public file."""

    smiles: tuple[str, ...] = ("smiles",)
    """Names under which the public file may hold the SMILES; the first one present is taken."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Our name of a target -> its name in the public file, where they differ."""
    readable_only: bool = False
    """Leave out rows whose SMILES RDKit refuses."""
    without: frozenset[str] = frozenset()
    """SMILES left out besides, as the public file writes them."""
    merge_repeats: bool = False
    """Rows with one SMILES become one: the first value of each target that is not missing."""
    standardised: tuple[float, float, int] | None = None
    """The public labels are (value - mean) / deviation: mean, deviation and the decimals of the original."""

    def describe(self) -> list[str]:
        """The rule in words, for the docs."""
        said = [f"`{self.smiles[0]}` becomes `smiles`"] if self.smiles[0] != "smiles" else []
        said += [f"`{theirs}` becomes `{ours}`" for ours, theirs in self.renamed.items()]
        said += ["rows that RDKit cannot read are left out"] if self.readable_only else []
        said += [f"{len(self.without)} listed molecules are left out"] if self.without else []
        said += ["rows of one SMILES are merged"] if self.merge_repeats else []
        if self.standardised:
            mean, deviation, _ = self.standardised
            said.append(f"the standardised labels get their unit back: y x {deviation:.6g} + {mean:.6g}")
        return said


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """The rows of a CSV file, gzipped or not, header first; blank lines are skipped."""
    with open(path, "rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    opener: Callable[..., Any] = gzip.open if packed else open
    with ExitStack() as stack:
        raw = stack.enter_context(opener(path, "rb"))
        text = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""))
        yield from (row for row in csv.reader(text) if row)


def convert(public: Path, output: Path, targets: Sequence[str], rule: Conversion) -> int:
    """Writes our table (gzipped) from the public file and gives its number of rows; `targets` empty: all columns."""
    try:
        rows = list(_converted(public, targets, rule))
    except (UnicodeDecodeError, csv.Error, EOFError, OSError, zlib.error) as error:
        raise UnexpectedFile(f"The downloaded file {public} cannot be read: {error}.", _ODD) from error
    with ExitStack() as stack:
        raw = stack.enter_context(open(stack.enter_context(atomic_write(output)), "wb"))
        # No name and no time in the gzip header: the same rows give the same bytes.
        packed = stack.enter_context(gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))
        text = stack.enter_context(io.TextIOWrapper(packed, encoding="utf-8", newline=""))
        csv.writer(text, lineterminator="\n").writerows(rows)
    return len(rows) - 1


def table_digest(path: str | os.PathLike[str]) -> tuple[str, int]:
    """A sum over the content of a table of ours, and its number of rows."""
    total, count = hashlib.sha256(), -1
    for row in read_rows(path):
        total.update("\x1f".join([row[0], *map(_plain, row[1:])]).encode() + b"\n")
        count += 1
    return total.hexdigest(), count


def _converted(public: Path, targets: Sequence[str], rule: Conversion) -> Iterator[Row]:
    rows = read_rows(public)
    header = next(rows, [])
    smiles_at, target_at, names = _columns(public, header, targets, rule)
    yield ["smiles", *names]
    merged: dict[str, Row] = {}
    for row in rows:
        if len(row) != len(header):
            raise UnexpectedFile(
                f"The downloaded file {public} has a row of {len(row)} cells, not {len(header)}.", _ODD
            )
        smiles = row[smiles_at].strip()
        if smiles in rule.without or (rule.readable_only and not _readable(smiles)):
            continue
        values = [_original(row[at].strip(), rule) for at in target_at]
        if not rule.merge_repeats:
            yield [smiles, *values]
        elif smiles not in merged:
            merged[smiles] = [smiles, *values]
        else:
            kept = merged[smiles]
            kept[1:] = [old or new for old, new in zip(kept[1:], values, strict=True)]
    yield from merged.values()


_ODD = (
    "It was removed from the cache: try again, or get the table by other means and name its folder with MESOMER_DATA."
)


def _columns(public: Path, header: Row, targets: Sequence[str], rule: Conversion) -> tuple[int, list[int], list[str]]:
    found = [name for name in rule.smiles if name in header]
    if not found:
        raise UnexpectedFile(f"The downloaded file {public} has no column {rule.smiles[0]!r}.", _ODD)
    smiles_at = header.index(found[0])
    names = list(targets) or [name for at, name in enumerate(header) if at != smiles_at]
    places = []
    for name in names:
        theirs = rule.renamed.get(name, name)
        if theirs not in header:
            raise UnexpectedFile(f"The downloaded file {public} has no column {theirs!r}.", _ODD)
        places.append(header.index(theirs))  # the first of several columns of one name
    return smiles_at, places, names


def _readable(smiles: str) -> bool:
    from mesomer.chem.parse import parse_smiles
    from mesomer.chem.schema import MAX_ATOMS

    return parse_smiles(smiles, MAX_ATOMS)[0] is not None


def _original(value: str, rule: Conversion) -> str:
    if rule.standardised is None or not value:
        return value
    mean, deviation, decimals = rule.standardised
    return f"{float(value) * deviation + mean:.{decimals}f}"


def _plain(value: str) -> str:
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return value
