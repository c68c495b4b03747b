"""Training checkpoints: everything that a training needs to go on, in one safetensors file.

The file holds the module's tensors (`module/…`), the optimiser's (`optimizer/<parameter>/…`), and, as JSON in its
header, where the training stands. It is renamed into place whole, so a kill at any moment leaves the one before. No
generator state is in it: random numbers are functions of the seed and the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mesomer.errors import MesomerError
from mesomer.files import atomic_write

FORMAT = 1
_KEY = "mesomer_training"


@dataclass
class LoopState:
    """Where a training stands. `step` counts finished optimiser steps, `epoch_step` those of the current epoch."""

    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    steps_per_epoch: int = 0
    seed: int = 0
    molecules: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = -1
    without_gain: int = 0
    validated_step: int = -1
    last_validation: dict[str, float] = field(default_factory=dict)
    meter: dict[str, float] = field(default_factory=dict)
    finished: str = ""


def save_state(path: Path, state: LoopState, tensors: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, whole or not at all."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"format": FORMAT, "state": asdict(state)})
    with atomic_write(path) as temporary:
        save_file(copies, temporary, metadata={_KEY: header})


def read_state(path: Path) -> tuple[LoopState, dict[str, Tensor]]:
    """Reads a checkpoint; a damaged or foreign file is the user's error."""
    try:
        with safe_open(path, framework="pt") as handle:
            header = json.loads((handle.metadata() or {}).get(_KEY, "null"))
            if header is None:
                raise MesomerError(f"{path} is no training checkpoint of Mesomer's.", _HINT)
            if header["format"] > FORMAT:
                raise MesomerError(f"{path} was written by a newer Mesomer.", "Upgrade, or choose another --output.")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no dict)
        known = {entry.name for entry in fields(LoopState)}
        return LoopState(**{name: value for name, value in header["state"].items() if name in known}), tensors
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise MesomerError(f"The training checkpoint {path} cannot be read: {error}.", _HINT) from error


_HINT = "Remove it to start again from the beginning, or choose another --output."


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The module's tensors under their names in a checkpoint."""
    return {f"module/{name}": tensor for name, tensor in module.state_dict().items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """The optimiser's tensors under the names of the parameters that they belong to."""
    found = {}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            found[f"optimizer/{names[parameter]}/{key}"] = torch.as_tensor(value)
    return found


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts a checkpoint's tensors into the module."""
    _load(module, {name[len("module/") :]: x for name, x in tensors.items() if name.startswith("module/")}, path)


def _load(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise MesomerError(f"The checkpoint {path} belongs to another network.", _HINT) from error


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor]
) -> None:
    """Puts a checkpoint's optimiser tensors back beside their parameters."""
    entries: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            parameter, _, key = name[len("optimizer/") :].rpartition("/")
            entries.setdefault(parameter, {})[key] = tensor
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: entries[name] for index, name in enumerate(order) if name in entries}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
