"""Rows in steps: rows of zeros behind the others change nothing, and are there in bfloat16 on a CPU alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.encoders import blocks, fused_block
from mesomer.encoders.batmannet import BatmanNet
from mesomer.encoders.row_steps import STEP, RowLinear, in_steps

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "FS(F)(F)(F)(F)F"]


def always(x: torch.Tensor) -> torch.Tensor:
    """`in_steps` in any precision."""
    return F.pad(x, (0, 0, 0, -x.shape[0] % STEP))


@pytest.mark.parametrize("rows", [1, STEP - 1, STEP, STEP + 1])
def test_rows_of_zeros_up_to_the_next_step(rows):
    x = torch.randn(rows, 3).bfloat16()
    longer = in_steps(x)
    assert longer.shape == (STEP if rows <= STEP else 2 * STEP, 3)
    assert torch.equal(longer[:rows], x)
    assert not longer[rows:].any()


def test_other_precisions_stay_as_they_are():
    x = torch.randn(3, 2)
    assert in_steps(x) is x


def test_encoder_and_gradients_are_the_same_with_rows_behind(monkeypatch):
    torch.manual_seed(1)
    encoder = BatmanNet(hidden_size=12, heads=2, depth=3, blocks=2, dropout=0.0)
    batch = collate([graph_from_smiles(smiles)[0] for smiles in SMILES])

    def run() -> list[torch.Tensor]:
        output = encoder(batch)
        wanted = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        total = sum((view * torch.arange(view.shape[1])).sum() for view in output.views.values())
        return [*output.views.values(), *torch.autograd.grad(total, wanted)]

    monkeypatch.setattr(blocks.RowLinear, "forward", torch.nn.Linear.forward)
    expected = run()
    lengths = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        lengths.append(x.shape[0])
        return always(x)

    for module in (blocks, fused_block):
        monkeypatch.setattr(module, "in_steps", counted)
    found = run()
    assert len(lengths) == 2 * 2 + 2 * 2  # blocks, and what the two output networks are given
    assert all(length % STEP for length in lengths)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_linear_layer_over_rows_is_a_linear_layer():
    torch.manual_seed(0)
    layer = RowLinear(5, 3)
    plain = torch.nn.Linear(5, 3)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(70, 5)
    assert torch.equal(layer(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = layer(x), plain(x)
    assert found.dtype == torch.bfloat16
    assert found.shape == expected.shape
    assert torch.allclose(found.float(), expected.float(), atol=2e-2)
    gradients = [
        torch.autograd.grad(y.float().sum(), model.weight)[0] for y, model in ((found, layer), (expected, plain))
    ]
    assert torch.allclose(*gradients, rtol=1e-2)
