"""A prepared corpus: shards of molecules as codes and the card that describes them.

`Corpus.open` checks the card and the size of every shard, then maps shards into memory as they are needed; what works
long with a corpus calls `verify` first, which compares the SHA-256 of every file with the card. A molecule is named by
its part (`train` or `held_out`) and its position there; its global number, unique over both parts, is the batch's key.
Positions run through the shards in order. Everything is vectorised: no Python runs per molecule.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mesomer.chem.schema import SCHEMA_VERSION
from mesomer.data.named_columns import read_vocabulary
from mesomer.data.shards import Column, Molecules, Shard, join
from mesomer.errors import MesomerError, unknown_name
from mesomer.files import sha256_of
from mesomer.progress import Progress

if TYPE_CHECKING:
    from mesomer.chem.contexts import Vocabulary
    from mesomer.chem.graph import GraphBatch

CORPUS_FORMAT = 1
CARD = "corpus.json"
PARTS = ("train", "held_out")
BLOCK = 4096
"""Molecules in a block: what the stream reads in one go; the card holds the atoms of each block."""
_OPEN_SHARDS = 256


def shard_name(part: str, number: int) -> str:
    """File name of a shard."""
    return f"{part}-{number:05d}.arrow"


def sidecar_name(part: str, number: int, addition: str) -> str:
    """File name of an added column of a shard."""
    return f"{part}-{number:05d}.{addition}.arrow"


def _prepare_command(folder: Path) -> str:
    """The command that prepares a folder as it was prepared before, also where it was copied or moved since."""
    words = ["mesomer", "prepare", "--config", str(folder / "config.yaml"), "--output", str(folder)]
    return shlex.join(words)


def repair_hint(path: Path) -> str:
    """The command that makes what a corpus lacks."""
    return f"Run `{_prepare_command(path)}`: it makes only what is missing or damaged."


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a finished corpus, checked for its versions."""
    folder = Path(path)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_corpus(folder) from None
    except (ValueError, OSError) as error:
        raise MesomerError(f"{folder / CARD} cannot be read: {error}.", "Prepare the corpus again.") from error
    if not isinstance(card, dict) or "mesomer_corpus" not in card:
        raise MesomerError(f"{folder / CARD} is not the card of a corpus.", "Make one with `mesomer prepare`.")
    again = f"Prepare it again: `{_prepare_command(folder)} --overwrite`."
    if card["mesomer_corpus"] > CORPUS_FORMAT:
        raise MesomerError(f"The corpus {folder} was made by a newer version of Mesomer.", "Update Mesomer.")
    if card["schema_version"] != SCHEMA_VERSION:
        raise MesomerError(
            f"The corpus {folder} was prepared with schema version {card['schema_version']}; "
            f"this version of Mesomer reads {SCHEMA_VERSION}.",
            again,
        )
    return card


def _no_corpus(folder: Path) -> MesomerError:
    if not folder.exists():
        return MesomerError(f"There is no corpus {folder}.", "Make one with `mesomer prepare INPUT --output FOLDER`.")
    if (folder / "staging").is_dir():
        return MesomerError(
            f"The corpus {folder} is unfinished.",
            f"Run `{_prepare_command(folder)}`: it goes on where it stopped.",
        )
    return MesomerError(
        f"{folder} is not a prepared corpus (it has no {CARD}).",
        "Make one with `mesomer prepare INPUT --output FOLDER`.",
    )


