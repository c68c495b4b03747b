"""KERMT's checkpoints -> our modules: GROVER's encoder and heads under other names (NVIDIA, Apache licence).

Its encoder is named `kermt.encoders`, and `latent_dist.kermt.encoders` after contrastive pre-training, where a second
copy may lie in the same file. Files that keep GROVER's names are read too, as KERMT itself does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.grover import ARCHITECTURES, Source, largest_difference
from mesomer.interop.grover import convert as convert_grover
from mesomer.interop.imported import Imported

__all__ = ["ARCHITECTURES", "TAKES_VOCABULARIES", "convert", "largest_difference"]

TAKES_VOCABULARIES = True

KERMT = Source("KERMT", ("kermt", "grover", None))
OWN_CHARGES = (
    "It was trained with KERMT's own featuriser, which gives charges beyond -3 … +3 one column; here they have those "
    "of GROVER's code."
)


def convert(
    checkpoint: ForeignCheckpoint,
    architecture: Mapping[str, Any] | None = None,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> Imported:
    """As GROVER's."""
    imported = convert_grover(checkpoint, architecture, KERMT, vocabularies)
    if imported.arguments.get("use_cuikmolmaker_featurization"):
        return imported._replace(notes=(*imported.notes, OWN_CHARGES))
    return imported
