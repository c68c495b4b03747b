"""Gives finished models the keys of the corpus that they were pre-trained on.

    python recipes/corpus_keys.py CORPUS MODEL [MODEL ...] [--refer MODEL ...] [--whole_chain]

CORPUS is the prepared corpus with the column `inchikeys`; each MODEL gets `corpus_keys.safetensors`, the entry in its
`config.json` and a paragraph in its card, as `mesomer pretrain` writes them today. Models of `--refer` get the entry
and the paragraph alone: they have the keys of a bundled model, whose file is found in the package. `--whole_chain` says
that the models which they started from were trained on this corpus alone, too. Running it again changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mesomer.data.corpus import Corpus
from mesomer.data.corpus_keys import ADDITION, CorpusKeys
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.training.checkpoint import CARD, CONFIG, read_config
from mesomer.training.model_keys import ENTRY, FILE, Carried, carried

HEADING = "## Keys of the corpus"


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script; 2 where it was refused."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--refer", type=Path, nargs="*", default=[])
    parser.add_argument("--whole_chain", action="store_true")
    given = parser.parse_args(words)
    try:
        corpus = Corpus.open(given.corpus, [ADDITION])
        keys = CorpusKeys.of(corpus)
        folders = [*given.models, *given.refer]
        configs = [checked(folder, corpus.fingerprint, given.whole_chain) for folder in folders]
        found = carried(keys)
        for folder, config in zip(folders, configs, strict=True):
            if folder in given.models:
                assert found.content is not None
                with atomic_write(folder / FILE) as temporary:
                    temporary.write_bytes(found.content)
            describe(folder, config, found, folder in given.refer)
            size = f", {len(found.content or b'') / 1e6:.2f} MB" if folder in given.models else ""
            print(f"{folder}: keys of {keys.molecules:,} molecules{size}")
    except MesomerError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return 2
    return 0


def checked(folder: Path, fingerprint: str, whole_chain: bool) -> dict:
    """The configuration of a model, which has to be of this corpus and of no other."""
    config = read_config(folder)
    training = config.get("training") or {}
    if training.get("corpus_fingerprint") != fingerprint:
        raise MesomerError(f"{folder} was not pre-trained on this corpus: the fingerprints differ.", "Give its own.")
    if training.get("init") and not whole_chain:
        raise MesomerError(
            f"{folder} started from {training['init']}, which may know another corpus.",
            "Give --whole_chain if it and those before it were trained on this corpus alone.",
        )
    return config


def describe(folder: Path, config: dict, found: Carried, elsewhere: bool) -> None:
    """Writes the entry into the configuration and the paragraph into the card; `elsewhere`: the file lies there."""
    config["training"][ENTRY] = found.entry
    with atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    words = found.sentence + (" The file lies with the bundled model that has the same keys." if elsewhere else "")
    if FILE not in text:
        with atomic_write(card) as temporary:
            paragraph = textwrap.fill(words, 118, break_long_words=False, break_on_hyphens=False)
            temporary.write_text(f"{text.rstrip()}\n\n{HEADING}\n\n{paragraph}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
