"""Shards: Arrow files of molecules as codes, written once, read in place by memory map.

A shard is an uncompressed Arrow IPC file with one record batch; row = molecule. Its binary columns lie one after the
other in the file, so that reading codes touches no SMILES, and NumPy sees them without a copy. A sidecar holds one
added column for the rows of one shard.

Legend: A atoms, E undirected bonds, M molecules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mesomer.chem.graph import GraphArrays
from mesomer.chem.schema import ATOM_BYTES, BOND_BYTES, SCHEMA_VERSION
from mesomer.errors import MesomerError

if TYPE_CHECKING:
    from mesomer.chem.graph import GraphBatch

SHARD_FORMAT = 1
ENDS_BYTES = 4  # two uint16
COORDINATE_BYTES = 12  # three float32
LEVELS = ("molecule", "atom", "bond")
_WIDTHS = {"atoms": ATOM_BYTES, "bonds": BOND_BYTES, "ends": ENDS_BYTES, "coordinates": COORDINATE_BYTES}


@dataclass(frozen=True)
class Column:
    """An added column: what one row holds, of which there is one for each molecule, atom or bond."""

    level: str
    dtype: str
    """NumPy's name of the numbers; `bits` for zeros and ones that are stored eight to a byte."""
    width: int

    @property
    def row_bytes(self) -> int:
        """Stored bytes of one row."""
        return (self.width + 7) // 8 if self.dtype == "bits" else self.width * np.dtype(self.dtype).itemsize

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Rows of numbers [N, width] as rows of bytes [N, row_bytes]."""
        if values.ndim != 2 or values.shape[1] != self.width:
            raise ValueError(f"an added column has rows of {self.width} numbers, got an array {values.shape}")
        if self.dtype == "bits":
            return np.packbits(values.astype(bool), axis=1, bitorder="little")
        little = np.ascontiguousarray(values, dtype=np.dtype(self.dtype).newbyteorder("<"))
        return little.view(np.uint8).reshape(len(values), self.row_bytes)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """The numbers of stored rows."""
        if self.dtype == "bits":
            return np.unpackbits(stored, axis=1, count=self.width, bitorder="little")
        return np.ascontiguousarray(stored).view(np.dtype(self.dtype).newbyteorder("<")).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Molecules:
    """Molecules as flat NumPy arrays, perhaps views of a file."""

    atoms: np.ndarray  # uint8 [A, 12]
    bonds: np.ndarray  # uint8 [E, 2]
    ends: np.ndarray  # uint16 [E, 2]
    atom_offsets: np.ndarray  # int64 [M + 1]
    bond_offsets: np.ndarray  # int64 [M + 1]
    number: np.ndarray  # int64 [M], the global number
    coordinates: np.ndarray | None = None  # float32 [A, 3], NaN where a molecule has none
    extras: Mapping[str, tuple[Column, np.ndarray]] = field(default_factory=dict)  # stored bytes, one row for each item

    def __len__(self) -> int:
        return len(self.number)

    @property
    def arrays(self) -> GraphArrays:
        """The molecules' graphs."""
        return GraphArrays(self.atoms, self.bonds, self.ends, np.diff(self.atom_offsets), np.diff(self.bond_offsets))

    def slice(self, start: int, stop: int) -> Molecules:
        """Molecules start to stop - 1, as views."""
        atoms = slice(self.atom_offsets[start], self.atom_offsets[stop])
        bonds = slice(self.bond_offsets[start], self.bond_offsets[stop])
        rows = {"molecule": slice(start, stop), "atom": atoms, "bond": bonds}
        return Molecules(
            self.atoms[atoms],
            self.bonds[bonds],
            self.ends[bonds],
            self.atom_offsets[start : stop + 1] - self.atom_offsets[start],
            self.bond_offsets[start : stop + 1] - self.bond_offsets[start],
            self.number[start:stop],
            None if self.coordinates is None else self.coordinates[atoms],
            {name: (column, stored[rows[column.level]]) for name, (column, stored) in self.extras.items()},
        )

    def take(self, indices: np.ndarray) -> Molecules:
        """The molecules at `indices`, copied, in that order."""
        atom_rows, atom_offsets = _ragged(self.atom_offsets, indices)
        bond_rows, bond_offsets = _ragged(self.bond_offsets, indices)
        rows = {"molecule": indices, "atom": atom_rows, "bond": bond_rows}
        return Molecules(
            _rows(self.atoms, atom_rows),
            _rows(self.bonds, bond_rows),
            _rows(self.ends, bond_rows),
            atom_offsets,
            bond_offsets,
            self.number[indices],
            None if self.coordinates is None else _rows(self.coordinates, atom_rows),
            {name: (column, _rows(stored, rows[column.level])) for name, (column, stored) in self.extras.items()},
        )

    def batch(self) -> GraphBatch:
        """The batch of all these molecules."""
        from mesomer.chem.graph import batch_from_arrays

        return batch_from_arrays(
            self.atoms,
            self.bonds,
            self.ends,
            np.diff(self.atom_offsets),
            np.diff(self.bond_offsets),
            keys=self.number,
            coordinates=self.coordinates,
            extras={name: column.decode(stored) for name, (column, stored) in self.extras.items()},
        )


