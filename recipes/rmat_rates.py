"""Fine-tuning of R-MAT as published: the learning rate is the only setting that is tuned.

    python recipes/rmat_rates.py DATA --targets y --model models/rmat-4m --output runs/rates

Trains on the same splits with each rate: 100 epochs of batches of 16 with the rule of the Transformer, a warm-up over a
fifth of the steps, attention pooling and a linear head, no dropout, no clipping; the last epoch counts. The rate with
the best mean over the validation parts is chosen and its mean and deviation on the test parts are printed. A rate is
given as the published code names it; the highest one of a training is 100 · rate / √(768 · steps of the warm-up), and
depends on the size of the training part, for which four fifths of the molecules are taken. Targets are standardised.

Molecules without coordinates are placed in space for each rate anew; an SDF file with coordinates spares that. The same
command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path
from typing import Any

from mesomer.commands.finetune import finetune
from mesomer.data.labels import read_labels
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.metrics import metric_for

RATES = (1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 5e-6, 1e-6)
WARMUP = 0.2
PUBLISHED: dict[str, Any] = {
    "batch_size": 16, "schedule": "inverse_sqrt", "select": "last", "clip": None, "readout": "attention",
    "attn_hidden": 128, "attn_out": 4, "ffn_layers": 1, "dropout": 0.0, "standardize": False,
}  # fmt: skip


def highest_rate(rate: float, molecules: int, epochs: int) -> float:
    """The peak of a training with this rate (rmat.md 6)."""
    steps = math.ceil(0.8 * molecules / PUBLISHED["batch_size"]) * epochs
    return 100 * rate / math.sqrt(768 * max(WARMUP * steps, 1))


def figures(run: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Mean and deviation of the main metric over splits, by part and target; NaN where there is none."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    with open(run / "metrics.csv", encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            if row["split"] in ("mean", "sd"):
                value = row[metric_for(row["type"])[0]]
                found.setdefault((row["part"], row["target"]), {})[row["split"]] = float(value or "nan")
    return {key: (values["mean"], values["sd"]) for key, values in found.items()}


def better(run: Path) -> str:
    """`min` or `max`: the direction of the main metric."""
    with open(run / "metrics.csv", encoding="utf-8", newline="") as handle:
        return metric_for(next(csv.DictReader(handle))["type"])[1].better


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--targets", nargs="+", required=True)
    parser.add_argument("--model", required=True, help="an imported or pre-trained R-MAT")
    parser.add_argument("--output", type=Path, required=True, help="folder for one run of each rate")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--split", default="random")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        tune(arguments)
    except MesomerError as error:
        print(f"rmat_rates: {error}", file=sys.stderr)
        sys.exit(2)


def tune(arguments: argparse.Namespace) -> None:
    """Trains with each rate and prints the choice."""
    molecules = len(read_labels(open_table(arguments.data), arguments.targets))
    scores: dict[float, float] = {}
    for rate in arguments.rates:
        run = arguments.output / f"rate-{rate:g}"
        finetune(
            arguments.data, output=str(run), targets=arguments.targets, model=arguments.model, split=arguments.split,
            repeats=arguments.repeats, epochs=arguments.epochs, warmup_epochs=WARMUP * arguments.epochs,
            max_lr=highest_rate(rate, molecules, arguments.epochs), seed=arguments.seed, **PUBLISHED,
        )  # fmt: skip
        parts = [mean for (part, _), (mean, _) in figures(run).items() if part == "valid"]
        scores[rate] = sum(parts) / len(parts)
        print(f"rate {rate:g}: {scores[rate]:.4g} on the validation parts", flush=True)
    run = arguments.output / f"rate-{arguments.rates[0]:g}"
    known = {rate: score for rate, score in scores.items() if math.isfinite(score)}
    if not known:
        raise MesomerError("No rate gave a figure on the validation parts.", "Look at metrics.csv of each run.")
    chosen = (min if better(run) == "min" else max)(known, key=known.__getitem__)
    run = arguments.output / f"rate-{chosen:g}"
    for (part, target), (mean, deviation) in figures(run).items():
        if part == "test":
            print(f"chosen rate {chosen:g}, {target}: {mean:.4g} ± {deviation:.2g} on the test parts ({run})")


if __name__ == "__main__":
    main()
