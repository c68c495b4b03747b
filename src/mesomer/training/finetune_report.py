"""What a fine-tuning tells people: the report's data, the model card, and the lines on the console.

All of it is plain text and numbers, made from the same figures; drawing is the report's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mesomer.data.splits import Split
from mesomer.metrics import PRIMARY, score
from mesomer.progress import duration
from mesomer.training.finetune_plan import FinetuneOptions, PropertyData
from mesomer.training.predictor import Target, class_columns

if TYPE_CHECKING:
    from mesomer.training.finetune import FinetuneResult

FILES = [
    ("model/", "all members; give it to `mesomer predict` and `mesomer embed`"),
    ("metrics.csv", "figures for each target, split and member, with mean and standard deviation"),
    ("predictions.csv", "out-of-fold predictions beside the measured values"),
    ("splits.csv", "which molecule was in which part of which split"),
    ("config.yaml", "the settings; `mesomer finetune --config config.yaml` repeats the run"),
]

_DECAY = {
    "exponential": "exponential decay to a tenth",
    "cosine": "a half cosine down to a tenth",
    "constant": "no change",
    "inverse_sqrt": "decay with the square root of the step",
}


def split_sentence(splits: Sequence[Split]) -> str:
    """The split in words: `scaffold (balanced), 5 splits of about 1,804/226/225 molecules (train/valid/test)`."""
    first = splits[0]
    name = first.name if first.name == first.rule else f"{first.name} ({first.rule})"
    sizes = "/".join(f"{len(part):,}" for part in first.parts.values()) + " molecules (train/valid/test)"
    different = {tuple(part.tobytes() for part in split.parts.values()) for split in splits}
    count = f"{len(splits)} splits of about {sizes}"
    if len(different) == 1:
        count = f"one split of {sizes}" + (f", trained {len(splits)} times" if len(splits) > 1 else "")
    notes = [note for note in first.note.split("; ") if note and note != "one split"]
    return "; ".join([f"{name}, {count}", *notes])


def trivial_scores(data: PropertyData, splits: Sequence[Split]) -> dict[str, dict[str, float]]:
    """The same figures for a prediction that knows only the training labels: their mean, or the share of each class."""
    found: dict[str, dict[str, float]] = {}
    for at, target in enumerate(data.targets):
        rows = []
        for split in splits:
            train, truth = data.y[split.train, at], data.y[split.test, at]
            train = train[~np.isnan(train)]
            if len(train):
                rows.append(score(target.type, truth, _constant(train, target, len(truth))))
        names = rows[0] if rows else {}
        found[target.name] = {name: float(np.nanmean([row[name] for row in rows])) for name in names if name != "labels"
                              if not all(math.isnan(row[name]) for row in rows)}  # fmt: skip
    return found


def _constant(train: NDArray[np.float64], target: Target, count: int) -> NDArray[np.float64]:
    if target.type == "multiclass":
        return np.tile(np.bincount(train.astype(int), minlength=len(target.classes)) / len(train), (count, 1))
    return np.full(count, train.mean())


def report_data(result: FinetuneResult, about: Mapping[str, Any]) -> dict[str, Any]:
    """The dictionary that the report draws (its format is that of `mesomer.report`)."""
    data, splits, options = result.data, result.splits, result.options
    trivial = trivial_scores(data, splits)
    metrics = []
    for target in data.targets:
        for name, entry in result.table[target.name].items():
            metrics.append({
                "target": target.name, "metric": name, "mean": entry["mean"],
                "sd": None if math.isnan(entry["sd"]) else entry["sd"], "n": len(splits),
                "trivial": trivial[target.name].get(name),
            })  # fmt: skip
    return {
        "title": f"{_verb(options)} {about['model']} on {about['data']}",
        "summary": [
            ("Molecules", about["molecules"]),
            ("Targets", ", ".join(f"{target.name} ({target.type})" for target in data.targets[:20])),
            ("Model", about["model_facts"]),
            ("Split", split_sentence(splits)),
            ("Training", training_sentence(options)),
        ],
        "warnings": list(about["warnings"]),
        "metrics": metrics,
        "curves": _curves(result),
        "targets": [_target_data(result, at) for at in range(len(data.targets))],
        "costs": [
            ("Training", f"{duration(sum(cell.seconds for cell in result.cells))} on {about['machine']}"),
            ("Trained parameters", f"{result.trained_parameters:,} in each of {len(result.cells)} members"),
        ],
        "method": method_text(result, about),
        "files": [*FILES, ("rejects.csv", "rows that were not used, with the reason")] if about["rejected"] else FILES,
        "next": [f"mesomer predict NEW.csv --model {about['output']}/model --output pred.csv"],
    }  # fmt: skip


def _verb(options: FinetuneOptions) -> str:
    if options.probe:
        return "Linear probe of"
    return "Training from random weights: the network of" if options.scratch else "Fine-tuning"


def _curves(result: FinetuneResult) -> list[dict[str, Any]]:
    curves = []
    for cell in result.cells:
        if cell.curve:
            rows = cell.curve
            curves.append({
                "label": f"split {cell.cell.split + 1}, member {cell.cell.member + 1}",
                "epoch": [row["epoch"] for row in rows],
                "train_loss": [row.get("train_loss", math.nan) for row in rows],
                "valid_loss": [row.get("valid_loss", math.nan) for row in rows],
                "best_epoch": cell.best_epoch,
            })  # fmt: skip
    return curves


def _target_data(result: FinetuneResult, at: int) -> dict[str, Any]:
    data, found = result.data, result.found
    target, columns = class_columns(data.targets)[at]
    truth = data.y[found.molecule, at]
    kept = np.flatnonzero(~np.isnan(truth))
    predicted = found.predicted[kept, columns]
    shown: dict[str, Any] = {
        "name": target.name,
        "type": target.type,
        "unit": None,
        "smiles": [data.smiles[m] for m in found.molecule[kept]],
        "row": [data.rows[m] for m in found.molecule[kept]],
        "split": [split_label(result.splits[number]) for number in found.split[kept]],
        "truth": truth[kept].tolist(),
        "prediction": predicted.tolist() if target.type == "multiclass" else predicted[:, 0].tolist(),
        "similarity": found.similarity[kept].tolist(),
    }
    if target.type != "regression":
        shown["classes"] = list(target.classes)
    elif (width := result.half_widths[at]) is not None:
        shown |= {"low": (predicted[:, 0] - width).tolist(), "high": (predicted[:, 0] + width).tolist()}
    return shown


def split_label(split: Split) -> str:
    """A split's name in figures."""
    return f"repeat {split.repeat + 1}, fold {split.fold + 1}"


