"""Masks, targets and learning of the masked-graph objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.encoders.batmannet import BatmanNet
from mesomer.errors import MesomerError
from mesomer.objectives.base import build_objective, uniform_draws
from mesomer.objectives.masked_graph import MaskedGraph

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C",
    "CCO",
    "F/C=C/Cl",
    "C[C@H](N)C(=O)O",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "[Na+].[Cl-]",
    "CC[N+](C)(C)C",
]


@pytest.fixture
def batch():
    return collate([graph_from_smiles(s)[0] for s in SMILES])


def objective(**options) -> MaskedGraph:
    torch.manual_seed(0)
    return MaskedGraph(BatmanNet(hidden_size=16, blocks=1, dropout=0.0), decoder_blocks=1, **options)


def test_a_bond_is_hidden_whole_and_the_share_is_right(batch):
    draw = objective(mask_ratio=0.6).draw(batch, 0, 0)
    assert torch.equal(draw.bonds[::2], draw.bonds[1::2])
    for hidden, owner, offsets in (
        (draw.atoms, batch.atom_molecule, batch.atom_offsets),
        (draw.bonds[::2], batch.bond_molecule, batch.bond_offsets),
    ):
        found = torch.bincount(owner[hidden], minlength=batch.num_molecules)
        assert torch.equal(found, torch.ceil(torch.round(offsets.diff() * 0.6, decimals=9)).long())


def test_published_rules_hide_each_direction_on_its_own(batch):
    model = MaskedGraph(BatmanNet(hidden_size=8, blocks=1, rules="published", stage="pretraining"), decoder_blocks=1)
    draw = model.draw(batch, 0, 0)
    assert not torch.equal(draw.bonds[::2], draw.bonds[1::2])


def test_directions_are_hidden_on_their_own_where_wanted(batch):
    model = objective(mask_ratio=0.6, hide="directions").eval()
    draw = model.draw(batch, 0, 0)
    assert not torch.equal(draw.bonds[::2], draw.bonds[1::2])
    found = torch.bincount(batch.bond_molecule.repeat_interleave(2)[draw.bonds], minlength=batch.num_molecules)
    assert torch.equal(found, torch.ceil(torch.round(2 * batch.bond_offsets.diff() * 0.6, decimals=9)).long())
    losses = model(batch, draw)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert build_objective("masked_graph", model.encoder, **model.config()).hide == "directions"


def test_masks_are_fresh_each_epoch_unless_frozen(batch):
    for frozen in (False, True):
        model = objective(frozen_masks=frozen)
        first, again, second = model.draw(batch, 0, 0), model.draw(batch, 0, 0), model.draw(batch, 1, 0)
        assert torch.equal(first.atoms, again.atoms)
        assert torch.equal(first.bonds, second.bonds) is frozen
        assert not torch.equal(first.bonds, model.draw(batch, 0, 1).bonds)


def test_a_molecule_is_masked_alike_in_any_batch(batch):
    model = objective()
    whole = model.draw(batch, 2, 5)
    for i, smiles in enumerate(SMILES):
        alone = model.draw(collate([graph_from_smiles(smiles)[0]], keys=[i]), 2, 5)
        assert torch.equal(alone.atoms, whole.atoms[batch.atom_molecule == i])
        assert torch.equal(alone.bonds, whole.bonds[batch.bond_molecule.repeat_interleave(2) == i])


def test_uniform_draws_are_uniform_and_independent():
    item = np.arange(20_000)
    first = uniform_draws(np.zeros_like(item), item, seed=1, epoch=0, stream=0)
    others = [
        uniform_draws(np.zeros_like(item), item, 1, 1, 0), uniform_draws(np.zeros_like(item), item, 1, 0, 1),
        uniform_draws(np.ones_like(item), item, 1, 0, 0), uniform_draws(np.zeros_like(item), item, 2, 0, 0),
    ]  # fmt: skip
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.std() - 12**-0.5) < 0.01
    assert np.abs(np.histogram(first, 20, (0, 1))[0] - 1000).max() < 160
    assert all(abs(np.corrcoef(first, other)[0, 1]) < 0.03 for other in others)


def test_the_hidden_rows_do_not_leak(batch):
    """Changing a hidden atom changes no prediction."""
    model = objective().eval()
    draw = model.draw(batch, 0, 0)
    changed = batch.atom_codes.clone()
    changed[draw.atoms, 0] = 92
    from dataclasses import replace

    with torch.no_grad():
        before, after = (
            model.reconstruct(batch, draw)[0].logits,
            model.reconstruct(replace(batch, atom_codes=changed), draw)[0].logits,
        )
    assert torch.equal(before, after)


def test_terms_are_sums_over_their_counts(batch):
    model = objective().eval()
    draw = model.draw(batch, 0, 0)
    assert model(batch, draw).keys() == draw.counts.keys() == model.weights.keys()
    figures = model.figures(batch, draw)
    for term, total in model(batch, draw).items():
        assert float(total.detach()) == pytest.approx(float(figures[term].loss), rel=1e-5)
        assert int(figures[term].class_counts.sum()) == draw.counts[term]


@pytest.mark.parametrize("hide", ["bonds", "directions"])
def test_molecules_are_reconstructed_alike_in_any_batch(batch, hide):
    model = objective(hide=hide).eval()
    draw = model.draw(batch, 0, 0)
    whole = model.reconstruct(batch, draw)[1].logits
    parts = []
    for i, smiles in enumerate(SMILES):
        single = collate([graph_from_smiles(smiles)[0]], keys=[i])
        parts.append(model.reconstruct(single, model.draw(single, 0, 0))[1].logits)
    assert torch.allclose(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


def test_it_overfits_a_few_molecules(batch):
    model = objective(mask_ratio=0.3, frozen_masks=True)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    draw = model.draw(batch, 0, 0)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = sum(total / draw.counts[term] for term, total in model(batch, draw).items())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]


@pytest.mark.parametrize("options", [{"mask_ratio": 0.0}, {"mask_ratio": 1.5}, {"colour": 1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(MesomerError):
        build_objective("masked_graph", BatmanNet(hidden_size=8, blocks=1), **options)
