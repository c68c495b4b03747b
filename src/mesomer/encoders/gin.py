"""The networks of the strategies paper: GIN, GCN, GraphSAGE and GAT with batch norm (Hu et al., ICLR 2020, arXiv
1905.12265; study.md 2).

`layer` says which of the four. `rules` says what they see: `published` (imported models) the fields of pretrain-gnns,
which change with the spelling of a SMILES; `sound` (new models) fields that do not. `features` is `basic`, the
published choice of fields, or `rich`; the published rules have basic ones only.

A self-loop with a type of its own stands at every atom, each layer has its own bond tables, and the last layer has
no ReLU, but batch norm and dropout. Batch norm sees batch mates while training, as published, and never in
evaluation: a molecule's result is its own then. `jk` joins the layers' outputs: the `last` one, all side by side
(`concat`), their maximum or their sum; the published code's `sum` returns the first atom only, here it is the sum.

Shapes: `A` atoms, `M` molecules, `D` width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, EncoderOutput, register
from mesomer.encoders.blocks import Dropout
from mesomer.encoders.gin_features import FieldRows, field_table, input_fields, look_up
from mesomer.encoders.gin_layers import LAYERS, Around
from mesomer.encoders.readouts import GraphReadout
from mesomer.errors import MesomerError, unknown_name

VIEW = "atom_state"
RULES = ("sound", "published")
FEATURES = ("basic", "rich")
JUMPS = ("last", "concat", "max", "sum")


class AtomNorm(nn.BatchNorm1d):
    """Batch norm over atoms, in float32. One atom has no spread: it is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training and len(x) < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


@register
class GINFamily(Encoder):
    """The encoder; view `atom_state` [A, D]."""

    name = "gin"
    SIZES: ClassVar = {
        "base": {"hidden_size": 300, "depth": 5},
        "small": {"hidden_size": 128, "depth": 3},
        "mini": {"hidden_size": 64, "depth": 2},
    }

    def __init__(
        self,
        *,
        layer: str = "gin",
        hidden_size: int = 300,
        depth: int = 5,
        heads: int = 2,
        jk: str = "last",
        dropout: float = 0.0,
        rules: str = "sound",
        features: str | None = None,
        pooling: str | None = None,
        summary: int = 0,
    ) -> None:
        """The network with the published first weights.

        Args:
            layer: gin, gcn, graphsage or gat.
            hidden_size: Width of every layer.
            depth: Number of layers.
            heads: Heads of gat; the others have none.
            jk: last, concat, max or sum.
            dropout: Dropout after every layer.
            rules: sound or published.
            features: basic or rich; rich if not given, with published rules basic.
            pooling: mean, mean_sum, sum, max, gate or set2set with a number of steps; mean_sum if not given, with
                published rules mean.
            summary: Width of a summary behind the readout; 0 for none.
        """
        super().__init__()
        features = features or ("rich" if rules == "sound" else "basic")
        for option, value, known in (
            ("layer", layer, LAYERS), ("jk", jk, JUMPS), ("rules", rules, RULES), ("features", features, FEATURES),
        ):  # fmt: skip
            if value not in known:
                raise unknown_name(f"value of GIN's option {option}", value, known)
        if rules == "published" and features == "rich":
            raise MesomerError("The published networks have basic features only.", "Rich ones go with rules sound.")
        for option, number in (("hidden_size", hidden_size), ("depth", depth), ("heads", heads)):
            if number < 1:
                raise MesomerError(f"GIN's option {option} is {number}.", "Give 1 or more.")
        self.pooling = pooling or ("mean_sum" if rules == "sound" else "mean")
        self._options: dict[str, Any] = {
            "layer": layer, "hidden_size": hidden_size, "depth": depth, "heads": heads, "jk": jk, "dropout": dropout,
            "rules": rules, "features": features, "pooling": self.pooling, "summary": summary,
        }  # fmt: skip
        self.jk, self.rules = jk, rules
        atoms, bonds = input_fields(rules, features)
        self.atom_rows, self.bond_rows = FieldRows(atoms), FieldRows(bonds)
        self.atoms = field_table(self.atom_rows.sizes, hidden_size)
        self.layers = nn.ModuleList(LAYERS[layer](hidden_size, self.bond_rows.sizes, heads) for _ in range(depth))
        self.norms = nn.ModuleList(AtomNorm(hidden_size) for _ in range(depth))
        self.dropout = Dropout(dropout)
        self.width = hidden_size * (depth + 1) if jk == "concat" else hidden_size
        self.readout = GraphReadout(self.width, self.pooling)
        self.readout_views = (VIEW,)
        self.make_summary(summary)

    def config(self) -> dict[str, Any]:
        return dict(self._options)

    @property
    def pooled_width(self) -> int:
        return self.readout.out_width

    def pooled_vectors(self, output: EncoderOutput, batch: GraphBatch) -> Tensor:
        """The readout of the atoms: [M, pooled_width]."""
        return self.readout(output.views[VIEW], batch.atom_molecule, batch.num_molecules)

    def forward(self, batch: GraphBatch) -> EncoderOutput:
        """The vectors of all atoms."""
        return EncoderOutput({VIEW: self.joined(self.states(batch))})

    def states(self, batch: GraphBatch) -> list[Tensor]:
        """The input and the output of each layer: [A, hidden size] each."""
        around = Around(batch, self.bond_rows(batch.bond_codes), self.bond_rows.loop(), self.bond_rows.rows)
        states = [look_up(self.atoms, self.atom_rows(batch.atom_codes))]
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True), start=1):
            x = norm(layer(states[-1], around))
            states.append(self.dropout(torch.relu(x) if number < len(self.layers) else x))
        return states

    def joined(self, states: list[Tensor]) -> Tensor:
        """One vector for each atom, [A, D], as `jk` says."""
        if self.jk == "last":
            return states[-1]
        if self.jk == "concat":
            return torch.cat(states, dim=1)
        stacked = torch.stack(states)
        return stacked.amax(0) if self.jk == "max" else stacked.sum(0)
