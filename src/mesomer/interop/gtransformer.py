"""Published parameter names of the GTransformer blocks that GROVER and BatmanNet share (grover.md 6.2, batmannet.md
8.2).

A `Link` ties one published tensor to one of ours, or to one slice of it: ours keeps the 3n message-passing networks
of a block in one tensor. The links serve the import, its check, and the tests that compare gradients by published
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mesomer.errors import MesomerError


class Link(NamedTuple):
    """Published tensor `theirs` is our tensor `ours`, or its part `part`, transposed where the published layout is
    [out, in].
    """

    theirs: str
    ours: str
    part: int | None = None
    transposed: bool = False

    def read(self, ours: Mapping[str, Tensor]) -> Tensor:
        """Our tensor in the published layout."""
        tensor = ours[self.ours] if self.part is None else ours[self.ours][self.part]
        if self.transposed:
            tensor = tensor.transpose(-1, -2)
        return tensor.reshape(1) if tensor.dim() == 0 else tensor


def block_links(theirs: str, ours: str, heads: int, projects: bool) -> Iterator[Link]:
    """Links of one block. Only the first block of an encoder branch projects; the projections of all others are dead
    weights.
    """
    for which, network in enumerate("qkv"):
        for head in range(heads):
            part, prefix = which * heads + head, f"{theirs}.heads.{head}.mpn_{network}"
            yield Link(f"{prefix}.W_h.weight", f"{ours}.networks.weight", part, transposed=True)
            yield Link(f"{prefix}.W_h.bias", f"{ours}.networks.bias", part)
            yield Link(f"{prefix}.act_func.weight", f"{ours}.networks.activation.slope", part)
    pairs = [("attn.output_linear", "attention.output"), ("W_o", "merge"), ("sublayer.norm", "norm")]
    pairs += [(f"attn.linear_layers.{i}", f"attention.{name}") for i, name in enumerate(("query", "key", "value"))]
    if projects:
        pairs += [("W_i", "project"), ("layernorm", "project_norm")]
        yield Link(f"{theirs}.act_func.weight", f"{ours}.project_activation.slope")
    for published, name in pairs:
        for kind in ("weight", "bias"):
            yield Link(f"{theirs}.{published}.{kind}", f"{ours}.{name}.{kind}")


def output_links(theirs: str, view: str, ours: str) -> Iterator[Link]:
    """Links of one output network and its norm."""
    for published, name in (
        (f"ffn_{view}.W_1", "lift"),
        (f"ffn_{view}.W_2", "lower"),
        (f"{view}_sublayer.norm", "norm"),
    ):
        for kind in ("weight", "bias"):
            yield Link(f"{theirs}.{published}.{kind}", f"{ours}.{name}.{kind}")
    yield Link(f"{theirs}.ffn_{view}.act_func.weight", f"{ours}.activation.slope")


def fill(links: Iterable[Link], theirs: Mapping[str, Tensor], ours: dict[str, Tensor], source: str) -> set[str]:
    """Copy the published tensors into `ours`; return the names used.

    Raises `MesomerError` if a tensor that our model has is missing there, or has another shape.
    """
    used = set()
    for link in links:
        if link.ours not in ours:
            if link.theirs in theirs:
                raise MesomerError(
                    f"{source} has the tensor {link.theirs}, for which a model of its arguments has no place."
                )
            continue
        if link.theirs not in theirs:
            raise MesomerError(f"{source} has no tensor {link.theirs}, which a model of its arguments needs.")
        with torch.no_grad():
            place = ours[link.ours] if link.part is None else ours[link.ours][link.part]
            tensor = theirs[link.theirs].float()
            tensor = tensor.transpose(-1, -2) if link.transposed else tensor
            if tensor.numel() != place.numel() or (place.dim() > 0 and tensor.shape != place.shape):
                raise MesomerError(
                    f"{source}: the tensor {link.theirs} has shape {tuple(theirs[link.theirs].shape)}, "
                    f"{tuple(place.shape)} was expected."
                )
            place.copy_(tensor.reshape(place.shape))
        used.add(link.theirs)
    return used
