"""Using a trained model: embeddings and predictions for tables of any length and for lists of SMILES.

`load` opens a model; `embed_table` and `predict_table` are what the commands do. Rows are never lost or moved: one that
is no molecule has an empty result and a reason. Memory does not grow with the number of rows.

Names are found on first use: worker processes that only read SMILES need not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Embedder": "embed",
    "LEVELS": "embed",
    "Model": "api",
    "TablePredictor": "predict",
    "embed_table": "tables",
    "load": "api",
    "predict_table": "tables",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
