"""Prepare: any table of molecules becomes a corpus of Arrow shards, once, for every method.

Three stages, each resumed where it stopped, whatever stopped it: rows become chunk files (`chunks`), duplicates are
dropped and 5 % held out (`duplicates`), the kept molecules become shards (`assemble`). The shards are the same bytes
whatever the number of workers and interruptions. Memory is constant in the number of rows but for 3 bytes a molecule.
The corpus is finished when its card is there; added columns (`additions`) come last and can come later.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mesomer.data import additions as added
from mesomer.data.assemble import ShardTask, finished_record, make_shard, parts_path, plan_shards
from mesomer.data.card import corpus_card, corpus_readme, write_card
from mesomer.data.chunks import (
    CHUNK_ROWS,
    ChunkTask,
    chunk_path,
    chunk_task,
    is_made,
    make_chunk,
    rejected_rows,
    settings_fingerprint,
)
from mesomer.data.corpus import CARD, Corpus, read_card, repair_hint
from mesomer.data.disk import check_space
from mesomer.data.duplicates import choose_parts
from mesomer.data.rejects import Rejects
from mesomer.data.tables import Chunk, Table, open_table
from mesomer.data.workers import available_cores, run_tasks
from mesomer.errors import MesomerError
from mesomer.files import atomic_write, remove, sha256_of, writing_inside
from mesomer.progress import Progress
from mesomer.run import Interrupted, RunFolder, StopRequest, stop_signals


class Prepared(NamedTuple):
    """What `prepare_corpus` did."""

    corpus: Corpus
    state: str
    """new, resumed, repaired (damaged shards were made again) or finished (there was nothing left to do for the corpus
    itself)."""
    added: list[str]
    """Added columns computed now."""


class _NothingToKeep(Exception):
    """The input is unreadable or the disk too small: nothing made so far is of use. The cause is the user's error."""


def prepare(source: Any, output: str | Path, **options: Any) -> Corpus:
    """Prepares a corpus and opens it; see `prepare_corpus` for the options."""
    return prepare_corpus(source, output, **options).corpus


