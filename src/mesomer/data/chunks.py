"""First stage of `prepare`: rows of the input become chunk files, each a pure function of its rows and the settings.

A chunk file holds the codes, canonical SMILES and hash of every good row, and the rejected rows with their reasons. It
carries the fingerprint of the rows and settings it was made from: a later run keeps it if the fingerprint still fits,
whatever killed the earlier run and wherever. Codes are those of the canonical SMILES, not of the spelling in the input:
a corpus says the same as `featurize` of the SMILES stored in it, atom by atom. Coordinates are kept where the input has
three-dimensional ones, in that order of atoms.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from mesomer.chem.schema import SCHEMA_VERSION
from mesomer.data.shards import SHARD_FORMAT, Molecules, arrow_schema, shard_table, write_arrow

if TYPE_CHECKING:
    from rdkit.Chem import Mol

    from mesomer.data.tables import Chunk

CHUNK_ROWS = 4096
"""Rows of a chunk; part of the fingerprint, for it decides where chunks end."""
CHUNKS_PER_FOLDER = 256
HASH_BYTES = 16
_STAGE_BATCH = 1


class RejectedRow(NamedTuple):
    """A row that became no molecule."""

    row: int
    line: int
    smiles: str | None
    reason: str
    file: str


@dataclass(frozen=True)
class ChunkTask:
    """What a worker needs to make one chunk file."""

    path: Path
    fingerprint: str
    rows: list[int]
    lines: list[int]
    smiles: list[str | None]
    reasons: list[str | None]
    mols: list[bytes | None] | None
    max_atoms: int
    file: str


class _Good(NamedTuple):
    """A row that became a molecule."""

    row: int
    smiles: str
    mol: Mol
    coordinates: np.ndarray | None


def smiles_hash(smiles: str) -> bytes:
    """The stable 16-byte hash (BLAKE2b) that finds duplicates and holds molecules out."""
    return hashlib.blake2b(smiles.encode(), digest_size=HASH_BYTES).digest()


def settings_fingerprint(max_atoms: int) -> str:
    """What every chunk depends on beside its rows: a new release of RDKit, say, makes old chunks useless."""
    from rdkit import rdBase

    return f"{_STAGE_BATCH}/{SHARD_FORMAT}/{SCHEMA_VERSION}/{rdBase.rdkitVersion}/{max_atoms}"


def chunk_path(staging: Path, number: int) -> Path:
    """Where chunk `number` is kept until the corpus is finished."""
    return staging / "chunks" / f"{number // CHUNKS_PER_FOLDER:05d}" / f"chunk-{number:08d}.arrow"


def chunk_task(staging: Path, number: int, chunk: Chunk, max_atoms: int, settings: str) -> ChunkTask:
    """The task that makes the file of one chunk of the table."""
    mols = None if chunk.mols is None else [None if mol is None else mol.ToBinary() for mol in chunk.mols]
    digest = hashlib.blake2b(settings.encode(), digest_size=16)
    digest.update(json.dumps([chunk.file, chunk.rows[0], chunk.lines, chunk.smiles, chunk.reasons]).encode())
    for data in mols or ():
        digest.update(data or b"-")
    return ChunkTask(
        path=chunk_path(staging, number),
        fingerprint=digest.hexdigest(),
        rows=chunk.rows,
        lines=chunk.lines,
        smiles=chunk.smiles,
        reasons=chunk.reasons,
        mols=mols,
        max_atoms=max_atoms,
        file=chunk.file,
    )


def is_made(task: ChunkTask) -> bool:
    """Whether an earlier run has made this very chunk."""
    try:
        metadata = arrow_schema(task.path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid, pa.ArrowSerializationError, OSError):
        return False
    return metadata.get(b"fingerprint") == task.fingerprint.encode()


def make_chunk(task: ChunkTask) -> int:
    """Makes one chunk file; gives the number of its rows."""
    good, rejected = [], []
    for at, row in enumerate(task.rows):
        found = task.reasons[at] or _read(task, at)
        if isinstance(found, _Good):
            good.append(found)
        else:
            text = task.smiles[at]
            rejected.append(RejectedRow(row, task.lines[at], text and text[:10_000], found, task.file))
    metadata = {
        "fingerprint": task.fingerprint,
        "rows": len(task.rows),
        "rejected": zlib.compress(json.dumps(rejected).encode()).hex(),
    }
    write_arrow(task.path, _chunk_batch(good), metadata, compression="lz4")
    return len(task.rows)


def _read(task: ChunkTask, at: int) -> _Good | str:
    """One row as a molecule, or the reason why not."""
    from rdkit import Chem

    from mesomer.chem.parse import CANNOT_PARSE, check_mol, parse_smiles

    stored = None if task.mols is None else task.mols[at]
    mol: Mol | None
    if stored is not None:
        mol = Chem.Mol(stored)  # type: ignore[call-overload]  # its stubs say str
        reason = check_mol(mol, task.max_atoms)
    else:
        mol, reason = parse_smiles(task.smiles[at], task.max_atoms)
    if mol is None or reason is not None:
        return reason or CANNOT_PARSE
    canonical = Chem.MolToSmiles(mol)
    spelt = mol
    if stored is not None or canonical != str(task.smiles[at]).strip():
        again, reason = parse_smiles(canonical, task.max_atoms)
        if again is None:
            return reason or CANNOT_PARSE
        spelt = again
    coordinates = None
    if stored is not None and mol.GetNumConformers() and mol.GetConformer().Is3D():
        order = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        if spelt.GetNumAtoms() != len(order):  # hydrogens that only the structure spells out
            return CANNOT_PARSE
        coordinates = mol.GetConformer().GetPositions().astype(np.float32)[order]
    return _Good(task.rows[at], canonical, spelt, coordinates)


def _chunk_batch(good: Sequence[_Good]) -> pa.RecordBatch:
    """The shard columns of the good rows, and the hash."""
    from mesomer.chem.featurize import featurize_many

    graphs = featurize_many([item.mol for item in good])
    atom_offsets, bond_offsets = (_offsets(counts[: len(good)]) for counts in graphs[3:])
    coordinates = None
    if any(item.coordinates is not None for item in good):
        coordinates = np.full((len(graphs.atoms), 3), np.nan, dtype=np.float32)
        for start, item in zip(atom_offsets, good, strict=False):
            if item.coordinates is not None:
                coordinates[start : start + len(item.coordinates)] = item.coordinates
    number = np.zeros(len(good), dtype=np.int64)  # known once duplicates are
    molecules = Molecules(graphs.atoms, graphs.bonds, graphs.ends, atom_offsets, bond_offsets, number, coordinates)
    smiles = [item.smiles for item in good]
    batch = shard_table(molecules, pa.array(smiles, pa.string()), np.array([item.row for item in good], dtype=np.int64))
    hashes = pa.array([smiles_hash(text) for text in smiles], pa.binary(HASH_BYTES))
    return batch.append_column("hash", hashes)


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def rejected_rows(path: Path) -> list[RejectedRow]:
    """The rejected rows of a chunk file."""
    stored = arrow_schema(path).metadata[b"rejected"].decode()
    return [RejectedRow(*item) for item in json.loads(zlib.decompress(bytes.fromhex(stored)))]
