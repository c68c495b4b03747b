"""Second stage of `prepare`: which molecules are kept, and in which part.

A molecule is a duplicate if the hash of its canonical SMILES came before, in input order. The hash has 128 bits: among
10^9 molecules the chance that any two different ones share it is about 10^-21. Five percent are held out by the first
64 bits of the same hash, so a molecule falls into the same part in every corpus and after every change of the input.
Memory is bounded: hashes are looked at in passes of about 16 million, the result takes one byte a molecule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mesomer.data.shards import open_arrow

DROPPED, TRAIN, HELD_OUT = 0, 1, 2
CODES = {"train": TRAIN, "held_out": HELD_OUT}
HELD_OUT_SHARE = 0.05
HASHES_A_PASS = 1 << 24


def chunk_hashes(path: Path) -> np.ndarray:
    """Hashes of a chunk's molecules as pairs of 64-bit numbers, uint64 [M, 2]."""
    column = open_arrow(path, ["hash"]).column(0)
    if len(column) == 0:
        return np.zeros((0, 2), dtype="<u8")
    return np.frombuffer(column.buffers()[1], dtype="<u8", count=2 * len(column)).reshape(-1, 2)


def is_held_out(hashes: np.ndarray) -> np.ndarray:
    """Which molecules are held out: the first eight bytes, little-endian, below 5 % of 2^64."""
    return hashes[:, 0] < np.uint64(int(HELD_OUT_SHARE * 2**64))


def choose_parts(chunks: Sequence[Path], hashes_a_pass: int = HASHES_A_PASS) -> np.ndarray:
    """The part (or DROPPED) of every molecule of all chunks in order, uint8 [N]."""
    counts = [len(chunk_hashes(path)) for path in chunks]
    parts = np.full(sum(counts), DROPPED, dtype=np.uint8)
    passes = max(1, -(-len(parts) // hashes_a_pass))
    for number in range(passes):
        places, hashes = _share(chunks, counts, number, passes)
        first = _first_occurrences(hashes)
        parts[places[first]] = np.where(is_held_out(hashes[first]), HELD_OUT, TRAIN)
    return parts


def _share(chunks: Sequence[Path], counts: Sequence[int], number: int, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and hashes of the molecules that pass `number` looks at; equal hashes fall into the same pass."""
    places, found = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 2), dtype=np.uint64)]
    for start, hashes in _each(chunks, counts):
        mine = np.flatnonzero(hashes[:, 1] % np.uint64(passes) == number) if passes > 1 else np.arange(len(hashes))
        places.append(mine + start)
        found.append(hashes[mine])
    return np.concatenate(places), np.concatenate(found)


def _each(chunks: Sequence[Path], counts: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    start = 0
    for path, count in zip(chunks, counts, strict=True):
        yield start, chunk_hashes(path)
        start += count


def _first_occurrences(hashes: np.ndarray) -> np.ndarray:
    """Positions of the first row of each distinct hash."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal hashes stay in input order
    ordered = hashes[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return order[new]
