"""BatmanNet's encoder: a node branch and an edge branch of GTransformer blocks (Wang et al., Brief. Bioinform. 25,
bbad400, 2024).

`rules` decides which function it is.

`sound` (new models): no padding row, no positions, labels that do not depend on the spelling. A molecule's result
depends on neither its batch mates nor its atom order, and pre-training trains the very function that fine-tuning
starts from: one output network for each branch, joined with the raw features, both transferred.

`published` (imported models): the quirks of the published code, together. The padding row takes part in every sum;
chirality is the tag as spelt; unknown values share the last listed slot. The encoder is one of two functions
(`stage`): in pre-training positions are added after the projection and their sum is joined at the output; in
fine-tuning there are no positions, the raw features are joined, and the output networks are new (batmannet.md 0, 3,
6.3). `batchwise` also restores what lets batch mates in: the table width of the whole batch, and positions that run
on through the batch.

Two defaults differ from the published command line: `dense` adds the block input in every round, as GROVER does
(after 160 steps on 10,000 ZINC molecules the held-out loss is 3.1 with it and 4.6 without), and LeakyReLU replaces
PReLU, whose gradient costs seven times as much on a CPU.

Shapes: `A` atoms, `B` directed bonds, `R` rows of a branch (padding rows first, where there are any), `H` hidden size.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders import fields
from mesomer.encoders.base import POOLINGS, Encoder, EncoderOutput, register
from mesomer.encoders.blocks import GTransformerBlock, OutputNetwork, run_blocks
from mesomer.encoders.repeated_rows import RepeatedRows, input_columns
from mesomer.encoders.rows import EdgeRows, NodeRows, TableWidth, edge_rows, node_rows, table_width
from mesomer.errors import MesomerError, unknown_name


class Branch(NamedTuple):
    """What one branch made of its rows, all [R, H]: projection, the same with its positional code, block input, block
    outputs.
    """

    projected: RepeatedRows
    placed: RepeatedRows
    entered: Tensor
    states: list[Tensor]


class Features(NamedTuple):
    """Raw features of the rows of both branches, without padding rows: [A, atom width] and [B, atom + bond width]."""

    atoms: RepeatedRows
    bonds: RepeatedRows


class Rows(NamedTuple):
    """The rows of both branches of one batch."""

    node: NodeRows
    edge: EdgeRows
    padding: int


@register
class BatmanNet(Encoder):
    """The bi-branch encoder; views `atom_from_atom` [A, H] and `bond_from_bond` [B, H], and in published fine-tuning
    all four.
    """

    name = "batmannet"
    SIZES: ClassVar = {
        "base": {"hidden_size": 100, "depth": 3, "heads": 2, "blocks": 6},
        "small": {"hidden_size": 64, "depth": 3, "heads": 2, "blocks": 3},
    }

    def __init__(
        self,
        *,
        hidden_size: int = 100,
        depth: int = 3,
        heads: int = 2,
        blocks: int = 6,
        activation: str = "LeakyReLU",
        bias: bool = True,
        dense: bool = True,
        dropout: float = 0.1,
        rules: str = "sound",
        stage: str = "finetuning",
        batchwise: bool = False,
        pooling: str | None = None,
        summary: int = 0,
    ) -> None:
        super().__init__()
        if rules not in ("sound", "published") or stage not in ("pretraining", "finetuning"):
            raise MesomerError(
                f"BatmanNet has no rules {rules!r} with stage {stage!r}.",
                "Rules: sound, published; stages: pretraining, finetuning.",
            )
        if batchwise and rules == "sound":
            raise MesomerError("batchwise restores a defect of the published code and goes with rules published only.")
        if hidden_size % heads:
            raise MesomerError(f"The hidden size {hidden_size} is no multiple of the {heads} heads.")
        self.pooling = pooling or ("mean_sum" if rules == "sound" else "mean")
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", self.pooling, POOLINGS)
        self._options: dict[str, Any] = {
            "hidden_size": hidden_size, "depth": depth, "heads": heads, "blocks": blocks,
            "activation": activation, "bias": bias,
            "dense": dense, "dropout": dropout, "rules": rules, "stage": stage, "batchwise": batchwise,
            "pooling": self.pooling, "summary": summary,
        }  # fmt: skip
        self.rules, self.stage, self.batchwise, self.width = rules, stage, batchwise, hidden_size
        self.atom_groups = fields.PUBLISHED_ATOM if rules == "published" else fields.SOUND_ATOM
        self.bond_groups = fields.PUBLISHED_BOND if rules == "published" else fields.SOUND_BOND
        self._atom_columns, self._bond_columns = fields.OneHot(self.atom_groups), fields.OneHot(self.bond_groups)
        atom_width = fields.width(self.atom_groups)
        edge_width = atom_width + fields.width(self.bond_groups)
        if rules == "published" and hidden_size in (atom_width, edge_width):
            raise MesomerError(f"The published code leaves the hidden size {hidden_size} undefined; take another one.")

        def branch(incoming: int) -> nn.ModuleList:
            return nn.ModuleList(
                GTransformerBlock(
                    hidden_size, heads, depth, activation, bias, dropout, dense, incoming if i == 0 else None
                )
                for i in range(blocks)
            )

        self.node_blocks, self.edge_blocks = branch(atom_width), branch(edge_width)
        if rules == "published" and stage == "pretraining":
            joined = {"atom_from_atom": hidden_size, "bond_from_bond": hidden_size}
        elif rules == "published":
            joined = {
                "atom_from_atom": atom_width,
                "atom_from_bond": atom_width,
                "bond_from_atom": edge_width,
                "bond_from_bond": edge_width,
            }
        else:
            joined = {"atom_from_atom": atom_width, "bond_from_bond": edge_width}
        self.outputs = nn.ModuleDict(
            {view: OutputNetwork(columns, hidden_size, activation, dropout) for view, columns in joined.items()}
        )
        if rules == "published" and stage == "pretraining":
            # never used here, but the published loader carries them into fine-tuning
            self.carried_norms = nn.ModuleDict(
                {view: nn.LayerNorm(hidden_size) for view in ("atom_from_bond", "bond_from_atom")}
            )
        self.readout_views = ("atom_from_atom", "atom_from_bond" if len(joined) == 4 else "bond_from_bond")
        self.make_summary(summary)

    def config(self) -> dict[str, Any]:
        return dict(self._options)

    @property
    def positional(self) -> bool:
        """Whether positions are added: only where the published pre-training is reproduced."""
        return self.rules == "published" and self.stage == "pretraining"

    def forward(self, batch: GraphBatch) -> EncoderOutput:
        """All atoms and bonds visible."""
        rows, features = self.rows(batch), self.features(batch)
        views = self.views(*self.branches(batch, features, rows), rows, features)
        return EncoderOutput({view: x[rows.padding :] for view, x in views.items()})

    def width_of_tables(self, batch: GraphBatch) -> TableWidth | None:
        """The published table width, or None where no padding row exists."""
        return table_width(batch, self.batchwise) if self.rules == "published" else None

    def rows(
        self,
        batch: GraphBatch,
        visible_atoms: Tensor | None = None,
        visible_bonds: Tensor | None = None,
        halves: bool = False,
    ) -> Rows:
        """The rows of both branches, with the hidden ones left out; `halves`: of a bond also one direction alone."""
        width = self.width_of_tables(batch)
        return Rows(
            node_rows(batch, visible_atoms, width),
            edge_rows(batch, visible_bonds, width, halves),
            0 if width is None else width.paddings,
        )

    def features(self, batch: GraphBatch) -> Features:
        """One-hot input columns of all atoms and directed bonds; a directed bond has the columns of its source atom,
        then its own.
        """
        return Features(*input_columns(batch, self._atom_columns, self._bond_columns))

    def branches(
        self,
        batch: GraphBatch,
        features: Features,
        rows: Rows,
        visible_atoms: Tensor | None = None,
        visible_bonds: Tensor | None = None,
    ) -> tuple[Branch, Branch]:
        """Node branch and edge branch over the visible rows."""
        atoms, bonds = _visible(features, rows, visible_atoms, visible_bonds)
        at_atoms, at_bonds = self.positions(batch) if self.positional else (None, None)
        if at_atoms is not None and visible_atoms is not None:
            at_atoms = at_atoms[visible_atoms]
        if at_bonds is not None and visible_bonds is not None:
            at_bonds = at_bonds[visible_bonds]
        return (
            self._branch(self.node_blocks, atoms, rows.node, rows.padding, at_atoms),
            self._branch(self.edge_blocks, bonds, rows.edge, rows.padding, at_bonds),
        )

    def _branch(
        self,
        blocks: nn.ModuleList,
        features: RepeatedRows,
        rows: NodeRows | EdgeRows,
        padding: int,
        position: Tensor | None,
    ) -> Branch:
        first = cast(GTransformerBlock, blocks[0])
        projected = placed = features.map(first.project)
        if position is not None:
            code = F.pad(self.positional_code(position), (0, 0, padding, 0))
            placed = RepeatedRows(projected.dense() + code)
        entered = first.enter(placed)
        return Branch(projected, placed, entered, run_blocks(blocks, entered, rows))

    def views(
        self, node: Branch, edge: Branch, rows: Rows, features: Features,
        visible_atoms: Tensor | None = None, visible_bonds: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The output networks, padding rows included (batmannet.md 3.3, grover.md 3.4)."""
        atoms, bonds = node.states[-1], edge.states[-1]
        if self.positional:
            raw_atoms, raw_bonds = node.placed, edge.placed
        else:
            raw_atoms, raw_bonds = _visible(features, rows, visible_atoms, visible_bonds)
        aggregated = {
            "atom_from_atom": (raw_atoms, rows.node.message(atoms)),
            "bond_from_bond": (raw_bonds, rows.edge.message(bonds)),
        }
        if "atom_from_bond" in self.outputs:
            around = atoms + aggregated["atom_from_atom"][1]
            behind = around.index_select(0, rows.edge.source) - atoms.index_select(
                0, rows.edge.source.index_select(0, rows.edge.reverse)
            )
            aggregated["atom_from_bond"] = (raw_atoms, rows.edge.at_atoms(bonds))
            aggregated["bond_from_atom"] = (raw_bonds, behind)
        return {view: network(*aggregated[view]) for view, network in self.outputs.items()}

    def positions(self, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Published positions of atoms [A] and directed bonds [B]: counted through the batch, or from 0 in each
        molecule.

        Bonds are counted in the published order (smaller atom, larger atom), whatever the order of the batch.
        """
        ends = batch.source[::2].minimum(batch.target[::2]), batch.source[::2].maximum(batch.target[::2])
        order = torch.argsort(ends[0] * max(batch.num_atoms, 1) + ends[1])
        rank = torch.empty_like(order)
        rank[order] = torch.arange(order.numel(), device=order.device)
        forward = (batch.source < batch.target).long()
        bonds = 2 * rank.repeat_interleave(2) + (1 - forward)
        atoms = torch.arange(batch.num_atoms, device=batch.source.device)
        if not self.batchwise:
            atoms = atoms - batch.atom_offsets.index_select(0, batch.atom_molecule)
            bonds = bonds - 2 * batch.bond_offsets.index_select(0, batch.bond_molecule).repeat_interleave(2)
        return atoms, bonds

    def positional_code(self, position: Tensor) -> Tensor:
        """Sine and cosine code [R, H] of positions [R], computed in float64 (batmannet.md 3.2)."""
        column = torch.arange(self.width, device=position.device)
        angle = position.double().unsqueeze(1) / torch.pow(
            torch.tensor(10000.0, dtype=torch.float64), 2 * (column // 2).double() / self.width
        )
        return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()

    def for_finetuning(self, seed: int = 0) -> Encoder:
        """Sound and fine-tuned encoders: themselves. A published pre-training encoder: the fine-tuning function with
        the tensors that fit.

        The output networks' first weights and the cross-view networks are new (batmannet.md 6.3), drawn Xavier-normal
        with zero biases as published.
        """
        if not self.positional:
            return self
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = BatmanNet(**{**self._options, "stage": "finetuning"})
            for parameter in encoder.parameters():
                if parameter.dim() >= 2:
                    nn.init.xavier_normal_(parameter)
                else:
                    nn.init.zeros_(parameter)
        own = self.state_dict()
        own |= {
            f"outputs.{name.removeprefix('carried_norms.').replace('.', '.norm.')}": x
            for name, x in own.items()
            if "carried_norms" in name
        }
        fitting = {
            name: own[name]
            for name, tensor in encoder.state_dict().items()
            # a summary of other views than these would be one of nothing
            if name in own and own[name].shape == tensor.shape and not name.startswith("summary.")
        }
        encoder.load_state_dict(fitting, strict=False)
        return encoder


def _visible(
    features: Features, rows: Rows, atoms: Tensor | None, bonds: Tensor | None
) -> tuple[RepeatedRows, RepeatedRows]:
    """The features of the visible rows of both branches, below the padding rows."""
    seen_atoms = features.atoms if atoms is None else features.atoms.select(atoms)
    seen_bonds = features.bonds if bonds is None else features.bonds.select(bonds)
    return seen_atoms.below(rows.padding), seen_bonds.below(rows.padding)
