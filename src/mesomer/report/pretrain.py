"""The report of a pre-training: what was learnt beside the trivial guess, the curves, the costs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mesomer.files import atomic_write
from mesomer.report.figures import COLOURS, GREY, Figure, _axes, logarithmic
from mesomer.report.page import duration, number, render
from mesomer.training.checkpoint import read_config
from mesomer.training.pretrain import FIGURES
from mesomer.training.pretrain_card import STOPPED, right_and_guess

REPORT = "report.html"


def write_pretrain_report(folder: Path) -> None:
    """Writes `report.html` of a pre-training from what lies in its run folder."""
    with atomic_write(folder / REPORT) as temporary:
        temporary.write_text(pretrain_report(folder), encoding="utf-8")


def pretrain_report(folder: Path) -> str:
    """The report as HTML, from `encoder/config.json`, `figures.json` and `metrics.csv`."""
    facts: dict[str, Any] = read_config(folder / "encoder")["training"]
    figures: dict[str, dict[str, float]] = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    drawn = [loss_figure(rows, facts["trivial_loss"], facts["kept_step"]), fields_figure(figures)]
    if any(row["part"] == "train" for row in rows):
        drawn.append(rate_figure(rows))
    if any(row.get("probe_r2") for row in rows):
        drawn.append(probe_figure(rows))
    values = {
        "title": f"Pre-training {facts['method']} with {facts['objective']}",
        "sentence": _sentence(facts),
        "summary": _summary(facts),
        "curves": drawn,
        "head": ["Term", "Values", "Loss", "Trivial loss", "Right", "Trivial guess right", "Gain"],
        "rows": [_row(name, row) for name, row in figures.items()],
        "costs": [
            ("Training", f"{duration(facts['seconds'])} on {facts['machine']}"),
            ("Molecules a second", f"{facts['molecule_passes'] / max(facts['seconds'], 1e-9):,.0f}"),
            ("Trained parameters of the encoder", f"{facts['parameters']:,}"),
        ],
        "method": _method(facts),
        "files": [
            ("encoder/", "the model, for fine-tuning and embedding"),
            ("pretraining/", "the model with the heads of the objective, to train on from"),
            ("metrics.csv", "losses and rates by step"),
            (FIGURES, "the table of fields"),
            ("config.yaml, manifest.json", "settings, versions, machine, checksums of the inputs"),
        ],
        "next": [
            f"mesomer finetune DATA.csv --model {folder} --targets NAME --output runs/name",
            f"mesomer embed MOLECULES.csv --model {folder} --output vectors.parquet",
        ],
    }
    return render("pretrain.html", values)


def _sentence(facts: Mapping[str, Any]) -> str:
    return (
        f"After {facts['molecule_passes']:,} molecule passes the held-out loss is {facts['loss']:.3f}, where the "
        f"trivial guess has {facts['trivial_loss']:.3f}; in {facts['better_fields']} of {facts['fields']} terms "
        "the network beats a guess that always names the commonest value, or the mean."
    )


def _summary(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Molecules", f"{facts['train_molecules']:,} to train on, {facts['held_out_molecules']:,} held out"),
        ("Made from", "; ".join(facts["sources"])),
        ("Started from", facts["init"] or "random weights"),
        ("Length", f"{facts['epochs']:g} epochs, {facts['steps']:,} steps; ended {STOPPED[facts['stopped']]}"),
        ("Weights kept", f"those of step {facts['kept_step']:,}, with the lowest held-out loss"),
        ("Precision", f"{facts['precision']}, {facts['processes']} process{'es' if facts['processes'] > 1 else ''}"),
    ]


def _method(facts: Mapping[str, Any]) -> str:
    return (
        f"The encoder {facts['method']} ({facts['parameters']:,} parameters) was pre-trained with the objective "
        f"{facts['objective']} on {facts['train_molecules']:,} molecules for {facts['epochs']:g} epochs "
        f"({facts['molecule_passes']:,} molecule passes, seed {facts['seed']}) with Mesomer {facts['version']}. "
        f"Figures are of {facts['measured_molecules']:,} molecules held out by a hash of their canonical SMILES, "
        "hidden alike at every validation. The trivial loss is the entropy of a term's classes or the variance of its "
        "numbers, the trivial guess their commonest class or their mean."
    )


def _row(name: str, row: Mapping[str, float]) -> list[str]:
    own, guess = right_and_guess(row)
    gain = (
        f"{100 * (row['accuracy'] - row['trivial_accuracy']):+.2f} points"
        if "accuracy" in row
        else f"{row['trivial_loss'] - row['loss']:+.3f} loss"
    )
    return [
        name,
        f"{row['values']:,.0f}",
        number(row["loss"]),
        number(row["trivial_loss"]),
        own,
        guess,
        gain.replace("-", "\N{MINUS SIGN}"),
    ]


def _column(rows: Sequence[Mapping[str, str]], part: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epoch and value of one column over the rows of one part."""
    kept = [row for row in rows if row["part"] == part and row.get(name)]
    return np.array([float(row["epoch"]) for row in kept]), np.array([float(row[name]) for row in kept])


