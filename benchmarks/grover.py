"""GROVER against the published code: `python benchmarks/grover.py [--published REPOSITORY] [--data FILE]`.

Times the pre-training step (contexts and motifs) and embedding, ours in float32 and bfloat16 and, with `--compile`,
compiled, by turns with the published code where its repository is given; batches and targets are made, and lie on the
device, before the clock starts. On a CPU at base width and at a small one, on a GPU (`--device cuda`) at the widths of
base and large. Then collation alone: graphs with labels and fresh targets, ours from a prepared corpus, theirs from
SMILES with stored motif labels, as each has them in a training; on one core.

Each rate is followed by its share of the device's matrix-product peak of the same precision in the same run, counting
the matrix products that our network makes, and by the hours that 10 million molecules would take at it; then the cosine
of bfloat16 vectors to those in float32. The published code computes in float32, whatever ours does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import published_grover
import torch
from measure import by_turns, device_named, facts, product, read_molecules
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
WIDTHS = {"cpu": [800, 128], "cuda": [800, 1200]}
BATCH = {"cpu": 32, "cuda": 256}
LIBRARY = 10_000_000  # molecules, about those of the published corpus


class Ours:
    """Our tasks in one precision; each call takes the next batch, with the same random numbers in each round."""

    def __init__(
        self,
        corpus: Corpus,
        batches: Sequence[GraphBatch],
        precision: str,
        width: int,
        depth: int,
        device: torch.device,
        backend: str | None = None,
    ) -> None:
        self.half, self.turns, self.device = precision == "bfloat16", Counter[str](), device
        self.objective = _objective(corpus, width, depth).to(device)
        drawn = [self.objective.draw(batch, 0, 0) for batch in batches]
        self.batches, self.draws = [batch.to(device) for batch in batches], [draw.to(device) for draw in drawn]
        self.optimizer = torch.optim.Adam(self.objective.parameters(), lr=1e-4, fused=True)
        self.encoder = _encoder(width, depth).to(device).eval()
        if backend is not None:
            self.objective.encoder.compile(backend=backend)
            self.encoder.compile(backend=backend)

    def _turn(self, task: str) -> int:
        at = self.turns[task] % len(self.batches)
        self.turns[task] += 1
        torch.manual_seed(at)
        return at

    def _cast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

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


def run(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 2 and one sentence where they cannot be had."""
    try:
        main(arguments)
    except MesomerError as error:
        print(f"grover.py: {error}", file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", help="folder of the published code's repository")
    parser.add_argument("--data", help="table of molecules; the demonstration set if not given")
    parser.add_argument("--device", choices=sorted(WIDTHS), default="cpu")
    parser.add_argument(
        "--compile", nargs="?", const="inductor", metavar="BACKEND",
        help="ours compiled as well, by a backend of torch.compile; inductor, if none is named, needs a C++ compiler",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--widths",
        type=int,
        nargs="*",
        help="hidden sizes (800 128 on a CPU, 800 1200 on a GPU); none for collation only",
    )
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--batch", type=int, help="molecules in a batch (32 on a CPU, 256 on a GPU)")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--count", type=int, default=4, help="different batches")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    device = device_named(options.device)
    options.batch = options.batch or BATCH[device.type]
    options.widths = WIDTHS[device.type] if options.widths is None else options.widths
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    keep_freed_memory()
    # some more than needed, because a corpus holds a few out
    texts = read_molecules(options.data, 2 * options.batch * options.count, options.seed)
    print(facts(options.data, texts, options.seed, device))
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
            theirs = published_grover.Published(options.published, smiles, motifs, options.depth, device)
        for width in options.widths:
            _print_width(width, corpus, batches, theirs, options, device)
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
    device: torch.device,
) -> None:
    def made(precision: str, backend: str | None = None) -> Ours:
        return Ours(corpus, batches, precision, width, options.depth, device, backend)

    ours = {name: made(name) for name in PRECISIONS}
    if options.compile:
        from torch._dynamo import config

        # two precisions, two tasks and several widths share one cache, and what does not fit would run uncompiled
        config.recompile_limit = 64
        config.fail_on_recompile_limit_hit = True
        ours |= {f"{name} compiled": made(name, options.compile) for name in PRECISIONS}
    published = {} if theirs is None else theirs.contestants(width)
    for task in options.tasks:
        needed = ours["float32"].operations(task)
        runs: dict[str, Callable[[], object]] = {name: getattr(one, task) for name, one in ours.items()}
        if task in published:
            runs["published"] = published[task]
        if options.compile:
            _print_compiling(task, width, {name: one for name, one in ours.items() if name.endswith("compiled")})
        peaks = {name: product(dtype, device) for name, dtype in PRECISIONS.items()}
        all_runs = runs | {f"peak {name}": run for name, (run, _) in peaks.items()}
        seconds = by_turns(all_runs, options.rounds, len(batches), device)
        for name in runs:
            rate = options.batch / seconds[name]
            said = f"{task}, width {width}, batch {options.batch}, {name}: {rate:,.1f} molecules/s"
            if name in ours:
                precision = name.split()[0]
                peak = peaks[precision][1] / seconds[f"peak {precision}"]
                said += f", {needed / seconds[name] / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
            said += f", {LIBRARY / rate / 3600:,.1f} hours for 10 million"
            if name in ours and "published" in runs:
                said += f", {seconds['published'] / seconds[name]:.2f} times the published code"
            print(said, flush=True)
    for one in ours.values():
        one.turns.clear()
    exact = ours["float32"].embed()
    for name in [name for name in ours if name.startswith("bfloat16")]:
        ours[name].turns.clear()
        cosine = torch.nn.functional.cosine_similarity(ours[name].embed(), exact)
        print(
            f"width {width}: cosine of {name} vectors to float32: smallest {cosine.min():.5f}, mean {cosine.mean():.5f}"
        )


def _print_compiling(task: str, width: int, compiled: Mapping[str, Ours]) -> None:
    """Runs a task over all batches, whose sizes differ, and tells how often that compiled something."""
    from torch._dynamo.utils import counters

    for name, one in compiled.items():
        graphs = []
        for _ in one.batches:
            getattr(one, task)()
            graphs.append(str(counters["stats"]["unique_graphs"]))
        breaks = sum(counters["graph_break"].values())
        print(
            f"{task}, width {width}, {name}: graphs compiled so far after each batch: {' '.join(graphs)}; "
            f"{breaks} breaks in them",
            flush=True,
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
    sys.exit(run())
