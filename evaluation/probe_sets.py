"""Are these weights better than those? Small scores of encoders on the sets that choices of pre-training are made on.

    python evaluation/probe_sets.py runs/a runs/b batmannet-1 --random [--finetune]

Each encoder gives frozen molecule vectors, on which a linear model (ridge or logistic regression, its penalty chosen on
the validation part of each fold) is trained; the scores are those of the left-out fifths. `--finetune` fine-tunes
briefly instead and gives scores of the validation part of the balanced split of seed 0. Higher is better: R² for
numbers, ROC-AUC for classes.

Decided: the sets are none of those that results are reported on, so that choosing here spoils nothing there. The
folds, the batches and the heads' first weights are the same for every encoder. `--random` adds, for each different
configuration among the encoders, the same network from random weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from labelled_sets import part_score, read_set
from numpy.typing import NDArray
from rdkit.Chem import MolFromSmiles

from mesomer.baselines.boosting import finite
from mesomer.chem.descriptors import descriptors_200
from mesomer.data.splits import Split, splits_for
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.progress import Progress, say
from mesomer.training.checkpoint import load_encoder
from mesomer.training.context import Context
from mesomer.training.finetune_cell import Cells, molecule_vectors
from mesomer.training.finetune_plan import FinetuneOptions, PropertyData, plan_cells
from mesomer.training.predictor import fresh_encoder
from mesomer.training.probe import fit_linear, linear_inputs
from mesomer.training.scaling import Scaling

SETS = ("biogen_hlm", "biogen_rlm", "estrogen-alpha", "metstab-high")
FOLDS = 5
SPLIT = "balanced"


@dataclass(frozen=True)
class ProbeSet:
    """One set, read and featurised once for all encoders."""

    name: str
    data: PropertyData
    folds: list[Split]
    balanced: Split


def read_probe_set(name: str, molecules: int | None, repeats: int, seed: int) -> ProbeSet:
    """Reads a set; at most `molecules` of it, the same ones for every encoder."""
    labelled, data = read_set(name)
    mols = labelled.mols
    if molecules is not None and molecules < len(mols):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(mols))[:molecules])
        mols, data = [mols[at] for at in chosen], part_of(data, chosen)
    folds = splits_for("cv", mols, repeats, seed, FOLDS)
    return ProbeSet(name, data, folds, splits_for(SPLIT, mols, 1, seed)[0])


def part_of(data: PropertyData, chosen: NDArray[np.integer]) -> PropertyData:
    """Some molecules of a set."""
    return replace(
        data,
        smiles=[data.smiles[at] for at in chosen],
        rows=[data.rows[at] for at in chosen],
        graphs=[data.graphs[at] for at in chosen],
        y=data.y[chosen],
        fingerprints=data.fingerprints[chosen],
    )


def metric_of(data: PropertyData) -> str:
    """R² of numbers, ROC-AUC of classes."""
    return "r2" if data.targets[0].type == "regression" else "roc_auc"


def linear_score(encoder: Encoder, probe_set: ProbeSet, context: Context) -> float:
    """Mean over the folds of the left-out score of a linear model on frozen vectors."""
    vectors = molecule_vectors(encoder.to(context.device).eval(), probe_set.data, context.device).astype(np.float64)
    return float(np.mean([linear_fold_score(vectors, probe_set.data, fold) for fold in probe_set.folds]))


def linear_fold_score(vectors: NDArray[np.float64], data: PropertyData, fold: Split) -> float:
    """The left-out score of one fold; both figures are the same for scaled labels and for logits."""
    truth = Scaling.of_targets(data.y[fold.train], data.outputs).apply(data.y)
    inputs = linear_inputs(Scaling.fit(vectors[fold.train]), vectors)
    weights, offsets = fit_linear(inputs, truth, data.targets, fold)
    return part_score(replace(data, y=truth), fold.test, inputs[fold.test] @ weights.T + offsets, metric_of(data))


def descriptor_score(probe_set: ProbeSet) -> float:
    """As `linear_score`, of the 200 RDKit descriptors."""
    mols = [MolFromSmiles(text) for text in probe_set.data.smiles]
    values = np.nan_to_num(finite(descriptors_200(mols))).astype(np.float64)
    return float(np.mean([linear_fold_score(values, probe_set.data, fold) for fold in probe_set.folds]))


def finetuned_score(encoder: Encoder, probe_set: ProbeSet, options: FinetuneOptions, context: Context) -> float:
    """The validation score of a short fine-tuning; nothing is computed from the labels of the test part."""
    splits = [probe_set.balanced]
    cells = Cells(probe_set.data, splits, encoder, options, context)
    results = [cells.run(cell) for cell in plan_cells(splits, options)]
    valid, metric = probe_set.balanced.valid, metric_of(probe_set.data)
    scores = [part_score(probe_set.data, valid, result.predicted["valid"], metric) for result in results]
    return float(np.mean(scores))


def encoders_of(models: Sequence[str], random: bool, seed: int) -> list[tuple[str, Encoder]]:
    """The named encoders, and with `random` one untrained twin of each configuration."""
    found = [(name, load_encoder(name)) for name in models]
    twins: dict[str, tuple[str, Encoder]] = {}
    for name, encoder in found if random else []:
        key = json.dumps([encoder.name, encoder.config()], sort_keys=True)
        twins.setdefault(key, (f"random weights, as {name}", fresh_encoder(encoder, seed).eval()))
    return found + list(twins.values())


def table_row(label: str, scores: Sequence[float], seconds: float, width: int) -> str:
    """A row of the printed table."""
    figures = "".join(f"  {value:>14.4f}" for value in [*scores, float(np.mean(scores))])
    return f"{label:<{width}}{figures}  {seconds:>7.0f} s"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="bundled name, run folder or model folder")
    parser.add_argument("--random", action="store_true", help="add the same networks from random weights")
    parser.add_argument("--descriptors", action="store_true", help="add a linear model on the 200 RDKit descriptors")
    parser.add_argument("--finetune", action="store_true", help="short fine-tuning; scores of the validation part")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="SET")
    parser.add_argument("--molecules", type=int, help="use at most so many molecules of each set")
    parser.add_argument("--repeats", type=int, default=1, help="of the five folds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5, help="of --finetune")
    parser.add_argument("--max_lr", type=float, default=5e-4, help="of --finetune")
    parser.add_argument("--encoder_lr_scale", type=float, default=0.5, help="of --finetune")
    parser.add_argument("--ensemble", type=int, default=1, help="of --finetune: average of so many trainings")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    context = Context.start("cpu", "32")
    encoders = encoders_of(given.models, given.random, given.seed)
    sets = [read_probe_set(name, given.molecules, given.repeats, given.seed) for name in given.sets]
    options = FinetuneOptions(
        epochs=given.epochs, max_lr=given.max_lr, warmup_epochs=min(1.0, given.epochs / 4),
        encoder_lr_scale=given.encoder_lr_scale, ensemble=given.ensemble, seed=given.seed,
    )  # fmt: skip
    width = max(len(label) for label in [*(name for name, _ in encoders), "200 descriptors"])
    names = [*given.sets, "mean"]
    print(f"{'':<{width}}" + "".join(f"  {name:>14}" for name in names), flush=True)
    with Progress(len(encoders) * len(sets), "scores", "probing") as bar:
        for label, encoder in encoders:
            started, scores = time.monotonic(), []
            for probe_set in sets:
                scores.append(
                    finetuned_score(encoder, probe_set, options, context)
                    if given.finetune
                    else linear_score(encoder, probe_set, context)
                )
                bar.advance()
            print(table_row(label, scores, time.monotonic() - started, width), flush=True)
    if given.descriptors:
        started, label = time.monotonic(), "200 descriptors"
        scores = [descriptor_score(probe_set) for probe_set in sets]
        print(table_row(label, scores, time.monotonic() - started, width), flush=True)


if __name__ == "__main__":
    try:
        main()
    except MesomerError as error:
        say(str(error))
        sys.exit(2)
