"""What a pre-training says of itself: the facts, the model card, the summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from mesomer.data.corpus import Corpus
from mesomer.machine import machine, versions
from mesomer.objectives.base import Objective
from mesomer.objectives.figures import beats_guess
from mesomer.progress import duration
from mesomer.training.context import Context
from mesomer.training.model_keys import keys_sentence
from mesomer.training.trainee import FitResult

if TYPE_CHECKING:
    from mesomer.training.pretrain import PretrainOptions

Figures = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Facts:
    """What is known of a finished pre-training, as plain data."""

    method: str
    objective: str
    parameters: int
    train_molecules: int
    held_out_molecules: int
    measured_molecules: int
    sources: list[str]
    corpus_fingerprint: str
    init: str | None
    steps: int
    epochs: float
    molecule_passes: int
    seconds: float
    stopped: str
    kept_step: int
    loss: float
    trivial_loss: float
    better_fields: int
    fields: int
    probe_before: float | None
    probe_after: float | None
    precision: str
    processes: int
    device: str
    machine: str
    seed: int
    date: str
    version: str
    corpus_keys: dict[str, Any] | None = None
    """What the folder carries to find molecules in the corpus (`model_keys`)."""

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        objective: Objective,
        options: PretrainOptions,
        result: FitResult,
        figures: Figures,
        probes: tuple[float | None, float | None],
        parameters: int,
        context: Context,
        corpus_keys: dict[str, Any] | None = None,
    ) -> Facts:
        """Collects the facts; `figures` are those of the kept weights, `probes` those before and after."""
        weights, found = objective.weights, machine()
        held_out = corpus.num_held_out
        gpu = f", {found['gpus'][0]}" if context.device.type == "cuda" and found["gpus"] else ""
        return cls(
            method=objective.encoder.name,
            objective=objective.name,
            parameters=parameters,
            train_molecules=corpus.num_train,
            held_out_molecules=held_out,
            measured_molecules=min(held_out, options.validate_molecules),
            sources=[
                f"{Path(file['file']).name} (SHA-256 {str(file['sha256'])[:16]})"
                for file in corpus.card["source"]["files"]
            ],
            corpus_fingerprint=corpus.fingerprint,
            init=options.init,
            steps=result.steps,
            epochs=round(result.epochs, 4),
            molecule_passes=result.molecules,
            seconds=round(result.seconds, 1),
            stopped=result.stopped,
            kept_step=result.steps if result.best_step is None else result.best_step,
            loss=sum(weights[term] * row["loss"] for term, row in figures.items()),
            trivial_loss=sum(weights[term] * row["trivial_loss"] for term, row in figures.items()),
            better_fields=sum(beats_guess(row) for row in figures.values()),
            fields=len(figures),
            probe_before=probes[0],
            probe_after=probes[1],
            precision="bfloat16" if context.precision == "bf16" else "float32",
            processes=context.world,
            device=context.device.type,
            machine=f"{found['processor']}, {found['cores']} cores{gpu}",
            seed=options.seed,
            date=datetime.now(UTC).date().isoformat(),
            version=versions().get("mesomer", "source"),
            corpus_keys=corpus_keys,
        )


STOPPED = {
    "done": "as planned",
    "early": "early, because the held-out loss no longer fell",
    "time": "at the time limit, before the planned end",
}


def model_card(facts: Facts, figures: Figures) -> str:
    """The README.md of the model folders."""
    rows = "\n".join(
        f"| {term} | {row['loss']:.4f} | {row['trivial_loss']:.4f} | " + " | ".join(right_and_guess(row)) + " |"
        for term, row in figures.items()
    )
    sources = "".join(f"- {source}\n" for source in facts.sources)
    keys = (
        ""
        if facts.corpus_keys is None
        else f"\n{fill(keys_sentence(facts.corpus_keys), 118, break_on_hyphens=False)}\n"
    )
    start = f"the weights of `{facts.init}`" if facts.init else "random weights"
    return f"""---
library_name: mesomer
tags: [chemistry, molecules, {facts.method}]
---

# {facts.method}, pre-trained with {facts.objective}

A molecular encoder of {facts.parameters:,} parameters, made on {facts.date} with Mesomer {facts.version}.

## Data

Trained on {facts.train_molecules:,} molecules; {facts.held_out_molecules:,} were held out, and the figures below
measure {facts.measured_molecules:,} of these. Corpus fingerprint `{facts.corpus_fingerprint}`, made from

{sources}{keys}
## Training

| | |
|---|---|
| started from | {start} |
| length | {facts.epochs:g} epochs, {facts.steps:,} steps, {facts.molecule_passes:,} molecule passes |
| time | {duration(facts.seconds)} |
| machine | {facts.machine} |
| processes | {facts.processes} on {facts.device}, {facts.precision} |
| seed | {facts.seed} |
| end | {STOPPED[facts.stopped]} |
| weights kept | those of step {facts.kept_step:,}, which had the lowest held-out loss |

The complete settings are in `config.yaml` of the run.

## What it learnt

The held-out loss is {facts.loss:.4f}; the trivial guess has {facts.trivial_loss:.4f}. In {facts.better_fields} of
{facts.fields} terms it beats the guess that always names the commonest value, or the mean.

| term | loss | trivial loss | right | trivial guess right |
|---|---|---|---|---|
{rows}

{probe_sentence(asdict(facts))}
The table says how well the objective is met, not how well a property will be predicted: measure that
on your own data, beside simple baselines.

## Use

```
mesomer embed molecules.csv --model FOLDER --output vectors.parquet
mesomer finetune data.csv --model FOLDER --targets NAME --output runs/name
```
"""


def right_and_guess(row: Mapping[str, float]) -> tuple[str, str]:
    """Share of right answers of the network and of the trivial guess; for numbers the explained variance, whose guess
    explains nothing.
    """
    if "accuracy" in row:
        return f"{row['accuracy']:.2%}", f"{row['trivial_accuracy']:.2%}"
    if "explained" in row:
        return f"R² {row['explained']:.3f}", "R² 0"
    return "not counted", "not counted"


def probe_sentence(facts: Mapping[str, Any]) -> str:
    """What the probe of the representation says; nothing where there was none."""
    if facts["probe_before"] is None or facts["probe_after"] is None:
        return ""
    return (
        "A ridge regression on the frozen vectors predicts the solubility of the demonstration set with R² "
        f"{facts['probe_after']:.3f}; before the training it was {facts['probe_before']:.3f}.\n"
    )


def summary_text(path: Path, summary: Mapping[str, Any], already_finished: bool) -> str:
    """What the command says at its end."""
    opening = f"The run in {path} was finished before.\n" if already_finished else ""
    return (
        f"{opening}Pre-trained {summary['method']} on {summary['train_molecules']:,} molecules: "
        f"{summary['epochs']:g} epochs, {summary['molecule_passes']:,} molecule passes in "
        f"{duration(summary['seconds'])}; {STOPPED[summary['stopped']]}.\n"
        f"Held-out loss {summary['loss']:.3f} (trivial guess {summary['trivial_loss']:.3f}); better than the "
        f"trivial guess in {summary['better_fields']} of {summary['fields']} terms.\n"
        f"{probe_sentence(summary)}"
        f"Wrote {path / 'encoder'} (the model), {path / 'pretraining'} (to train on from, by --init) and "
        f"{path / 'report.html'}.\n"
        f"Next: mesomer finetune DATA.csv --model {path} --targets NAME --output runs/name"
    )
