"""KERMT's checkpoints -> our modules: GROVER's encoder and heads under other names (NVIDIA, Apache licence).

Its encoder is named `kermt.encoders`, and `latent_dist.kermt.encoders` after contrastive pre-training, where a second
copy may lie in the same file. Files that keep GROVER's names are read too, as KERMT itself does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.grover import ARCHITECTURES, NOTES, Source, largest_difference
from mesomer.interop.grover import convert as convert_grover
from mesomer.interop.imported import Imported

__all__ = ["ARCHITECTURES", "TAKES_VOCABULARIES", "convert", "largest_difference"]

TAKES_VOCABULARIES = True

KERMT = Source(
    "KERMT",
    ("kermt", "grover", None),
    (
        *NOTES,
        "KERMT's own featuriser gives charges beyond -3 … +3 one column; here they have those of GROVER's code.",
    ),
)
# The generators and normalisations whose 200 descriptors are those that `--descriptors rdkit_2d_normalized` gives.
_SAME_GENERATORS = ("rdkit_2d_normalized", "rdkit_2d_normalized_onthefly")
_CUIK, _SAME_NORMALISATION = "rdkit_2d_normalized_cuik_molmaker", "descriptastorus"


def convert(
    checkpoint: ForeignCheckpoint,
    architecture: Mapping[str, Any] | None = None,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> Imported:
    """As GROVER's, and the extra features get names of their own where they are not those that we compute."""
    imported = convert_grover(checkpoint, architecture, KERMT, vocabularies)
    other = _other_descriptors(imported.arguments)
    if imported.kind != "predictor" or other is None:
        return imported
    width = imported.module.descriptors_dim
    assert isinstance(width, int)
    imported.arguments["feature_names"] = [f"feature_{i}" for i in range(width)]
    note = f"It was fine-tuned with {width} features of {other}: give them in columns feature_0 … feature_{width - 1}."
    return imported._replace(notes=(*imported.notes, note))


def _other_descriptors(arguments: Mapping[str, Any]) -> str | None:
    """What the extra features are, if they are not the 200 normalised descriptors that we compute."""
    names = arguments.get("features_generator") or []
    for name in [names] if isinstance(names, str) else names:
        if name == _CUIK and arguments.get("rdkit2D_normalization_type", "fast") != _SAME_NORMALISATION:
            return f"{name}, normalised as {arguments.get('rdkit2D_normalization_type', 'fast')}"
        if name != _CUIK and name not in _SAME_GENERATORS:
            return str(name)
    return None
