"""Added columns: what an objective stores with each molecule, atom or bond of a corpus (`mesomer prepare --add NAME`).

An addition is computed from the molecules of a finished corpus into one sidecar file for each shard; shards themselves
stay as they are. Work is dealt to processes in small blocks that are kept until a shard's sidecar is whole, so that an
interrupted run goes on where it stopped. A new addition is a function and one entry of `ADDITIONS`.

An addition gives numbers, or names (contexts): then all names of the corpus are counted first, and the sidecars hold
their numbers in the vocabulary, a file of its own beside them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from mesomer.chem.graph import GraphArrays
from mesomer.data.card import corpus_readme, file_record, write_card
from mesomer.data.corpus import Corpus, read_card, shard_name, sidecar_name
from mesomer.data.named_columns import (
    numbered_blocks,
    read_contexts,
    vocabulary_name,
    write_contexts,
    write_vocabulary,
)
from mesomer.data.shards import SHARD_FORMAT, Column, Molecules, blocks_of, open_arrow, sidecar_batch, write_arrow
from mesomer.errors import unknown_name
from mesomer.files import atomic_write

if TYPE_CHECKING:
    from rdkit.Chem import Mol

    from mesomer.chem.contexts import Contexts

_COUNTS = "counts"
BLOCK_MOLECULES = 256
"""Molecules computed at a time: what an interruption can cost each worker."""


class Counted(NamedTuple):
    """Rows, and what the card and the summary say of how they came about: words that follow "molecules", how many."""

    rows: np.ndarray
    counts: dict[str, int]


@dataclass(frozen=True)
class Addition:
    """How one added column is computed."""

    column: Column
    meaning: str
    compute: Callable[[Sequence[Mol], np.ndarray], np.ndarray | Counted] | None = None
    """From molecules and their global numbers (for reproducible draws) to one row each, or one for each atom in RDKit's
    order, or one for each bond in RDKit's bond order, as the column's level says; `Counted` if there is something to
    tell of them that the rows do not show."""
    contexts: Callable[[GraphArrays], Contexts] | None = None
    """In place of `compute`, for a column of one integer: from the codes of molecules to named rows."""
    version: int = 1
    """Raised when the values change: stored columns of an older version are computed again."""
    counts: Callable[[np.ndarray, GraphArrays], dict[str, int]] | None = None
    """From the rows of many molecules, and these molecules, to what the card and the summary say of them: words that
    follow "molecules", and how many."""
    missing_only: bool = False
    """Whether molecules that bring coordinates of their own have no rows computed, but NaN: a batch takes theirs."""
    require: Callable[[], None] = lambda: None
    """Stops with a sentence where an optional package is missing, before work starts."""


def _motifs(mols: Sequence[Mol], numbers: np.ndarray) -> np.ndarray:
    from mesomer.chem.motifs import motif_labels

    return motif_labels(mols)


def _descriptors(mols: Sequence[Mol], numbers: np.ndarray) -> np.ndarray:
    from mesomer.chem.descriptors import descriptors_200

    return descriptors_200(mols)


def _fingerprints(mols: Sequence[Mol], numbers: np.ndarray) -> np.ndarray:
    from mesomer.chem.descriptors import ecfp_bits

    return np.unpackbits(ecfp_bits(mols, size=1024), axis=1)


def _require_descriptors() -> None:
    from rdkit import Chem

    _descriptors([Chem.MolFromSmiles("C")], np.zeros(1, dtype=np.int64))


def _conformers(mols: Sequence[Mol], numbers: np.ndarray) -> Counted:
    from mesomer.chem.conformers import counted_conformers

    return Counted(*counted_conformers(mols))


def _conformer_counts(coordinates: np.ndarray, graph: GraphArrays) -> dict[str, int]:
    from mesomer.chem.conformers import conformer_marks

    marks = conformer_marks(coordinates, graph.ends, graph.atom_counts, graph.bond_counts)
    return {what: int(found.sum()) for what, found in marks.items()}


def _inchikeys(mols: Sequence[Mol], numbers: np.ndarray) -> np.ndarray:
    from mesomer.data.corpus_keys import molecule_keys

    return molecule_keys(mols)


def _inchikey_counts(rows: np.ndarray, graph: GraphArrays) -> dict[str, int]:
    from mesomer.data.corpus_keys import unnamed

    return {"have no InChIKey and are told apart by their SMILES": unnamed(rows)}


def _atom_contexts(graph: GraphArrays) -> Contexts:
    from mesomer.chem.contexts import atom_contexts

    return atom_contexts(graph)


def _bond_contexts(graph: GraphArrays) -> Contexts:
    from mesomer.chem.contexts import bond_contexts

    return bond_contexts(graph)


ADDITIONS: dict[str, Addition] = {
    "atom_contexts": Addition(
        Column("atom", "uint16", 1),
        "the context of each atom (element, neighbours, bond types) as its number in the vocabulary of the corpus",
        contexts=_atom_contexts,
    ),
    "bond_contexts": Addition(
        Column("bond", "uint16", 1),
        "the context of each bond (its name, bonds beside it) as its number in the vocabulary of the corpus",
        contexts=_bond_contexts,
    ),
    "conformers": Addition(
        Column("atom", "float32", 3),
        "coordinates: ETKDG with a fixed seed, then UFF; of a drawing (z = 0) where no structure was found",
        _conformers,
        missing_only=True,
        counts=_conformer_counts,
    ),
    "descriptors": Addition(
        Column("molecule", "float32", 200),
        "200 RDKit descriptors, each mapped to its normalised distribution (`rdkit_2d_normalized`)",
        _descriptors,
        require=_require_descriptors,
    ),
    "fingerprints": Addition(
        Column("molecule", "bits", 1024),
        "which circular fragments up to radius 2 occur (ECFP4), folded to 1,024 bits",
        _fingerprints,
    ),
    "inchikeys": Addition(
        Column("molecule", "uint64", 3),
        "by which studies find their molecules in the corpus: the first 64 bits of the SHA-256 of the InChIKey, of its "
        "first block, and of the Murcko scaffold (0 without rings)",
        _inchikeys,
        counts=_inchikey_counts,
    ),
    "motifs": Addition(
        Column("molecule", "bits", 85),
        "which of RDKit's 85 fragments occur, in alphabetical order of their names",
        _motifs,
    ),
}


def named_additions(names: str | Sequence[str]) -> list[str]:
    """The additions in a comma-separated text or a list, checked to be known and computable here."""
    given = names.split(",") if isinstance(names, str) else list(names)
    wanted = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    for name in wanted:
        if name not in ADDITIONS:
            raise unknown_name("addition", name, ADDITIONS)
        ADDITIONS[name].require()
    return wanted


@dataclass(frozen=True)
class BlockTask:
    """Some molecules of one shard."""

    corpus: Path
    fingerprint: str
    name: str
    part: str
    number: int
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """Where the rows are kept until the shard's sidecar is whole."""
        from rdkit import rdBase

        release = f"{ADDITIONS[self.name].version}-{rdBase.rdkitVersion}"
        folder = self.corpus / "staging" / f"{self.name}-{release}"
        suffix = "npy" if ADDITIONS[self.name].contexts is None else "npz"
        return folder / shard_name(self.part, self.number) / f"{self.start:08d}.{suffix}"

    @property
    def counts_path(self) -> Path:
        """Where what is to be told of the rows is kept, beside them and written before them."""
        return self.path.with_suffix(".json")


