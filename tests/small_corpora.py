"""Small corpora for the tests of prepare, corpus and stream, made from the demonstration set."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest

from mesomer.data import assemble, prepare

CHUNK_ROWS, SHARD_MOLECULES, BLOCK = 50, 120, 16
UNLIKE = {"manifest.json", "log.txt", "config.yaml", "metrics.csv", ".lock"}
"""Files that tell of a run, not of its result."""


def demo_rows(count: int) -> list[dict[str, str]]:
    """The first rows of the demonstration set: `smiles`, `activity`."""
    packed = files("mesomer").joinpath("demo/biogen_sol.csv.gz").read_bytes()
    rows = csv.DictReader(gzip.decompress(packed).decode().splitlines())
    return [row for _, row in zip(range(count), rows, strict=False)]


def demo_smiles(count: int) -> list[str]:
    """SMILES of the demonstration set as they are written there."""
    return [row["smiles"] for row in demo_rows(count)]


def write_table(path: Path, smiles: list[str]) -> Path:
    """A CSV file of these SMILES."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["smiles", "name"])
        writer.writerows([text, f"m{number}"] for number, text in enumerate(smiles))
    return path


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes chunks, shards and blocks so small that a few hundred molecules fill several."""
    monkeypatch.setattr(prepare, "CHUNK_ROWS", CHUNK_ROWS)
    monkeypatch.setattr(assemble, "SHARD_MOLECULES", SHARD_MOLECULES)
    monkeypatch.setattr(assemble, "BLOCK", BLOCK)
    monkeypatch.setattr("mesomer.data.card.BLOCK", BLOCK)


def contents(folder: Path) -> dict[str, str]:
    """What a corpus holds, file by file, without the time at which it was made."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name in UNLIKE:
            continue
        data = path.read_bytes()
        if path.name == "corpus.json":
            card = json.loads(data)
            del card["made"]
            data = json.dumps(card).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found
