"""BatmanNet's objective: hide most atoms and bonds, encode what is left, decode the hidden ones (batmannet.md 2, 4, 5).

The encoder sees the visible rows only; a light decoder of the same blocks sees every row, with a token in place of
the hidden ones, and predicts the one-hot fields of the hidden rows. Each field is one term, a mean over the hidden
rows; all terms have weight 1.

With an encoder of `sound` rules a bond is hidden whole (both directions), the token is learned, masks are fresh in
every epoch and every target is what it says. With `published` rules the directions of a bond are hidden each on its
own, a hidden row enters the decoder as its bare position, the aromatic target is always 0, and a ring bond of
unlisted type has the class "ring" (batmannet.md 0, 5.1). `frozen_masks` draws the masks of every epoch alike; `hide`
says `bonds` or `directions` whatever the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders import fields
from mesomer.encoders.base import Encoder
from mesomer.encoders.batmannet import BatmanNet, Rows
from mesomer.encoders.blocks import GTransformerBlock, OutputNetwork, run_blocks
from mesomer.encoders.fields import Group
from mesomer.encoders.row_steps import RowLinear
from mesomer.encoders.rows import EdgeRows, NodeRows
from mesomer.errors import MesomerError, unknown_name
from mesomer.objectives.base import Objective, choose_fewest, register, uniform_draws
from mesomer.objectives.figures import ClassFigures, Figures

HIDDEN = ("bonds", "directions")


@dataclass(frozen=True)
class MaskDraw:
    """Hidden atoms [A] and hidden directed bonds [B], both bool."""

    atoms: Tensor
    bonds: Tensor
    counts: Mapping[str, float]

    def to(self, device: torch.device | str) -> MaskDraw:
        return MaskDraw(self.atoms.to(device), self.bonds.to(device), self.counts)


@dataclass(frozen=True)
class Decoded:
    """The decoder's stages for one branch, padding rows included; `logits` holds the hidden rows."""

    entered: Tensor
    states: list[Tensor]
    logits: Tensor


class Decoder(nn.Module):
    """Blocks over all rows of one branch and the prediction of its hidden rows."""

    def __init__(self, encoder: BatmanNet, blocks: int, columns: int) -> None:
        super().__init__()
        options = encoder.config()
        arguments = (
            options["heads"],
            options["depth"],
            options["activation"],
            options["bias"],
            options["dropout"],
            options["dense"],
        )
        self.blocks = nn.ModuleList(GTransformerBlock(encoder.width, *arguments) for _ in range(blocks))
        self.output = OutputNetwork(encoder.width, encoder.width, options["activation"], options["dropout"])
        self.predict = RowLinear(encoder.width, columns)
        self.token = nn.Parameter(torch.randn(encoder.width) * 0.02) if encoder.rules == "sound" else None

    def forward(self, entered: Tensor, rows: NodeRows | EdgeRows, wanted: Tensor) -> Decoded:
        """entered [R, H], wanted [W] row numbers -> logits [W, columns]. Only wanted rows need the output network."""
        states = run_blocks(self.blocks, entered, rows)
        aggregated = rows.message(states[-1])
        logits = self.predict(self.output(entered.index_select(0, wanted), aggregated.index_select(0, wanted)))
        return Decoded(entered, states, logits)


