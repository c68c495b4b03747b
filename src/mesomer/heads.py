"""From the encoder's rows to raw outputs: readout, descriptors, one head per view; outputs.py makes losses and values.

    views [A, D] or [B, D] --one shared readout--> [M, R] each --descriptors appended--> one head each --> [M, T']

Decided: the two readout views of an encoder share ONE readout and have a head each, as published for GROVER and
BatmanNet. An encoder with a summary (encoders/summary.py), which mixes the views, has ONE head on the readouts of all
views with the summary behind them.

Legend: A atoms, B directed bonds, M molecules, D width of a view, R width of a readout, T' output columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput, row_molecule
from mesomer.encoders.blocks import Activation
from mesomer.encoders.readouts import READOUTS as GRAPH_READOUTS
from mesomer.encoders.readouts import GraphReadout
from mesomer.encoders.segments import segment_softmax, segment_sum
from mesomer.errors import unknown_name
from mesomer.outputs import OUTPUT_TYPES, Output, final_outputs, property_loss, wide

READOUTS = (*GRAPH_READOUTS, "attention")
INPUT_BOUND = 3.0
"""Of standardised inputs. Some columns of a molecule vector are zero but for a handful of the training molecules: one
more of their kind stands hundreds of deviations out, and anything could be predicted for it (docs/diary.md)."""


def bounded(x: Tensor, bound: float | None) -> Tensor:
    """Values within ±`bound` as they are; beyond it they grow with the logarithm only: order and gradient stay."""
    if bound is None:
        return x
    beyond = (x.abs() - bound).clamp(min=0)
    return torch.where(beyond > 0, x.sign() * (bound + beyond.log1p()), x)


class Readout(nn.Module):
    """Rows of a view to one vector for each molecule.

    `mean`: the mean of the molecule's rows. `mean_sum`: beside it their scaled sum, which knows the size of the
    molecule. `attention`: `attn_out` weighted means, concatenated, with the weights softmax over rows of
    w2 tanh(w1 x), no biases. The others are those of encoders/readouts.py. A molecule without rows (a lone atom has
    no bonds) gives zeros.
    """

    def __init__(self, width: int, kind: str = "mean", attn_hidden: int = 128, attn_out: int = 4) -> None:
        super().__init__()
        if kind not in READOUTS:
            raise unknown_name("readout", kind, READOUTS)
        self.kind = kind
        if kind != "attention":
            self.graph = GraphReadout(width, kind)
            self.out_width = self.graph.out_width
        else:
            self.out_width = width * attn_out
            self.w1 = nn.Linear(width, attn_hidden, bias=False)
            self.w2 = nn.Linear(attn_hidden, attn_out, bias=False)

    def forward(self, rows: Tensor, molecule: Tensor, molecules: int) -> Tensor:
        """rows [N, D] with their molecule numbers [N] -> [molecules, out_width], in float32 at least."""
        if self.kind != "attention":
            return self.graph(rows, molecule, molecules)
        weights = segment_softmax(wide(self.w2(torch.tanh(self.w1(rows)))), molecule, molecules)  # [N, attn_out]
        parts = [segment_sum(column[:, None] * rows, molecule, molecules) for column in weights.unbind(1)]
        return torch.cat(parts, 1)


class PropertyHead(nn.Module):
    """The published feed-forward head: dropout before each linear layer, one shared activation between them; with
    `norm` a layer norm behind the activation, as R-MAT and MAT have it.
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        activation: str = "ReLU",
        norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [width] + [hidden] * (layers - 1) + [outputs]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        # One object, not one for each place: a published PReLU head has a single slope.
        self.activation = Activation(activation) if layers > 1 else nn.Identity()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) if norm else nn.Identity() for _ in range(layers - 1))

    def forward(self, vectors: Tensor) -> Tensor:
        """[M, width] -> raw outputs [M, outputs]."""
        for number, linear in enumerate(self.linears):
            if number:
                vectors = self.norms[number - 1](self.activation(vectors))
            vectors = linear(self.dropout(vectors))
        return vectors


