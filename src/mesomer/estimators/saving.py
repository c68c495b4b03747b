"""Estimators as model folders: the predictor as `mesomer finetune` writes it, and the arguments beside it as JSON.

Nothing is pickled. What JSON cannot hold of the arguments (a loaded model, a random generator) is left at its default
or, of a model, becomes its path; whoever needs the object itself pickles the estimator. A model that `mesomer finetune`
wrote is read with the options and the figures of its run, as long as it lies in the run folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mesomer.errors import MesomerError
from mesomer.estimators.settings import OTHER_NAMES, model_name
from mesomer.inference.warn import warn
from mesomer.settings import json_ready

if TYPE_CHECKING:
    from mesomer.estimators.base import MolEstimator

E = TypeVar("E", bound="MolEstimator")
STEM = "estimator"
_PLAIN = (str, int, float, bool, type(None))


def save(estimator: MolEstimator, path: str | os.PathLike[str], overwrite: bool) -> None:
    """Writes the folder, whole or not at all."""
    from mesomer.files import check_writable

    check_writable(path, overwrite, folder=True)
    stored = {
        "class": type(estimator).__name__,
        "arguments": _plain(estimator.get_params(deep=False)),
        "flat": estimator._flat,
        "scores": json_ready(estimator.held_out_scores_),
        **estimator._stored(),
    }
    estimator.predictor_.save(path, estimator._card, {STEM: stored}, overwrite=overwrite)


def load(kind: type[E], path: str | os.PathLike[str], arguments: Mapping[str, Any]) -> E:
    """An estimator of this kind from a model folder or a run folder."""
    from mesomer.inference.api import folder_of
    from mesomer.report.notebook import Rows
    from mesomer.training.checkpoint import CARD
    from mesomer.training.predictor import is_predictor, predictor_of

    folder = folder_of(path)
    if not is_predictor(folder):
        raise MesomerError(
            f"{folder.path} holds an encoder, which predicts no property.",
            f"Give it to {kind.__name__}(model=…) and fit that on labels.",
        )
    stored = folder.extra.get(STEM, {})
    if stored.get("class", kind.__name__) != kind.__name__:
        raise MesomerError(f"{folder.path} was saved by {stored['class']}.", f"Read it with {stored['class']}.load.")
    record = stored if stored else _of_run(folder.path)
    if "arguments" not in record:
        warn(
            f"{folder.path} does not say how its model was trained (it lies in no run of mesomer finetune): get_params "
            "gives the defaults, and a clone would be trained with them."
        )
    saved = {name: value for name, value in record.get("arguments", {}).items() if name in kind().get_params()}
    estimator = kind(**(saved | dict(arguments)))
    predictor = predictor_of(folder)
    estimator._restored(predictor, stored)
    predictor.folder = None
    estimator.predictor_ = predictor
    estimator._flat = stored.get("flat", len(predictor.targets) == 1)
    estimator._card = (folder.path / CARD).read_text(encoding="utf-8") if (folder.path / CARD).exists() else ""
    estimator.rejects_, estimator.held_out_ = Rows(), None
    estimator.held_out_scores_ = _numbers(record.get("scores", {}))
    estimator.seconds_, estimator.n_features_in_ = None, 1
    return estimator


def _of_run(folder: Path) -> dict[str, Any]:
    """Arguments and held-out figures of the run of `mesomer finetune` in which a model folder lies; else nothing."""
    from mesomer.run import read_manifest

    manifest = read_manifest(folder.parent) if folder.name == "model" else None
    if manifest is None or manifest["command"] != "finetune":
        return {}
    config = manifest["config"]
    targets = manifest.get("summary", {}).get("targets", {})
    return {
        "arguments": {OTHER_NAMES.get(name, name): value for name, value in config.items()},
        "scores": {name: target["metrics"] for name, target in targets.items()},
    }


def _numbers(figures: Any) -> Any:
    """Stored figures with NaN where JSON has none."""
    if isinstance(figures, Mapping):
        return {name: _numbers(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [_numbers(value) for value in figures]
    return float("nan") if figures is None else figures


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == "model":
            kept[name] = None if value is None else model_name(value)
        elif name == "descriptors":
            kept[name] = None if value is None else [str(item) for item in value]
        elif isinstance(value, _PLAIN):
            kept[name] = value
        elif hasattr(value, "item"):
            kept[name] = value.item()
    return kept