def join(parts: Sequence[Molecules]) -> Molecules:
    """Several groups of molecules as one, copied; all with the same columns."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Molecules(
        np.concatenate([part.atoms for part in parts]),
        np.concatenate([part.bonds for part in parts]),
        np.concatenate([part.ends for part in parts]),
        _joined_offsets([part.atom_offsets for part in parts]),
        _joined_offsets([part.bond_offsets for part in parts]),
        np.concatenate([part.number for part in parts]),
        None if first.coordinates is None else np.concatenate([part.coordinates for part in parts]),  # type: ignore[arg-type]
        {
            name: (column, np.concatenate([part.extras[name][1] for part in parts]))
            for name, (column, _) in first.extras.items()
        },
    )


def _joined_offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate([np.diff(part) for part in parts]))])


def _ragged(offsets: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the items of the molecules at `indices`, and the offsets of the result."""
    starts = offsets[indices]
    counts = offsets[indices + 1] - starts
    result = np.zeros(len(indices) + 1, dtype=np.int64)
    np.cumsum(counts, out=result[1:])
    rows = np.repeat(starts - result[:-1], counts)
    rows += np.arange(result[-1])
    return rows, result


def _rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Taking opaque items of twelve bytes costs 3 ns a row, indexing rows of twelve numbers 25 to 55 ns.
    item = np.dtype((np.void, array.dtype.itemsize * array.shape[1]))
    if item.itemsize == 0 or not array.flags.c_contiguous:
        return array[rows]
    return array.reshape(-1).view(item).take(rows).view(array.dtype).reshape(len(rows), array.shape[1])


def binary(flat: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """A binary column from rows of any type and the offsets of the molecules among them."""
    row_bytes = flat.dtype.itemsize * flat.shape[1]
    positions = np.ascontiguousarray(offsets * row_bytes, dtype=np.int32)
    data = pa.py_buffer(np.ascontiguousarray(flat).tobytes())
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(positions), data])


def shard_table(molecules: Molecules, smiles: pa.Array, row: np.ndarray) -> pa.RecordBatch:
    """The record batch of a shard; `row` is the molecule's row in the input, from 1."""
    columns = {
        "number": pa.array(molecules.number, pa.int64()),
        "row": pa.array(row, pa.int64()),
        "num_atoms": pa.array(np.diff(molecules.atom_offsets), pa.uint16()),
        "num_bonds": pa.array(np.diff(molecules.bond_offsets), pa.uint16()),
        "smiles": smiles,
        "atoms": binary(molecules.atoms, molecules.atom_offsets),
        "bonds": binary(molecules.bonds, molecules.bond_offsets),
        "ends": binary(molecules.ends.astype("<u2", copy=False), molecules.bond_offsets),
    }
    if molecules.coordinates is not None:
        columns["coordinates"] = binary(molecules.coordinates.astype("<f4", copy=False), molecules.atom_offsets)
    return pa.RecordBatch.from_pydict(columns)


def write_arrow(path: Path, batch: pa.RecordBatch, metadata: Mapping[str, Any], compression: str | None = None) -> None:
    """Writes one record batch as an Arrow file, whole or not at all."""
    from mesomer.files import atomic_write

    stamped = batch.replace_schema_metadata({key: str(value) for key, value in metadata.items()})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        atomic_write(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, stamped.schema, options=options) as writer,
    ):
        writer.write_batch(stamped)


