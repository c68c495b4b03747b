"""Disk space before long work: an estimate from the first rows, so that a full disk is told at the start."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mesomer.chem.schema import ATOM_BYTES, BOND_BYTES
from mesomer.data.chunks import HASH_BYTES
from mesomer.data.shards import ENDS_BYTES
from mesomer.errors import MesomerError

ATOMS_PER_CHARACTER = 0.6  # ZINC clean leads: 20.6 atoms in 34.5 characters
BONDS_PER_ATOM = 1.1
FIXED_BYTES = 44  # numbers, counts and offsets of one molecule
STAGED_SHARE = 0.35  # compressed chunk files, measured on ZINC clean leads
TOLERANCE = 0.7
"""Space is called too little only below this share of the estimate: an estimate must not stop what would fit."""


def bytes_needed(smiles: Sequence[str | None], rows: int) -> int:
    """Bytes that a corpus of `rows` rows like these takes while it is made."""
    lengths = [len(text) for text in smiles if text]
    characters = sum(lengths) / max(1, len(lengths))
    atoms = ATOMS_PER_CHARACTER * characters
    codes = atoms * (ATOM_BYTES + BONDS_PER_ATOM * (BOND_BYTES + ENDS_BYTES))
    return int(rows * ((codes + characters + FIXED_BYTES) * (1 + STAGED_SHARE) + HASH_BYTES))


def check_space(folder: Path, smiles: Sequence[str | None], rows: int | None) -> None:
    """Stops if the disk clearly has too little space; `smiles` are the first rows of `rows`."""
    if rows is None:
        return
    present = sum(file.stat().st_size for file in folder.rglob("*.arrow"))
    needed = bytes_needed(smiles, rows) - present
    free = shutil.disk_usage(folder).free
    if free < needed * TOLERANCE:
        raise MesomerError(
            f"{folder} needs about {gigabytes(needed)} for {rows:,} molecules; the disk has {gigabytes(free)} free.",
            "Free some space or choose another --output.",
        )


def gigabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
