"""The block as one function: it equals the block of parts, and its gradient is that of its output."""

from __future__ import annotations

import pytest
import torch

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import GraphBatch, collate
from mesomer.encoders.blocks import GTransformerBlock
from mesomer.encoders.fused_block import BlockSettings, BlockWeights, fused_block
from mesomer.encoders.rows import EdgeRows, NodeRows, edge_rows, node_rows

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "FS(F)(F)(F)(F)F"]
HIDDEN = 12
OPTIONS = [
    {"heads": 2, "depth": 3, "bias": True, "add_input": True},
    {"heads": 3, "depth": 3, "bias": True, "add_input": False},
    {"heads": 2, "depth": 2, "bias": False, "add_input": True},
    {"heads": 4, "depth": 4, "bias": False, "add_input": False},
]


@pytest.fixture(scope="module")
def batch() -> GraphBatch:
    return collate([graph_from_smiles(smiles)[0] for smiles in SMILES])


def hidden_bonds(batch: GraphBatch) -> torch.Tensor:
    """Every third bond is hidden whole."""
    return (torch.arange(batch.num_bonds // 2) % 3 > 0).repeat_interleave(2)


def rows_of(batch: GraphBatch) -> list[NodeRows | EdgeRows]:
    seen = torch.arange(batch.num_atoms) % 3 > 0
    halves = edge_rows(batch, torch.arange(batch.num_bonds) % 3 > 0, halves=True)
    return [node_rows(batch), edge_rows(batch), node_rows(batch, seen), edge_rows(batch, hidden_bonds(batch)), halves]


def test_a_direction_whose_reverse_is_hidden_sums_the_visible_ones_behind_it(batch):
    seen = torch.arange(batch.num_bonds) % 3 > 0
    rows = edge_rows(batch, seen, halves=True)
    shown = seen.nonzero().flatten().tolist()
    x = torch.randn(len(shown), 3, dtype=torch.float64)
    source, target = batch.source.tolist(), batch.target.tolist()
    for row, bond in enumerate(shown):
        behind = [x[at] for at, other in enumerate(shown) if target[other] == source[bond] and other != bond ^ 1]
        expected = torch.stack(behind).sum(0) if behind else torch.zeros(3, dtype=torch.float64)
        assert torch.allclose(rows.message(x)[row], expected)


def number_of_rows(rows: NodeRows | EdgeRows) -> int:
    return rows.offsets.numel() - 1 if isinstance(rows, NodeRows) else rows.source.numel()


def block_of(**options) -> GTransformerBlock:
    torch.manual_seed(2)
    block = GTransformerBlock(HIDDEN, activation="LeakyReLU", dropout=0.3, **options).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return block


def test_lists_sum_the_messages_and_their_transpose_is_the_gradient(batch):
    for rows in rows_of(batch):
        lists = rows.lists()
        x = torch.randn(number_of_rows(rows), 5, dtype=torch.float64, requires_grad=True)
        expected = rows.message(x)
        assert torch.allclose(lists.sum(x), expected)
        weights = torch.randn_like(expected)
        assert torch.allclose(lists.transposed_sum(weights), torch.autograd.grad((expected * weights).sum(), x)[0])
        several = torch.randn(3, *x.shape, dtype=torch.float64)
        assert torch.allclose(lists.sum(several), torch.stack([rows.message(part) for part in several]))


@pytest.mark.parametrize("options", OPTIONS)
def test_fused_block_is_the_block_of_parts(batch, options):
    block = block_of(**options).eval()
    for rows in rows_of(batch):
        x = torch.randn(number_of_rows(rows), HIDDEN, dtype=torch.float64, requires_grad=True)
        lists = rows.lists()
        parts, fused = block(x, rows), block(x, rows, lists)
        assert torch.allclose(fused, parts, atol=1e-10)
        with torch.no_grad():
            assert torch.allclose(block(x, rows, lists), fused)
        weights = torch.randn_like(parts)
        wanted = [x, *block.parameters()]
        expected, found = (torch.autograd.grad((y * weights).sum(), wanted) for y in (parts, fused))
        for a, b in zip(expected, found, strict=True):
            assert torch.allclose(a, b, atol=1e-9)


def test_gradient_with_dropout(batch):
    rows = edge_rows(batch)
    lists = rows.lists()
    generator = torch.Generator().manual_seed(1)
    masks: dict[torch.Size, torch.Tensor] = {}

    def mask(x: torch.Tensor) -> torch.Tensor:
        """The same for every tensor of a shape."""
        if x.shape not in masks:
            masks[x.shape] = (torch.rand(x.shape, generator=generator) > 0.3).to(x.dtype) / 0.7
        return masks[x.shape].clone()

    networks = 6
    settings = BlockSettings(heads=2, rounds=2, add_input=True, eps=1e-5, dtype=torch.float64, mask=mask)
    sizes = [(networks, 4, 4), (networks, 4), (3, 4, 4), (3, 4), (2, 4, 4), (4,), (4,), (4,)]
    weights = [torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_() for size in sizes]
    x = torch.randn(number_of_rows(rows), 4, dtype=torch.float64, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, *weights: fused_block(x, BlockWeights(*weights), lists, settings), (x, *weights), fast_mode=True
    )


def test_training_drops_with_and_without_gradient(batch):
    block = block_of(**OPTIONS[0]).train()
    rows = edge_rows(batch)
    x, lists = torch.randn(number_of_rows(rows), HIDDEN, dtype=torch.float64), rows.lists()
    torch.manual_seed(5)
    dropped = block(x, rows, lists)
    torch.manual_seed(5)
    with torch.no_grad():
        assert torch.allclose(block(x, rows, lists), dropped)
    assert (dropped == 0).double().mean() == pytest.approx(0.3, abs=0.06)


def test_autocast_keeps_parameters_and_their_gradients_in_float32(batch):
    block = block_of(**OPTIONS[0]).float().eval()
    rows = edge_rows(batch)
    x = torch.randn(number_of_rows(rows), HIDDEN)
    with torch.autocast("cpu", torch.bfloat16):
        half = block(x, rows, rows.lists())
    assert half.dtype is torch.bfloat16
    assert torch.nn.functional.cosine_similarity(half.float(), block(x, rows), dim=1).min() > 0.999
    half.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in block.parameters())


def test_place_in_the_batch_changes_not_one_bit():
    block = block_of(**OPTIONS[0]).float().eval()
    graphs = [graph_from_smiles(smiles)[0] for smiles in SMILES * 7]
    forth, back = collate(graphs), collate(graphs[::-1])
    x = torch.randn(forth.num_bonds, HIDDEN)
    bonds = torch.arange(forth.num_bonds).split((2 * forth.bond_offsets).diff().tolist())
    order = torch.cat(bonds[::-1])
    rows, turned = edge_rows(forth), edge_rows(back)
    with torch.no_grad():
        assert torch.equal(block(x, rows, rows.lists())[order], block(x[order], turned, turned.lists()))