class PropertyModel(nn.Module):
    """Encoder, readout and one head for each of the encoder's readout views, or one for all with a summary.

    With `standardize` a head sees its input minus a center, divided by a scale: fixed numbers that `set_standard`
    takes from the training molecules before training; `bound` tames what lies far out (`bounded`). Molecule vectors
    differ little beside what they have in common, and heads learn slowly from them as they are. With `linear` a linear
    map of the same input is added to what a head says (training/head_start.py). Published models have none of these.
    """

    centers: Tensor
    scales: Tensor

    def __init__(
        self,
        encoder: Encoder,
        outputs: Sequence[Output],
        *,
        readout: str = "mean",
        attn_hidden: int = 128,
        attn_out: int = 4,
        descriptors_dim: int = 0,
        ffn_hidden: int = 200,
        ffn_layers: int = 2,
        dropout: float = 0.0,
        activation: str = "ReLU",
        disagreement: float = 0.1,
        standardize: bool = False,
        head_norm: bool = False,
        linear: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.outputs = [Output(*output) for output in outputs]
        for output in self.outputs:
            if output.type not in OUTPUT_TYPES:
                raise unknown_name("task type", output.type, OUTPUT_TYPES)
        self.views: tuple[str, ...] = tuple(encoder.readout_views)
        self.descriptors_dim = descriptors_dim
        self.disagreement = disagreement
        self.encoder_frozen = False
        self.encoder = encoder
        self.readout = Readout(encoder.width, readout, attn_hidden, attn_out)
        summary = encoder.summary
        inputs = 1 if summary is not None else len(self.views)
        width = self.readout.out_width + descriptors_dim
        if summary is not None:
            width = self.readout.out_width * len(self.views) + summary.width + descriptors_dim
        columns = sum(output.width for output in self.outputs)
        self.standardize, self.bound = standardize, bound
        if standardize:
            self.register_buffer("centers", torch.zeros(inputs, width))
            self.register_buffer("scales", torch.ones(inputs, width))
        self.heads = nn.ModuleList(
            PropertyHead(width, columns, ffn_hidden, ffn_layers, dropout, activation, head_norm) for _ in range(inputs)
        )
        self.linear = nn.ModuleList(nn.Linear(width, columns) for _ in range(inputs)) if linear else None
        self._config = {
            "outputs": [list(output) for output in self.outputs],
            "readout": readout,
            "attn_hidden": attn_hidden,
            "attn_out": attn_out,
            "descriptors_dim": descriptors_dim,
            "ffn_hidden": ffn_hidden,
            "ffn_layers": ffn_layers,
            "dropout": dropout,
            "activation": activation,
            "disagreement": disagreement,
            "standardize": standardize,
            "head_norm": head_norm,
            "linear": linear,
            "bound": bound,
        }

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the model around an encoder: `PropertyModel(encoder, **config)`."""
        return dict(self._config)

    def freeze_encoder(self, frozen: bool) -> None:
        """A frozen encoder gets no gradient and runs without dropout."""
        self.encoder_frozen = frozen
        self.encoder.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> PropertyModel:
        """As every module's `train`, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self

    def encode(self, batch: GraphBatch) -> EncoderOutput:
        """The encoder's readout views; without gradient where the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_frozen):
            return self.encoder.readout_output(batch)

    def readouts(self, encoded: EncoderOutput, batch: GraphBatch) -> list[Tensor]:
        """One vector for each molecule and view: a list of [M, R]; with a summary of one [M, R * views + summary]."""
        found = [
            self.readout(encoded.views[name], row_molecule(name, batch), batch.num_molecules) for name in self.views
        ]
        if self.encoder.summary is None:
            return found
        return [torch.cat([*found, self.encoder.summary_vectors(encoded, batch)], 1)]

    def molecule_vectors(self, batch: GraphBatch) -> Tensor:
        """The readouts of all views side by side, and a summary behind them, before descriptors: [M, ...]."""
        return torch.cat(self.readouts(self.encode(batch), batch), 1)

    def forward(self, batch: GraphBatch, descriptors: Tensor | None = None) -> list[Tensor]:
        """Raw outputs [M, T'] of each head."""
        return self.from_encoded(self.encode(batch), batch, descriptors)

    def from_encoded(
        self, encoded: EncoderOutput, batch: GraphBatch, descriptors: Tensor | None = None
    ) -> list[Tensor]:
        """As `forward`, from views that are there already: members with one frozen encoder share them."""
        vectors = self.standardized(self.head_inputs(encoded, batch, descriptors))
        raw = [head(vector) for head, vector in zip(self.heads, vectors, strict=True)]
        if self.linear is None:
            return raw
        return [x + linear(vector) for x, linear, vector in zip(raw, self.linear, vectors, strict=True)]

    def standardized(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Head inputs [M, R + descriptors] as each head sees them."""
        if not self.standardize:
            return list(vectors)
        return [bounded((x - self.centers[at]) / self.scales[at], self.bound) for at, x in enumerate(vectors)]

    def head_inputs(self, encoded: EncoderOutput, batch: GraphBatch, descriptors: Tensor | None = None) -> list[Tensor]:
        """What each head is given, descriptors at its end, not standardised: a list of [M, R + descriptors]."""
        vectors = self.readouts(encoded, batch)
        return [_with_descriptors(vector, descriptors, self.descriptors_dim) for vector in vectors]

    def set_standard(self, inputs: Sequence[Tensor]) -> None:
        """Takes center and scale of each head from its inputs [n, R + descriptors] of the training molecules.

        A column that hardly varies is not blown up: no scale is below a hundredth of the head's mean.
        """
        for at, rows in enumerate(inputs):
            exact = rows.cpu().double()  # not every device computes in float64
            spread = exact.std(0, correction=0)
            floor = 0.01 * spread.mean() if spread.mean() > 0 else spread.new_ones(())
            self.centers[at] = exact.mean(0)
            self.scales[at] = torch.maximum(spread, floor)

    @torch.no_grad()
    def set_linear(self, number: int, weight: Tensor, bias: Tensor) -> None:
        """Makes a head the linear model of these weights [T', R + descriptors]: the network beside it
        says nothing yet.
        """
        if self.linear is None:
            raise ValueError("the model has no linear part")
        linear = cast(nn.Linear, self.linear[number])
        last = cast(nn.Linear, cast(PropertyHead, self.heads[number]).linears[-1])
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
        last.weight.zero_()
        last.bias.zero_()

    def loss(self, raw: list[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, count) over the present labels; see `property_loss`."""
        return property_loss(raw, targets, self.outputs, self.disagreement)

    def predict(self, batch: GraphBatch, descriptors: Tensor | None = None) -> Tensor:
        """Probabilities and (scaled) values [M, T']; see `final_outputs`."""
        return final_outputs(self(batch, descriptors), self.outputs)


class ProbeModel(nn.Module):
    """A linear model on the standardised vector of a frozen encoder: what `--probe` trains; one output, no views."""

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: Encoder,
        outputs: Sequence[Output],
        *,
        vector_width: int,
        descriptors_dim: int = 0,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.outputs = [Output(*output) for output in outputs]
        self.descriptors_dim = descriptors_dim
        self.encoder = encoder
        width = vector_width + descriptors_dim
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = nn.Linear(width, sum(output.width for output in self.outputs))
        self._config = {
            "outputs": [list(output) for output in self.outputs],
            "vector_width": vector_width,
            "descriptors_dim": descriptors_dim,
            "bound": bound,
        }

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the model around an encoder: `ProbeModel(encoder, **config)`."""
        return dict(self._config)

    def encode(self, batch: GraphBatch) -> EncoderOutput:
        """The encoder's views."""
        return self.encoder(batch)

    def molecule_vectors(self, batch: GraphBatch) -> Tensor:
        """The encoder's own molecule vectors, before descriptors."""
        return self.encoder.molecule_vectors(self.encode(batch), batch)

    def forward(self, batch: GraphBatch, descriptors: Tensor | None = None) -> list[Tensor]:
        """Raw outputs [M, T'], in a list of one."""
        return self.from_encoded(self.encode(batch), batch, descriptors)

    def from_encoded(
        self, encoded: EncoderOutput, batch: GraphBatch, descriptors: Tensor | None = None
    ) -> list[Tensor]:
        """As `forward`, from views that are there already."""
        vectors = self.encoder.molecule_vectors(encoded, batch)
        return [self.from_vectors(_with_descriptors(vectors, descriptors, self.descriptors_dim))]

    def from_vectors(self, vectors: Tensor) -> Tensor:
        """Raw outputs from molecule vectors with their descriptors."""
        return self.linear(bounded((vectors - self.center) / self.scale, self.bound))

    def predict(self, batch: GraphBatch, descriptors: Tensor | None = None) -> Tensor:
        """Probabilities and (scaled) values [M, T']."""
        return final_outputs(self(batch, descriptors), self.outputs)


def _with_descriptors(vectors: Tensor, descriptors: Tensor | None, wanted: int) -> Tensor:
    given = 0 if descriptors is None else descriptors.shape[1]
    if given != wanted:
        raise ValueError(f"the model takes {wanted} descriptors a molecule, {given} were given")
    return vectors if descriptors is None else torch.cat([vectors, descriptors.to(vectors.dtype)], 1)
