"""Which objective, and which settings? Short pre-trainings of equally many steps, judged on the four probe sets.

    python recipes/drug_like.py small.csv.gz --zinc 43000 --chembl 17000
    mesomer prepare small.csv.gz --output corpora/small --add descriptors,fingerprints,motifs
    MESOMER_DATA=folder python evaluation/small_runs.py corpora/small [--steps 300] [--runs NAME …]

Every run takes the same number of steps of the same batches from the same seed; they differ in what `RUNS` says. One
that goes on from another (`init`) has had the steps of both, and its passes and its time are those of both. Each is a
run folder of `mesomer pretrain` below runs/small, so that an interrupted command goes on; its scores are kept beside
it. They are those of `probe_sets.py`: a linear model on the frozen vectors. The table goes to docs/pretraining.md, with
the networks from random weights, without a summary and with one, as its first rows.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from probe_sets import SETS, ProbeSet, linear_score, read_probe_set

from mesomer.commands.pretrain import pretrain
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.files import atomic_write, sha256_of
from mesomer.heads import INPUT_BOUND
from mesomer.machine import machine
from mesomer.progress import duration, say
from mesomer.training.checkpoint import load_encoder, load_model
from mesomer.training.context import Context
from mesomer.training.predictor import fresh_encoder

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pretraining.md"
BEGIN, END = "<!-- small runs: begin -->", "<!-- small runs: end -->"
RUNS: dict[str, dict[str, Any]] = {
    "masked 60 %": {"objective": "masked_graph"},
    "masked 40 %": {"objective": "masked_graph", "objective_options": {"mask_ratio": 0.4}},
    "masked 20 %": {"objective": "masked_graph", "objective_options": {"mask_ratio": 0.2}},
    "masked 60 %, directions": {"objective": "masked_graph", "objective_options": {"hide": "directions"}},
    "masked 60 %, rate 0.0003": {"objective": "masked_graph", "max_lr": 3e-4},
    "masked 60 %, rate 0.003": {"objective": "masked_graph", "max_lr": 3e-3},
    "motifs": {"objective": "motifs"},
    "descriptors": {"objective": "descriptors"},
    "descriptors, rate 0.0003": {"objective": "descriptors", "max_lr": 3e-4},
    "descriptors, rate 0.003": {"objective": "descriptors", "max_lr": 3e-3},
    "fingerprints": {"objective": "fingerprints"},
    "descriptors + fingerprints": {"objective": "descriptors+fingerprints"},
    "descriptors + fingerprints, rate 0.0005": {"objective": "descriptors+fingerprints", "max_lr": 5e-4},
    "descriptors + fingerprints, rate 0.0003": {"objective": "descriptors+fingerprints", "max_lr": 3e-4},
    "masked 60 % + motifs": {"objective": "masked_graph+motifs"},
    "masked 60 % + descriptors": {"objective": "masked_graph+descriptors"},
    "masked 60 %, then descriptors": {"objective": "descriptors", "init": "masked 60 %"},
    "descriptors, summary": {"objective": "descriptors", "encoder": {"summary": 1024}},
    "descriptors + fingerprints, summary": {"objective": "descriptors+fingerprints", "encoder": {"summary": 1024}},
    "masked 60 %, then descriptors + fingerprints, summary": {
        "objective": "descriptors+fingerprints",
        "init": "masked 60 %",
        "encoder": {"summary": 1024},
    },
}
"""Options of `mesomer pretrain` that differ; `init` names an earlier run, whose steps come on top."""
Row = dict[str, Any]


def folder_of(name: str, runs: Path) -> Path:
    """The run folder of one entry."""
    return runs / "".join(letter if letter.isalnum() else "-" for letter in name)


def run(name: str, corpus: Path, runs: Path, steps: int, threads: int) -> Path:
    """Trains one entry, or goes on with it, or finds it finished."""
    options = dict(RUNS[name])
    encoder = options.pop("encoder", {})
    if "init" in options:
        options["init"] = str(run(options["init"], corpus, runs, steps, threads))
    folder = folder_of(name, runs)
    pretrain(
        str(corpus), output=str(folder), max_steps=steps, atoms_per_batch=3000, schedule="cosine", final_lr=1e-5,
        warmup_epochs=0.05, validate_steps=None, validate_molecules=2000, probe_molecules=0, threads=threads,
        encoder=encoder or None if "init" in options else {"dropout": 0.0, **encoder}, **options,
    )  # fmt: skip
    return folder


def scored(encoder: Encoder, sets: Sequence[ProbeSet], context: Context) -> dict[str, float]:
    """The linear score of each probe set."""
    return {probe_set.name: linear_score(encoder, probe_set, context) for probe_set in sets}


def row_of(name: str, runs: Path, sets: Sequence[ProbeSet], context: Context) -> Row:
    """What a finished run cost, with those it goes on from, and its scores, which are kept for these weights."""
    passes, seconds = cost_of(name, runs)
    folder = folder_of(name, runs)
    kept = folder / "probe_sets.json"
    weights = sha256_of(folder / "encoder" / "model.safetensors")
    found: Row = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    kind = {"weights": weights, "molecules": _sizes(sets), "input_bound": INPUT_BOUND}
    if any(found.get(name) != value for name, value in kind.items()):
        found = {**kind, "scores": scored(load_encoder(str(folder)), sets, context)}
        with atomic_write(kept) as temporary:
            temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return {"passes": passes, "seconds": seconds, "scores": found["scores"]}


def cost_of(name: str, runs: Path) -> tuple[int, float]:
    """Molecule passes and seconds of a finished run and of all that it goes on from."""
    facts = load_model(str(folder_of(name, runs))).config["training"]
    passes, seconds = cost_of(RUNS[name]["init"], runs) if "init" in RUNS[name] else (0, 0.0)
    return passes + facts["molecule_passes"], seconds + facts["seconds"]


def random_rows(names: Sequence[str], runs: Path, sets: Sequence[ProbeSet], context: Context) -> dict[str, Row]:
    """The same networks from random weights: the twins of the first run without a summary and of the first with one."""
    found: dict[str, Encoder] = {}
    for name in names:
        encoder = load_encoder(str(folder_of(name, runs)))
        label = "random weights" if encoder.summary is None else "random weights, with a summary"
        found.setdefault(label, encoder)
    twins = {label: fresh_encoder(found[label], 0).eval() for label in sorted(found)}
    return {
        label: {"passes": 0, "seconds": 0.0, "scores": scored(twin, sets, context)} for label, twin in twins.items()
    }


def _sizes(sets: Sequence[ProbeSet]) -> dict[str, int]:
    return {probe_set.name: len(probe_set.data.smiles) for probe_set in sets}


def table(rows: dict[str, Row], names: Sequence[str], command: str) -> str:
    """The table as Markdown; `names` are those of the sets."""
    found = machine()
    lines = [
        f"`{command}`; seed 0, {found['processor']}, {found['cores']} cores. R² and ROC-AUC of a linear model on",
        "frozen vectors, mean over five folds; one run each: differences of one or two hundredths may be chance. A run",
        "that goes on from another has passes and time of both.",
        "",
        "| | passes | time | " + " | ".join(names) + " | mean |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for name, row in rows.items():
        scores = [row["scores"][probe_set] for probe_set in names]
        figures = " | ".join(f"{score:.3f}" for score in [*scores, float(np.mean(scores))])
        lines.append(f"| {name} | {row['passes']:,} | {duration(row['seconds'])} | {figures} |")
    return "\n".join(lines)


def fill(page: Path, text: str) -> None:
    """Puts the table between its markers."""
    whole = page.read_text(encoding="utf-8")
    if BEGIN not in whole or END not in whole:
        raise MesomerError(f"{page} has no place for the table.", f"Put {BEGIN} and {END} where it belongs.")
    head, _, rest = whole.partition(BEGIN)
    with atomic_write(page) as temporary:
        temporary.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="prepared with --add descriptors,fingerprints,motifs")
    parser.add_argument("--output", type=Path, default=Path("runs/small"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS), metavar="NAME")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    parser.add_argument("--molecules", type=int, help="use at most so many molecules of each set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--page", type=Path, help="page whose markers are filled; docs/pretraining.md, if nothing is left out"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    context = Context.start("cpu", "32")
    sets = [read_probe_set(name, given.molecules, 1, 0) for name in given.sets]
    rows = {}
    for name in given.runs:
        run(name, given.corpus, given.output, given.steps, given.threads)
        rows[name] = row_of(name, given.output, sets, context)
        say(f"{name}: " + ", ".join(f"{key} {score:.3f}" for key, score in rows[name]["scores"].items()))
    words = sys.argv[1:] if arguments is None else arguments
    random = random_rows(given.runs, given.output, sets, context)
    text = table(random | rows, given.sets, shlex.join(["python", "evaluation/small_runs.py", *words]))
    whole = set(given.runs) == set(RUNS) and set(given.sets) == set(SETS) and given.molecules is None
    page = given.page or (PAGE if whole else None)
    print(text)
    if page is not None:
        fill(page, text)
        print(f"Written: {page}")


if __name__ == "__main__":
    try:
        main()
    except MesomerError as error:
        say(str(error))
        sys.exit(2)