def training_sentence(options: FinetuneOptions) -> str:
    """The training in words."""
    if options.probe:
        return "linear model on the frozen molecule vectors; penalty chosen on the validation part"
    parts = [f"up to {options.epochs} epochs, batches of {options.batch_size}, highest rate {options.max_lr:g}"]
    if options.encoder_lr_scale != 1:
        parts.append(f"encoder at {options.encoder_lr_scale:g} of it")
    if options.unfreeze_after is not None:
        parts.append(f"encoder frozen for {options.unfreeze_after} epochs")
    elif options.freeze == "encoder":
        parts.append("encoder frozen")
    if options.patience is not None:
        parts.append(f"stopped after {options.patience} epochs without gain")
    if options.ensemble > 1:
        parts.append(f"{options.ensemble} members for each split")
    return ", ".join(parts)


def method_text(result: FinetuneResult, about: Mapping[str, Any]) -> str:
    """One paragraph for a methods section."""
    options = result.options
    encoder = result.predictor.members[0].encoder
    summary = encoder.summary is not None
    views = 1 if summary else len(encoder.readout_views)
    readout = f"one shared {options.readout} readout{' beside the summary of the encoder' if summary else ''}"
    network = (
        "A linear model on the frozen molecule vectors was fitted for each target, its penalty chosen on the "
        "validation part."
        if options.probe
        else f"The encoder (from {'random initial' if options.scratch else 'pre-trained'} weights), {readout} and "
        f"{_heads(options)}{f' for each of its {views} views' if views > 1 else ''} were "
        f"trained with Adam ({training_sentence(options)}; linear warm-up over {options.warmup_epochs:g} epochs, then "
        f"{_DECAY[options.schedule]}; dropout {options.dropout:g} in the heads); "
        f"{'the last epoch' if options.select == 'last' else 'the epoch with the best validation figure'} was kept"
        f"{', and the predictions of the heads were averaged' if views > 1 else ''}."
    )
    extra = f" Descriptors were appended: {', '.join(options.descriptors)}." if options.descriptors else ""
    return (
        f"Model: {about['model_facts']}. Data: {about['molecules']}. Split: {split_sentence(result.splits)}; seed "
        f"{options.seed}. {network}{extra} Regression targets were standardised on each training part. Figures are "
        "means and sample standard deviations (divisor n - 1) over splits, on molecules used neither for training nor "
        "for selection. Intervals (90 %) are split-conformal, from the absolute out-of-fold residuals. Mesomer "
        f"{about['version']}."
    )


def _heads(options: FinetuneOptions) -> str:
    if options.ffn_layers == 1:
        return "a linear head"
    return f"a {options.ffn_layers}-layer head of width {options.ffn_hidden}"


def figures_text(result: FinetuneResult) -> str:
    """The main figures of each target, a line each (at most twenty)."""
    targets = result.data.targets
    lines = []
    for target in targets[:20]:
        table = result.table[target.name]
        others = [name for name in ("mae", "r2", "average_precision", "macro_f1") if name in table]
        parts = []
        for name in [PRIMARY[target.type], *others]:
            deviation = table[name]["sd"]  # NaN where fewer than two splits have the figure
            spread = "" if math.isnan(deviation) else f" ± {deviation:.3g}"
            parts.append(f"{name} {table[name]['mean']:.4g}{spread}")
        lines.append(f"{target.name}: {', '.join(parts)}")
    if len(targets) > 20:
        lines.append(f"… and {len(targets) - 20} more targets in metrics.csv")
    return "\n".join(lines)


def model_card(result: FinetuneResult, about: Mapping[str, Any]) -> str:
    """The README.md of the model folder."""
    lines = [
        f"# {_verb(result.options)} {about['model']} on {about['data']}",
        "",
        f"Predicts {', '.join(f'`{t.name}` ({t.type})' for t in result.data.targets[:20])} from SMILES. "
        f"{len(result.cells)} members, averaged.",
        "",
        "```",
        "mesomer predict NEW.csv --model THIS_FOLDER --output pred.csv",
        "```",
        "",
        "## How good it is",
        "",
        f"On molecules left out of training ({split_sentence(result.splits)}):",
        "",
        *(f"- {line}" for line in figures_text(result).splitlines()),
        "",
        "These figures are those of single splits; the average of all members was not tested on new molecules.",
        "",
        "## How it was made",
        "",
        method_text(result, about),
    ]  # fmt: skip
    if about["warnings"]:
        lines += ["", "## Warnings", "", *(f"- {text}" for text in about["warnings"])]
    return "\n".join(lines) + "\n"
