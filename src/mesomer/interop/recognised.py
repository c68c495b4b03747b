"""Whose checkpoint a file looks like, told by its keys and by the width of the first layer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_WIDTHS = {151: "grover", 39: "batmannet"}


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
            return _WIDTHS.get(tensor.shape[1])
    if any(name.removeprefix("gnn.") == "x_embedding1.weight" for name in names):
        return "pretrain-gnns"
    return None


def looks_like(tensors: Mapping[str, Tensor]) -> str:
    """What kind of file these keys belong to, in a few words."""
    known = {
        "kermt": "KERMT's",
        "grover": "GROVER's",
        "batmannet": "BatmanNet's",
        "pretrain-gnns": "those of pretrain-gnns",
    }
    source = source_of(tensors)
    if source is not None:
        return f"its keys look like {known[source]}"
    if any("relative_K" in name for name in tensors):
        return "its keys look like R-MAT's"
    return f"its first key is {next(iter(tensors), '')}"
