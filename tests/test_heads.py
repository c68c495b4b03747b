"""Readouts, property heads and losses: equal to plain Python restatements, and blind to batch mates."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mesomer import heads
from mesomer.chem.graph import MolGraph, collate
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError
from mesomer.heads import INPUT_BOUND, ProbeModel, PropertyHead, PropertyModel, Readout, bounded
from mesomer.outputs import Output


class Tiny(Encoder):
    """Atomic number and neighbour sum to an atom view, bond type and source atom to a bond view."""

    name = "tiny"
    readout_views = ("atom_state", "bond_state")

    def __init__(self, width=6):
        super().__init__()
        self.width = width
        self.atoms, self.bonds, self.dropout = nn.Embedding(256, width), nn.Embedding(256, width), nn.Dropout(0.5)

    def config(self):
        return {"width": self.width}

    def forward(self, batch):
        own = self.dropout(self.atoms(batch.atom_codes[:, 0].long()))
        around = own.index_add(0, batch.target, own[batch.source])
        bonds = self.bonds(batch.bond_codes[:, 0].long()).repeat_interleave(2, 0) + own[batch.source]
        return EncoderOutput({"atom_state": torch.tanh(around), "bond_state": torch.tanh(bonds)})


def chain(atoms, seed=0):
    """A chain molecule with drawn codes; one atom has no bond."""
    rng = np.random.default_rng(seed)
    ends = np.stack([np.arange(atoms - 1), np.arange(1, atoms)], 1).astype(np.uint16)
    codes = rng.integers(0, 200, (atoms, 12)).astype(np.uint8)
    return MolGraph(codes, rng.integers(0, 200, (atoms - 1, 2)).astype(np.uint8), ends)


GRAPHS = [chain(n, seed=n) for n in (3, 1, 7, 2, 5)]


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_readout_equals_the_loop_over_molecules(kind):
    torch.manual_seed(0)
    readout = Readout(4, kind, attn_hidden=5, attn_out=3)
    counts = [3, 0, 1, 4]
    rows = torch.randn(sum(counts), 4)
    molecule = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    expected = []
    for number, count in enumerate(counts):
        x = rows[molecule == number]
        if count == 0:
            expected.append(torch.zeros(readout.out_width))
        elif kind == "mean":
            expected.append(x.mean(0))
        else:
            weights = torch.softmax(readout.w2.weight @ torch.tanh(readout.w1.weight @ x.T), 1)
            expected.append((weights @ x).flatten())
    assert torch.allclose(readout(rows, molecule, 4), torch.stack(expected), atol=1e-6)


def test_attention_survives_large_scores_and_gives_gradients():
    readout = Readout(3, "attention", 4, 2)
    with torch.no_grad():
        readout.w2.weight.mul_(1e4)
    rows = torch.randn(6, 3, requires_grad=True)
    readout(rows, torch.tensor([0, 0, 0, 1, 1, 1]), 3).sum().backward()
    assert torch.isfinite(rows.grad).all()


def test_readout_of_half_precision_rows_sums_in_float32():
    rows = torch.ones(4000, 1, dtype=torch.bfloat16)
    rows[0] = 3
    assert Readout(1)(rows, torch.zeros(4000, dtype=torch.long), 1).item() == pytest.approx(1.0005, abs=1e-6)


def test_head_is_the_published_sequence():
    torch.manual_seed(0)
    head = PropertyHead(5, 2, hidden=4, layers=3, dropout=0.3, activation="PReLU")
    published = nn.Sequential(
        nn.Dropout(0.3), head.linears[0], nn.PReLU(), nn.Dropout(0.3), head.linears[1], nn.PReLU(), nn.Dropout(0.3),
        head.linears[2],
    )  # fmt: skip
    x = torch.randn(7, 5)
    torch.manual_seed(1)
    ours = head(x)
    torch.manual_seed(1)
    assert torch.allclose(ours, published(x))
    # one slope for the whole head, as published
    assert sum(p.numel() for p in head.parameters()) == (5 * 4 + 4) + (4 * 4 + 4) + (4 * 2 + 2) + 1
    assert [tuple(linear.weight.shape) for linear in PropertyHead(5, 2, 4, 1).linears] == [(2, 5)]


MIXED = [Output("regression"), Output("multiclass", 3), Output("binary"), Output("regression")]
TARGETS = torch.tensor(
    [[0.5, 2, 1, math.nan], [math.nan, 0, 0, 1.5], [1.0, math.nan, math.nan, -1], [math.nan] * 4, [2, 1, 1, 0]]
)


def test_loss_of_mixed_types_equals_the_loop_over_labels():
    torch.manual_seed(0)
    raw = [torch.randn(5, 6), torch.randn(5, 6)]
    total, count = heads.property_loss(raw, TARGETS, MIXED, disagreement=0.3)
    expected, labels = 0.0, 0
    for row in range(5):
        for task, columns in enumerate(([0], [1, 2, 3], [4], [5])):
            y = TARGETS[row, task].item()
            if math.isnan(y):
                continue
            labels += 1
            a, b = (view[row, columns] for view in raw)
            expected += 0.3 * float((a - b).square().mean())
            for z in (a, b):
                if len(columns) == 3:
                    expected -= float(torch.log_softmax(z, 0)[int(y)])
                elif task == 2:
                    p = 1 / (1 + math.exp(-z.item()))
                    expected -= y * math.log(p) + (1 - y) * math.log(1 - p)
                else:
                    expected += (z.item() - y) ** 2
    assert count.item() == labels == 12
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_missing_labels_give_no_gradient():
    raw = [torch.randn(5, 6, requires_grad=True)]
    heads.property_loss(raw, TARGETS, MIXED)[0].backward()
    gradient = raw[0].grad
    assert torch.isfinite(gradient).all()
    assert (gradient[3] == 0).all() and (gradient[0, 5] == 0) and (gradient[2, 1:5] == 0).all()
    assert (gradient[4] != 0).all()


def test_prediction_is_the_mean_of_the_views_after_their_own_function():
    raw = [torch.tensor([[1.0, 2.0, 0.0, 0.0, 4.0, 5.0]]), torch.tensor([[3.0, 0.0, 1.0, 0.0, -4.0, 1.0]])]
    final = heads.final_outputs(raw, MIXED)[0]
    assert final[0] == 2 and final[5] == 3 and final[4] == pytest.approx(0.5)
    soft = (torch.softmax(raw[0][0, 1:4], 0) + torch.softmax(raw[1][0, 1:4], 0)) / 2
    assert torch.allclose(final[1:4], soft)


@pytest.mark.parametrize("readout", ["mean", "attention"])
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(5)), size=st.integers(1, 5))
def test_a_molecule_does_not_feel_its_batch_mates(readout, order, size):
    torch.manual_seed(0)
    model = PropertyModel(Tiny(), MIXED, readout=readout, descriptors_dim=2, attn_hidden=4, attn_out=2).eval()
    extra = torch.randn(5, 2)
    alone = torch.cat([model.predict(collate([GRAPHS[i]]), extra[i : i + 1]) for i in range(5)])
    chosen = list(order[:size])
    together = model.predict(collate([GRAPHS[i] for i in chosen]), extra[chosen])
    assert torch.allclose(together, alone[chosen], atol=1e-6)


def test_views_share_the_readout_and_have_their_own_heads():
    model = PropertyModel(Tiny(), [Output("regression")], readout="attention", ffn_hidden=7)
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"encoder", "readout", "heads"} and len(model.heads) == 2
    first, second = model.eval()(collate(GRAPHS))
    assert not torch.allclose(first, second)
    vectors = model.molecule_vectors(collate(GRAPHS))
    assert vectors.shape == (5, 2 * model.readout.out_width)
    # a lone atom has no bond: its bond half is zero
    assert (vectors[1, model.readout.out_width :] == 0).all() and (vectors[1] != 0).any()


def test_config_rebuilds_the_model():
    model = PropertyModel(Tiny(), MIXED, readout="attention", ffn_layers=3, dropout=0.2, activation="SELU")
    twin = PropertyModel(Tiny(), **model.config())
    twin.load_state_dict(model.state_dict())
    batch = collate(GRAPHS)
    assert torch.equal(model.eval().predict(batch), twin.eval().predict(batch))


def test_a_frozen_encoder_learns_nothing_and_drops_nothing():
    model = PropertyModel(Tiny(), [Output("regression")])
    model.freeze_encoder(True)
    model.train()
    batch = collate(GRAPHS)
    assert torch.equal(model.molecule_vectors(batch), model.molecule_vectors(batch))
    model.loss(model(batch), torch.zeros(5, 1))[0].backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.heads.parameters())
    model.freeze_encoder(False)
    assert not torch.equal(model.molecule_vectors(batch), model.molecule_vectors(batch))
    model.loss(model(batch), torch.zeros(5, 1))[0].backward()
    assert model.encoder.atoms.weight.grad is not None


def test_standard_of_constant_columns_blows_nothing_up():
    model = PropertyModel(Tiny(), [Output("regression")], standardize=True)
    rows = torch.randn(50, 6)
    rows[:, 0], rows[:, 1] = 3.0, 1e-9 * rows[:, 1]
    model.set_standard([rows, torch.ones(50, 6)])
    assert model.centers[0, 0] == 3.0 and model.scales[0].min() > 1e-3
    assert torch.allclose(model.scales[0, 2:], rows[:, 2:].std(0, correction=0))
    assert (model.scales[1] == 1).all()
    twin = PropertyModel(Tiny(), **model.config())
    twin.load_state_dict(model.state_dict())
    batch = collate(GRAPHS)
    assert torch.equal(model.eval().predict(batch), twin.eval().predict(batch))
    assert not torch.equal(model.predict(batch), PropertyModel(Tiny(), [Output("regression")]).eval().predict(batch))


def test_probe_is_linear_in_the_standardised_vector():
    encoder = Tiny().eval()
    probe = ProbeModel(encoder, [Output("binary")], vector_width=12, descriptors_dim=1)
    probe.center.fill_(0.5)
    probe.scale.fill_(2.0)
    batch, extra = collate(GRAPHS), torch.arange(5.0)[:, None]
    vectors = torch.cat([probe.molecule_vectors(batch), extra], 1)
    expected = torch.sigmoid((vectors - 0.5) / 2 @ probe.linear.weight.T + probe.linear.bias)
    assert torch.allclose(probe.predict(batch, extra), expected)
    ProbeModel(encoder, **probe.config()).load_state_dict(probe.state_dict())


def test_what_lies_far_out_is_bounded_and_keeps_order_and_gradient():
    x = torch.tensor([-616.0, -3.5, -3.0, -0.2, 0.0, 2.999, 3.0, 41.0, 616.0, 1e30], requires_grad=True)
    y = bounded(x, INPUT_BOUND)
    inside = x.detach().abs() <= INPUT_BOUND
    assert torch.equal(y[inside], x[inside]) and torch.equal(bounded(x, None), x)
    assert (y.diff() > 0).all() and torch.equal(bounded(-x, INPUT_BOUND), -y)
    assert y[8].item() == pytest.approx(3 + math.log1p(613)) and y[9] < 75
    y.sum().backward()
    assert (x.grad[:9] > 0).all() and (x.grad[inside] == 1).all()


def test_a_molecule_unlike_all_others_gets_no_absurd_prediction():
    """A column that one training molecule in a hundred has: the next one that has it lies far out."""
    plain, tame = (PropertyModel(Tiny(), [Output("regression")], standardize=True, bound=b) for b in (None, 3.0))
    rows = torch.randn(300, 6)
    rows[:, 0] = 0.0
    rows[0, 0] = 0.2
    strange = torch.zeros(1, 6)
    strange[0, 0] = 5.0
    for model, limit in ((plain, math.inf), (tame, 10.0)):
        model.set_standard([rows, rows])
        assert model.standardized([strange, strange])[0].abs().max() < limit
        twin = PropertyModel(Tiny(), **model.config())
        assert twin.bound == model.bound
    assert plain.standardized([strange, strange])[0].abs().max() > 100


def test_wrong_names_and_missing_descriptors_are_refused():
    with pytest.raises(MesomerError, match="mean"):
        Readout(3, "means")
    with pytest.raises(MesomerError, match="binary"):
        PropertyModel(Tiny(), [Output("binari")])
    with pytest.raises(MesomerError, match="ReLU"):
        PropertyModel(Tiny(), [Output("binary")], activation="relu")
    with pytest.raises(ValueError, match="takes 2 descriptors"):
        PropertyModel(Tiny(), [Output("binary")], descriptors_dim=2)(collate(GRAPHS))
