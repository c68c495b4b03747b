"""One fit: molecules and labels in memory, through the code of `mesomer finetune`, to a predictor and what it showed.

    molecules + labels -> table -> labelled splits -> cells -> predictor

Decided: the parts inside a fit (train, valid, test) are those of the command: the validation part chooses the epoch,
the test part gives the intervals and the figures. With groups the parts are drawn over groups, 80/10/10, and molecules
of the same structure stay together too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.calls import in_python
from mesomer.errors import InputError, MesomerError
from mesomer.estimators.labels import Labels
from mesomer.estimators.settings import OTHER_NAMES, finetune_options, model_folder, model_name, rows_from_zero
from mesomer.inference.warn import Unusable, warn

if TYPE_CHECKING:
    from mesomer.data.labels import Labelled
    from mesomer.data.splits import Split
    from mesomer.training.finetune import FinetuneResult, LabelledSplits
    from mesomer.training.predictor import Predictor

_SHARE = 0.1
"""Of test, and of validation, among the molecules that are divided by groups."""


class Rejected(NamedTuple):
    """A row that a fit did not use."""

    row: int
    """Its position, counted from 0."""
    smiles: str | None
    reason: str


@dataclass(frozen=True)
class HeldOut:
    """Predictions for molecules that a network had not been trained on: the test parts of all splits."""

    row: NDArray[np.int64]
    """Position of the molecule among those given, counted from 0."""
    smiles: list[str]
    split: NDArray[np.int64]
    truth: NDArray[np.float64]
    """[N, targets], numbers of classes for classes, NaN where missing"""
    predicted: NDArray[np.float64]
    """[N, columns], probabilities for classes"""
    similarity: NDArray[np.float32]
    """Tanimoto similarity to the nearest molecule that was trained on"""

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Trained:
    """What a fit gave."""

    predictor: Predictor
    rejects: list[Rejected]
    held_out: HeldOut
    scores: dict[str, dict[str, dict[str, Any]]]
    card: str
    seconds: float


def train(
    arguments: Mapping[str, Any],
    molecules: list[Any],
    columns: Mapping[str, list[Any]],
    labels: Labels,
    groups: Any,
    owner: str,
) -> Trained:
    """Fits a predictor.

    Args:
        arguments: Those of an estimator, by their names.
        molecules: SMILES or RDKit molecules.
        columns: Further columns, which descriptors may name.
        labels: The labels.
        groups: Which molecules stay in one part, a value for each; None if the rule of the split decides alone.
        owner: Name of the estimator.
    """
    import torch

    from mesomer.inference.molecules import molecule_table
    from mesomer.training.checkpoint import encoder_of
    from mesomer.training.context import Context
    from mesomer.training.finetune import labelled_splits, run_cells

    options = finetune_options(arguments)
    if both := sorted(set(labels.cells) & set(options.descriptors)):
        raise InputError(f"{both[0]!r} names a label and a descriptor column.", "Rename one of them.")
    folder = model_folder(arguments["model"])
    keys = None if groups is None else _group_keys(groups, len(molecules))
    repeats = arguments["repeats"]
    encoder = encoder_of(folder)
    with rows_from_zero():
        task_data = labelled_splits(
            molecule_table(molecules, arguments["max_atoms"], dict(columns) | labels.cells),
            list(labels.cells),
            options,
            task=labels.tasks,
            split=_usable_split(arguments["split"]),
            folds=arguments["folds"],
            repeats=repeats,
            draw=None if keys is None else lambda found: group_splits(found, keys, repeats, options.seed),
            coordinates=encoder.needs_coordinates,
            quiet=not arguments["verbose"],
        )
    rejects = [Rejected(item.row - 1, item.smiles, item.reason) for item in task_data.labelled.rejects.items]
    unusable = Unusable(len(molecules), {item.row: (item.reason, item.smiles) for item in rejects})
    unusable.tell("the fit does not use them (see rejects_)", arguments["on_error"])
    for text in task_data.warnings:
        warn(in_python(text, OTHER_NAMES))
    context = Context.start(options.accelerator, options.precision)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers go on as if there had been no fit
        result = run_cells(
            task_data.data, task_data.splits, encoder, options, context=context, quiet=not arguments["verbose"]
        )
    predictor = result.predictor
    predictor.max_atoms = arguments["max_atoms"]
    card = _describe(result, task_data, model_name(arguments["model"]), folder.sha256, f"a fit of {owner}")
    return Trained(predictor, rejects, _held_out(result), result.table, card, result.seconds)


def _usable_split(name: str) -> str:
    from mesomer.data.splits import find_rule

    if find_rule(name).needs == "column":
        raise MesomerError(
            f"The split {name!r} reads a column of a table, which an estimator does not have.",
            "Give fit the groups that belong together, or take mesomer.finetune for a file.",
        )
    return name


def _describe(result: FinetuneResult, task_data: LabelledSplits, model: str, sha256: str, source: str) -> str:
    """Tells the predictor where it comes from; returns the model card."""
    from mesomer import __version__
    from mesomer.training.finetune import molecules_sentence
    from mesomer.training.finetune_report import model_card, split_sentence

    predictor = result.predictor
    predictor.trained_on = {
        "data": source,
        "molecules": len(result.data.smiles),
        "split": split_sentence(result.splits),
        "model": model,
    }
    about = {
        "model": model,
        "model_facts": f"{model} ({predictor.members[0].encoder.name}, weights {sha256[:12]})",
        "data": source,
        "molecules": molecules_sentence(task_data.labelled),
        "warnings": task_data.warnings,
        "version": __version__,
    }
    return model_card(result, about)


def _held_out(result: FinetuneResult) -> HeldOut:
    data, found = result.data, result.found
    return HeldOut(
        row=np.array([data.rows[at] - 1 for at in found.molecule], dtype=np.int64),
        smiles=[data.smiles[at] for at in found.molecule],
        split=found.split,
        truth=data.y[found.molecule],
        predicted=found.predicted,
        similarity=found.similarity,
    )


def _group_keys(groups: Any, count: int) -> list[str]:
    keys = np.asarray(groups, dtype=object)
    if keys.shape != (count,):
        raise InputError(f"There are {count:,} molecules and groups of the shape {keys.shape}.", "Give one for each.")
    return [str(key) for key in keys]


def group_splits(labelled: Labelled, keys: Sequence[str], repeats: int, seed: int) -> list[Split]:
    """Parts of 80, 10 and 10 % over groups, as near as they come; molecules of one structure join their groups."""
    from mesomer.data.splits import Split
    from mesomer.data.splits.base import Molecules, join_groups
    from mesomer.data.splits.folds import draw_groups

    members: dict[str, list[int]] = {}
    for at, rows in enumerate(labelled.all_rows):
        for row in rows:
            members.setdefault(keys[row - 1], []).append(at)
    groups = join_groups(list(members.values()), Molecules(labelled.mols).units, len(labelled))
    if len(groups) < 3:
        raise InputError(
            f"The molecules fall into {len(groups)} groups; a part each for training, validation and test needs 3.",
            "Leave groups out, or divide them finer.",
        )
    if repeats < 1:
        raise MesomerError(f"The number of repeats must be 1 or more, not {repeats}.")
    splits = []
    for repeat in range(repeats):
        order = random.Random(f"groups {seed + repeat}")
        rest, test = draw_groups(groups, _SHARE, order, leave=2)
        inside = set(rest)
        left = [group for group in groups if group[0] in inside]
        train_rows, valid = draw_groups(left, min(len(test) / len(rest), _SHARE / (1 - _SHARE)), order)
        if not train_rows or not valid or not test:
            raise InputError("One group holds so many molecules that a part stays empty.", "Divide the groups finer.")
        note = f"{len(groups):,} groups stay together"
        parts = [_sorted(train_rows), _sorted(valid), _sorted(test)]
        splits.append(Split("groups", "groups", parts[0], parts[1], parts[2], note, repeat, 0, seed + repeat))
    return splits


def _sorted(rows: list[int]) -> NDArray[np.int64]:
    return np.sort(np.array(rows, dtype=np.int64))
