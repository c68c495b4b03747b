"""GROVER against the published code: `python benchmarks/grover.py [--published REPOSITORY] [--data FILE]`.

Times the pre-training step (contexts and motifs) and embedding at base width and at a small one, ours in float32 and
bfloat16, by turns with the published code where its repository is given; batches and targets are made before the clock
starts. Then collation alone: graphs with labels and fresh targets, ours from a prepared corpus, theirs from SMILES with
stored motif labels, as each has them in a training; on one core.

Each rate is followed by its share of the machine's matrix-product peak of the same precision in the same run, counting
the matrix products that our network makes, and by the cosine of bfloat16 vectors to those in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import published_grover
import torch
from measure import by_turns, facts, product, read_molecules
from torch.utils.flop_counter import FlopCounterMode

from mesomer.chem.graph import GraphBatch
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.encoders.base import Encoder, build_encoder, sizes
from mesomer.errors import MesomerError
from mesomer.machine import keep_freed_memory
from mesomer.objectives.base import Objective, build_objective

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COLUMNS = ("atom_contexts", "bond_contexts", "motifs")
TASKS = ("pretrain", "embed")


class Ours:
    """Our tasks in one precision; each call takes the next batch, with the same random numbers in each round."""

    def __init__(self, corpus: Corpus, batches: Sequence[GraphBatch], precision: str, width: int, depth: int) -> None:
        self.batches, self.half, self.turns = batches, precision == "bfloat16", Counter[str]()
        self.objective = _objective(corpus, width, depth)
        self.draws = [self.objective.draw(batch, 0, 0) for batch in batches]
        self.optimizer = torch.optim.Adam(self.objective.parameters(), lr=1e-4, fused=True)
        self.encoder = _encoder(width, depth).eval()

    def _turn(self, task: str) -> int:
        at = self.turns[task] % len(self.batches)
        self.turns[task] += 1
        torch.manual_seed(at)
        return at

    def _cast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)

    def pretrain(self) -> None:
        """One step of contexts and motifs."""
        at = self._turn("pretrain")
        with self._cast():
            terms = self.objective(self.batches[at], self.draws[at])
        counts, weights = self.draws[at].counts, self.objective.weights
        torch.stack([weights[name] * x / max(counts[name], 1) for name, x in terms.items()]).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def embed(self) -> torch.Tensor:
        """The vectors of one batch."""
        batch = self.batches[self._turn("embed")]
        with self._cast():
            return self.encoder.molecule_vectors(self.encoder(batch), batch).float()

    def operations(self, task: str) -> float:
        """Floating-point operations of the matrix products of one call, on average over the batches."""
        counter = FlopCounterMode(display=False)
        with counter:
            for _ in self.batches:
                getattr(self, task)()
        return counter.get_total_flops() / len(self.batches)


def _encoder(width: int, depth: int) -> Encoder:
    torch.manual_seed(0)
    return build_encoder("grover", **{**sizes("grover")["base"], "hidden_size": width, "depth": depth})


def _objective(corpus: Corpus, width: int, depth: int) -> Objective:
    objective = build_objective("contextual+motifs", _encoder(width, depth))
    objective.adapt(corpus)
    return objective


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", help="folder of the published code's repository")
    parser.add_argument("--data", help="table of molecules; the demonstration set if not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--widths", type=int, nargs="*", default=[800, 128], help="hidden sizes; none for collation only"
    )
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32, help="molecules in a batch")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--count", type=int, default=4, help="different batches")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    keep_freed_memory()
    # some more than needed, because a corpus holds a few out
    texts = read_molecules(options.data, 2 * options.batch * options.count, options.seed)
    print(facts(options.data, texts, options.seed))
    with tempfile.TemporaryDirectory() as folder:
        corpus = _corpus(Path(folder), texts)
        count = min(options.count, corpus.num_train // options.batch)
        if count < 1:
            raise MesomerError(f"{corpus.num_train} molecules do not fill one batch of {options.batch}.")
        places = [np.arange(at * options.batch, (at + 1) * options.batch) for at in range(count)]
        batches = [corpus.batch("train", place) for place in places]
        theirs = None
        if options.published:
            smiles = [corpus.smiles("train", place) for place in places]
            motifs = [batch.extras["motifs"].numpy() for batch in batches]
            theirs = published_grover.Published(options.published, smiles, motifs, options.depth)
        for width in options.widths:
            _print_width(width, corpus, batches, theirs, options)
        torch.set_num_threads(1)
        _print_collation(corpus, places, theirs, options)


def _corpus(folder: Path, texts: Sequence[str]) -> Corpus:
    table = folder / "molecules.smi"
    table.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return prepare_corpus(table, folder / "corpus", workers=1, add=COLUMNS, quiet=True).corpus


def _print_width(
    width: int,
    corpus: Corpus,
    batches: Sequence[GraphBatch],
    theirs: published_grover.Published | None,
    options: argparse.Namespace,
) -> None:
    ours = {name: Ours(corpus, batches, name, width, options.depth) for name in PRECISIONS}
    published = {} if theirs is None else theirs.contestants(width)
    for task in options.tasks:
        needed = ours["float32"].operations(task)
        runs: dict[str, Callable[[], object]] = {name: getattr(one, task) for name, one in ours.items()}
        if task in published:
            runs["published"] = published[task]
        peaks = {name: product(dtype) for name, dtype in PRECISIONS.items()}
        all_runs = runs | {f"peak {name}": run for name, (run, _) in peaks.items()}
        seconds = by_turns(all_runs, options.rounds, len(batches))
        for name in runs:
            rate = options.batch / seconds[name]
            said = f"{task}, width {width}, batch {options.batch}, {name}: {rate:,.1f} molecules/s"
            if name in peaks:
                peak = peaks[name][1] / seconds[f"peak {name}"]
                said += f", {needed / seconds[name] / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
                if "published" in runs:
                    said += f", {seconds['published'] / seconds[name]:.2f} times the published code"
            print(said, flush=True)
    for one in ours.values():
        one.turns.clear()
    cosine = torch.nn.functional.cosine_similarity(ours["bfloat16"].embed(), ours["float32"].embed())
    print(
        f"width {width}: cosine of bfloat16 vectors to float32: smallest {cosine.min():.5f}, mean {cosine.mean():.5f}"
    )


def _print_collation(
    corpus: Corpus,
    places: Sequence[np.ndarray],
    theirs: published_grover.Published | None,
    options: argparse.Namespace,
) -> None:
    objective, turns = _objective(corpus, 8, 2), Counter[str]()

    def collate() -> None:
        turns["ours"] += 1
        objective.draw(corpus.batch("train", places[turns["ours"] % len(places)]), turns["ours"], options.seed)

    runs: dict[str, Callable[[], object]] = {"ours": collate}
    if theirs is not None:
        runs["published"] = theirs.collate
    seconds = by_turns(runs, max(options.rounds, 2 * len(places)), 1)
    for name in runs:
        said = f"collation with labels, batch {options.batch}, {name}: {options.batch / seconds[name]:,.0f} molecules/s"
        if name == "ours" and "published" in runs:
            said += f", {seconds['published'] / seconds[name]:.1f} times the published code"
        print(said, flush=True)


if __name__ == "__main__":
    main()
