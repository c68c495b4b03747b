"""Official MAT checkpoints -> our modules: names and configuration as R-MAT's, without relative attention (rmat.md
12).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from mesomer.encoders.mat import Mat
from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.finetuned import assume, number, share, text, whole
from mesomer.interop.gtransformer import Link
from mesomer.interop.imported import Imported
from mesomer.interop.rmat import Family
from mesomer.interop.rmat import convert as convert_nodes
from mesomer.interop.rmat_outputs import largest_difference

__all__ = ["ARCHITECTURES", "convert", "largest_difference"]

DEFAULTS: dict[str, Any] = {"distance_matrix_kernel": "exp", "lambda_attention": 0.33, "lambda_distance": 0.33}
PUBLISHED_HEADS = 16
# Short names for --architecture.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "base": {
        "d_model": 1024,
        "encoder_n_layers": 8,
        "encoder_n_attn_heads": PUBLISHED_HEADS,
        "ffn_n_layers": 1,
        "ffn_activation": "LeakyReLU",
        "dropout": 0.0,
    }
    | DEFAULTS
}
NOTES = ("The file holds no geometry: give molecules with coordinates, or let them be computed with a fixed seed.",)


def convert(checkpoint: ForeignCheckpoint, architecture: Mapping[str, Any] | None = None) -> Imported:
    """Build our module and fill it; see `rmat.convert`."""
    return convert_nodes(checkpoint, architecture, MAT)


def _build(tensors: Mapping[str, Tensor], arguments: dict[str, Any], assumed: list[str]) -> Mat:
    assume(arguments, {"encoder_n_attn_heads": PUBLISHED_HEADS, **DEFAULTS}, assumed)
    return Mat(
        hidden_size=arguments["d_model"],
        heads=whole(arguments, "encoder_n_attn_heads"),
        blocks=arguments["encoder_n_layers"],
        ffn_layers=arguments["ffn_n_layers"],
        activation=arguments["activation"],
        dropout=share(arguments, "dropout"),
        kernel=text(arguments, "distance_matrix_kernel"),
        attention_share=number(arguments, "lambda_attention"),
        distance_share=number(arguments, "lambda_distance"),
    )


def _attention_links(theirs: str, ours: str) -> Iterator[Link]:
    yield from ()


MAT = Family("MAT", 1, "rmat", _build, _attention_links, NOTES)
