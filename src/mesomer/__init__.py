"""Mesomer learns molecular representations and turns them into property predictions.

Public names are found on first use, so that importing the package costs milliseconds and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "MesomerError": "mesomer.errors",
    "Model": "mesomer.inference",
    "MolClassifier": "mesomer.estimators",
    "MolEmbedder": "mesomer.estimators",
    "MolRegressor": "mesomer.estimators",
    "load": "mesomer.inference",
    "check": "mesomer.commands.check",
    "embed": "mesomer.commands.embed",
    "finetune": "mesomer.commands.finetune",
    "info": "mesomer.commands.info",
    "models": "mesomer.commands.models",
    "predict": "mesomer.commands.predict",
    "prepare": "mesomer.commands.prepare",
    "pretrain": "mesomer.commands.pretrain",
    "study": "mesomer.commands.study",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mesomer' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    if _PUBLIC[name].startswith("mesomer.commands."):
        value = importlib.import_module("mesomer.calls").callable_from_python(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
