"""Foreign weights -> our model folder: read, convert, compare, save, reload, report.

An adapter (see `imported`) is one file and one line in `ADAPTERS`.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mesomer.errors import MesomerError, unknown_name
from mesomer.files import WriteError, atomic_folder, check_writable, sha256_of, write_error
from mesomer.heads import PropertyModel
from mesomer.interop.checkpoints import ForeignCheckpoint, read_checkpoint
from mesomer.interop.finetuned import texts
from mesomer.interop.imported import Imported
from mesomer.interop.vocabularies import read_vocabularies
from mesomer.objectives.base import Objective
from mesomer.training.checkpoint import load_model, save_model
from mesomer.training.predictor import RDKIT_DESCRIPTORS, Predictor, Target, load_predictor
from mesomer.training.scaling import Scaling

ADAPTERS = {
    "batmannet": "mesomer.interop.batmannet",
    "grover": "mesomer.interop.grover",
    "kermt": "mesomer.interop.kermt",
    "mat": "mesomer.interop.mat",
    "pretrain-gnns": "mesomer.interop.pretrain_gnns",
    "rmat": "mesomer.interop.rmat",
}
_RDKIT_DESCRIPTOR_COUNT = 200
_SCALER_HINT = "Correct the scaler in the file, or take it out: the model then predicts unscaled values."


def import_checkpoint(
    path: str | os.PathLike[str],
    source: str,
    output: str | os.PathLike[str],
    architecture: str | None = None,
    overwrite: bool = False,
    vocab: str | None = None,
) -> dict[str, Any]:
    """Convert a checkpoint file into a model folder and tell what was done with each tensor; `vocab` is the folder of
    the vocabularies that the heads of a pre-training file go with.

    Raises `MesomerError` if the file is not what `source` says, carries code, is damaged, or its architecture cannot be
    told.
    """
    if source not in ADAPTERS:
        raise unknown_name("importer", source, ADAPTERS)
    check_writable(output, overwrite, folder=True)
    checkpoint = read_checkpoint(Path(path))
    adapter = importlib.import_module(ADAPTERS[source])
    given, said = _architecture(checkpoint, architecture, adapter.ARCHITECTURES)
    more = {}
    if vocab is not None:
        if not getattr(adapter, "TAKES_VOCABULARIES", False):
            raise MesomerError(f"--vocab does not go with --from {source}.", "It is for grover and kermt.")
        more["vocabularies"] = read_vocabularies(vocab)
    imported: Imported = adapter.convert(checkpoint, given, **more)
    _check_finite(checkpoint)
    unknown = [name for name, reason in imported.left_out.items() if reason == "unknown"]
    facts: dict[str, Any] = {
        "source": source,
        "checkpoint": str(path),
        "sha256": sha256_of(checkpoint.path),
        "kind": imported.kind,
        "what": imported.what,
        "architecture": imported.encoder.config(),
        "given": said,
        "assumed": imported.assumed,
        "used": len(imported.used),
        "shapes": {name: list(tensor.shape) for name, tensor in checkpoint.tensors.items()},
        "left_out": imported.left_out,
        "unknown": unknown,
        "notes": list(imported.notes),
        "other_content": list(checkpoint.other),
        "parameters": sum(parameter.numel() for parameter in imported.module.parameters()),
    }
    facts["difference"] = adapter.largest_difference(checkpoint.path, imported)
    with atomic_folder(output, overwrite=overwrite) as temporary:
        folder = temporary / "model"
        try:
            _save(imported, checkpoint, folder, facts)
        except WriteError as error:
            raise write_error(output, error.number) from error
        facts["reloads_equal"] = _reloads_equal(imported, folder, output)
        for file in list(folder.iterdir()):
            file.rename(temporary / file.name)
        folder.rmdir()
    return facts


def _check_finite(checkpoint: ForeignCheckpoint) -> None:
    for name, tensor in checkpoint.tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise MesomerError(
                f"{checkpoint.path} has values in {name} that are no finite numbers.",
                "The file is damaged, or its training diverged: compare its sha256 with the source.",
            )


def _architecture(
    checkpoint: ForeignCheckpoint, option: str | None, known: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Official arguments: of the named architecture or file, else of the JSON file of the same stem."""
    if option is not None and option in known:
        return dict(known[option]), [f"arguments of the architecture {option}"]
    beside = checkpoint.path.with_suffix(".json")
    said = []
    if option is None:
        if not beside.is_file():
            return None, []
        option = str(beside)
        said.append(f"arguments of {beside.name}, which lies beside the checkpoint")
    file = Path(option)
    if not file.is_file():
        raise MesomerError(
            f"--architecture names neither a file nor one of {', '.join(sorted(known))}: {option}.",
            "Give a JSON file with official argument names, such as depth, dense, activation.",
        )
    try:
        arguments = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MesomerError(f"{file} is no JSON file: {error}.") from error
    if not isinstance(arguments, dict):
        raise MesomerError(f"{file} holds a {type(arguments).__name__}, and argument names with values are expected.")
    return arguments, said


