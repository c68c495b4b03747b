"""Benchmark sets by name: `mesomer finetune bbbp …` works like a path.

A set is looked for in this order: in the folder that MESOMER_DATA names (laid out as `molecules/<name>.csv.gz`,
`corpus/<name>.csv.gz`; its sum is checked and a difference said), in the package (`biogen_sol`), in the cache, at its
public address. What was fetched stays in the cache (`MESOMER_CACHE`, else `~/.cache/mesomer`): the public file under
`public/`, our table of it under `benchmarks/` with a note of both sums. Nothing is fetched unless a set is asked for.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mesomer.data.benchmark_table import BENCHMARKS, Benchmark
from mesomer.data.conversion import UnexpectedFile, convert, read_rows, table_digest
from mesomer.data.download import download, exclusive
from mesomer.errors import MesomerError, unknown_name
from mesomer.files import atomic_write, sha256_of, writing
from mesomer.progress import process_rank

__all__ = [
    "BENCHMARKS", "Benchmark", "cache_folder", "find_benchmark", "load_benchmark", "resolve_data", "target_columns",
    "uses_canonical_scaffolds",
]  # fmt: skip

DATA_VARIABLE = "MESOMER_DATA"
CACHE_VARIABLE = "MESOMER_CACHE"

Say = Callable[[str], None]


def resolve_data(text: str | os.PathLike[str], say: Say | None = None) -> str:
    """The path behind a DATA argument: what exists wins, then the name of a benchmark set."""
    text = os.fspath(text)
    if os.path.exists(text) or "://" in text or (glob.has_magic(text) and glob.glob(text)):
        return text
    if text in BENCHMARKS:
        return str(load_benchmark(text, say))
    if os.sep in text or os.path.splitext(text)[1]:
        raise MesomerError(
            f"There is no file {text}.", "Check the path; `mesomer check FILE` shows what a table holds."
        )
    raise unknown_name("file or benchmark set", text, BENCHMARKS)


def find_benchmark(name: str) -> Benchmark:
    """The entry of a set; an unknown name is an error with the nearest known one."""
    if name not in BENCHMARKS:
        raise unknown_name("benchmark set", name, BENCHMARKS)
    return BENCHMARKS[name]


def load_benchmark(name: str, say: Say | None = None, quiet: bool = False) -> Path:
    """The table of a set, fetched if need be; what a reader must know goes to `say` (default: stderr)."""
    entry = find_benchmark(name)
    say = say or _to_stderr
    offline = _offline_folder()
    if offline is not None and (path := offline / entry.file).is_file():
        if sha256_of(path) != entry.sha256:
            say(f"{path} is not the file that Mesomer knows as {name} (its sha256 differs); it is used as it is.")
            if difference := _difference(entry, path):
                say(difference)
        return path
    shipped = Path(__file__).parent.parent / "demo" / f"{name}.csv.gz"
    if shipped.is_file():
        return shipped
    if entry.url is None:
        where = (
            f"{DATA_VARIABLE} names {offline}, which has no {entry.file}" if offline else f"{DATA_VARIABLE} is not set"
        )
        raise MesomerError(
            f"The set {name} has no public address that Mesomer could fetch it from, and {where}.",
            f"Put it at {entry.file} below the folder that {DATA_VARIABLE} names; it comes from {entry.source}.",
        )
    with exclusive(cache_folder() / "benchmarks" / f"{name}.lock"):
        return _cached(entry, say) or _fetch(entry, entry.url, say, quiet)


def target_columns(entry: Benchmark, path: str | os.PathLike[str] | None = None) -> list[str]:
    """The target columns of a set; where the registry only counts them, read from the header of its table.

    With the `path` of a table that stands for the set it stops if that lacks some of them.
    """
    if path is not None and (lacking := _lacking(entry, next(_rows(path), []))):
        raise MesomerError(
            f"{path} stands for {entry.name} but has no column {', '.join(lacking)}.",
            f"Give --targets with its own columns, or another folder with {DATA_VARIABLE}.",
        )
    if entry.targets or not entry.target_count:
        return list(entry.targets)
    return [name for name in next(read_rows(load_benchmark(entry.name))) if name != "smiles"]


def labelled_table(data: str, targets: Sequence[str] | None, smiles_column: str | None = None) -> tuple[str, list[str]]:
    """The path behind a DATA argument and its target columns: those that are named, else those of a benchmark set."""
    path = resolve_data(data)
    if targets:
        return path, list(targets)
    if data in BENCHMARKS and path != data:
        return path, target_columns(BENCHMARKS[data], path)
    from mesomer.data.tables import open_table

    table = open_table(path, smiles_column)
    names = ", ".join(name for name in table.columns if name != table.smiles_column)
    raise MesomerError("No target column is named.", f"Give --targets with some of these columns: {names}.")


def uses_canonical_scaffolds(data: str | os.PathLike[str]) -> bool:
    """Whether published chiral scaffold splits of this DATA argument take canonical SMILES (see docs/splits.md)."""
    name = os.path.basename(os.fspath(data)).lower().split(".")[0]
    return name in BENCHMARKS and BENCHMARKS[name].canonical


def cache_folder() -> Path:
    """Where fetched files stay."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mesomer"


