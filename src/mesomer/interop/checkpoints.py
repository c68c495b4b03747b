"""Foreign checkpoint files, read without running anything that is in them.

`torch.load` runs with `weights_only=True` and a short allow-list: tensors, `argparse.Namespace`, numpy arrays and
scalars. A file that asks for anything else is refused with the name of what it asked for.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mesomer.errors import MesomerError


class ForeignCheckpoint(NamedTuple):
    """What a published training script saved: arguments (None for a bare state dict), tensors, scalers."""

    path: Path
    arguments: dict[str, Any] | None
    tensors: dict[str, Tensor]
    data_scaler: dict[str, np.ndarray] | None
    features_scaler: dict[str, np.ndarray] | None
    other: tuple[str, ...]


def _numpy_globals() -> list[Any]:
    array = np._core.multiarray  # type: ignore[attr-defined]
    allowed: list[Any] = [
        argparse.Namespace,
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"},
    ]
    for function in ("_reconstruct", "scalar"):
        allowed += [
            (getattr(array, function), f"{package}.multiarray.{function}") for package in ("numpy.core", "numpy._core")
        ]
    return allowed


def read_checkpoint(path: str | Path) -> ForeignCheckpoint:
    """Read a checkpoint with the restricted loader.

    Raises `MesomerError` if the file is absent, is no torch file, is truncated, or carries code.
    """
    path = Path(path)
    if not path.is_file():
        raise MesomerError(f"There is no checkpoint file {path}.")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_globals()):
            warnings.simplefilter("ignore")  # torch's advice on plain pickles; the error below says it in a sentence
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"(?i)unsupported (?:global:? |class |operand )?(?:GLOBAL )?([\w.]*\.[\w.]+)", str(error))
        if asked:
            raise MesomerError(
                f"{path} asks to run {asked.group(1)} when it is read, and is refused: "
                "a checkpoint holds tensors and plain values only."
            ) from error
        raise MesomerError(
            f"{path} is no torch checkpoint, or is damaged.", "Compare its size and sha256 with the source."
        ) from error
    except Exception as error:  # the reader meets arbitrary bytes and fails in arbitrary ways
        raise MesomerError(
            f"{path} is no torch checkpoint, or is truncated.", "Compare its size and sha256 with the source."
        ) from error
    return _sorted_out(path, content)


def _sorted_out(path: Path, content: Any) -> ForeignCheckpoint:
    if not isinstance(content, dict) or not content:
        raise MesomerError(f"{path} holds a {type(content).__name__}, not the dictionary that a training script saves.")
    if "state_dict" not in content:
        if not all(isinstance(value, Tensor) for value in content.values()):
            raise MesomerError(
                f"{path} holds neither a state dict nor a checkpoint with one; "
                f"its keys are {', '.join(map(str, list(content)[:8]))}."
            )
        return ForeignCheckpoint(path, None, dict(content), None, None, ())
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    if arguments is not None and not isinstance(arguments, dict):
        raise MesomerError(f"{path} stores its arguments as a {type(arguments).__name__}, which is not understood.")
    known = {"state_dict", "args", "data_scaler", "features_scaler"}
    return ForeignCheckpoint(
        path,
        arguments,
        dict(content["state_dict"]),
        content.get("data_scaler"),
        content.get("features_scaler"),
        tuple(str(key) for key in content if key not in known),
    )
