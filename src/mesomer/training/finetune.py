"""Fine-tuning: a table with labels to a predictor that knows how good it is.

    table -> labelled molecules -> splits -> cells (split x member), each trained and judged -> one predictor folder

Decided: each finished cell is one file, so that an interrupted run goes on with the next one; the unfinished one goes
on from its checkpoint. The result of a resumed run equals that of an uninterrupted one. Everything that can be wrong
with the data is said before the run folder is made. One process trains: several runs use several devices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mesomer import __version__
from mesomer.data.geometry import geometry_warnings
from mesomer.data.labels import Labelled, few_labels_warning, read_labels, require_enough
from mesomer.data.placed import store_coordinates
from mesomer.data.repeats import SplitColumn
from mesomer.data.splits import Split, find_rule, splits_for, write_splits
from mesomer.data.splits.base import one_test_part
from mesomer.data.tables import Table, find_files, open_table
from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.files import atomic_write, check_writable, remove, sha256_of
from mesomer.machine import machine
from mesomer.progress import Progress
from mesomer.run import Interrupted, RunFolder, StopRequest, read_manifest, stop_signals
from mesomer.settings import json_ready
from mesomer.training.checkpoint import ModelFolder, default_model, encoder_of, load_model
from mesomer.training.context import Context
from mesomer.training.finetune_cell import CellResult, Cells
from mesomer.training.finetune_plan import (
    FinetuneOptions,
    PropertyData,
    check_parts,
    check_range,
    plan_cells,
    property_data,
)
from mesomer.training.finetune_report import figures_text, model_card, report_data, split_sentence
from mesomer.training.finetune_results import (
    OutOfFold,
    figures,
    half_widths,
    out_of_fold,
    prediction_columns,
    summary,
    write_figures,
    write_predictions,
)
from mesomer.training.predictor import Predictor, descriptor_columns, trainable_parameters


@dataclass
class FinetuneResult:
    """What a fine-tuning gave, as plain data and arrays."""

    data: PropertyData
    splits: list[Split]
    options: FinetuneOptions
    cells: list[CellResult]
    rows: list[dict[str, Any]]
    """A row of figures for each target, split, part and member."""
    table: dict[str, dict[str, dict[str, Any]]]
    """For each target and metric: mean, sd and values over splits, on the test parts."""
    found: OutOfFold
    half_widths: list[float | None]
    predictor: Predictor
    trained_parameters: int

    @property
    def seconds(self) -> float:
        """Training time of all cells."""
        return sum(cell.seconds for cell in self.cells)


def run_cells(
    data: PropertyData,
    splits: Sequence[Split],
    base: Encoder,
    options: FinetuneOptions,
    *,
    folder: Path | None = None,
    context: Context | None = None,
    quiet: bool = False,
    stop: StopRequest | None = None,
) -> FinetuneResult:
    """Trains and judges every cell; with a `folder` finished cells are kept there and read again."""
    context = context or Context.start(options.accelerator, options.precision)
    if context.world > 1:
        raise MesomerError(
            "Fine-tuning works in one process.", "Start it without torchrun; several runs can use several devices."
        )
    runner = Cells(data, splits, base, options, context)
    cells = plan_cells(splits, options)
    results = []
    # Training dominates, so the bar counts epochs' worth of molecules; a probe counts cells.
    with Progress(_work(splits, cells, options), "molecules", "fine-tuning", quiet) as bar:
        for number, cell in enumerate(cells):
            if stop is not None and stop.requested:
                raise Interrupted
            done = sum(_work(splits, [earlier], options) for earlier in cells[:number])
            bar.note(f"part {number + 1} of {len(cells)}")
            results.append(runner.run(cell, folder, lambda report: bar.advance(report.molecules), stop))
            bar.advance(max(0, done + _work(splits, [cell], options) - bar.done))
    rows = figures(data, splits, results)
    found = out_of_fold(data, splits, results)
    predictor = runner.assemble(results)
    predictor.half_widths = half_widths(data, found)
    seen = np.unique(np.concatenate([np.concatenate([split.train, split.valid]) for split in splits]))
    predictor.fingerprints = data.fingerprints[seen]
    first = predictor.members[0]
    own = trainable_parameters(first) if not options.shared_encoder else sum(
        parameter.numel() for name, parameter in first.named_parameters() if not name.startswith("encoder.")
    )  # fmt: skip
    table = summary(data, rows, splits)
    return FinetuneResult(
        data, list(splits), options, results, rows, table, found, predictor.half_widths, predictor, own
    )


def _work(splits: Sequence[Split], cells: Sequence[Any], options: FinetuneOptions) -> int:
    """Molecules that training will pass at most."""
    epochs = 1 if options.probe else options.epochs
    return sum(len(splits[cell.split].train) * epochs for cell in cells)


def finetune(
    data: Any,
    *,
    targets: Sequence[str],
    output: str | os.PathLike[str],
    model: str | None = None,
    task: str | None = None,
    smiles_column: str | None = None,
    split: str = "scaffold",
    split_column: str = "split",
    folds: int | None = None,
    repeats: int = 3,
    max_atoms: int = 500,
    decimal: str | None = None,
    options: FinetuneOptions | None = None,
    overwrite: bool = False,
    data_name: str | None = None,
    canonical_scaffolds: bool = False,
    config: Mapping[str, Any] | None = None,
    write_report: Callable[[Mapping[str, Any]], str] | None = None,
) -> tuple[dict[str, Any], FinetuneResult | None]:
    """Fine-tunes a model on a table and fills a run folder; returns the summary, and the result if work was done.

    Args:
        data: Path or pattern of the table.
        targets: Columns with the labels.
        output: Run folder.
        model: Pre-trained model; the bundled encoder if None.
        task: Type of all targets; inferred for each if None.
        smiles_column: Column that holds the SMILES; found by its name if None.
        split: Name of the split.
        split_column: Column that `column` and `time` read.
        folds: Folds of cross-validation splits.
        repeats: Repeats with other seeds.
        max_atoms: Molecules with more atoms are rejected.
        decimal: What numbers of the table have before their decimals; a point if None.
        options: How to train.
        overwrite: Replace another run in `output`.
        data_name: What to call the data in reports.
        canonical_scaffolds: Scaffolds from canonical SMILES, as published for some sets.
        config: Settings to keep in the run folder; those given here if None.
        write_report: Makes the report's HTML from its data.
    """
    options = options or FinetuneOptions()
    model = model or default_model()
    if config is None:
        config = {
            "data": str(data), "targets": list(targets), "output": os.fspath(output), "model": model, "task": task,
            "smiles_column": smiles_column, "split": split, "split_column": split_column, "folds": folds,
            "repeats": repeats, "max_atoms": max_atoms, "decimal": decimal, **asdict(options),
        }  # fmt: skip
    folder = load_model(model)
    base = encoder_of(folder)
    inputs = {str(path): sha256_of(path) for path in find_files(data)} | {f"model {model}": folder.sha256}

    def read(kept: Path | None = None) -> LabelledSplits:
        return labelled_splits(
            open_table(data, smiles_column, max_atoms, decimal=decimal), targets, options, task=task, split=split,
            split_column=split_column, folds=folds, repeats=repeats, canonical_scaffolds=canonical_scaffolds,
            coordinates=base.needs_coordinates, kept=kept,
        )  # fmt: skip

    def open_run() -> RunFolder:
        return RunFolder.open(output, "finetune", config, inputs, overwrite)

    # A run that is there is recognised first; a new folder is made only when the data is known to be usable.
    known = read_manifest(output) is not None and not overwrite
    if not known:
        check_writable(output, overwrite, folder=True)
    task_data = None if known else read()
    with open_run() as run:
        if run.state == "finished":
            remove(run.path / "cells")  # a kill after the last file leaves them
            return run.summary | {"state": "finished"}, None
        task_data = task_data or read(run.path / "cells")
        if base.needs_coordinates:
            store_coordinates(run.path / "cells", task_data.data.smiles, task_data.data.graphs)
        task_data.announce(run)
        write_splits(run.path / "splits.csv", task_data.splits, task_data.labelled.rows, task_data.labelled.smiles)
        task_data.labelled.rejects.write(run.path / "rejects.csv")
        with stop_signals() as stop:
            result = run_cells(task_data.data, task_data.splits, base, options, folder=run.path / "cells", stop=stop)
        about = _about(run, model, folder, data_name or str(data), task_data)
        found = _write(run, result, about, max_atoms, write_report)
        run.finish(found)
    remove(Path(output) / "cells")
    return found | {"state": "done"}, result


@dataclass
class LabelledSplits:
    """A table that was read, split and found usable."""

    table: Table
    labelled: Labelled
    data: PropertyData
    splits: list[Split]
    warnings: list[str]

    def announce(self, run: RunFolder) -> None:
        """Says what was understood before time is spent on it."""
        for note in self.table.notes:
            run.log(note)
        for target in self.data.targets:
            classes = f" with the classes {', '.join(target.classes)}" if target.type == "multiclass" else ""
            positive = f" (positive: {target.classes[1]})" if target.type == "binary" else ""
            run.log(f"Target {target.name!r}: {target.type}{positive}{classes}.")
        run.log(f"Molecules: {molecules_sentence(self.labelled)}.")
        run.log(f"Split: {split_sentence(self.splits)}.")
        for warning in self.warnings:
            run.log(f"Warning: {warning}")


def labelled_splits(
    table: Table,
    targets: Sequence[str],
    options: FinetuneOptions,
    *,
    task: str | Mapping[str, str] | None = None,
    split: str = "scaffold",
    split_column: str = "split",
    folds: int | None = None,
    repeats: int = 3,
    canonical_scaffolds: bool = False,
    draw: Callable[[Labelled], list[Split]] | None = None,
    coordinates: bool = False,
    quiet: bool = False,
    kept: Path | None = None,
) -> LabelledSplits:
    """Reads, splits and checks the data; arguments as in `finetune`. `draw` splits instead of a named rule, and the
    encoder may need `coordinates`: `quiet` shows no progress of computing them, those in the folder `kept` are read.
    """
    rule = find_rule(split)
    by_column = draw is None and rule.needs == "column"
    parts = table.named_columns([split_column] if by_column else [], "--split_column names another.")
    extra = table.named_columns(descriptor_columns(options.descriptors))
    names = table.named_columns(targets)
    deciding = SplitColumn(parts[0], "time" if rule.name == "time" else "column") if by_column else None
    labelled = read_labels(table, names, task, conditions=extra, split_column=deciding)
    require_enough(labelled)
    if draw is not None:
        splits = draw(labelled)
    else:
        splits = splits_for(
            split,
            labelled.mols,
            repeats,
            options.seed,
            folds,
            labelled.columns[parts[0]] if by_column else None,
            labels=labelled.y if rule.needs == "labels" else None,
            canonical=canonical_scaffolds,
            column_name=split_column,
            rows=labelled.rows,
            together=True,
        )
    prepared = property_data(labelled, options.descriptors, coordinates, quiet, kept)
    check_range(prepared)
    prediction_columns(prepared.targets)
    warnings = [*labelled.warnings, *check_parts(prepared, splits)]
    if one_test_part(splits) and (draw is not None or (rule.seeded and not rule.needs)):
        warnings.append(
            f"All {len(splits)} repeats drew the same test part: the spread over them says nothing about other "
            "molecules."
        )
    if coordinates:
        warnings += geometry_warnings(prepared.graphs, labelled.mols)
        if count := labelled.structures:
            of = f"{count:,} molecule{'s' * (count > 1)}"
            warnings.append(f"Repeated rows of {of} bring different coordinates; used: the first.")
    if (advice := few_labels_warning(labelled)) is not None and not options.probe:
        warnings.append(advice)
    return LabelledSplits(table, labelled, prepared, splits, warnings)


def molecules_sentence(labelled: Labelled) -> str:
    """`2,173 labelled molecules from 2,180 rows (5 rejected: 5 cannot parse; 2 repeated molecules merged)`."""
    parts = []
    if labelled.rejects.total:
        parts.append(f"{labelled.rejects.total:,} rejected: {labelled.rejects.summary()}")
    if labelled.unlabelled:
        parts.append(f"{labelled.unlabelled:,} without a label")
    if labelled.merged:
        parts.append(f"{labelled.merged:,} repeated rows merged")
    if labelled.left_out:
        parts.append(f"{labelled.left_out:,} left out, see the warnings")
    more = f" ({'; '.join(parts)})" if parts else ""
    different = len(set(labelled.canonical))
    examples = "" if different == len(labelled) else f"{len(labelled):,} examples (descriptor columns differ) of "
    return f"{examples}{different:,} labelled molecules from {labelled.table_rows:,} rows{more}"


def _about(
    run: RunFolder, model: str, folder: ModelFolder, data_name: str, task_data: LabelledSplits
) -> dict[str, Any]:
    """Facts that the report, the card and the summary share."""
    here = machine()
    device = ", ".join(here["gpus"]) or f"{here['cores']} cores"
    return {
        "model": model,
        "model_facts": f"{model} ({folder.config['encoder']['name']}, weights {folder.sha256[:12]})",
        "data": data_name,
        "molecules": molecules_sentence(task_data.labelled),
        "rejected": task_data.labelled.rejects.total,
        "warnings": task_data.warnings,
        "machine": device,
        "output": str(run.path),
        "version": __version__,
    }


def _write(
    run: RunFolder,
    result: FinetuneResult,
    about: Mapping[str, Any],
    max_atoms: int,
    write_report: Callable[[Mapping[str, Any]], str] | None,
) -> dict[str, Any]:
    """All files of a finished fine-tuning; returns the summary."""
    write_figures(run.path / "metrics.csv", result.data, result.rows, result.splits)
    write_predictions(run.path / "predictions.csv", result.data, result.splits, result.found)
    predictor = result.predictor
    predictor.max_atoms = max_atoms
    predictor.trained_on = {
        "data": about["data"],
        "molecules": len(result.data.smiles),
        "split": split_sentence(result.splits),
        "model": about["model"],
    }
    predictor.save(run.path / "model", model_card(result, about))
    if write_report is not None:
        with atomic_write(run.path / "report.html") as temporary:
            temporary.write_text(write_report(report_data(result, about)), encoding="utf-8")
    table = result.table
    return {
        "output": str(run.path),
        "model": str(run.path / "model"),
        "report": str(run.path / "report.html") if write_report is not None else None,
        "molecules": len(result.data.smiles),
        "rejected": about["rejected"],
        "warnings": about["warnings"],
        "split": split_sentence(result.splits),
        "members": len(result.cells),
        "seconds": result.seconds,
        "figures": figures_text(result),
        "targets": {
            target.name: {
                "type": target.type,
                "classes": list(target.classes),
                "metrics": json_ready(table[target.name]),
            }
            for target in result.data.targets
        },
    }
