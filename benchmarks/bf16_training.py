"""Does training in bfloat16 learn as float32 does? `python benchmarks/bf16_training.py CORPUS [--steps 500]`.

Pre-trains the same network from several seeds in float32 and from the first of them in bfloat16, equally many steps of
equal batches, and measures the loss of each at the end: the mean over the last tenth of the training steps, and the
loss on held-out molecules, measured in float32 for all of them. bfloat16 passes where neither lies above the range of
the float32 seeds; one that lies below it is told as such. Exits with 1 where one lies above.

The corpus is made by `mesomer prepare … --add atom_contexts,bond_contexts,motifs` for GROVER.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measure import facts

from mesomer.data.corpus import Corpus
from mesomer.data.stream import CorpusBatches
from mesomer.errors import MesomerError
from mesomer.training.context import Context
from mesomer.training.loop import fit
from mesomer.training.objective_trainee import ObjectiveTrainee
from mesomer.training.pretrain import PretrainOptions, build

PRECISIONS = {"32": "float32", "bf16": "bfloat16"}


class Losses(NamedTuple):
    """Of one training: over its last steps, and on held-out molecules."""

    training: float
    held_out: float


def train(corpus: Path, options: PretrainOptions) -> Losses:
    """The losses of one training."""
    objective = build(options)
    store = Corpus.open(corpus, objective.batch_columns(Corpus.open(corpus, ())))
    objective.adapt(store)
    batches = CorpusBatches(
        store, atoms_per_batch=options.atoms_per_batch, accumulate=1, rank=0, world=1, seed=options.seed,
        extras=objective.batch_columns(store), length_buckets=objective.encoder.length_buckets,
    )  # fmt: skip
    # the same draws for every seed, so that the figures differ by the weights alone
    trainee = ObjectiveTrainee(objective, store, 0, atoms_per_batch=options.atoms_per_batch, limit=2000)
    with Context.start("cpu", options.precision) as context:
        result = fit(trainee, batches, replace(options.loop(), keep_best=False), context=context)
    with Context.start("cpu", "32") as context:
        figures = trainee.figures(context)
    rows = [row for row in result.history if row["part"] == "train"]
    held_out = sum(objective.weights[term] * row["loss"] for term, row in figures.items())
    return Losses(rows[-1]["loss"], held_out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the losses and the verdict; 0 where bfloat16 passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--method", default="grover")
    parser.add_argument("--size", default="small")
    parser.add_argument("--encoder", type=json.loads, default={}, help="single options of the encoder, as JSON")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--atoms_per_batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        raise MesomerError(f"--seeds is {options.seeds}, and a range needs 2 or more.")
    torch.set_num_threads(options.threads)
    last = max(1, options.steps // 10)
    common: dict[str, Any] = {
        "method": options.method, "size": options.size, "encoder": options.encoder, "max_steps": options.steps,
        "atoms_per_batch": options.atoms_per_batch, "accelerator": "cpu", "log_steps": last, "validate_steps": None,
        "patience": None,
    }  # fmt: skip
    print(facts(str(options.corpus), range(Corpus.open(options.corpus, ()).num_train), 0))
    print(
        f"{options.method} {options.size} {options.encoder or ''}: {options.steps} steps of {options.atoms_per_batch} "
        "atoms"
    )
    found: dict[str, list[Losses]] = {name: [] for name in PRECISIONS}
    for seed in range(options.seeds):
        for precision in PRECISIONS if seed == 0 else ["32"]:
            losses = train(options.corpus, PretrainOptions(**common, seed=seed, precision=precision))
            found[precision].append(losses)
            print(
                f"{PRECISIONS[precision]}, seed {seed}: {losses.training:.5f} in the last {last} steps, "
                f"{losses.held_out:.5f} held out",
                flush=True,
            )
    passed = [_verdict(name, [losses[at] for losses in found["32"]], found["bf16"][0][at])
              for at, name in enumerate(("in the last steps", "held out"))]  # fmt: skip
    return 0 if all(passed) else 1


def _verdict(name: str, floats: Sequence[float], half: float) -> bool:
    low, high = min(floats), max(floats)
    where = "above" if half > high else "below" if half < low else "within"
    share = abs(half - floats[0]) / max(high - low, 1e-12)
    print(
        f"{name}: bfloat16 {half:.5f} is {where} the float32 seeds' range {low:.5f} to "
        f"{high:.5f}; {share:.2f} of its width from the same seed"
    )
    return where != "above"


if __name__ == "__main__":
    sys.exit(main())
