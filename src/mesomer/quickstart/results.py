"""What the quickstart found: the comparison in one sentence, the tables, the predictor and the report."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer import __version__
from mesomer.comparison import Difference, compare, in_words, verdict
from mesomer.files import atomic_write
from mesomer.machine import machine
from mesomer.metrics import METRICS, mae, pearson, rmse
from mesomer.progress import duration
from mesomer.quickstart.design import DEMO, TARGET, UNIT, Arm, Outcome
from mesomer.report import comparison_report
from mesomer.statistics import ZONE_SHARE, bootstrap_molecules
from mesomer.training.finetune_report import model_card, report_data, split_sentence, training_sentence

FILES = [
    ("report.html", "this file"),
    ("results.csv", "every figure of every method and split, one row each"),
    (
        "predictions.csv",
        "measured value and the prediction of every method for each molecule, made while it was held out",
    ),
    ("splits.csv", "which molecule was in which part of which split"),
    ("model/", "the fine-tuned predictor (one member for each split, averaged)"),
]
PAIRS = (("pretrained", "random"), ("pretrained", "forest"), ("random", "forest"))
SHORT = {"pretrained": "pre-trained", "random": "random weights", "forest": "forest", "mean": "training mean"}


def write_results(folder: Path, outcome: Outcome) -> dict[str, Any]:
    """Writes the tables, the predictor and the report; returns what they say in short."""
    _write_csv(folder / "results.csv", _figures(outcome))
    _write_csv(folder / "predictions.csv", _predictions(outcome))
    about = _about(folder, outcome)
    predictor = outcome.networks["pretrained"].predictor
    predictor.trained_on = {
        "data": about["data"], "molecules": len(outcome.data.smiles), "split": split_sentence(outcome.splits),
        "model": outcome.model,
    }  # fmt: skip
    predictor.save(folder / "model", model_card(outcome.networks["pretrained"], about))
    sentence = honest_sentence(outcome)
    with atomic_write(folder / "report.html") as temporary:
        temporary.write_text(comparison_report(report_of(folder, outcome, about)), encoding="utf-8")
    return {
        "sentence": sentence,
        "rmse": {arm.name: float(np.mean(scores(outcome, arm))) for arm in outcome.arms},
        "verdict": verdict(difference(outcome, *PAIRS[0]), zone(outcome)),
        "report": str(folder / "report.html"),
        "model": str(folder / "model"),
    }


def summary(folder: Path, outcome: Outcome, seconds: float, resumed: bool = False) -> dict[str, Any]:
    """The stages' times and the text for the console."""
    labels = {arm.label: f"{np.mean(scores(outcome, arm)):.3f}" for arm in outcome.arms}
    width = max(map(len, [*labels, *outcome.stages]))
    lines = [
        honest_sentence(outcome),
        "",
        f"RMSE ({UNIT}), mean of {len(outcome.splits)} held-out parts",
        *(f"  {label:<{width}}  {value}" for label, value in labels.items()),
        "",
        f"Time{' since the run was resumed' if resumed else ''}, on {_machine()}",
        *(f"  {name:<{width}}  {value:6.1f} s" for name, value in outcome.stages.items()),
        f"  {'In all':<{width}}  {seconds:6.1f} s",
        "",
        "Next:",
        *(f"  {line}" for line in _next(folder)),
        "",
        f"Report: {(folder / 'report.html').resolve()}",
    ]
    return {"stages": dict(outcome.stages), "seconds": seconds, "text": "\n".join(lines)}


def scores(outcome: Outcome, arm: Arm) -> list[float]:
    """RMSE of a method on each split."""
    return [rmse(truth, found[:, 0]) for truth, found in zip(outcome.truth, arm.predicted, strict=True)]


def zone(outcome: Outcome) -> float:
    """What counts as no practical difference: a twentieth of the labels' standard deviation."""
    return ZONE_SHARE * float(outcome.data.y[:, 0].std())


def difference(outcome: Outcome, first: str, second: str) -> Difference:
    """Two methods compared over the splits."""
    ratio = float(np.mean([len(split.test) / len(split.train) for split in outcome.splits]))
    return compare(scores(outcome, _arm(outcome, first)), scores(outcome, _arm(outcome, second)), ratio, "min")


def honest_sentence(outcome: Outcome) -> str:
    """The result in one sentence."""
    words = {pair: in_words(difference(outcome, *pair), zone(outcome), "RMSE", "min") for pair in PAIRS}
    count, folds = len(outcome.data.smiles), len(outcome.splits)
    return (
        f"On {folds} held-out parts of {count:,} molecules, fine-tuning the pre-trained encoder gives "
        f"{words[PAIRS[0]]} than the same network trained from random weights, and {words[PAIRS[1]]} than a random "
        "forest on counted fragments."
    )


