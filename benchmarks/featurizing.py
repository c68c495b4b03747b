"""Featurising against RDKit parsing alone: `python benchmarks/featurizing.py [--data FILE] [--corpus FOLDER]`.

From SMILES, parsing is the limit, and the ratio says how near we come. From a prepared corpus (`--corpus`, made by
`mesomer prepare`) nothing is parsed: batches are timed with and without fresh masks and targets of BatmanNet.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import count as counting

import numpy as np
import torch
from measure import by_turns, facts, product, read_molecules
from rdkit import Chem

from mesomer.chem.featurize import graphs_from_smiles
from mesomer.data.corpus import Corpus
from mesomer.encoders import fields
from mesomer.encoders.base import build_encoder
from mesomer.objectives.base import build_objective


def from_corpus(path: str, per_batch: int, seed: int) -> tuple[dict[str, Callable[[], object]], int]:
    """Contestants that make every batch of (at most 20,000 of) a corpus, and how many molecules that is."""
    corpus = Corpus.open(path, extras=())
    count = min(corpus.num_train, 20_000)
    chosen = np.sort(np.random.default_rng(seed).permutation(corpus.num_train)[:count])
    parts = [chosen[at : at + per_batch] for at in range(0, count, per_batch)]
    objective = build_objective("masked_graph", build_encoder("batmannet"))
    atom_groups, bond_groups = fields.SOUND_ATOM, fields.SOUND_BOND
    epochs = counting()

    def batches() -> None:
        for part in parts:
            corpus.batch("train", part)

    def masks_and_targets() -> None:
        epoch = next(epochs)
        for part in parts:
            batch = corpus.batch("train", part)
            objective.draw(batch, epoch, seed)
            fields.slots(atom_groups, batch.atom_codes)
            fields.slots(bond_groups, batch.bond_codes)

    return {"batches": batches, "batches, masks and targets": masks_and_targets}, count


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="table of molecules; the demonstration set if not given")
    parser.add_argument("--corpus", help="prepared corpus")
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--per_batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    texts = read_molecules(options.data, options.molecules, options.seed)
    print(facts(options.data, texts, options.seed))
    contestants: dict[str, Callable[[], object]] = {
        "parse": lambda: [Chem.MolFromSmiles(text) for text in texts],
        "featurize": lambda: graphs_from_smiles(texts),
    }
    counts = dict.fromkeys(contestants, len(texts))
    if options.corpus:
        stored, count = from_corpus(options.corpus, options.per_batch, options.seed)
        contestants |= stored
        counts |= dict.fromkeys(stored, count)
    run, needed = product(torch.float32)
    seconds = by_turns({**contestants, "product": run}, options.rounds)
    print(f"float32 matrix products at {needed / seconds['product'] / 1e9:,.0f} GFLOP/s on one core in the same run")
    rates = {name: counts[name] / seconds[name] for name in contestants}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} molecules/s on one core, {rate / rates['parse']:.2f} of RDKit's parsing")


if __name__ == "__main__":
    main()