@register
class MaskedGraph(Objective):
    """Masked graph autoencoding around a BatmanNet encoder."""

    name = "masked_graph"
    encoder: BatmanNet

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.6,
        decoder_blocks: int = 2,
        frozen_masks: bool = False,
        hide: str | None = None,
    ) -> None:
        """The decoder around an encoder.

        Args:
            encoder: A BatmanNet.
            mask_ratio: Share of the atoms and of the bonds that is hidden.
            decoder_blocks: Depth of each branch's decoder.
            frozen_masks: Draw the masks of every epoch alike.
            hide: Whole `bonds`, or `directions` of bonds, each on its own; as the encoder's rules say if not given.
        """
        super().__init__()
        if hide not in (None, *HIDDEN):
            raise unknown_name("value of hide", hide, HIDDEN)
        if not isinstance(encoder, BatmanNet):
            raise MesomerError(f"The objective masked_graph needs the encoder batmannet, not {encoder.name}.")
        if encoder.rules == "published" and encoder.stage != "pretraining":
            raise MesomerError(
                "A published BatmanNet is pre-trained in its pre-training form; this one is its fine-tuning form."
            )
        if not 0 < mask_ratio <= 1:
            raise MesomerError(f"The mask ratio is {mask_ratio}, and has to lie above 0 and at most 1.")
        self.encoder, self.mask_ratio, self.decoder_blocks, self.frozen_masks = (
            encoder,
            mask_ratio,
            decoder_blocks,
            frozen_masks,
        )
        self.published = encoder.rules == "published"
        self.hide = hide or ("directions" if self.published else "bonds")
        atom_columns = fields.width(encoder.atom_groups)
        self.node_decoder = Decoder(encoder, decoder_blocks, atom_columns)
        self.edge_decoder = Decoder(encoder, decoder_blocks, atom_columns + fields.width(encoder.bond_groups))
        self.node_terms = tuple(f"node_{group.name}" for group in encoder.atom_groups)
        bond_groups = [group for group in encoder.bond_groups if not (self.published and group.name == "ring")]
        self.edge_terms = tuple(f"edge_{group.name}" for group in (*encoder.atom_groups, *bond_groups))

    @property
    def weights(self) -> dict[str, float]:
        return dict.fromkeys((*self.node_terms, *self.edge_terms), 1.0)

    def config(self) -> dict[str, Any]:
        return {
            "mask_ratio": self.mask_ratio,
            "decoder_blocks": self.decoder_blocks,
            "frozen_masks": self.frozen_masks,
            "hide": self.hide,
        }

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> MaskDraw:
        """Fresh masks for every epoch, or the first epoch's again if frozen."""
        epoch = 0 if self.frozen_masks else epoch
        key = batch.key.cpu().numpy()
        atoms = self._hide(batch.atom_molecule, batch.atom_offsets, key, seed, epoch, 0)
        bonds = self._hide(batch.bond_molecule, batch.bond_offsets, key, seed, epoch, 1)
        return self.masks(torch.from_numpy(atoms), torch.from_numpy(bonds))

    def masks(self, atoms: Tensor, bonds: Tensor) -> MaskDraw:
        """A draw from given masks: atoms bool [A], directed bonds bool [B]."""
        counts = dict.fromkeys(self.node_terms, float(atoms.sum())) | dict.fromkeys(self.edge_terms, float(bonds.sum()))
        return MaskDraw(atoms, bonds, counts)

    def _hide(self, owner: Tensor, offsets: Tensor, key: np.ndarray, seed: int, epoch: int, stream: int) -> np.ndarray:
        molecule, start = owner.cpu().numpy(), offsets.cpu().numpy()
        if stream == 1 and self.hide == "directions":
            molecule, start = molecule.repeat(2), start * 2
        item = np.arange(len(molecule)) - start[molecule]
        score = uniform_draws(key[molecule], item, seed, epoch, stream)
        hidden = choose_fewest(score, molecule, start, self.hidden_count(np.diff(start)))
        return hidden.repeat(2) if stream == 1 and self.hide == "bonds" else hidden

    def hidden_count(self, count: np.ndarray) -> np.ndarray:
        """How many of `count` rows are hidden, rounded up; with published rules rounded in float32 (batmannet.md
        2.2).
        """
        if self.published:
            return np.ceil(count.astype(np.float32) * np.float32(self.mask_ratio)).astype(np.int64)
        return np.ceil(np.round(count * self.mask_ratio, 9)).astype(np.int64)

    def forward(self, batch: GraphBatch, draw: MaskDraw) -> dict[str, Tensor]:  # type: ignore[override]
        return {term: loss.sum() for term, (loss, _, _) in self._losses(batch, draw).items()}

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: MaskDraw) -> dict[str, Figures]:  # type: ignore[override]
        figures: dict[str, Figures] = {}
        for term, (loss, logits, target) in self._losses(batch, draw).items():
            flag = logits.shape[1] == 1
            guess = (logits[:, 0] > 0).long() if flag else logits.argmax(1)
            classes = torch.bincount(target, minlength=2 if flag else logits.shape[1])
            figures[term] = ClassFigures(loss.sum(), (guess == target).sum(), classes)
        return figures

    def reconstruct(self, batch: GraphBatch, draw: MaskDraw, every_row: bool = False) -> tuple[Decoded, Decoded]:
        """Encoder on the visible rows, decoder on all of them; logits of the hidden rows, or of every row with
        padding rows first.
        """
        encoder, features = self.encoder, self.encoder.features(batch)
        seen_atoms, seen_bonds = ~draw.atoms, ~draw.bonds
        halves = self.hide == "directions"
        visible, every = encoder.rows(batch, seen_atoms, seen_bonds, halves), encoder.rows(batch)
        branches = encoder.branches(batch, features, visible, seen_atoms, seen_bonds)
        views = encoder.views(*branches, visible, features, seen_atoms, seen_bonds)
        positions = encoder.positions(batch) if encoder.positional else (None, None)
        node = self._enter(views["atom_from_atom"], draw.atoms, every, positions[0], self.node_decoder)
        edge = self._enter(views["bond_from_bond"], draw.bonds, every, positions[1], self.edge_decoder)
        wanted = [
            torch.arange(len(entered), device=entered.device)
            if every_row
            else hidden.nonzero().flatten() + every.padding
            for entered, hidden in ((node, draw.atoms), (edge, draw.bonds))
        ]
        return self.node_decoder(node, every.node, wanted[0]), self.edge_decoder(edge, every.edge, wanted[1])

    def _enter(self, encoded: Tensor, hidden: Tensor, rows: Rows, position: Tensor | None, decoder: Decoder) -> Tensor:
        """Decoder input: encoded rows where visible, the token or nothing where hidden, plus the positional code."""
        padding, seen = rows.padding, ~hidden
        place = torch.cat([torch.arange(padding, device=hidden.device), seen.cumsum(0) - 1 + padding])
        shown = torch.cat([seen.new_ones(padding), seen])
        # the filler stands one past the encoded rows, so that one gather builds the input
        filler = (
            encoded.new_zeros(1, encoded.shape[1])
            if decoder.token is None
            else decoder.token.to(encoded.dtype).unsqueeze(0)
        )
        entered = torch.cat([encoded, filler]).index_select(0, torch.where(shown, place, encoded.shape[0]))
        if position is None:
            return entered
        code = self.encoder.positional_code(position)
        return entered + torch.cat([code.new_zeros(padding, code.shape[1]), code])

    def _losses(self, batch: GraphBatch, draw: MaskDraw) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Per term: loss of each hidden row [W], logits [W, C], target [W]."""
        node, edge = self.reconstruct(batch, draw)
        atom_slots = fields.slots(self.encoder.atom_groups, batch.atom_codes)
        bond_slots = fields.slots(self.encoder.bond_groups, batch.bond_codes)
        source = batch.source[draw.bonds]
        undirected = draw.bonds.nonzero().flatten() >> 1
        atom_groups, bond_groups = self.encoder.atom_groups, self.encoder.bond_groups
        return self._terms("node", node.logits, atom_groups, atom_slots[draw.atoms]) | self._terms(
            "edge",
            edge.logits,
            (*atom_groups, *bond_groups),
            torch.cat([atom_slots[source], bond_slots[undirected]], dim=1),
        )

    def _terms(
        self, branch: str, logits: Tensor, groups: tuple[Group, ...], slots: Tensor
    ) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        terms = {}
        start = 0
        for i, group in enumerate(groups):
            columns, target, size = logits[:, start : start + group.size].float(), slots[:, i], group.size
            start += size
            if self.published and group.name == "ring":
                continue
            if self.published and group.name == "bond_type":
                columns = logits[:, start - size : start + 1].float()
                target = torch.where(target < 4, target, 4 * slots[:, i + 1])
            if self.published and group.name == "aromatic":
                target = torch.zeros_like(target)
            if columns.shape[1] == 1:
                loss = F.binary_cross_entropy_with_logits(columns[:, 0], target.float(), reduction="none")
            else:
                loss = F.cross_entropy(columns, target, reduction="none")
            terms[f"{branch}_{group.name}"] = (loss, columns, target)
        return terms