def prepare_corpus(
    source: Any,
    output: str | Path,
    *,
    workers: int | None = None,
    add: str | Sequence[str] = (),
    max_atoms: int = 500,
    smiles_column: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Prepared:
    """Makes, resumes or completes the corpus in the folder `output`.

    Args:
        source: What `open_table` reads.
        output: Folder of the corpus.
        workers: Processes; as many as there are cores if not given. The result does not depend on it.
        add: Names of added columns (`ADDITIONS`).
        max_atoms: Molecules with more atoms are rejected.
        smiles_column: Name of the SMILES column; found by its name if not given.
        overwrite: Replace a corpus of another input or other settings.
        quiet: Show no progress.
    """
    names = added.named_additions(add)
    count = available_cores() if workers is None else workers
    if count < 0:
        raise MesomerError(f"--workers is {count}, and must be 0 or more.", "0 works in this process.")
    table = open_table(source, smiles_column, max_atoms, CHUNK_ROWS)
    config = {
        "corpus": _source_name(source, table),
        "output": str(output),
        "max_atoms": max_atoms,
        "smiles_column": smiles_column,
        "workers": workers,
    }
    run = RunFolder.open(output, "prepare", config, input_sums(table), overwrite)
    state = run.state
    work = _Work(run, table, count, quiet)
    try:
        with run, writing_inside(run.path), stop_signals() as stop:
            work.stop = stop
            damaged = work.find_damage()
            if damaged:
                run.log(f"Making {', '.join(damaged)} again.")
            if state == "finished" and damaged is not None and not _shards_of(damaged, run.path):
                corpus = Corpus.open(run.path, extras=())
            else:
                corpus = work.make_corpus(damaged)
                state = "repaired" if state == "finished" else state
            names += [name for name in added.damaged_additions(corpus, damaged or {}) if name not in names]
            computed = [name for name in names if work.add(corpus, name, damaged or {})]
            remove(run.path / "staging")
    except _NothingToKeep as error:
        if state == "new":
            remove(run.path)
        assert error.__cause__ is not None
        raise error.__cause__ from None
    return Prepared(Corpus.open(run.path), state, computed)


def add_to_corpus(
    path: str | Path, add: str | Sequence[str], workers: int | None = None, quiet: bool = False
) -> Prepared:
    """Computes added columns of a finished corpus, those with damaged files again; stops at a damaged shard."""
    names = added.named_additions(add)
    corpus = Corpus.open(path, extras=())
    damaged = _damage(corpus.path, quiet)
    for name in _shards_of(damaged, corpus.path):
        raise damaged[name]
    names += [name for name in added.damaged_additions(corpus, damaged) if name not in names]
    work = _Work(None, None, available_cores() if workers is None else workers, quiet)
    with writing_inside(corpus.path), stop_signals() as stop:
        work.stop = stop
        computed = [name for name in names if work.add(corpus, name, damaged)]
    remove(corpus.path / "staging")
    return Prepared(Corpus.open(path), "finished", computed)


def input_sums(table: Table) -> dict[str, str]:
    """SHA-256 of each input file, or of the SMILES of a table in memory."""
    if table.is_file:
        sums = {}
        with Progress(len(table.files), "files", "reading SHA-256") as bar:
            for name in table.files:
                sums[name] = sha256_of(name)
                bar.advance()
        return sums
    digest = hashlib.sha256()
    for chunk in table.chunks():
        digest.update(repr(chunk.smiles).encode())
        for mol in chunk.mols or ():
            digest.update(mol.ToBinary() if mol is not None else b"-")
    return {table.name: digest.hexdigest()}


def _source_name(source: Any, table: Table) -> str | list[str]:
    if isinstance(source, str | Path):
        return str(source)
    return table.files if len(table.files) > 1 else table.files[0]


def _damage(folder: Path, quiet: bool) -> dict[str, MesomerError]:
    """The files that are not, or not as the card says, in a corpus that has a card, and the errors that say so."""
    card = read_card(folder)
    return dict(Corpus(folder, card, list(card["additions"])).damage(quiet=quiet))


def _shards_of(damaged: Iterable[str], folder: Path) -> list[str]:
    """Those of the files that are shards."""
    shards = {shard["file"] for shard in read_card(folder)["shards"]}
    return [name for name in damaged if name in shards]


class _Work:
    """The stages on one folder."""

    def __init__(self, run: RunFolder | None, table: Table | None, workers: int, quiet: bool) -> None:
        self._folder, self._table, self.workers, self.quiet = run, table, workers, quiet
        self.stop = StopRequest()

    @property
    def run(self) -> RunFolder:
        assert self._folder is not None
        return self._folder

    @property
    def table(self) -> Table:
        assert self._table is not None
        return self._table

    @property
    def staging(self) -> Path:
        return self.run.path / "staging"

    def check_stop(self) -> None:
        """Ends the work if a signal asked for it."""
        if self.stop.requested:
            raise Interrupted("finished parts are kept; the same command goes on from here")

    def _run(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Results of the tasks; ends the work between two of them if a signal asked for it."""
        with closing(run_tasks(function, tasks, self.workers)) as results:
            for result in results:
                yield result
                self.check_stop()

    def find_damage(self) -> dict[str, MesomerError] | None:
        """Which files are to be made again; None if the corpus has no card yet."""
        return _damage(self.run.path, self.quiet) if (self.run.path / CARD).exists() else None

    def make_corpus(self, damaged: Iterable[str] | None) -> Corpus:
        """All three stages and the card; or only the damaged shards of a corpus that has its card."""
        run, started = self.run, time.monotonic()
        old = None if damaged is None else read_card(run.path)
        lacking = [] if damaged is None else _shards_of(damaged, run.path)
        told = self._tell_notes(set())
        if old is None or lacking:
            chunks = self._make_chunks()
            self._tell_notes(told)
            parts = choose_parts(chunks)
            with atomic_write(parts_path(self.staging)) as temporary, open(temporary, "wb") as handle:
                np.save(handle, parts)
            rejects = self._write_rejects(chunks, len(parts))
            records = self._make_shards(chunks, parts, old, lacking)
            if old is None:
                card = corpus_card(
                    self.table, run.manifest, records, rejects, int((parts == 0).sum()), time.monotonic() - started
                )
                with atomic_write(run.path / "README.md") as temporary:
                    temporary.write_text(corpus_readme(card), encoding="utf-8")
                write_card(run.path, card)
        corpus = Corpus.open(run.path, extras=())
        run.finish({name: corpus.card[name] for name in ("molecules", "train", "held_out", "duplicates", "rejected")})
        return corpus

    def _tell_notes(self, told: set[str]) -> set[str]:
        """Says what the table has to say (some of it turns up only while rows are read); gives all of it."""
        notes = self.table.notes
        for note in notes:
            if note not in told:
                self.run.log(note)
        return {*told, *notes}

    def _make_chunks(self) -> list[Path]:
        """The first stage; gives the chunk files in input order."""
        paths: list[Path] = []
        with Progress(self.table.estimated_rows, "molecules", "preparing", self.quiet) as bar:
            for rows in self._run(make_chunk, self._chunk_tasks(paths, bar)):
                bar.advance(rows)
        return paths

    def _chunk_tasks(self, paths: list[Path], bar: Progress) -> Iterator[ChunkTask]:
        settings = settings_fingerprint(self.table.max_atoms)
        chunks = self.table.chunks()
        while True:
            try:
                chunk = next(chunks, None)
            except MesomerError as error:
                raise _NothingToKeep from error
            if chunk is None:
                return
            self.check_stop()
            if not paths:
                self._check_space(chunk)
            task = chunk_task(self.staging, len(paths), chunk, self.table.max_atoms, settings)
            paths.append(chunk_path(self.staging, len(paths)))
            if is_made(task):
                bar.advance(len(task.rows))
            else:
                yield task

    def _check_space(self, chunk: Chunk) -> None:
        try:
            check_space(self.run.path, chunk.smiles, self.table.estimated_rows)
        except MesomerError as error:
            raise _NothingToKeep from error

    def _write_rejects(self, chunks: Sequence[Path], molecules: int) -> Counter[str]:
        """Writes rejects.csv; an error if nothing is left."""
        with Rejects(self.run.path / "rejects.csv", several_files=len(self.table.files) > 1) as rejects:
            for path in chunks:
                for row in rejected_rows(path):
                    rejects.add(*row)
            if not molecules:
                raise _NothingToKeep from self.table.nothing_readable(rejects.counts)
        return rejects.counts

    def _make_shards(
        self, chunks: Sequence[Path], parts: np.ndarray, old: dict[str, Any] | None, lacking: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The third stage; gives the shards' records in order. Of a finished corpus only `lacking` is made."""
        tasks = list(plan_shards(self.run.path, self.staging, chunks, parts))
        known = {} if old is None else {record["file"]: record for record in old["shards"]}
        records: dict[str, dict[str, Any]] = {name: record for name, record in known.items() if name not in lacking}
        todo: list[ShardTask] = []
        for task in tasks:
            # beside a damaged shard its record may lie still, from a run that was killed after the card was written
            found = records.get(task.file) or (finished_record(task) if old is None else None)
            if found is None:
                todo.append(task)
            else:
                records[task.file] = found
        total = sum(piece.stop - piece.start for task in todo for piece in task.pieces)
        with Progress(total, "molecules", "writing shards", self.quiet) as bar:
            for record in self._run(make_shard, todo):
                records[record["file"]] = record
                self._check_same(known.get(record["file"]), record)
                bar.advance(record["molecules"])
        return [records[task.file] for task in tasks]

    def _check_same(self, before: dict[str, Any] | None, now: dict[str, Any]) -> None:
        if before is not None and before["sha256"] != now["sha256"]:
            remove(self.run.path / now["file"])
            raise MesomerError(
                f"{self.run.path / now['file']} came out different from the one that is lost "
                "(was the corpus prepared with another version of RDKit?).",
                "Prepare the whole corpus again: give --overwrite.",
            )

    def add(self, corpus: Corpus, name: str, damaged: Collection[str]) -> bool:
        """Computes an added column where it is missing or damaged; False if it was there."""
        missing = added.missing_sidecars(corpus, name, damaged)
        if not missing:
            return False
        tasks = list(added.shard_tasks(corpus, name, missing))
        todo = [task for task in tasks if not added.is_computed(task)]
        with Progress(sum(task.stop - task.start for task in tasks), "molecules", f"adding {name}", self.quiet) as bar:
            bar.advance(sum(task.stop - task.start for task in tasks) - sum(task.stop - task.start for task in todo))
            for count in self._run(added.compute_block, todo):
                bar.advance(count)
        added.settle_vocabulary(corpus, name, missing)
        for part, number in missing:
            added.write_sidecar(corpus, name, part, number)
        added.record_addition(corpus, name)
        corpus.card.update(read_card(corpus.path))
        return True


__all__ = ["Prepared", "add_to_corpus", "prepare", "prepare_corpus", "repair_hint"]