def limits(outcome: Outcome) -> list[str]:
    """What the comparison cannot show."""
    found = difference(outcome, *PAIRS[0])
    options, folds = outcome.options, len(outcome.splits)
    said = [
        f"One set, one property, {folds} overlapping training parts of about {len(outcome.splits[0].train):,} "
        "molecules: the interval says what new molecules of this kind would show, not what another property would.",
        f"Training was short ({options.epochs} epochs) and no setting of the networks was tuned on this set: with more "
        "epochs or other settings each network may do better, and the order may change.",
        known_sentence(outcome),
    ]
    if found.detectable is not None:
        said.insert(1, (
            f"With the spread seen here, {folds} splits find a true difference of {found.detectable:.3f} or more "
            "with a probability of 80 %; a smaller one would mostly be missed."
        ))  # fmt: skip
    means = {arm.name: float(np.mean(scores(outcome, arm))) for arm in outcome.arms}
    for name, text in (
        ("random", "The network from random weights hardly beats the mean of the training labels: in this time it has "
         "learnt next to nothing, so a gain over it is one of speed, which longer training may close."),
        ("pretrained", "The fine-tuned network hardly beats the mean of the training labels: it has learnt next to "
         "nothing."),
    ):  # fmt: skip
        if means[name] > means["mean"] - zone(outcome):
            said.insert(0, text)
    return said


def known_sentence(outcome: Outcome) -> str:
    """Whether the pre-training had seen the molecules."""
    where = "in the corpus of the pre-training (without their labels)"
    if outcome.known is None:
        return f"Whether test molecules occur {where} was not looked at: the model carries no keys of it."
    return f"Of the {len(outcome.data.smiles):,} molecules {outcome.known:,} are, leaving stereo aside, {where}."