def open_arrow(path: Path, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """The record batch of an Arrow file, mapped into memory; ArrowInvalid if it is damaged."""
    with pa.memory_map(str(path)) as source:
        options = pa.ipc.IpcReadOptions()
        if columns is not None:
            names = pa.ipc.open_file(source).schema.names
            options.included_fields = [names.index(name) for name in columns]
        return pa.ipc.open_file(source, options=options).get_batch(0)


def molecules_of(batch: pa.RecordBatch) -> Molecules:
    """The molecules of a shard or chunk as views of its columns."""
    atom_offsets, bond_offsets = _offsets(batch, "num_atoms"), _offsets(batch, "num_bonds")
    has_coordinates = "coordinates" in batch.schema.names
    return Molecules(
        _flat(batch, "atoms", atom_offsets),
        _flat(batch, "bonds", bond_offsets),
        _flat(batch, "ends", bond_offsets).view("<u2"),
        atom_offsets,
        bond_offsets,
        batch.column("number").to_numpy(),
        _flat(batch, "coordinates", atom_offsets).view("<f4") if has_coordinates else None,
    )


def _offsets(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(batch.column(name).to_numpy(), dtype=np.int64)])


def _flat(batch: pa.RecordBatch, name: str, offsets: np.ndarray) -> np.ndarray:
    """A binary column as rows of bytes; only the lengths in `offsets` are trusted, files pad their columns."""
    data, rows, width = batch.column(name).buffers()[2], int(offsets[-1]), _WIDTHS[name]
    if rows == 0:
        return np.zeros((0, width), dtype=np.uint8)
    return np.frombuffer(data, dtype=np.uint8, count=rows * width).reshape(rows, width)


def arrow_schema(path: Path) -> pa.Schema:
    """The schema of an Arrow file, without reading its columns."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).schema


def shard_metadata(part: str, number: int) -> dict[str, Any]:
    """What every shard says of itself."""
    return {"mesomer_shard": SHARD_FORMAT, "schema_version": SCHEMA_VERSION, "part": part, "shard": number}


class Shard:
    """One open shard and its sidecars."""

    def __init__(self, path: Path, repair: str, sidecars: Mapping[str, tuple[Column, Path]] | None = None) -> None:
        self.path, self._repair = path, repair
        self._batch = self._read(path)
        metadata = {key.decode(): value.decode() for key, value in (self._batch.schema.metadata or {}).items()}
        if metadata.get("mesomer_shard") != str(SHARD_FORMAT):
            raise MesomerError(f"{path} is not a shard of a corpus that this version can read.", repair)
        if metadata["schema_version"] != str(SCHEMA_VERSION):
            raise MesomerError(
                f"{path} was written with schema version {metadata['schema_version']}, "
                f"this version reads {SCHEMA_VERSION}.",
                repair,
            )
        molecules = molecules_of(self._batch)
        counts = {"molecule": len(molecules), "atom": len(molecules.atoms), "bond": len(molecules.bonds)}
        extras = {
            name: (column, self._sidecar(file, name, column, counts[column.level]))
            for name, (column, file) in (sidecars or {}).items()
        }
        self.molecules = replace(molecules, extras=extras)

    def _read(self, path: Path) -> pa.RecordBatch:
        try:
            return open_arrow(path)
        except FileNotFoundError:
            raise MesomerError(f"{path} is missing.", self._repair) from None
        except (pa.ArrowInvalid, pa.ArrowSerializationError, OSError) as error:
            raise MesomerError(f"{path} is truncated or damaged.", self._repair) from error

    def _sidecar(self, path: Path, name: str, column: Column, rows: int) -> np.ndarray:
        batch = self._read(path)
        if batch.num_rows != rows or batch.schema.names != [name]:
            raise MesomerError(f"{path} does not belong to {self.path.name}.", self._repair)
        if rows == 0:
            return np.zeros((0, column.row_bytes), dtype=np.uint8)
        data = np.frombuffer(batch.column(0).buffers()[1], dtype=np.uint8, count=rows * column.row_bytes)
        return data.reshape(rows, column.row_bytes)

    @property
    def num_atoms(self) -> np.ndarray:
        """Atoms of each molecule, uint16 [M]."""
        return self._batch.column("num_atoms").to_numpy()

    def smiles(self, indices: np.ndarray) -> list[str]:
        """Canonical SMILES of some molecules."""
        return self._batch.column("smiles").take(pa.array(indices)).to_pylist()

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Rows of some molecules in the input, from 1."""
        return self._batch.column("row").to_numpy()[indices]


def sidecar_batch(name: str, stored: np.ndarray) -> pa.RecordBatch:
    """The record batch of a sidecar from stored rows [N, row_bytes]."""
    data = pa.py_buffer(np.ascontiguousarray(stored).tobytes())
    column = pa.Array.from_buffers(pa.binary(stored.shape[1]), len(stored), [None, data])
    return pa.RecordBatch.from_arrays([column], [name])


def blocks_of(molecules: int, block: int) -> Iterator[tuple[int, int]]:
    """Start and stop of the blocks of a shard."""
    for start in range(0, molecules, block):
        yield start, min(start + block, molecules)