def is_computed(task: BlockTask) -> bool:
    """Whether an earlier run has computed this block."""
    try:
        if ADDITIONS[task.name].contexts is None:
            np.load(task.path, mmap_mode="r")
        else:
            read_contexts(task.path)
    except (FileNotFoundError, ValueError, EOFError, KeyError, BadZipFile):
        return False
    return True


@lru_cache(maxsize=1)
def _corpus(path: Path, fingerprint: str) -> Corpus:
    """The corpus, opened once in each worker; the fingerprint tells it from another one at the same place."""
    return Corpus.open(path, extras=())


def compute_block(task: BlockTask) -> int:
    """Computes one block and keeps it; gives the number of its molecules."""
    from mesomer.chem.parse import parse_smiles
    from mesomer.chem.schema import MAX_ATOMS

    addition = ADDITIONS[task.name]
    shard = _corpus(task.corpus, task.fingerprint).open_shard(task.part, task.number)
    piece = shard.molecules.slice(task.start, task.stop)
    expected = {"molecule": len(piece), "atom": len(piece.atoms), "bond": len(piece.bonds)}[addition.column.level]
    if addition.contexts is not None:
        found = addition.contexts(piece.arrays)
        _check_rows(task, len(found.of_row), expected)
        write_contexts(task.path, found)
        return len(piece)
    assert addition.compute is not None
    mols = []
    for smiles in shard.smiles(np.arange(task.start, task.stop)):
        mol, reason = parse_smiles(smiles, MAX_ATOMS)
        if mol is None:
            raise RuntimeError(f"{smiles}, stored in {shard.path}, cannot be read by this RDKit: {reason}")
        mols.append(mol)
    computed = addition.compute(mols, piece.number) if not addition.missing_only else _of_others(addition, mols, piece)
    if isinstance(computed, Counted):
        with atomic_write(task.counts_path) as temporary:
            temporary.write_text(json.dumps(computed.counts), encoding="utf-8")
        computed = computed.rows
    rows = addition.column.encode(computed)
    _check_rows(task, len(rows), expected)
    with atomic_write(task.path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, rows)
    return len(mols)


