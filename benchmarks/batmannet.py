"""BatmanNet against the published code: `python benchmarks/batmannet.py [--published REPOSITORY] [--data FILE]`.

Times the pre-training step, the fine-tuning step and embedding at base size, ours in float32 and bfloat16, by turns
with the published code where its repository is given, at several batch sizes; graphs are made before the clock starts.
Embedding is timed twice: one batch at a time, and as `mesomer embed` does it (`library`): all molecules at once, a
batch of its own for every thread, at the batch size of `--atoms_per_batch`.
Each figure is followed by its share of the machine's matrix-product peak of the same precision in the same run,
counting the matrix products that our encoder makes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import published
import torch
from measure import by_turns, facts, product, read_molecules
from torch.utils.flop_counter import FlopCounterMode

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import GraphBatch, MolGraph, collate
from mesomer.encoders.base import Encoder, build_encoder
from mesomer.heads import PropertyModel
from mesomer.inference.batches import Runner
from mesomer.machine import keep_freed_memory
from mesomer.objectives.base import build_objective
from mesomer.outputs import Output
from mesomer.training.checkpoint import default_model, load_encoder

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TASKS = ("pretrain", "finetune", "embed", "library")


class Ours:
    """Our three tasks in one precision; each call takes the next batch."""

    def __init__(
        self, graphs: Sequence[Sequence[MolGraph]], precision: str, size: str, seed: int, atoms_per_batch: int | None
    ) -> None:
        from mesomer.encoders.base import sizes

        def encoder() -> Encoder:
            torch.manual_seed(seed)
            return build_encoder("batmannet", **sizes("batmannet")[size])

        batches = [collate(part) for part in graphs]
        self.molecules = [graph for part in graphs for graph in part]
        self.runner = Runner(torch.device("cpu"), atoms_per_batch)
        self.batches, self.half, self.turns = batches, precision == "bfloat16", dict.fromkeys(TASKS, 0)
        self.objective = build_objective("masked_graph", encoder())
        self.draws = [self.objective.draw(batch, 0, seed) for batch in batches]
        self.property = PropertyModel(encoder(), [Output("regression")], dropout=0.1)
        self.encoder = encoder().eval()
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
            for name, network in (("pretrain", self.objective), ("finetune", self.property))
        }

    def _turn(self, task: str) -> int:
        self.turns[task] += 1
        return (self.turns[task] - 1) % len(self.batches)

    def _cast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)

    def _update(self, loss: torch.Tensor, task: str) -> None:
        loss.backward()
        self.optimizers[task].step()
        self.optimizers[task].zero_grad(set_to_none=True)

    def pretrain(self) -> None:
        """One step of masked graph autoencoding."""
        at = self._turn("pretrain")
        with self._cast():
            terms = self.objective(self.batches[at], self.draws[at])
        counts = self.draws[at].counts
        self._update(torch.stack([loss / max(counts[name], 1) for name, loss in terms.items()]).sum(), "pretrain")

    def finetune(self) -> None:
        """One step of a regression."""
        batch = self.batches[self._turn("finetune")]
        with self._cast():
            total, count = self.property.loss(self.property(batch), torch.zeros(batch.num_molecules, 1))
        self._update((total / count).sum(), "finetune")

    @torch.inference_mode()
    def embed(self) -> torch.Tensor:
        """The vectors of one batch."""
        return self.vectors(self.batches[self._turn("embed")])

    @torch.inference_mode()
    def library(self) -> None:
        """The vectors of all molecules."""
        for _ in self.runner.run(self.molecules, lambda batch, _: self.vectors(batch)):
            pass

    def vectors(self, batch: GraphBatch) -> torch.Tensor:
        """The vectors of a batch."""
        with self._cast():
            return self.encoder.molecule_vectors(self.encoder(batch), batch).float()


@torch.inference_mode()
def cosines(encoder: Encoder, batches: Sequence[GraphBatch]) -> torch.Tensor:
    """Of the vectors of all molecules in both precisions."""
    found = []
    for batch in batches:
        pair = []
        for half in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                pair.append(encoder.molecule_vectors(encoder(batch), batch).float())
        found.append(torch.nn.functional.cosine_similarity(*pair))
    return torch.cat(found)


def operations(ours: Ours, task: str) -> float:
    """Floating-point operations of the matrix products of one call, in the mean over the batches."""
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(task != "library"):
        for batch in ours.batches:
            if task == "library":  # the counter sees only its own thread
                ours.vectors(batch)
            else:
                getattr(ours, task)()
    ours.turns[task] = 0
    return float(counter.get_total_flops()) / (1 if task == "library" else len(ours.batches))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", help="folder of the published code's repository")
    parser.add_argument("--data", help="table of molecules; the demonstration set if not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--count", type=int, default=4, help="different batches of each size")
    parser.add_argument("--atoms_per_batch", type=int, help="of `library`; what `mesomer embed` takes if not given")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--size", default="base", help="of our network; the published one has base size")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    keep_freed_memory()
    texts = read_molecules(options.data, max(options.batches) * options.count, options.seed)
    print(facts(options.data, texts, options.seed))
    best: dict[tuple[str, str], float] = {}
    for size in options.batches:
        parts = [texts[at : at + size] for at in range(0, len(texts), size)][: options.count]
        parts = [part for part in parts if len(part) == len(parts[0])]
        graphs = [[graph for graph in (graph_from_smiles(text)[0] for text in part) if graph] for part in parts]
        ours = {name: Ours(graphs, name, options.size, options.seed, options.atoms_per_batch) for name in PRECISIONS}
        theirs = published.contestants(options.published, parts) if options.published else {}
        for task in options.tasks:
            whole = task == "library"
            other = _whole_library(theirs, len(parts)) if whole else theirs.get(task)
            molecules = sum(len(part) for part in graphs) if whole else len(parts[0])
            _print_task(task, molecules, ours, other, options.rounds, 1 if whole else len(parts), best)
        bundled = default_model()
        for name, encoder in (("this network", ours["float32"].encoder), (bundled, load_encoder(bundled))):
            cosine = cosines(encoder, ours["float32"].batches)
            low, mean = cosine.min(), cosine.mean()
            print(f"  cosine of bfloat16 to float32 vectors, {name}: smallest {low:.5f}, mean {mean:.5f}")
    for task in options.tasks:
        rates = {who: rate for (name, who), rate in best.items() if name == task}
        ratios = [f"{who} {rates[who] / rates['published']:.2f} of published" for who in PRECISIONS if len(rates) == 3]
        print(
            f"{task}, best batch of each: " + ", ".join(f"{w} {r:,.0f}/s" for w, r in rates.items()), *ratios, sep="; "
        )


def _whole_library(theirs: Mapping[str, Callable[[], object]], batches: int) -> Callable[[], object] | None:
    """The published code's embedding of all batches, one after the other."""
    return (lambda: [theirs["embed"]() for _ in range(batches)]) if theirs else None


def _print_task(
    task: str,
    size: int,
    ours: dict[str, Ours],
    theirs: Callable[[], object] | None,
    rounds: int,
    warmup: int,
    best: dict[tuple[str, str], float],
) -> None:
    needed = operations(ours["float32"], task)
    runs: dict[str, Callable[[], object]] = {name: getattr(one, task) for name, one in ours.items()}
    if theirs is not None:
        runs["published"] = theirs
    peaks = {name: product(dtype) for name, dtype in PRECISIONS.items()}
    seconds = by_turns(runs | {f"peak {name}": run for name, (run, _) in peaks.items()}, rounds, warmup)
    for name in runs:
        rate = size / seconds[name]
        best[task, name] = max(best.get((task, name), 0.0), rate)
        said = f"  {task}, batch {size}, {name}: {rate:,.1f} molecules/s"
        if name in peaks:
            peak = peaks[name][1] / seconds[f"peak {name}"]
            said += f", {needed / seconds[name] / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
            if theirs is not None:
                said += f", {seconds['published'] / seconds[name]:.2f} times the published code"
        print(said, flush=True)


if __name__ == "__main__":
    main()