def loss_figure(rows: Sequence[Mapping[str, str]], trivial: float, kept_step: int) -> Figure:
    """Training and held-out loss against the epoch, with the level of the trivial guess."""
    with _axes() as (ax, finish):
        ax.axhline(trivial, color=GREY, lw=1)
        ax.plot(*_column(rows, "train", "loss"), color=COLOURS[0], lw=1, label="training")
        epoch, loss = _column(rows, "valid", "loss")
        ax.plot(epoch, loss, "o-", color=COLOURS[1], lw=1.6, ms=3, label="held out")
        kept = [row for row in rows if row["part"] == "valid" and int(float(row["step"])) == kept_step]
        if kept:
            ax.plot([float(kept[-1]["epoch"])], [float(kept[-1]["loss"])], "o", ms=8, mfc="none", color=COLOURS[1])
        ax.set(xlabel="Epoch", ylabel="Loss (weighted sum over the terms)")
        ax.set_ylim(bottom=0)
        ax.legend()
        last = f"{loss[-1]:.3f}" if len(loss) else "not measured"
        caption = f"Last held-out loss {last}; grey: the trivial guess, {trivial:.3f}; ring: the weights kept."
        return finish("Loss", caption, f"Line chart of training and held-out loss by epoch. {caption}")


def fields_figure(figures: Mapping[str, Mapping[str, float]]) -> Figure:
    """Accuracy of each term, or the variance that it explains, beside the trivial guess."""
    shares = {name: _shares(row) for name, row in figures.items() if "accuracy" in row or "explained" in row}
    with _axes(width=4.8, height=1.1 + 0.24 * len(shares)) as (ax, finish):
        for at, (own, trivial) in enumerate(shares.values()):
            ax.plot([trivial, own], [at, at], "-", color=GREY, lw=1.5)
            ax.plot([trivial], [at], "|", color=GREY, ms=9, mew=2)
            ax.plot([own], [at], "o", color=COLOURS[0], ms=5)
        ax.set_yticks(range(len(shares)), labels=list(shares))
        ax.set(ylim=(len(shares) - 0.5, -0.5), xlabel="Right, or for numbers variance explained (%)")
        told = ", ".join(f"{name} {own:.0f}%" for name, (own, _) in shares.items())
        caption = "Dot: the network; bar: always guessing the commonest value, or the mean."
        return finish("What is learnt", caption, f"Share by term: {told}. {caption}")


def _shares(row: Mapping[str, float]) -> tuple[float, float]:
    """Percent of the network and of the trivial guess."""
    if "accuracy" in row:
        return 100 * row["accuracy"], 100 * row["trivial_accuracy"]
    return 100 * row["explained"], 0.0


def probe_figure(rows: Sequence[Mapping[str, str]]) -> Figure:
    """How well a ridge regression on the frozen vectors predicts a measured property."""
    with _axes() as (ax, finish):
        epoch, score = _column(rows, "valid", "probe_r2")
        ax.plot(epoch, score, "o-", color=COLOURS[4], lw=1.6, ms=3)
        ax.axhline(0, color=GREY, lw=1)
        ax.set(xlabel="Epoch", ylabel="R² of solubility, left-out predictions")
        told = f"From {score[0]:.3f} at the start to {score[-1]:.3f} (0: what the mean predicts)."
        caption = f"{told} A ridge regression on the frozen vectors of the demonstration set."
        return finish("Are the vectors useful?", caption, f"Line chart by epoch. {caption}")


def rate_figure(rows: Sequence[Mapping[str, str]]) -> Figure:
    """Learning rate and norm of the gradient."""
    with _axes() as (ax, finish):
        ax.plot(*_column(rows, "train", "learning_rate"), color=COLOURS[2], lw=1.5, label="learning rate")
        ax.plot(*_column(rows, "train", "gradient_norm"), color=COLOURS[3], lw=1, label="norm of the gradient")
        logarithmic(ax.yaxis)
        ax.set(xlabel="Epoch", ylabel="Value (logarithmic)")
        ax.legend()
        caption = "A gradient that grows while the loss does not fall points to a rate that is too high."
        return finish("Learning rate and gradient", caption, f"Line chart by epoch. {caption}")