def _save(
    imported: Imported,
    checkpoint: ForeignCheckpoint,
    output: Path,
    facts: dict[str, Any],
) -> None:
    card = card_text(facts)
    extra = {"import": facts, **imported.extra}
    if imported.kind == "predictor":
        assert isinstance(imported.module, PropertyModel)
        _predictor(imported.module, checkpoint, imported.arguments).save(output, card, extra)
        return
    encoder = {"name": imported.encoder.name, "config": imported.encoder.config()}
    config: dict[str, Any] = {"encoder": encoder}
    if isinstance(imported.module, Objective):
        vocabularies = imported.module.vocabularies()
        config["objective"] = {
            "name": imported.module.name,
            "config": imported.module.config(),
            **({"vocabularies": vocabularies} if vocabularies else {}),
        }
    save_model(output, imported.kind, config, imported.module.state_dict(), card, extra)


def _predictor(model: PropertyModel, checkpoint: ForeignCheckpoint, arguments: dict[str, Any]) -> Predictor:
    count = len(model.outputs)
    names = texts(arguments, "task_names") or [f"task_{i}" for i in range(count)]
    if len(names) != count:
        raise MesomerError(
            f"The arguments name {len(names)} tasks, and the file predicts {count}.", "Correct task_names."
        )
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise MesomerError(f"The arguments name more than one task {twice[0]!r}.", "Correct task_names.")
    extra = model.descriptors_dim
    return Predictor(
        targets=[
            Target(name, output.type, ("0", "1") if output.type == "binary" else ())
            for name, output in zip(names, model.outputs, strict=True)
        ],
        network="property",
        network_config=model.config(),
        members=[model],
        scalings=[_scaling(checkpoint, "data_scaler", count)],
        shared_encoder=False,
        descriptors=arguments.get("feature_names") or _feature_names(extra),
        descriptor_scalings=[_scaling(checkpoint, "features_scaler", extra)] if extra else [],
        half_widths=[None] * count,
        trained_on={"source": "imported", "molecules": None},
    )


def _feature_names(extra: int) -> list[str]:
    if extra == _RDKIT_DESCRIPTOR_COUNT:
        return [RDKIT_DESCRIPTORS]
    return [f"feature_{i}" for i in range(extra)]


def _scaling(checkpoint: ForeignCheckpoint, name: str, columns: int) -> Scaling:
    stored = getattr(checkpoint, name)
    if stored is None:
        return Scaling.none(columns)
    if not isinstance(stored, dict):
        raise MesomerError(f"{checkpoint.path} stores its {name} as a {type(stored).__name__}, not as means and stds.")
    means, deviations = (_column(checkpoint, name, stored, part, columns) for part in ("means", "stds"))
    if not (deviations > 0).all():
        raise MesomerError(f"{checkpoint.path} has a {name} with stds of 0 or less.", _SCALER_HINT)
    return Scaling(means, deviations)


def _column(checkpoint: ForeignCheckpoint, name: str, stored: dict[str, Any], part: str, columns: int) -> np.ndarray:
    try:
        values = np.asarray(stored.get(part), np.float64).reshape(-1)
    except (TypeError, ValueError):
        values = np.array([math.nan])
    if not np.isfinite(values).all():
        raise MesomerError(f"{checkpoint.path} has a {name} whose {part} are no finite numbers.", _SCALER_HINT)
    if len(values) != columns:
        raise MesomerError(
            f"{checkpoint.path} has a {name} with {len(values)} {part}, and {columns} are expected.", _SCALER_HINT
        )
    return values


def _reloads_equal(imported: Imported, folder: Path, output: str | os.PathLike[str]) -> bool:
    """Whether the folder, read again, holds the very same numbers; anything else is an error."""
    stored = (
        load_predictor(folder).members[0].state_dict() if imported.kind == "predictor" else load_model(folder).state
    )
    own = imported.module.state_dict()
    if own.keys() != stored.keys() or not all(torch.equal(own[name], stored[name]) for name in own):
        raise MesomerError(f"{output} does not read back as it was written.", "Check the disk, then import again.")
    return True


def card_text(facts: dict[str, Any]) -> str:
    """The model card of an imported checkpoint."""
    left_out: dict[str, int] = {}
    for reason in facts["left_out"].values():
        left_out[reason] = left_out.get(reason, 0) + 1
    lines = [
        f"# Imported {facts['source']} checkpoint ({facts['kind']})",
        "",
        f"From `{Path(facts['checkpoint']).name}`, sha256 {facts['sha256']}. {facts['parameters']:,} parameters.",
        "The file states no licence; that of its source applies.",
        "",
        f"Tensors used: {facts['used']}. Left out: {'none' if not left_out else ''}",
        *[f"- {count}: {reason}" for reason, count in left_out.items()],
        "",
        *([f"Given: {'; '.join(facts['given'])}."] if facts["given"] else []),
        "Assumed: " + ("; ".join(facts["assumed"]) if facts["assumed"] else "nothing") + ".",
        "Largest difference to stored outputs of the published code: "
        + ("no stored outputs for this file" if facts["difference"] is None else f"{facts['difference']:.1e}")
        + ".",
        "",
        *facts["notes"],
    ]
    return "\n".join(lines) + "\n"
