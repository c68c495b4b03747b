"""SDF and MOL files: one molecule per record, read one record at a time, coordinates kept.

The molecule comes from the record's structure, hydrogens removed as for SMILES, with its conformer. Columns: `smiles`
(canonical, written from the structure), `name` (the record's first line), then every property of the file. Properties
may start anywhere in the file, so their names are collected in a first pass over the text. A record that does not parse
costs itself only; its line is the record's first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mesomer.data.readers.base import Block, Reader, reader
from mesomer.data.readers.text import TextFile, open_bytes
from mesomer.errors import MesomerError

MAX_RECORD_CHARACTERS = 1 << 26
_COUNTS_LINE, _HEAD_BYTES = 3, 4096
_PROPERTY = re.compile(r">[^<]*<([^>]*)>")


def records(file: TextFile) -> Iterator[tuple[int, str]]:
    """First line and text of each record, without the closing `$$$$`; what follows the last one counts if not blank."""
    with file.open() as lines:
        held: list[str] = []
        start, size = 1, 0
        while (text := lines.next()) is not None:
            if text.startswith("$$$$"):
                yield start, "".join(held)
                start, held, size = lines.line + 1, [], 0
                continue
            held.append(text)
            size += len(text)
            if size > MAX_RECORD_CHARACTERS:
                raise MesomerError(
                    f"The record at line {start} of {file.path} never ends (with $$$$).", "Is this an SDF file?"
                )
        if any(text.strip() for text in held):
            yield start, "".join(held)


def holds_structures(path: Path) -> bool:
    """Whether a file is one of structures by its content, whatever its name: the fourth line names the version."""
    with open_bytes(path) as stream:
        lines = stream.read(_HEAD_BYTES).splitlines()
    return len(lines) > _COUNTS_LINE and lines[_COUNTS_LINE].rstrip().endswith((b"V2000", b"V3000"))


def take_apart(record: str) -> tuple[str, str, dict[str, str]]:
    """Title, mol block and properties of a record."""
    lines = record.splitlines()
    end = next((at for at, text in enumerate(lines) if text.startswith("M  END")), None)
    if end is None:
        end = next((at - 1 for at, text in enumerate(lines) if at > 3 and text.startswith(">")), len(lines) - 1)
    properties: dict[str, str] = {}
    name: str | None = None
    values: list[str] = []
    for text in [*lines[end + 1 :], ""]:
        match = _PROPERTY.match(text) if name is None else None
        if match:
            name, values = match.group(1), []
        elif name is not None and text.strip():
            values.append(text)
        elif name is not None:
            properties[name] = "\n".join(values)
            name = None
    return (lines[0].strip() if lines else ""), "\n".join(lines[: end + 1]) + "\n", properties


@reader(".sdf", ".sd", ".mol", ".mdl")
class Sdf(Reader):
    """A structure file."""

    unreadable_hint = "Is this an SDF or MOL file (V2000 or V3000)?"

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.file = TextFile(path)
        self.notes = self.file.notes
        properties: dict[str, None] = {}
        count = 0
        for _, record in records(self.file):
            count += 1
            if ">" in record:
                properties.update(dict.fromkeys(take_apart(record)[2]))
        self.rows = count
        self.properties = list(properties)
        self.structure_column = self.smiles_column = _free("smiles", properties)
        self.name_column = _free("name", properties)
        self.columns = (self.structure_column, self.name_column, *self.properties)

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        from rdkit import Chem

        block = self._empty()
        for start, record in records(self.file):
            title, mol_block, properties = take_apart(record)
            mol = _mol(mol_block)
            block.lines.append(start)
            block.reasons.append(None if mol is not None else "cannot parse")
            block.cells[self.structure_column].append(None if mol is None else Chem.MolToSmiles(mol))
            block.cells[self.name_column].append(title)
            for name in self.properties:
                block.cells[name].append(properties.get(name))
            assert block.mols is not None
            block.mols.append(mol)
            if len(block.lines) == rows:
                yield block
                block = self._empty()
        if block.lines:
            yield block

    def _empty(self) -> Block:
        return Block([], {name: [] for name in self.columns}, [], mols=[])


def _mol(mol_block: str) -> Any:
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    from mesomer.chem.stereo import older_perception

    with BlockLogs(), older_perception():
        try:
            return Chem.MolFromMolBlock(mol_block)
        except RuntimeError:  # RDKit's invariant violations on damaged blocks
            return None


def _free(name: str, taken: dict[str, None]) -> str:
    while name in taken:
        name = f"{name}_of_record"
    return name
