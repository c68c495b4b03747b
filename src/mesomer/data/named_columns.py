"""Added columns of names: blocks of contexts, the vocabulary of a corpus, and the numbers that sidecars hold.

The vocabulary is built from all molecules of the corpus, as published builders do; it is one JSON file, written once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mesomer.errors import MesomerError
from mesomer.files import atomic_write

if TYPE_CHECKING:
    from mesomer.chem.contexts import Contexts, Vocabulary

LARGEST = 65_534
"""Contexts that a vocabulary can hold besides its special ones: sidecars have 16 bits a row."""


def vocabulary_name(name: str) -> str:
    """The file of an added column's vocabulary in the folder of the corpus."""
    return f"{name}.vocabulary.json"


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Keeps the contexts of one block."""
    with atomic_write(path) as temporary, open(temporary, "wb") as handle:
        np.savez(
            handle,
            tokens=np.array(contexts.tokens, dtype=np.str_),
            counts=np.bincount(contexts.of_row, minlength=len(contexts.tokens)),
            of_row=contexts.of_row.astype(np.int32),
        )


def read_contexts(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The different contexts of a block, how often each occurs, and which of them each row has."""
    with np.load(path) as stored:
        return stored["tokens"].tolist(), stored["counts"], stored["of_row"]


def write_vocabulary(folder: Path, name: str, blocks: Iterable[Path]) -> None:
    """Counts the contexts of all blocks and writes their vocabulary; the rarest are left out if it would not fit."""
    from mesomer.chem.contexts import Vocabulary

    total: Counter[str] = Counter()
    for path in blocks:
        tokens, counts, _ = read_contexts(path)
        for token, count in zip(tokens, counts.tolist(), strict=True):
            total[token] += count
    vocabulary = Vocabulary.of(total, max_size=LARGEST)
    with atomic_write(folder / vocabulary_name(name)) as temporary:
        temporary.write_text(json.dumps(vocabulary.to_json(), ensure_ascii=False) + "\n", encoding="utf-8")


def read_vocabulary(folder: Path, name: str) -> Vocabulary:
    """The stored vocabulary; raises `MesomerError` if it is not there or is none."""
    from mesomer.chem.contexts import Vocabulary

    path = folder / vocabulary_name(name)
    try:
        return Vocabulary.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise MesomerError(f"{path} cannot be read: {error}.", "Prepare the added column again.") from error


def numbered_blocks(folder: Path, name: str, blocks: Sequence[Path]) -> np.ndarray:
    """The rows of some blocks as numbers in the stored vocabulary [R, 1]."""
    vocabulary = read_vocabulary(folder, name)
    parts = []
    for path in blocks:
        tokens, _, of_row = read_contexts(path)
        parts.append(vocabulary.numbers(tokens)[of_row])
    return np.concatenate(parts)[:, None]