def _offline_folder() -> Path | None:
    named = os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise MesomerError(f"{DATA_VARIABLE} names {folder}, which is no folder.", "Mend or unset the variable.")
    return folder


def _paths(entry: Benchmark) -> tuple[Path, Path]:
    folder = cache_folder() / "benchmarks"
    return folder / f"{entry.name}.csv.gz", folder / f"{entry.name}.json"


def _cached(entry: Benchmark, say: Say) -> Path | None:
    """The table fetched before, if it is still what was written then."""
    table, facts = _paths(entry)
    try:
        known: Any = json.loads(facts.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if not table.is_file() or not isinstance(known, dict):
        return None
    if known.get("registry") != entry.digest:
        return None  # made by a version of Mesomer with another rule
    if known.get("table_sha256") != sha256_of(table):
        say(f"{table} was changed since it was fetched; it is made anew.")
        return None
    if known.get("comparison"):
        say(known["comparison"])
    return table


def _fetch(entry: Benchmark, url: str, say: Say, quiet: bool) -> Path:
    table, facts = _paths(entry)
    public = cache_folder() / "public" / url.rsplit("/", 1)[1]
    if public.is_file():
        sha256 = sha256_of(public)
        say(f"Using {public}, fetched before: sha256 {sha256}.")
    else:
        sha256 = download(url, public, quiet=quiet)
        say(f"Fetched {url}: sha256 {sha256}.")
    try:
        rows = convert(public, table, entry.targets, entry.conversion)
    except UnexpectedFile:
        public.unlink()
        raise
    comparison = _compare(entry, table, rows)
    if comparison:
        say(comparison)
    known = {
        "url": url,
        "public_sha256": sha256,
        "table_sha256": sha256_of(table),
        "rows": rows,
        "comparison": comparison,
        "registry": entry.digest,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_write(facts) as temporary, writing(facts):
        temporary.write_text(json.dumps(known, indent=1) + "\n")
    return table


def _rows(path: str | os.PathLike[str]) -> Iterator[list[str]]:
    try:
        yield from read_rows(path)
    except (UnicodeDecodeError, csv.Error, EOFError, OSError, zlib.error) as error:
        raise MesomerError(f"{path} cannot be read as a table: {error}.", "Put the whole file there.") from error


def _lacking(entry: Benchmark, header: Sequence[str]) -> list[str]:
    needed = ["smiles", *entry.targets, *(["split"] if entry.split == "column" else [])]
    return [name for name in needed if name not in header]


def _difference(entry: Benchmark, path: Path) -> str:
    """One sentence if a file put in place of a set has other columns or another number of rows, else nothing."""
    rows = _rows(path)
    header, count = next(rows, []), sum(1 for _ in rows)
    said = []
    if lacking := _lacking(entry, header):
        said.append(f"lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}")
    found = len([name for name in header if name not in ("smiles", "split")])
    if found != entry.num_targets:
        said.append(f"has {found:,} columns beside the SMILES instead of {entry.num_targets:,}")
    if count != entry.rows:
        said.append(f"has {count:,} rows instead of {entry.rows:,}")
    return f"It {' and '.join(said)}: splits and scores will differ." if said else ""


def _compare(entry: Benchmark, table: Path, rows: int) -> str:
    """One sentence if the table is not the one that reference results were made with, else nothing."""
    ours = "the table that the reference results were made with"
    if rows != entry.rows:
        return f"The fetched {entry.name} has {rows:,} rows, {ours} has {entry.rows:,}: splits and scores will differ."
    if table_digest(table)[0] != entry.digest:
        return f"The fetched {entry.name} differs from {ours} in order or values: splits and scores may differ."
    return ""


def _to_stderr(text: str) -> None:
    if process_rank() == 0:
        print(text, file=sys.stderr, flush=True)