def report_of(folder: Path, outcome: Outcome, about: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary that `comparison_report` draws."""
    labelled, splits = outcome.labelled, outcome.splits
    truth = np.concatenate(outcome.truth)
    tested = np.concatenate([split.test for split in splits])
    curves = {name: report_data(result, about)["curves"] for name, result in outcome.networks.items()}
    merged = f" ({labelled.merged} repeated row merged)" if labelled.merged else ""
    return {
        "title": "Quickstart: does pre-training help here?",
        "sentence": honest_sentence(outcome),
        "limits": limits(outcome),
        "target": {"name": "Solubility at pH 6.8", "unit": UNIT},
        "metric": {"key": "rmse", "label": "RMSE", "unit": UNIT, "better": "lower"},
        "arms": [
            {
                "name": arm.name, "label": arm.label, "scores": scores(outcome, arm), "seconds": arm.seconds,
                "parameters": arm.parameters, "other": _other(outcome, arm),
            }
            for arm in outcome.arms
        ],
        "splits": [f"part {at + 1}" for at in range(len(splits))],
        "differences": [_difference_row(outcome, *pair) for pair in PAIRS],
        "curves": curves,
        "predictions": {
            arm.name: {"truth": truth, "prediction": np.concatenate(arm.predicted)[:, 0]}
            for arm in outcome.arms
            if arm.name != "mean"
        },
        "molecules": {
            "smiles": [outcome.data.smiles[at] for at in tested], "row": [outcome.data.rows[at] for at in tested],
            "truth": truth, "prediction": np.concatenate(outcome.arms[0].predicted)[:, 0],
        },
        "summary": [
            ("Set", "biogen_sol: solubility of 2,173 commercial compounds at pH 6.8, measured by Biogen "
             "(Fang et al. 2023, doi 10.1021/acs.jcim.3c00160; MIT licence)"),
            ("Molecules", f"{len(labelled):,} drawn at random from {labelled.table_rows:,} rows{merged}"),
            ("Labels", _label_facts(outcome)),
            ("Split", split_sentence(splits)),
            ("Pre-trained encoder", about["model_facts"]),
        ],
        "warnings": [
            *labelled.warnings,
            "The values pile up at the upper end; the errors are largest in the thin tail of poorly soluble compounds.",
            "Nearly every scaffold of this set occurs once, so that a scaffold split would hardly be harder.",
        ],
        "costs": [
            *((name, duration(seconds)) for name, seconds in outcome.stages.items()),
            ("Machine", f"{_machine()}, precision {outcome.precision}"),
        ],
        "method": _method(outcome, about),
        "files": [*FILES, ("Data", str(DEMO))],
        "next": _next(folder),
    }  # fmt: skip


def _difference_row(outcome: Outcome, first: str, second: str) -> dict[str, Any]:
    """A row of the report's second table: raw differences, so that a negative RMSE difference favours the first."""
    gain = difference(outcome, first, second)
    arms = [_arm(outcome, name).predicted for name in (first, second)]
    low, high = bootstrap_molecules(
        outcome.truth, [found[:, 0] for found in arms[0]], [found[:, 0] for found in arms[1]], rmse, "min",
        seed=outcome.options.seed,
    )  # fmt: skip
    return {
        "label": f"{SHORT[first]} minus {SHORT[second]}",
        "mean": -gain.mean,
        "low": None if gain.high is None else -gain.high,
        "high": None if gain.low is None else -gain.low,
        "boot_low": -high,
        "boot_high": -low,
        "wins": f"{gain.wins} of {gain.splits}",
    }


def _other(outcome: Outcome, arm: Arm) -> dict[str, float]:
    pairs = list(zip(outcome.truth, arm.predicted, strict=True))
    found = {"MAE": float(np.mean([mae(y, p[:, 0]) for y, p in pairs]))}
    if arm.name != "mean":  # a constant has no correlation
        found["Pearson r"] = float(np.mean([pearson(y, p[:, 0]) for y, p in pairs]))
    return found


def _figures(outcome: Outcome) -> list[dict[str, Any]]:
    rows = []
    for arm in outcome.arms:
        for split, y, found in zip(outcome.splits, outcome.truth, arm.predicted, strict=True):
            for name, metric in METRICS["regression"].items():
                rows.append({
                    "method": arm.name, "repeat": split.repeat, "fold": split.fold, "seed": split.seed,
                    "train": len(split.train), "valid": len(split.valid), "test": len(split.test),
                    "metric": name, "value": metric.compute(y, found[:, 0]),
                })  # fmt: skip
    return rows


def _predictions(outcome: Outcome) -> list[dict[str, Any]]:
    rows = []
    for at, split in enumerate(outcome.splits):
        for place, molecule in enumerate(split.test.tolist()):
            rows.append({
                "row": outcome.data.rows[molecule], "smiles": outcome.data.smiles[molecule], "repeat": split.repeat,
                "fold": split.fold, TARGET: float(outcome.data.y[molecule, 0]),
                **{arm.name: float(arm.predicted[at][place, 0]) for arm in outcome.arms},
            })  # fmt: skip
    return rows


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _arm(outcome: Outcome, name: str) -> Arm:
    return next(arm for arm in outcome.arms if arm.name == name)


def _label_facts(outcome: Outcome) -> str:
    y: NDArray[np.float64] = outcome.data.y[:, 0]
    return f"{y.min():.2f} to {y.max():.2f}, mean {y.mean():.2f}, standard deviation {y.std():.2f} {UNIT}"


def _machine() -> str:
    here = machine()
    device = ", ".join(here["gpus"]) or f"{here['cores']} cores"
    return f"{device} ({here['processor']})"


def _about(folder: Path, outcome: Outcome) -> dict[str, Any]:
    """The facts that the model card and the report of a fine-tuning share."""
    here = outcome.folder
    return {
        "model": outcome.model,
        "model_facts": f"{outcome.model} ({here.config['encoder']['name']}, weights {here.sha256[:12]})",
        "data": "biogen_sol",
        "molecules": f"{len(outcome.data.smiles):,} molecules of biogen_sol",
        "rejected": outcome.labelled.rejects.total,
        "warnings": outcome.labelled.warnings,
        "machine": _machine(),
        "output": str(folder),
        "version": __version__,
    }


def _method(outcome: Outcome, about: Mapping[str, Any]) -> str:
    options = outcome.options
    return (
        f"{len(outcome.data.smiles):,} molecules were drawn from biogen_sol (seed {options.seed}) and split into "
        f"{len(outcome.splits)} folds; each fold was the test part once, about a tenth of the rest chose the epoch, "
        f"and what remained trained all methods. The pre-trained network ({about['model_facts']}) and its twin, which "
        "differs in the initial weights of the encoder only, were trained alike: "
        f"{training_sentence(options.training(False))}; the same seeds, batches and folds. The forest (500 trees, "
        "square root of the columns at each cut) saw ECFP4 counts in 2,048 columns and the training part alone. No "
        "setting of the networks was tuned on this set. RMSE differences were averaged over the folds; the 95 % "
        "interval is the corrected resampled t (Nadeau and Bengio 2003), each for itself. The interval over molecules "
        "is a paired percentile bootstrap of the test molecules within each fold (2,000 draws). Differences within "
        f"±{zone(outcome):.3f}, a twentieth of the labels' standard deviation, count as no practical difference. "
        f"Mesomer {__version__}."
    )


def _next(folder: Path) -> list[str]:
    return [
        f"mesomer predict NEW.csv --model {folder}/model --output pred.csv",
        "mesomer check YOUR.csv --targets COLUMN",
        "mesomer finetune YOUR.csv --targets COLUMN --split scaffold --repeats 5 --output runs/yours",
    ]