def _of_others(addition: Addition, mols: Sequence[Mol], piece: Molecules) -> np.ndarray | Counted:
    """Rows of the atoms of molecules without coordinates of their own; NaN for the others."""
    assert addition.compute is not None
    own = np.zeros(len(mols), dtype=bool)
    if piece.coordinates is not None:
        own = ~np.isnan(piece.coordinates[piece.atom_offsets[:-1], 0])
    others = np.flatnonzero(~own)
    rows = np.full((len(piece.atoms), addition.column.width), np.nan, dtype=np.float32)
    computed = addition.compute([mols[int(at)] for at in others], piece.number[others])
    theirs = np.repeat(~own, piece.atom_offsets[1:] - piece.atom_offsets[:-1])
    rows[theirs] = computed.rows if isinstance(computed, Counted) else computed
    return Counted(rows, computed.counts) if isinstance(computed, Counted) else rows


def _check_rows(task: BlockTask, rows: int, expected: int) -> None:
    if rows != expected:
        level = ADDITIONS[task.name].column.level
        raise ValueError(f"the addition {task.name} gave {rows} rows for {expected} {level}s")


def missing_sidecars(corpus: Corpus, name: str, damaged: Collection[str]) -> list[tuple[str, int]]:
    """Part and number of the shards whose sidecar of an added column is among the `damaged` or of an older version."""
    from rdkit import rdBase

    entry = corpus.card["additions"].get(name)
    shards = [(part, number) for part in ("train", "held_out") for number in range(len(corpus.shards(part)))]
    if entry is None or entry["version"] != ADDITIONS[name].version or vocabulary_name(name) in damaged:
        return shards
    missing = [shard for shard in shards if sidecar_name(*shard, name) in damaged]
    # releases of RDKit differ in what they compute, and a column is that of one
    return shards if missing and entry["rdkit"] != rdBase.rdkitVersion else missing


def damaged_additions(corpus: Corpus, damaged: Collection[str]) -> list[str]:
    """The added columns that have a sidecar among the `damaged`; stops if one cannot be computed here."""
    known = corpus.card["additions"]
    return named_additions([name for name in known if any(file["file"] in damaged for file in known[name]["files"])])


def shard_tasks(corpus: Corpus, name: str, shards: Sequence[tuple[str, int]]) -> Iterator[BlockTask]:
    """The blocks of some shards."""
    for part, number in shards:
        for start, stop in blocks_of(corpus.shards(part)[number]["molecules"], BLOCK_MOLECULES):
            yield BlockTask(corpus.path, corpus.fingerprint, name, part, number, start, stop)


