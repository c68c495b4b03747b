"""`splits.csv`: every split stored with the result, one line per row, repeat and fold.

Columns: `row` (number in the input, from 1), `smiles`, `repeat`, `fold` (both from 0) and `part` (train, valid, test).
Reading checks that each split places every row exactly once and that rows and SMILES agree between splits, so that a
file cut short or edited by hand is never taken for a split.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mesomer.data.splits.base import PARTS, Split
from mesomer.errors import MesomerError
from mesomer.files import atomic_write

COLUMNS = ("row", "smiles", "repeat", "fold", "part")


class StoredSplits(NamedTuple):
    """What `read_splits` gives: positions in `splits` count along `rows`."""

    splits: list[Split]
    rows: list[int]
    smiles: list[str]


def write_splits(
    path: str | os.PathLike[str], splits: Sequence[Split], rows: Sequence[int], smiles: Sequence[str]
) -> None:
    """Writes splits of the molecules whose row numbers and SMILES are given; the file appears whole or not at all."""
    if len(rows) != len(smiles):
        raise ValueError(f"{len(rows)} rows, {len(smiles)} SMILES")
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(COLUMNS)
        for split in splits:
            part_of = np.full(len(rows), -1)
            for at, part in enumerate(PARTS):
                part_of[split.parts[part]] = at
            if (part_of < 0).any():
                raise ValueError(f"split {split.name} does not place every row")
            for row, text, part in zip(rows, smiles, part_of, strict=True):
                writer.writerow((row, text, split.repeat, split.fold, PARTS[part]))


def read_splits(path: str | os.PathLike[str], name: str = "stored") -> StoredSplits:
    """Reads what `write_splits` wrote; the splits carry `name`, and seed 0 since the file does not tell it."""
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            reader = csv.reader(handle)
            header = next(reader, None)
            if header is None or tuple(header) != COLUMNS:
                raise _broken(path, "its columns are not " + ", ".join(COLUMNS))
            parts, order, texts = _collect(path, reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _broken(path, "it is not a CSV file") from error
    except OSError as error:
        raise MesomerError(f"Cannot read {path}: {error.strerror}.", "Check the path.") from error
    if not parts:
        raise _broken(path, "it holds no split")
    position = {row: at for at, row in enumerate(order)}
    splits = []
    for (repeat, fold), part_of in sorted(parts.items()):
        if len(part_of) != len(order):
            raise _broken(path, f"repeat {repeat}, fold {fold} has {len(part_of)} rows where others have {len(order)}")
        arrays = [
            np.sort(np.array([position[row] for row, found in part_of.items() if found == part], dtype=np.int64))
            for part in PARTS
        ]
        for part, array in zip(PARTS, arrays, strict=True):
            if not array.size:
                raise _broken(path, f"repeat {repeat}, fold {fold} has no row in {part}")
        train, valid, test = arrays
        splits.append(Split(name, name, train, valid, test, repeat=repeat, fold=fold))
    return StoredSplits(splits, order, [texts[row] for row in order])


def _collect(
    path: str | os.PathLike[str], reader: Any
) -> tuple[dict[tuple[int, int], dict[int, str]], list[int], dict[int, str]]:
    """Part of every row by (repeat, fold), the rows in order, and their SMILES."""
    parts: dict[tuple[int, int], dict[int, str]] = {}
    texts: dict[int, str] = {}
    for cells in reader:
        where = f"line {reader.line_num}"
        if len(cells) != len(COLUMNS):
            raise _broken(path, f"{where} has {len(cells)} cells instead of {len(COLUMNS)}")
        try:
            row, repeat, fold = int(cells[0]), int(cells[2]), int(cells[3])
        except ValueError:
            raise _broken(path, f"{where} has no whole numbers for row, repeat and fold") from None
        if cells[4] not in PARTS:
            raise _broken(path, f"{where} says {cells[4]!r} instead of train, valid or test")
        if texts.setdefault(row, cells[1]) != cells[1]:
            raise _broken(path, f"{where} gives row {row} another SMILES than before")
        placed = parts.setdefault((repeat, fold), {})
        if row in placed:
            raise _broken(path, f"{where} places row {row} a second time")
        placed[row] = cells[4]
    return parts, list(texts), texts


def _broken(path: str | os.PathLike[str], why: str) -> MesomerError:
    return MesomerError(f"{path} is not a file of splits: {why}.", "Draw the split again, or restore the file.")
