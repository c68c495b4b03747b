"""The vocabularies beside GROVER's and KERMT's pre-training files: what the rows of their vocabulary heads name.

Both codes pickle an object of a class of theirs. It is read by an unpickler that knows two names, that class and
`collections.Counter`, and makes plain values of them; a file that asks for anything else is refused.
"""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path
from typing import Any

from mesomer.chem.contexts import OTHER, PADDING
from mesomer.errors import MesomerError

LEVELS = ("atom", "bond")
_CLASSES = ("MolVocab", "TorchVocab")


class _Stored:
    """What a pickled vocabulary becomes: its attributes."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.rpartition(".")[2] == "torchvocab" and name in _CLASSES:
            return _Stored
        if (module, name) == ("collections", "Counter"):
            return collections.Counter
        raise MesomerError(
            f"it asks to run {module}.{name} when it is read, and is refused: a vocabulary holds names and counts only."
        )


def read_vocabularies(folder: str | Path) -> dict[str, list[str]]:
    """The names of atoms and of bonds, in the order of the heads' rows.

    Reads `…atom_vocab.pkl` and `…bond_vocab.pkl`, or the same as `.json` with the names under `itos`. Raises
    `MesomerError` if there is not exactly one of each, or if one is no vocabulary.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MesomerError(f"There is no folder {folder}.", "--vocab is the folder of the two vocabulary files.")
    return {level: _names(_the_file(folder, level)) for level in LEVELS}


def _the_file(folder: Path, level: str) -> Path:
    found = [path for ending in ("pkl", "json") for path in sorted(folder.glob(f"*{level}_vocab.{ending}"))]
    if len(found) != 1:
        what = ", ".join(path.name for path in found) or "none"
        raise MesomerError(
            f"{folder} should hold one vocabulary of {level}s, and holds {what}.",
            f"Its name ends with {level}_vocab.pkl or {level}_vocab.json.",
        )
    return found[0]


def _names(path: Path) -> list[str]:
    try:
        if path.suffix == ".json":
            names = json.loads(path.read_text(encoding="utf-8"))["itos"]
        else:
            with open(path, "rb") as handle:
                names = getattr(_Reader(handle).load(), "itos", None)
    except MesomerError as error:
        raise MesomerError(f"{path}: {error.message}") from error
    except Exception as error:  # unpickling arbitrary bytes fails in arbitrary ways
        raise MesomerError(f"{path} is no vocabulary file, or is damaged.") from error
    if not isinstance(names, list) or names[:2] != [PADDING, OTHER] or not all(isinstance(x, str) for x in names):
        raise MesomerError(f"{path} is no vocabulary: it does not list names that begin with {PADDING} and {OTHER}.")
    return names