def settle_vocabulary(corpus: Corpus, name: str, missing: Sequence[tuple[str, int]]) -> None:
    """Counts the contexts of an added column over all shards and writes its vocabulary, if the column has one.

    The vocabulary stays as it is if only some of the sidecars are `missing`.
    """
    every = [(part, number) for part in ("train", "held_out") for number in range(len(corpus.shards(part)))]
    if ADDITIONS[name].contexts is None or len(missing) < len(every):
        return
    write_vocabulary(corpus.path, name, (task.path for task in shard_tasks(corpus, name, every)))


def write_sidecar(corpus: Corpus, name: str, part: str, number: int) -> None:
    """Joins the blocks of one shard into its sidecar."""
    addition, tasks = ADDITIONS[name], list(shard_tasks(corpus, name, [(part, number)]))
    paths = [task.path for task in tasks]
    if addition.contexts is None:
        rows = np.concatenate([np.load(path) for path in paths])
    else:
        rows = addition.column.encode(numbered_blocks(corpus.path, name, paths))
    metadata = {
        "mesomer_sidecar": SHARD_FORMAT,
        "addition": name,
        "version": ADDITIONS[name].version,
        "shard_sha256": corpus.shards(part)[number]["sha256"],
    }
    counted = [json.loads(task.counts_path.read_text("utf-8")) for task in tasks if task.counts_path.is_file()]
    if tasks and len(counted) == len(tasks):
        metadata[_COUNTS] = json.dumps({what: sum(block[what] for block in counted) for what in counted[0]})
    write_arrow(corpus.path / sidecar_name(part, number, name), sidecar_batch(name, rows), metadata)


def record_addition(corpus: Corpus, name: str) -> None:
    """Enters an added column, whose sidecars are all there, into the card and its page for people."""
    from rdkit import rdBase

    addition = ADDITIONS[name]
    files = []
    for part in ("train", "held_out"):
        for number in range(len(corpus.shards(part))):
            path = corpus.path / sidecar_name(part, number, name)
            files.append(file_record(path))
    if addition.contexts is not None:
        files.append(file_record(corpus.path / vocabulary_name(name)))
    card: dict[str, Any] = read_card(corpus.path)
    entry = {
        "version": addition.version,
        "meaning": addition.meaning,
        "rdkit": rdBase.rdkitVersion,
        **asdict(addition.column),
        "files": files,
    }
    card["additions"] = dict(sorted({**card["additions"], name: entry}.items()))
    if addition.counts is not None:
        entry["counts"] = _counted(Corpus(corpus.path, card, [name]), name, addition.counts) | _told(corpus, name)
    with atomic_write(corpus.path / "README.md") as temporary:
        temporary.write_text(corpus_readme(card), encoding="utf-8")
    write_card(corpus.path, card)


def _counted(corpus: Corpus, name: str, counts: Callable[[np.ndarray, GraphArrays], dict[str, int]]) -> dict[str, int]:
    """The counts of an added column, summed over all shards."""
    total: Counter[str] = Counter()
    for part in ("train", "held_out"):
        for number in range(len(corpus.shards(part))):
            molecules = corpus.open_shard(part, number).molecules
            column, stored = molecules.extras[name]
            total.update(counts(column.decode(stored), molecules.arrays))
    return dict(total)


def _told(corpus: Corpus, name: str) -> dict[str, int]:
    """How the rows came about, summed over all shards; nothing if a sidecar of an earlier version does not know it."""
    total: Counter[str] = Counter()
    for part in ("train", "held_out"):
        for number in range(len(corpus.shards(part))):
            stamps = open_arrow(corpus.path / sidecar_name(part, number, name)).schema.metadata
            if _COUNTS.encode() not in stamps:
                return {}
            total.update(json.loads(stamps[_COUNTS.encode()]))
    return dict(total)
