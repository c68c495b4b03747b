"""Foreign checkpoint files, read without running anything that is in them.

`torch.load` runs with `weights_only=True` and a short allow-list: tensors, `argparse.Namespace`, numpy arrays and
scalars. A file that asks for anything else is refused with the name of what it asked for.
"""

from __future__ import annotations

import argparse
import pickle
import pickletools
import re
import warnings
import zipfile
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


_PLAIN_PACKAGES = ("argparse", "collections", "numpy", "torch")


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

    Raises `MesomerError` if the file is absent, is no torch file, is damaged, or carries code.
    """
    path = Path(path)
    if not path.is_file():
        raise MesomerError(f"There is no checkpoint file {path}.")
    try:
        damaged = _damaged_part(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_globals()):
            warnings.simplefilter("ignore")  # torch's advice on plain pickles; the error below says it in a sentence
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        told = re.search(r"(?i)unsupported (?:global:? |class |operand )?(?:GLOBAL )?([\w.]*\.[\w.]+)", str(error))
        asked = told.group(1) if told else _asked_by_pickle(path)
        if asked:
            raise MesomerError(
                f"{path} asks to run {asked} when it is read, and is refused: "
                "a checkpoint holds tensors and plain values only."
            ) from error
        raise MesomerError(
            f"{path} is no torch checkpoint, or is damaged.", "Compare its size and sha256 with the source."
        ) from error
    except Exception as error:  # the reader meets arbitrary bytes and fails in arbitrary ways
        raise MesomerError(
            f"{path} is no torch checkpoint, or is truncated.", "Compare its size and sha256 with the source."
        ) from error
    if damaged is not None:
        raise MesomerError(
            f"{path} is damaged: its part {damaged} does not have the checksum that was stored with it.",
            "Compare its size and sha256 with the source.",
        )
    return _sorted_out(path, content)


def _damaged_part(path: Path) -> str | None:
    """The first part of a zip file whose checksum is wrong; torch itself does not look at them."""
    with open(path, "rb") as handle:
        if handle.read(4) != b"PK\x03\x04":
            return None
    with zipfile.ZipFile(path) as archive:
        if not any(part.CRC for part in archive.infolist()):  # torch can be told to store none
            return None
        return archive.testzip()


def _asked_by_pickle(path: Path) -> str | None:
    """The first name that a plain pickle would fetch besides those of plain values, told without running it."""
    texts: list[str] = []
    kept: dict[Any, str] = {}
    try:
        with open(path, "rb") as handle:
            for operation, argument, _ in pickletools.genops(handle):
                name = None
                if operation.name in ("GLOBAL", "INST"):
                    name = str(argument).replace(" ", ".")
                elif operation.name == "STACK_GLOBAL":
                    name = ".".join(texts[-2:])
                elif operation.name == "MEMOIZE":
                    kept[len(kept)] = texts[-1] if texts else ""
                elif operation.name in ("BINPUT", "LONG_BINPUT", "PUT"):
                    kept[argument] = texts[-1] if texts else ""
                elif operation.name in ("BINGET", "LONG_BINGET", "GET"):
                    texts.append(kept.get(argument, ""))
                elif isinstance(argument, str):
                    texts.append(argument)
                if name is not None and name.split(".")[0] not in _PLAIN_PACKAGES:
                    return name
    except Exception:  # no pickle: arbitrary bytes fail in arbitrary ways
        return None
    return None


def _sorted_out(path: Path, content: Any) -> ForeignCheckpoint:
    if not isinstance(content, dict) or not content:
        raise MesomerError(f"{path} holds a {type(content).__name__}, not the dictionary that a training script saves.")
    if "state_dict" not in content:
        if not any(isinstance(value, Tensor) for value in content.values()):
            raise MesomerError(
                f"{path} holds neither a state dict nor a checkpoint with one; "
                f"its keys are {', '.join(map(str, list(content)[:8]))}."
            )
        return ForeignCheckpoint(path, None, _tensors(path, content), None, None, ())
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    if arguments is not None and not isinstance(arguments, dict):
        raise MesomerError(f"{path} stores its arguments as a {type(arguments).__name__}, which is not understood.")
    known = {"state_dict", "args", "data_scaler", "features_scaler"}
    return ForeignCheckpoint(
        path,
        arguments,
        _tensors(path, content["state_dict"]),
        content.get("data_scaler"),
        content.get("features_scaler"),
        tuple(str(key) for key in content if key not in known),
    )


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    """The state dict, if it is one: names with dense tensors of real numbers."""
    if not isinstance(state, dict) or not state:
        what = f"a {type(state).__name__}" if not isinstance(state, dict) else "empty"
        raise MesomerError(f"{path} has no tensors: its state_dict is {what}.", "Save the model's state_dict() in it.")
    for name, value in state.items():
        if not isinstance(name, str):
            raise MesomerError(f"{path} has a tensor named {name!r}, and a name has to be text.")
        if not isinstance(value, Tensor):
            raise MesomerError(
                f"{path} stores {name} as a {type(value).__name__}, which is no tensor.",
                "Save the model's state_dict() as it is.",
            )
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
            raise MesomerError(f"{path} stores {name} as a tensor that is not one of dense real numbers.")
    return dict(state)