class Corpus:
    """A prepared corpus, open for reading."""

    def __init__(self, path: Path, card: dict[str, Any], extras: Sequence[str]) -> None:
        self.path, self.card, self.extras = path, card, tuple(extras)
        self._shards = {part: [shard for shard in card["shards"] if shard["part"] == part] for part in PARTS}
        self._starts = {
            part: np.concatenate([[0], np.cumsum([shard["molecules"] for shard in shards], dtype=np.int64)])
            for part, shards in self._shards.items()
        }
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(self._open_shard)

    @classmethod
    def open(cls, path: str | os.PathLike[str], extras: Sequence[str] | None = None) -> Corpus:
        """Opens the corpus in a folder; `extras` names the added columns that batches carry (all, if not given)."""
        folder = Path(path)
        card = read_card(folder)
        known = card["additions"]
        for name in extras or ():
            if name not in known:
                raise MesomerError(
                    f"The corpus {folder} has no added column {name!r}"
                    + (f" (it has {', '.join(known)})." if known else "."),
                    f"Add it: `mesomer prepare {shlex.quote(str(folder))} --add {name}`.",
                )
        corpus = cls(folder, card, list(known) if extras is None else list(extras))
        for record in corpus.files():
            corpus.check_file(record)
        return corpus

    def __reduce__(self) -> tuple[Any, ...]:
        return Corpus, (self.path, self.card, self.extras)

    def files(self) -> list[dict[str, Any]]:
        """What the card says of each file that batches read: `file`, `bytes`, `sha256`."""
        return [*self.card["shards"], *(file for name in self.extras for file in self.card["additions"][name]["files"])]

    def check_file(self, record: dict[str, Any], content: bool = False) -> None:
        """Stops if a file of the corpus is not there or not as long as its record says; `content` reads it, too."""
        path, hint = self.path / record["file"], repair_hint(self.path)
        try:
            found = path.stat().st_size
            same = found == record["bytes"] and (not content or sha256_of(path) == record["sha256"])
        except FileNotFoundError:
            raise MesomerError(f"The corpus {self.path} lacks its part {record['file']}.", hint) from None
        except OSError as error:
            raise MesomerError(f"{path} cannot be read: {error.strerror}.", hint) from error
        if found != record["bytes"]:
            raise MesomerError(f"{path} is damaged: it has {found:,} bytes instead of {record['bytes']:,}.", hint)
        if not same:
            raise MesomerError(f"{path} is damaged: its SHA-256 is not the one in {CARD}.", hint)

    def damage(
        self, share: int = 0, shares: int = 1, quiet: bool = False
    ) -> Generator[tuple[str, MesomerError], None, None]:
        """Reads all files (or one of several shares of them): name and error of each that is not what the card says."""
        records = self.files()[share::shares]
        with Progress(len(records), "files", "checking the corpus", quiet) as bar:
            for record in records:
                try:
                    self.check_file(record, content=True)
                except MesomerError as error:
                    yield record["file"], error
                bar.advance()

    def verify(self, share: int = 0, shares: int = 1, quiet: bool = False) -> None:
        """Stops at the first file whose content is not what the card says; see `damage`."""
        with closing(self.damage(share, shares, quiet)) as found:
            for _, error in found:
                raise error

    @property
    def num_train(self) -> int:
        """Molecules to train on."""
        return self.count("train")

    @property
    def num_held_out(self) -> int:
        """Molecules held out for validation."""
        return self.count("held_out")

    @property
    def fingerprint(self) -> str:
        """A hash of all molecules and codes: equal for equal corpora, however and wherever they were prepared."""
        return self.card["fingerprint"]

    def count(self, part: str) -> int:
        """Molecules of a part."""
        return int(self._starts[self._part(part)][-1])

    def shards(self, part: str) -> list[dict[str, Any]]:
        """What the card says of each shard of a part, in order."""
        return self._shards[self._part(part)]

    def column(self, name: str) -> Column:
        """Level, type and width of an added column."""
        if name not in self.card["additions"]:
            raise unknown_name("added column", name, self.card["additions"])
        entry = self.card["additions"][name]
        return Column(entry["level"], entry["dtype"], entry["width"])

    def vocabulary(self, name: str) -> Vocabulary:
        """The vocabulary of an added column of names."""
        self.column(name)
        return read_vocabulary(self.path, name)

    def sizes(self, part: str) -> np.ndarray:
        """Atoms of every molecule of a part, uint16 [N]."""
        counts = [self.open_shard(part, number).num_atoms for number in range(len(self.shards(part)))]
        return np.concatenate(counts) if counts else np.zeros(0, dtype=np.uint16)

    def open_shard(self, part: str, number: int) -> Shard:
        """One shard, mapped into memory; a few hundred stay open."""
        return self._open(part, number)

    def _open_shard(self, part: str, number: int) -> Shard:
        entry = self.shards(part)[number]
        sidecars = {name: (self.column(name), self.path / sidecar_name(part, number, name)) for name in self.extras}
        return Shard(self.path / entry["file"], repair_hint(self.path), sidecars)

    def molecules(self, part: str, indices: np.ndarray | Sequence[int]) -> Molecules:
        """The molecules at some positions of a part, in the given order."""
        wanted, shards, local = self._locate(part, indices)
        used = np.unique(shards)
        if len(used) == 1:
            return self.open_shard(part, int(used[0])).molecules.take(local)
        pieces, places = [], []
        for number in used:
            at = np.flatnonzero(shards == number)
            pieces.append(self.open_shard(part, int(number)).molecules.take(local[at]))
            places.append(at)
        order = np.empty(len(wanted), dtype=np.int64)
        order[np.concatenate(places)] = np.arange(len(wanted))
        return join(pieces).take(order)

    def batch(self, part: str, indices: np.ndarray | Sequence[int]) -> GraphBatch:
        """A batch of the molecules at some positions of a part, in the given order; key = global number."""
        return self.molecules(part, indices).batch()

    def smiles(self, part: str, indices: np.ndarray | Sequence[int]) -> list[str]:
        """Canonical SMILES of the molecules at some positions of a part."""
        wanted, shards, local = self._locate(part, indices)
        found = np.empty(len(wanted), dtype=object)
        for number in np.unique(shards):
            at = np.flatnonzero(shards == number)
            found[at] = self.open_shard(part, int(number)).smiles(local[at])
        return found.tolist()

    def _locate(self, part: str, indices: np.ndarray | Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.ndim != 1 or len(wanted) == 0:
            raise ValueError("give a list of at least one position")
        if wanted.min() < 0 or wanted.max() >= self.count(part):
            raise IndexError(f"positions of {part} run from 0 to {self.count(part) - 1}")
        starts = self._starts[part]
        shards = np.searchsorted(starts, wanted, side="right") - 1
        return wanted, shards, wanted - starts[shards]

    def _part(self, part: str) -> str:
        if part not in self._shards:
            raise unknown_name("part of a corpus", part, PARTS)
        return part
