"""GROVER's encoder: a node branch and an edge branch of GTransformer blocks, crossed into four outputs (Rong et al.,
NeurIPS 2020, arXiv 2007.02835).

`rules` decides which function it is. `sound` (new models): no padding row and no feature that depends on the spelling,
so that a molecule's result depends on neither its batch mates nor its atom order. `published` (imported models): the
published features, and the padding row takes part in every sum, with table width max(4, the molecule's own largest
in-degree); `batchwise` restores the published mixing through the width of the whole batch.

Two things differ between the published code and the paper, and each is an option with the values `code` and `paper`:

- `attention`: over the n heads of one atom or bond (`code`), or for each head over the atoms or bonds of the molecule
  (`paper`);
- `update`: every message-passing round adds the block's input (`code`), or passes on the message alone (`paper`). The
  released code has a switch for it too, `dense`, whose True is the paper's.

While training, each message-passing network draws its depth anew in every call (`random_depth`).

Shapes: `A` atoms, `B` directed bonds, `R` rows of a branch (padding rows first, where there are any), `H` hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import POOLINGS, Encoder, EncoderOutput, pool_rows, register, row_molecule
from mesomer.encoders.blocks import OutputNetwork
from mesomer.encoders.grover_blocks import Depths, DynamicBlock, DynamicNetworks, Neighbourhood, draw_depths
from mesomer.encoders.grover_features import published_tables, sound_tables
from mesomer.encoders.repeated_rows import RepeatedRows, every_row, input_columns
from mesomer.encoders.rows import TableWidth, edge_rows, node_rows, table_width
from mesomer.errors import MesomerError, unknown_name

VIEWS = ("atom_from_atom", "atom_from_bond", "bond_from_atom", "bond_from_bond")
RULES = ("sound", "published")
VARIANTS = ("code", "paper")


class Features(NamedTuple):
    """Raw features of the rows of both branches, padding rows included: [R, atom width], [R, atom + bond width]."""

    atoms: RepeatedRows
    bonds: RepeatedRows


class Rows(NamedTuple):
    """The rows of both branches of one batch."""

    node: Neighbourhood
    edge: Neighbourhood
    padding: int


@register
class Grover(Encoder):
    """The encoder; views `atom_from_atom` and `atom_from_bond` [A, H], `bond_from_atom` and `bond_from_bond` [B, H]."""

    name = "grover"
    SIZES: ClassVar = {
        "base": {"hidden_size": 800, "depth": 6, "heads": 4, "blocks": 1},
        "large": {"hidden_size": 1200, "depth": 6, "heads": 4, "blocks": 1},
        "small": {"hidden_size": 128, "depth": 4, "heads": 4, "blocks": 1},
    }

    def __init__(
        self,
        *,
        hidden_size: int = 800,
        depth: int = 6,
        heads: int = 4,
        blocks: int = 1,
        activation: str = "LeakyReLU",
        bias: bool = False,
        dropout: float = 0.1,
        rules: str = "sound",
        attention: str = "code",
        update: str = "code",
        random_depth: bool = True,
        batchwise: bool = False,
        pooling: str | None = None,
        summary: int = 0,
    ) -> None:
        super().__init__()
        for option, value, known in (
            ("rules", rules, RULES), ("attention", attention, VARIANTS), ("update", update, VARIANTS),
        ):  # fmt: skip
            if value not in known:
                raise unknown_name(f"value of GROVER's option {option}", value, known)
        if batchwise and rules == "sound":
            raise MesomerError("batchwise restores a defect of the published code and goes with rules published only.")
        if hidden_size % heads:
            raise MesomerError(f"The hidden size {hidden_size} is no multiple of the {heads} heads.")
        if depth < 1 or blocks < 1:
            raise MesomerError(f"GROVER has depth {depth} and {blocks} blocks.", "Both have to be 1 or more.")
        self.pooling = pooling or ("mean_sum" if rules == "sound" else "mean")
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", self.pooling, POOLINGS)
        self._options: dict[str, Any] = {
            "hidden_size": hidden_size, "depth": depth, "heads": heads, "blocks": blocks, "activation": activation,
            "bias": bias, "dropout": dropout, "rules": rules, "attention": attention, "update": update,
            "random_depth": random_depth, "batchwise": batchwise, "pooling": self.pooling, "summary": summary,
        }  # fmt: skip
        self.rules, self.batchwise, self.width, self.depth = rules, batchwise, hidden_size, depth
        self.random_depth = random_depth
        if attention == "paper":  # pads to the largest molecule
            self.length_buckets = 8
        self.atom_tables, self.bond_tables = published_tables() if rules == "published" else sound_tables()
        atom_width = self.atom_tables.width
        edge_width = atom_width + self.bond_tables.width
        if rules == "published" and hidden_size in (atom_width, edge_width):
            raise MesomerError(f"The published code projects no input at the hidden size {hidden_size}; take another.")

        def branch(incoming: int) -> nn.ModuleList:
            return nn.ModuleList(
                DynamicBlock(
                    hidden_size, heads, depth, activation, bias, dropout, update == "code",
                    incoming if i == 0 else None, over_molecule=attention == "paper",
                )
                for i in range(blocks)
            )  # fmt: skip

        self.node_blocks, self.edge_blocks = branch(atom_width), branch(edge_width)
        self.outputs = nn.ModuleDict(
            {
                view: OutputNetwork(
                    atom_width if view.startswith("atom") else edge_width, hidden_size, activation, dropout
                )
                for view in VIEWS
            }
        )
        self.readout_views = VIEWS[:2]
        self.make_summary(summary)

    def config(self) -> dict[str, Any]:
        return {**self._options, "batchwise": self.batchwise}

    @property
    def output_views(self) -> tuple[str, ...]:
        return VIEWS

    @property
    def pooled_width(self) -> int:
        return self.width * len(VIEWS) * len(POOLINGS[self.pooling])

    def pooled_vectors(self, output: EncoderOutput, batch: GraphBatch) -> Tensor:
        """The pooled rows of all four views; with `mean` pooling it is the published fingerprint `both`."""
        parts = []
        for view in VIEWS:
            molecule = row_molecule(view, batch)
            for kind in POOLINGS[self.pooling]:
                parts.append(pool_rows(output.views[view], molecule, batch.num_molecules, kind))
        return torch.cat(parts, dim=1)

    def forward(self, batch: GraphBatch, wanted: Sequence[str] = VIEWS) -> EncoderOutput:
        """The wanted views, all four if not given, of all atoms and directed bonds."""
        depths = self.draw_depths() if self.training and self.random_depth else None
        rows = self.rows(batch)
        features = self.features(batch, rows)
        views = self.views(*self.branches(features, rows, depths), rows, features, wanted)
        return EncoderOutput({view: x[rows.padding :] for view, x in views.items()})

    def compile(self, *args: Any, **options: Any) -> None:
        """As for every module, for batches of any size. What depends on drawn depths is plain Python, whose parts are
        compiled, because the whole would be compiled anew for each draw.
        """
        self.draw_depths = torch.compiler.disable(self.draw_depths)  # type: ignore[method-assign]
        for networks in self.modules():
            if isinstance(networks, DynamicNetworks):
                whole = torch.compiler.disable(networks.to_depths, recursive=False)
                networks.to_depths = whole  # type: ignore[method-assign]
                networks.by_depth = torch.compiler.disable(networks.by_depth)  # type: ignore[method-assign]
        super().compile(*args, **{"dynamic": True, **options})

    def sharded_parts(self) -> list[nn.Module]:
        """The blocks and the output networks, which are nearly all of the weights."""
        return [*self.node_blocks, *self.edge_blocks, *self.outputs.values()]

    def readout_output(self, batch: GraphBatch) -> EncoderOutput:
        """The two atom views: heads never read the bond views, which cost an eighth of the forward pass, unless
        through a summary.
        """
        return self(batch, self.readout_views if self.summary is None else VIEWS)

    def draw_depths(self) -> list[Depths]:
        """A depth for each network of each block: node blocks, then edge blocks (grover.md 3.2)."""
        networks = 3 * self._options["heads"]
        return [draw_depths(self.depth, networks) for _ in (*self.node_blocks, *self.edge_blocks)]

    def width_of_tables(self, batch: GraphBatch) -> TableWidth | None:
        """The published table width, or None where no padding row exists."""
        return table_width(batch, self.batchwise) if self.rules == "published" else None

    def rows(self, batch: GraphBatch) -> Rows:
        """The rows of both branches."""
        width = self.width_of_tables(batch)
        padding = 0 if width is None else width.paddings
        return Rows(
            Neighbourhood(node_rows(batch, None, width), batch.atom_offsets, padding),
            Neighbourhood(edge_rows(batch, None, width), 2 * batch.bond_offsets, padding),
            padding,
        )

    def features(self, batch: GraphBatch, rows: Rows) -> Features:
        """Input columns of all rows; a directed bond has the columns of its source atom, then its own."""
        # how many kinds of rows there are is known only to who has looked: a compiler has not
        columns = every_row if torch.compiler.is_compiling() else input_columns
        atoms, bonds = columns(batch, self.atom_tables, self.bond_tables)
        return Features(atoms.below(rows.padding), bonds.below(rows.padding))

    def branches(self, features: Features, rows: Rows, depths: Sequence[Depths] | None = None) -> tuple[Tensor, Tensor]:
        """States of node branch and edge branch [R, H]; `depths` for each node block, then each edge block, or the full
        depth.
        """
        count = len(self.node_blocks)
        drawn = [None] * (count + len(self.edge_blocks)) if depths is None else list(depths)
        return (
            _branch(self.node_blocks, features.atoms, rows.node, drawn[:count]),
            _branch(self.edge_blocks, features.bonds, rows.edge, drawn[count:]),
        )

    def views(
        self, atoms: Tensor, bonds: Tensor, rows: Rows, features: Features, wanted: Sequence[str] = VIEWS
    ) -> dict[str, Tensor]:
        """The wanted outputs from the states of both branches, padding rows included (grover.md 3.4)."""
        source, reverse = rows.edge.bonds.source, rows.edge.bonds.reverse
        around = rows.node.lists.message(atoms)

        def behind() -> Tensor:
            """The source atom and its neighbours without the bond's other end."""
            return (atoms + around).index_select(0, source) - atoms.index_select(0, source.index_select(0, reverse))

        aggregated: dict[str, Callable[[], Tensor]] = {
            "atom_from_atom": lambda: around,
            "atom_from_bond": lambda: rows.edge.bonds.at_atoms(bonds),
            "bond_from_atom": behind,
            "bond_from_bond": lambda: rows.edge.lists.message(bonds),
        }
        raw = {"atom": features.atoms, "bond": features.bonds}
        return {view: self.outputs[view](raw[view[:4]], aggregated[view]()) for view in VIEWS if view in wanted}


def _branch(
    blocks: nn.ModuleList, features: RepeatedRows, rows: Neighbourhood, depths: Sequence[Depths | None]
) -> Tensor:
    # padding rows are summed by a rule that the lists do not have
    fused = rows.padding == 0 and all(block.fusible(features.kinds) for block in blocks)  # type: ignore[operator]
    lists = rows.lists.lists() if fused else None
    state: Tensor | RepeatedRows = features
    for block, drawn in zip(blocks, depths, strict=True):
        state = block(state, rows, drawn, lists)
    assert isinstance(state, Tensor)
    return state
