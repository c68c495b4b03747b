"""The keys of its corpus that a model folder carries (`corpus_keys.safetensors`), and which a new model is to carry.

`config.json` says under `training` how many there are, of which corpora, and the SHA-256 of the file. Of bundled models
with the same keys one holds the file: what lies in no copy is found in the package by its SHA-256, wherever the folder
was copied to. Decided: a model carries keys only if those of its own corpus are among them; those of a model that it
started from are united with them. Where the corpus of such a model is not known, the file says so. Fine-tuned and
imported models carry none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mesomer.data.corpus import Corpus
from mesomer.data.corpus_keys import ADDITION, BITS, CorpusKeys
from mesomer.errors import MesomerError
from mesomer.files import sha256_of
from mesomer.training.checkpoint import CONFIG, ModelFolder, bundled_models

FILE = "corpus_keys.safetensors"
ENTRY = "corpus_keys"
_HINT = "Copy the model folder again, or give the corpus itself with --corpus."


class Carried(NamedTuple):
    """What a new model is to carry."""

    content: bytes | None
    """Of the file; None if there are no keys."""
    entry: dict[str, Any] | None
    """What the training part of `config.json` says of it."""
    sentence: str
    """What to tell of it."""


def keys_of(folder: Path, config: Mapping[str, Any]) -> CorpusKeys | None:
    """The keys that a model folder carries; None if it has none, an error if they are damaged or of another model."""
    training = config.get("training") or {}
    entry, own = training.get(ENTRY), folder / FILE
    file = own if own.is_file() else _in_package(entry)
    if file is None:
        if entry is None:
            return None
        raise MesomerError(f"{own} is missing, which {CONFIG} describes.", _HINT)
    content = file.read_bytes()
    if entry is not None and hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise MesomerError(f"{file} is not the file that {CONFIG} describes: it was cut short or changed.", _HINT)
    try:
        keys = CorpusKeys.from_bytes(content)
    except ValueError as error:
        raise MesomerError(f"{file} cannot be read: {error}.", _HINT) from error
    if training.get("corpus_fingerprint") not in keys.corpora:
        raise MesomerError(f"{file} belongs to a model of another corpus than {folder}.", _HINT)
    return keys


def _in_package(entry: Mapping[str, Any] | None) -> Path | None:
    """The file of a bundled model that an entry describes."""
    if entry is None:
        return None
    files = [folder / FILE for folder in bundled_models().values()]
    return next((file for file in files if file.is_file() and sha256_of(file) == entry.get("sha256")), None)


def keys_to_carry(corpus: Corpus, start: ModelFolder | None) -> Carried:
    """The keys of a model that is trained on `corpus` from the weights of `start`."""
    before = None if start is None else keys_of(start.path, start.config)
    if ADDITION in corpus.card["additions"]:
        keys = CorpusKeys.of(corpus)
        keys = keys.union(CorpusKeys(keys.keys, {}, _unknown(corpus, start)) if before is None else before)
    elif before is not None and corpus.fingerprint in before.corpora:
        keys = before
    else:
        text = (
            f"The corpus has no column {ADDITION}, so no study of this model will know which of its molecules were "
            f"trained on; to add it: mesomer prepare {corpus.path} --add {ADDITION}"
        )
        return Carried(None, None, text)
    return carried(keys)


def _unknown(corpus: Corpus, start: ModelFolder | None) -> tuple[str, ...]:
    """The models before this one that may have been trained on molecules outside `corpus`."""
    if start is None:
        return ()
    training = start.config.get("training") or {}
    if training.get("corpus_fingerprint") != corpus.fingerprint:
        return (str(start.path),)
    return (str(training["init"]),) if training.get("init") else ()


def carried(keys: CorpusKeys) -> Carried:
    """The file of these keys and what is said of it."""
    content = keys.to_bytes()
    entry = {
        "file": FILE,
        "molecules": keys.molecules,
        **{kind: len(found) for kind, found in keys.keys.items()},
        "bits": BITS,
        "corpora": dict(keys.corpora),
        "unknown": list(keys.unknown),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Carried(content, entry, keys_sentence(entry))


def keys_sentence(entry: Mapping[str, Any]) -> str:
    """What the model card says of the keys; corpora of a chain may share molecules, which are counted once."""
    several = len(entry["corpora"]) > 1
    count = (
        f"{entry['exact']:,} molecules of {len(entry['corpora'])} corpora"
        if several
        else f"{entry['molecules']:,} molecules"
    )
    return (
        f"The model carries keys of the {count} that it was pre-trained on or measured with "
        f"(`{FILE}`: {entry['bits']} bits of each InChIKey, skeleton and scaffold), by which `mesomer study` finds its "
        "molecules among them."
    )
