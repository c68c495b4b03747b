"""Whose checkpoint a file looks like, told by its keys and by the width of the first layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_WIDTHS = {151: "grover", 39: "batmannet"}
_NODE_WIDTHS = {37: "rmat", 36: "mat"}


def source_of(tensors: Mapping[str, Tensor]) -> str | None:
    """The `--from` that fits, or None."""
    names = [name.removeprefix("module.") for name in tensors]
    if any(name.startswith(("kermt.", "latent_dist.kermt.")) for name in names):
        return "kermt"
    if any(name.startswith("grover.") for name in names):
        return "grover"
    if any(name.startswith("mygame.") for name in names):
        return "batmannet"
    for name, tensor in tensors.items():
        if name.endswith("encoders.node_blocks.0.W_i.weight"):
            return _WIDTHS.get(tensor.shape[-1] if tensor.dim() == 2 else 0)
    if any(name.removeprefix("gnn.") == "x_embedding1.weight" for name in names):
        return "pretrain-gnns"
    if "src_embed.lut.weight" in tensors:
        nodes = tensors["src_embed.lut.weight"]
        return _NODE_WIDTHS.get(nodes.shape[-1] if nodes.dim() == 2 else 0)
    return None


def looks_like(tensors: Mapping[str, Tensor]) -> str:
    """What kind of file these keys belong to, in a few words."""
    known = {
        "kermt": "KERMT's",
        "grover": "GROVER's",
        "batmannet": "BatmanNet's",
        "mat": "MAT's",
        "pretrain-gnns": "those of pretrain-gnns",
        "rmat": "R-MAT's",
    }
    source = source_of(tensors)
    if source is not None:
        return f"its keys look like {known[source]}"
    return f"its first key is {next(iter(tensors), '')}"
