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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from mesomer.chem.schema import ATOM_BYTES, BOND_BYTES, SCHEMA_VERSION
from mesomer.data.shards import SHARD_FORMAT, Molecules, arrow_schema, shard_table, write_arrow

if TYPE_CHECKING:
    from rdkit.Chem import Mol

    from mesomer.chem.graph import MolGraph
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


@dataclass
class _Good:
    """Good rows of a chunk, as they are collected."""

    rows: list[int] = field(default_factory=list)
    smiles: list[str] = field(default_factory=list)
    graphs: list[MolGraph] = field(default_factory=list)
    coordinates: list[np.ndarray | None] = field(default_factory=list)


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
    good, rejected = _Good(), []
    for at, row in enumerate(task.rows):
        reason = task.reasons[at] or _add(good, task, at)
        if reason is not None:
            text = task.smiles[at]
            rejected.append(RejectedRow(row, task.lines[at], text and text[:10_000], reason, task.file))
    metadata = {
        "fingerprint": task.fingerprint,
        "rows": len(task.rows),
        "rejected": zlib.compress(json.dumps(rejected).encode()).hex(),
    }
    write_arrow(task.path, _chunk_batch(good), metadata, compression="lz4")
    return len(task.rows)


def _add(good: _Good, task: ChunkTask, at: int) -> str | None:
    """Adds a row to the good ones, or says why not."""
    from rdkit import Chem

    from mesomer.chem.featurize import featurize
    from mesomer.chem.parse import CANNOT_PARSE, check_mol, parse_smiles

    stored = None if task.mols is None else task.mols[at]
    mol: Mol | None
    if stored is not None:
        mol = Chem.Mol(stored)  # type: ignore[call-overload]  # its stubs say str
        reason = check_mol(mol, task.max_atoms)
    else:
        mol, reason = parse_smiles(task.smiles[at], task.max_atoms)
    if mol is None or reason is not None:
        return reason
    canonical = Chem.MolToSmiles(mol)
    if stored is not None or canonical != str(task.smiles[at]).strip():
        spelt, reason = parse_smiles(canonical, task.max_atoms)
        if spelt is None:
            return reason
    else:
        spelt = mol
    coordinates = None
    if stored is not None and mol.GetNumConformers() and mol.GetConformer().Is3D():
        order = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        if spelt.GetNumAtoms() != len(order):  # hydrogens that only the structure spells out
            return CANNOT_PARSE
        coordinates = mol.GetConformer().GetPositions().astype(np.float32)[order]
    good.rows.append(task.rows[at])
    good.smiles.append(canonical)
    good.graphs.append(featurize(spelt))
    good.coordinates.append(coordinates)
    return None


def _chunk_batch(good: _Good) -> pa.RecordBatch:
    """The shard columns of the good rows, and the hash."""
    graphs = good.graphs
    has_coordinates = any(item is not None for item in good.coordinates)
    molecules = Molecules(
        _stack([graph.atoms for graph in graphs], ATOM_BYTES, np.uint8),
        _stack([graph.bonds for graph in graphs], BOND_BYTES, np.uint8),
        _stack([graph.ends for graph in graphs], 2, np.uint16),
        _offsets([len(graph.atoms) for graph in graphs]),
        _offsets([len(graph.bonds) for graph in graphs]),
        np.zeros(len(graphs), dtype=np.int64),  # the global number is known once duplicates are
        _stack(_with_gaps(good), 3, np.float32) if has_coordinates else None,
    )
    batch = shard_table(molecules, pa.array(good.smiles, pa.string()), np.array(good.rows, dtype=np.int64))
    hashes = pa.array([smiles_hash(text) for text in good.smiles], pa.binary(HASH_BYTES))
    return batch.append_column("hash", hashes)


def _with_gaps(good: _Good) -> list[np.ndarray]:
    """Coordinates of all good rows, NaN where a molecule has none."""
    return [
        np.full((len(graph.atoms), 3), np.nan, dtype=np.float32) if given is None else given
        for graph, given in zip(good.graphs, good.coordinates, strict=True)
    ]


def _stack(arrays: list[Any], width: int, dtype: Any) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros((0, width), dtype=dtype)


def _offsets(counts: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.array(counts, dtype=np.int64))])


def rejected_rows(path: Path) -> list[RejectedRow]:
    """The rejected rows of a chunk file."""
    stored = arrow_schema(path).metadata[b"rejected"].decode()
    return [RejectedRow(*item) for item in json.loads(zlib.decompress(bytes.fromhex(stored)))]
