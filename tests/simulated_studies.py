"""Study folders with known truths: every arm's score is a fold's level, plus its gain, plus noise of a known spread."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np

from mesomer.metrics import METRICS
from mesomer.report.study_folder import COLUMNS

ARMS = [
    {"name": "pretrained", "label": "pre-trained, fine-tuned", "kind": "network", "reference": False,
     "parameters": 3_502_081},
    {"name": "random", "label": "random weights, fine-tuned", "kind": "network", "reference": False,
     "twin_of": "pretrained", "parameters": 3_502_081},
    {"name": "ecfp_forest", "label": "count ECFP + forest", "kind": "classical", "reference": True, "parameters": None},
    {"name": "ecfp_boosting", "label": "count ECFP + boosting", "kind": "classical", "reference": True,
     "parameters": None},
    {"name": "mean", "label": "training mean", "kind": "mean", "reference": False, "parameters": None},
]  # fmt: skip
SECONDS = {"pretrained": 95.0, "random": 96.0, "ecfp_forest": 2.0, "ecfp_boosting": 1.1, "mean": 0.01}
LOSSES = ("rmse", "mae")

RULES = {"scaffold": "scaffold_cv", "random": "cv"}


def write_study(
    folder: Path,
    gains: dict[str, float] | None = None,
    spread: float = 0.02,
    *,
    metric: str = "rmse",
    zone: float = 0.05,
    splits: tuple[str, ...] = ("scaffold", "random"),
    repeats: int = 5,
    folds: int = 5,
    molecules: int = 1000,
    targets: tuple[str, ...] = ("logS",),
    unit: str | None = "log units",
    label_counts: tuple[int, ...] = (),
    overlap: float | None = None,
    arms: list[dict] | None = None,
    seed: int = 0,
    **facts,
) -> Path:
    """Writes study.json and results.csv; `gains` are over the twin, positive is better whatever the metric."""
    arms = ARMS if arms is None else arms
    gains = {"mean": -0.3} | (gains or {})
    generator, loss = np.random.default_rng(seed), metric in LOSSES
    folder.mkdir(parents=True, exist_ok=True)
    test, train = molecules // folds, molecules - molecules // folds
    plan = {
        "format": 1,
        "data": {"file": "data.csv", "sha256": "ab" * 32, "molecules": molecules, "rejected": 3,
                 "targets": [{"name": name, "task": "regression" if loss else "classification"} | ({"unit": unit}
                             if unit and loss else {}) for name in targets]},
        "model": {"name": "batmannet-1", "sha256": "cd" * 32, "parameters": 3_400_000},
        "design": {"splits": list(splits), "repeats": repeats, "folds": folds, "trials": 4,
                   "rules": {split: RULES.get(split, split) for split in splits},
                   "budget": {"minutes": 60, "epochs": 30}, "label_counts": list(label_counts)},
        "cut": [],
        "zone": {"value": zone, "metric": metric, "source": "the default"},
        "arms": arms, "metric": metric, "greater_is_better": not loss,
        "versions": {"mesomer": "0.1.0"}, "machine": {"processor": "a processor", "cores": 2, "host": "secret-host"},
        "command": "mesomer study data.csv --model batmannet-1",
    } | facts  # fmt: skip
    (folder / "study.json").write_text(json.dumps(plan))
    names = [*targets, "mean"] if len(targets) > 1 else [*targets]
    rows = []
    for split in splits:
        for repeat in range(repeats):
            for fold in range(folds):
                level = generator.normal(0.8, 0.03, size=len(targets))
                for labels in (*label_counts, None):
                    short = 0.0 if labels is None else 0.1
                    for arm in arms:
                        gain = gains.get(arm["name"], 0.0) - short
                        noise = generator.normal(0, spread / np.sqrt(2), size=len(targets))
                        values = level + (-gain if loss else gain) + noise
                        values = [*values, values.mean()] if len(targets) > 1 else [*values]
                        for target, value in zip(names, values, strict=True):
                            novel = "" if overlap is None else f"{value + 0.01 * (1 if loss else -1):.6f}"
                            known = "" if overlap is None else round(test * (1 - overlap))
                            size = train if labels is None else labels
                            rows.append([split, repeat, fold, arm["name"], labels or "", target, metric, f"{value:.6f}",
                                         novel, size - size // 10, size // 10, test, known,
                                         SECONDS.get(arm["name"], 1.0), 4, "", ""])  # fmt: skip
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: list[list]) -> None:
    """Writes results.csv."""
    with open(folder / "results.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([COLUMNS, *rows])


def read_rows(folder: Path) -> list[dict]:
    """The rows of results.csv."""
    with open(folder / "results.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def change_rows(folder: Path, change) -> None:
    """Rewrites results.csv: `change(row)` gives the new row, or None to leave it out."""
    rows = [changed for row in read_rows(folder) if (changed := change(row)) is not None]
    write_rows(folder, [[row[name] for name in COLUMNS] for row in rows])


def add_predictions(folder: Path, noise: dict[str, float], seed: int = 0, similarity: bool = False) -> None:
    """Writes predictions of some arms (label plus noise of the given spread) and makes results.csv agree with them."""
    plan = json.loads((folder / "study.json").read_text())
    design, metric = plan["design"], plan["metric"]
    count, target = plan["data"]["molecules"], plan["data"]["targets"][0]["name"]
    generator = np.random.default_rng(seed)
    kind = "regression" if metric in LOSSES else "binary"
    truth = generator.normal(size=count) if kind == "regression" else (generator.random(count) < 0.4).astype(float)
    scores, lines = {}, []
    for split in design["splits"]:
        for repeat in range(design["repeats"]):
            parts = np.array_split(generator.permutation(count), design["folds"])
            for fold, rows in enumerate(parts):
                for arm, spread in noise.items():
                    found = truth[rows] + generator.normal(0, spread, len(rows))
                    scores[split, repeat, fold, arm] = METRICS[kind][metric].compute(truth[rows], found)
                    near = generator.random(len(rows))
                    lines += [
                        [split, repeat, fold, arm, "", row + 1, target, truth[row], value]
                        + ([alike] if similarity else [])
                        for row, value, alike in zip(rows, found, near, strict=True)
                    ]
    head = ["split", "repeat", "fold", "arm", "label_count", "row", "target", "truth", "predicted"]
    with gzip.open(folder / "predictions.csv.gz", "wt", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([head + (["similarity"] if similarity else []), *lines])

    with open(folder / "molecules.csv", "w", encoding="utf-8", newline="") as handle:
        chains = ((row, "C" * row) for row in range(1, count + 1))  # without rings each stands for itself
        csv.writer(handle).writerows([["row", "smiles"], *chains])

    def agree(row):
        key = (row["split"], int(row["repeat"]), int(row["fold"]), row["arm"])
        return row | ({"value": scores[key]} if key in scores and not row["label_count"] else {})

    change_rows(folder, agree)
