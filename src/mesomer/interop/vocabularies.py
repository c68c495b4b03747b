"""The vocabularies beside GROVER's and KERMT's pre-training files: what the rows of their vocabulary heads name.

Both codes pickle an object of a class of theirs. It is read by an unpickler that knows two names, that class and
`collections.Counter`, and makes plain values of them; a file that asks for anything else is refused.
"""

from __future__ import annotations

import collections
import json
import pickle
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from rdkit import Chem

from mesomer.chem.contexts import OTHER, PADDING
from mesomer.errors import MesomerError

LEVELS = ("atom", "bond")
_CLASSES = ("MolVocab", "TorchVocab")
_HINT = "Give the file that the checkpoint was trained with: the order of its names is that of the heads' rows."
_ELEMENTS = [re.escape(Chem.GetPeriodicTable().GetElementSymbol(number)) for number in range(119)]
_ATOM = re.compile(rf"({'|'.join(_ELEMENTS)})(_|$)")
_BOND = re.compile(r"\([^()_-]+-[^()_-]+-[^()_-]+\)(_|$)")


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
    return {level: _names(_the_file(folder, level), level) for level in LEVELS}


def _the_file(folder: Path, level: str) -> Path:
    found = [path for ending in ("pkl", "json") for path in sorted(folder.glob(f"*{level}_vocab.{ending}"))]
    if len(found) != 1:
        what = ", ".join(path.name for path in found) or "none"
        raise MesomerError(
            f"{folder} should hold one vocabulary of {level}s, and holds {what}.",
            f"Its name ends with {level}_vocab.pkl or {level}_vocab.json.",
        )
    return found[0]


def _names(path: Path, level: str) -> list[str]:
    try:
        if path.suffix == ".json":
            stored = json.loads(path.read_text(encoding="utf-8"))
        else:
            with open(path, "rb") as handle:
                stored = getattr(_Reader(handle).load(), "__dict__", {})
        names = stored.get("itos")
    except MesomerError as error:
        raise MesomerError(f"{path}: {error.message}") from error
    except Exception as error:  # unpickling arbitrary bytes fails in arbitrary ways
        raise MesomerError(f"{path} is no vocabulary file, or is damaged.") from error
    if not isinstance(names, list) or names[:2] != [PADDING, OTHER] or not all(isinstance(x, str) for x in names):
        raise MesomerError(f"{path} is no vocabulary: it does not list names that begin with {PADDING} and {OTHER}.")
    _check_names(path, level, names)
    _check_order(path, names, stored)
    return names


def _check_names(path: Path, level: str, names: list[str]) -> None:
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise MesomerError(f"{path} lists {twice[0]} more than once.", _HINT)
    begins, what = (_ATOM, "an element") if level == "atom" else (_BOND, "(type-stereo-direction)")
    if strange := [name for name in names[2:] if not begins.match(name)]:
        raise MesomerError(
            f"{path} is no vocabulary of {level}s: {strange[0]!r} does not begin with {what}.",
            "Are the two files swapped?",
        )


def _check_order(path: Path, names: list[str], stored: Mapping[str, Any]) -> None:
    """Heads name their rows by `stoi`, and the published code lists names by falling count."""
    places = stored.get("stoi")
    if isinstance(places, dict) and any(places.get(name) != place for place, name in enumerate(names)):
        raise MesomerError(f"{path} lists its names in itos in another order than in stoi.", _HINT)
    counts = stored.get("freqs")
    if not isinstance(counts, dict) or not all(isinstance(counts.get(name), int) for name in names[2:]):
        return
    for before, name in pairwise(names[2:]):
        if counts[before] < counts[name]:
            raise MesomerError(
                f"{path} lists {before} before {name}, which is commoner: published vocabularies go by falling count.",
                _HINT,
            )
