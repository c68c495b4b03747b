"""What an encoder is: a module that turns a `GraphBatch` into named rows of vectors.

A view is one such set of rows. Its name says what a row is: `atom_…` has one row for each atom, `bond_…` one row for
each directed bond, `node_…` one row for a dummy and then each atom of a molecule. Heads read the `readout_views`,
objectives read whatever they reconstruct, and nothing else is known of an encoder, except that one that pads wants
batches of `length_buckets`, and one that `needs_coordinates` stops where a molecule has none. An encoder may have a
`summary` behind its pooled rows (encoders/summary.py). A new encoder is one file with `@register` on its class and one
line in `ENCODERS`.

Shapes: `A` atoms, `B` directed bonds, `M` molecules, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.summary import Summary
from mesomer.errors import MesomerError
from mesomer.registry import Registry

SUMMARY = "molecule_summary"


class EncoderOutput(NamedTuple):
    """The views of one batch: `atom_…` [A, D], `bond_…` [B, D], `node_…` [M + A, D]; `SUMMARY` [M, S] once computed."""

    views: dict[str, Tensor]


class Encoder(nn.Module):
    """Base of all encoders."""

    name: ClassVar[str]
    width: int
    readout_views: tuple[str, ...]
    pooling: str = "mean"
    length_buckets: int = 1
    needs_coordinates: ClassVar[bool] = False
    summary: Summary | None

    def __init__(self) -> None:
        super().__init__()
        self.register_module("summary", None)

    def config(self) -> dict[str, Any]:
        """JSON-ready options: `type(encoder)(**encoder.config())` builds the same network."""
        raise TypeError(f"{type(self).__name__} does not say how it is configured")

    def forward(self, batch: GraphBatch) -> EncoderOutput:
        raise TypeError(f"{type(self).__name__} does not encode")

    def sharded_parts(self) -> Sequence[nn.Module]:
        """The large modules whose weights are read in their own forward pass only: processes that share the weights
        (FSDP) gather those of each such module just for its call. Everything else is gathered at once.
        """
        return ()

    def readout_output(self, batch: GraphBatch) -> EncoderOutput:
        """What heads read: at least the `readout_views`; an encoder with more views need not compute the others."""
        return self(batch)

    def for_finetuning(self, seed: int = 0) -> Encoder:
        """The encoder that fine-tuning starts from: itself, unless a published method trains another function (seeded
        fresh parts).
        """
        return self

    @property
    def output_views(self) -> tuple[str, ...]:
        """The views that `forward` gives."""
        return self.readout_views

    @property
    def pooled_width(self) -> int:
        """Width of `pooled_vectors`."""
        return self.width * len(self.readout_views) * len(POOLINGS[self.pooling])

    def pooled_vectors(self, output: EncoderOutput, batch: GraphBatch) -> Tensor:
        """The pooled rows of each readout view, concatenated: [M, pooled_width]; a molecule without rows in a view
        gets zeros there.
        """
        parts = []
        for view in self.readout_views:
            rows, molecule = output.views[view], row_molecule(view, batch)
            parts += [pool_rows(rows, molecule, batch.num_molecules, kind) for kind in POOLINGS[self.pooling]]
        return torch.cat(parts, dim=1)

    @property
    def molecule_width(self) -> int:
        """Width of `molecule_vectors`."""
        return self.pooled_width + (0 if self.summary is None else self.summary.width)

    def molecule_vectors(self, output: EncoderOutput, batch: GraphBatch) -> Tensor:
        """The vector of each molecule, [M, molecule_width]: what is pooled, and the summary of it if there is one."""
        pooled = self.pooled_vectors(output, batch)
        return pooled if self.summary is None else torch.cat([pooled, self.summary_vectors(output, batch)], dim=1)

    def summary_vectors(self, output: EncoderOutput, batch: GraphBatch) -> Tensor:
        """The summary [M, S] of an encoder that has one; computed once for an output, and kept among its views."""
        assert self.summary is not None
        if SUMMARY not in output.views:
            output.views[SUMMARY] = self.summary(self.pooled_vectors(output, batch))
        return output.views[SUMMARY]

    def make_summary(self, width: int) -> None:
        """Called at the end of a constructor: a summary of this width, none if it is 0."""
        if not isinstance(width, int) or width < 0:
            raise MesomerError(f"The encoder's option summary is {width!r}.", "Give its width, or 0 for none.")
        self.summary = Summary(self.pooled_width, width) if width else None

    def with_summary(self, width: int) -> Self:
        """The same encoder, with its weights, and an untrained summary behind it."""
        encoder = type(self)(**{**self.config(), "summary": width})
        encoder.load_state_dict(encoder.state_dict() | self.state_dict())
        return encoder


def row_molecule(view: str, batch: GraphBatch) -> Tensor:
    """The molecule of each row of a view: [A], [B] or [M + A]."""
    if view.startswith("atom_"):
        return batch.atom_molecule
    if view.startswith("node_"):
        number = torch.arange(batch.num_molecules, device=batch.atom_offsets.device)
        rows = batch.num_atoms + batch.num_molecules  # given, so that a GPU is not waited for
        return number.repeat_interleave(batch.atom_offsets.diff() + 1, output_size=rows)
    if view.startswith("bond_"):
        return batch.bond_molecule.repeat_interleave(2)
    raise ValueError(f"rows of {view} are no parts of molecules")


POOLINGS = {"mean": ("mean",), "mean_sum": ("mean", "sum")}
"""How a molecule's rows become its vector. A mean forgets the size of the molecule, on which many properties depend."""
SUM_SCALE = 1 / 32


def pool_rows(x: Tensor, molecule: Tensor, num_molecules: int, kind: str) -> Tensor:
    """Mean of the rows of each molecule, or their sum times `SUM_SCALE`: x [R, D], molecule [R] -> [M, D]; zeros where
    a molecule has no row. Half-precision rows are summed in float32.
    """
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    total = wide.new_zeros(num_molecules, wide.shape[1]).index_add_(0, molecule, wide)
    if kind == "sum":
        return total * SUM_SCALE
    # bincount would wait for a GPU
    count = total.new_zeros(num_molecules).index_add_(0, molecule, total.new_ones(()).expand(molecule.shape))
    return total / count.clamp(min=1).unsqueeze(1)


ENCODERS: Registry[Encoder] = Registry(
    "encoder",
    {
        "batmannet": "mesomer.encoders.batmannet",
        "gin": "mesomer.encoders.gin",
        "grover": "mesomer.encoders.grover",
        "mat": "mesomer.encoders.mat",
        "rmat": "mesomer.encoders.rmat",
    },
)
register = ENCODERS.register


def build_encoder(name: str, **config: Any) -> Encoder:
    """A new encoder of that name with torch's default initialisation."""
    kind = ENCODERS[name]
    try:
        return kind(**config)
    except TypeError as error:
        raise MesomerError(f"The encoder {name} was given an option that it does not have: {error}.") from error


def sizes(name: str) -> dict[str, dict[str, Any]]:
    """The named sizes of an encoder, each a dictionary of options."""
    return dict(getattr(ENCODERS[name], "SIZES", {"base": {}}))
