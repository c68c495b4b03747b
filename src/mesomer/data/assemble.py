"""Third stage of `prepare`: the kept molecules of all chunks become shards of equal size.

Which molecule goes into which shard follows from the input order alone, so shards do not depend on how many workers
made them or how often the work was interrupted. Beside each finished shard a record with its counts and SHA-256 is
kept in the staging folder; a later run trusts it if the shard has the recorded size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mesomer.chem.schema import atom_field
from mesomer.data.corpus import BLOCK, PARTS, shard_name
from mesomer.data.duplicates import CODES, DROPPED
from mesomer.data.shards import (
    Molecules,
    arrow_schema,
    blocks_of,
    join,
    molecules_of,
    open_arrow,
    shard_metadata,
    shard_table,
    write_arrow,
)
from mesomer.files import atomic_write, sha256_of

SHARD_MOLECULES = 1 << 17
SHARD_ATOMS = 1 << 25
"""A shard is closed at either limit; the second keeps every column below 2 GiB whatever the molecules' sizes."""


@dataclass
class Piece:
    """Molecules of one part from one chunk: `start` to `stop` - 1 of that part's molecules in the chunk."""

    chunk: Path
    start: int
    stop: int
    first_row: int
    """Place of the chunk's first molecule among all staged ones."""
    first_number: int
    """Global number of the chunk's first kept molecule."""


@dataclass
class ShardTask:
    """What a worker needs to make one shard."""

    folder: Path
    staging: Path
    part: str
    number: int
    coordinates: bool
    block: int
    pieces: list[Piece] = field(default_factory=list)

    @property
    def file(self) -> str:
        """The shard's file name."""
        return shard_name(self.part, self.number)


def plan_shards(folder: Path, staging: Path, chunks: Sequence[Path], parts: np.ndarray) -> Iterator[ShardTask]:
    """The shards to make, from the part of every staged molecule."""
    coordinates = any("coordinates" in arrow_schema(path).names for path in chunks)
    for part in PARTS:
        task = ShardTask(folder, staging, part, 0, coordinates, BLOCK)
        molecules, atoms, row, number = 0, 0, 0, 0
        for path in chunks:
            counts = open_arrow(path, ["num_atoms"]).column(0).to_numpy()
            mine = parts[row : row + len(counts)]
            sizes = np.cumsum(counts[mine == CODES[part]], dtype=np.int64)
            start = 0
            while start < len(sizes):
                before = sizes[start - 1] if start else 0
                fitting = int(np.searchsorted(sizes, before + SHARD_ATOMS - atoms, side="right"))
                stop = min(start + SHARD_MOLECULES - molecules, fitting, len(sizes))
                if stop > start:
                    task.pieces.append(Piece(path, start, stop, row, number))
                    molecules += stop - start
                    atoms += int(sizes[stop - 1] - before)
                    start = stop
                if start < len(sizes):
                    yield task
                    task = ShardTask(folder, staging, part, task.number + 1, coordinates, BLOCK)
                    molecules, atoms = 0, 0
            row += len(counts)
            number += int((mine != DROPPED).sum())
        if task.pieces:
            yield task


def parts_path(staging: Path) -> Path:
    """Where the part of every staged molecule is kept for the workers."""
    return staging / "parts.npy"


def _record_path(task: ShardTask) -> Path:
    return task.staging / "shards" / f"{task.file}.json"


def finished_record(task: ShardTask) -> dict[str, Any] | None:
    """The record of a shard that an earlier run has finished."""
    try:
        record = json.loads(_record_path(task).read_text(encoding="utf-8"))
        whole = (task.folder / record["file"]).stat().st_size == record["bytes"]
    except (FileNotFoundError, ValueError):
        return None
    return record if whole else None


def make_shard(task: ShardTask) -> dict[str, Any]:
    """Makes one shard; gives its record for the card."""
    parts = np.load(parts_path(task.staging), mmap_mode="r")
    staged = [_piece(task, piece, parts) for piece in task.pieces]
    molecules = join([item[0] for item in staged])
    smiles = pa.concat_arrays([item[1] for item in staged])
    rows = np.concatenate([item[2] for item in staged])
    path = task.folder / task.file
    write_arrow(path, shard_table(molecules, smiles, rows), shard_metadata(task.part, task.number))
    record = _describe(task, path, molecules)
    target = _record_path(task)
    with atomic_write(target) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
    return record


def _piece(task: ShardTask, piece: Piece, parts: np.ndarray) -> tuple[Molecules, pa.Array, np.ndarray]:
    """Molecules, SMILES and input rows of one piece."""
    batch = open_arrow(piece.chunk)
    mine = np.asarray(parts[piece.first_row : piece.first_row + batch.num_rows])
    indices = np.flatnonzero(mine == CODES[task.part])[piece.start : piece.stop]
    numbers = piece.first_number + np.cumsum(mine != DROPPED) - 1
    molecules = replace(_staged(batch, task.coordinates), number=numbers).take(indices)
    return molecules, batch.column("smiles").take(pa.array(indices)), batch.column("row").to_numpy()[indices]


def _staged(batch: pa.RecordBatch, coordinates: bool) -> Molecules:
    """The molecules of a chunk; where the corpus has coordinates and this chunk none, they are NaN."""
    molecules = molecules_of(batch)
    if coordinates and molecules.coordinates is None:
        return replace(molecules, coordinates=np.full((len(molecules.atoms), 3), np.nan, dtype="<f4"))
    return molecules


def _describe(task: ShardTask, path: Path, molecules: Molecules) -> dict[str, Any]:
    """The entry of a shard in the card."""
    offsets = molecules.atom_offsets
    elements = np.bincount(atom_field(molecules.atoms, "atomic_number"), minlength=256)
    record = {
        "file": path.name,
        "part": task.part,
        "molecules": len(molecules),
        "atoms": len(molecules.atoms),
        "bonds": len(molecules.bonds),
        "largest": int(np.diff(offsets).max()),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "block_atoms": [int(offsets[stop] - offsets[start]) for start, stop in blocks_of(len(molecules), task.block)],
        "elements": {str(z): int(elements[z]) for z in np.flatnonzero(elements)},
    }
    if molecules.coordinates is not None:
        starts = np.minimum(offsets[:-1], max(0, len(molecules.atoms) - 1))
        own = molecules.take(np.flatnonzero(~np.isnan(molecules.coordinates[starts, 0])))
        record["with_coordinates"] = len(own)
        record["coordinates"] = _coordinate_counts(own)
    return record


def _coordinate_counts(molecules: Molecules) -> dict[str, int]:
    """What is to be said of the coordinates that molecules bring, and of how many."""
    from mesomer.chem.conformers import conformer_marks

    graph = molecules.arrays
    assert molecules.coordinates is not None
    marks = conformer_marks(molecules.coordinates, graph.ends, graph.atom_counts, graph.bond_counts)
    return {what: int(found.sum()) for what, found in marks.items()}
