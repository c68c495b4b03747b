"""The summary behind the pooled rows: in the molecule vector, read by heads, trained by objectives."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from small_models import heteroatoms, molecules, small_encoder

from mesomer.chem.featurize import featurize
from mesomer.chem.graph import collate
from mesomer.encoders.base import build_encoder
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.objectives.base import build_objective
from mesomer.outputs import Output
from mesomer.training.context import Context
from mesomer.training.finetune_cell import Cells, molecule_vectors, settle_summary
from mesomer.training.finetune_plan import FinetuneOptions, PropertyData, plan_cells
from mesomer.training.predictor import Target, fresh_encoder

METHODS = {
    "batmannet": {"hidden_size": 16, "blocks": 1, "depth": 2, "dropout": 0.0},
    "gin": {"hidden_size": 16, "depth": 2},
    "grover": {"hidden_size": 16, "heads": 2, "depth": 2, "dropout": 0.0},
    "mat": {"hidden_size": 16, "heads": 2, "blocks": 1},
    "rmat": {"hidden_size": 16, "heads": 2, "blocks": 1, "ffn_hidden": 16},
}
SMILES = [
    "C",
    "[Na+].[Cl-]",
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[C@H](N)C(=O)O",
    "c1ccc2[nH]ccc2c1",
    "FC(F)(F)C#N",
    "CCCCCCCCO",
]
WIDTH = 12


def network(method: str, seed: int = 0):
    torch.manual_seed(seed)
    encoder = build_encoder(method, **METHODS[method], summary=WIDTH).eval()
    encoder.summary.standard.settle(torch.randn(50, encoder.pooled_width))
    return encoder


@pytest.fixture(scope="module", params=sorted(METHODS))
def encoder(request):
    return network(request.param)


def batch_of(smiles):
    graphs = []
    for text in smiles:
        mol = Chem.MolFromSmiles(text)
        conformer, draw = Chem.Conformer(mol.GetNumAtoms()), random.Random(text)
        for atom in range(mol.GetNumAtoms()):
            conformer.SetAtomPosition(atom, [round(draw.uniform(-6, 6), 4) for _ in range(3)])
        mol.AddConformer(conformer)
        graphs.append(featurize(mol, coordinates=True))
    return collate(graphs)


@torch.no_grad()
def vectors_of(encoder, smiles):
    batch = batch_of(smiles)
    return encoder.molecule_vectors(encoder(batch), batch)


def test_the_vector_is_what_is_pooled_with_the_summary_behind_it(encoder):
    batch = batch_of(SMILES)
    with torch.no_grad():
        pooled = encoder.pooled_vectors(encoder(batch), batch)
        summary = encoder.summary
        expected = (pooled - summary.standard.mean) / (summary.standard.variance + 1e-5).sqrt()
        expected = torch.relu(expected @ summary.linear.weight.T + summary.linear.bias)
    vectors = vectors_of(encoder, SMILES)
    assert vectors.shape == (len(SMILES), encoder.molecule_width) and encoder.molecule_width == pooled.shape[1] + WIDTH
    assert torch.equal(vectors[:, : encoder.pooled_width], pooled)
    assert torch.allclose(vectors[:, encoder.pooled_width :], expected, rtol=1e-4, atol=1e-5)
    assert (expected > 0).any() and (expected == 0).any()


@given(st.sampled_from(SMILES), st.lists(st.sampled_from(SMILES), max_size=4), st.integers(0, 4))
@settings(max_examples=6, deadline=None)
def test_batch_mates_change_nothing(encoder, smiles, mates, place):
    together = [*mates[:place], smiles, *mates[place:]]
    at = min(place, len(mates))
    alone = vectors_of(encoder, [smiles])[0]
    assert torch.allclose(alone, vectors_of(encoder, together)[at], rtol=1e-4, atol=1e-5)


def test_config_rebuilds_it_and_without_one_nothing_changes(encoder):
    again = type(encoder)(**encoder.config())
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(vectors_of(again.eval(), SMILES), vectors_of(encoder, SMILES))
    plain = build_encoder(encoder.name, **METHODS[encoder.name])
    assert plain.summary is None and plain.config()["summary"] == 0
    assert not any(name.startswith("summary") for name in plain.state_dict())
    assert plain.molecule_width == plain.pooled_width == encoder.pooled_width


def test_an_encoder_is_given_one_and_keeps_its_weights(encoder):
    torch.manual_seed(3)
    plain = build_encoder(encoder.name, **METHODS[encoder.name]).eval()
    richer = plain.with_summary(5).eval()
    assert richer.molecule_width == plain.molecule_width + 5
    assert torch.equal(vectors_of(richer, SMILES)[:, :-5], vectors_of(plain, SMILES))


def test_a_width_below_nothing_is_refused():
    with pytest.raises(MesomerError, match="summary is -1"):
        small_encoder(summary=-1)


def test_it_is_computed_in_float32_under_autocast(encoder):
    pooled = torch.randn(4, encoder.pooled_width)
    with torch.no_grad():
        expected = encoder.summary(pooled)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(encoder.summary(pooled), expected)


def test_heads_read_all_views_and_the_summary_together(encoder):
    torch.manual_seed(0)
    model = PropertyModel(encoder, [Output("regression")], readout="mean_sum", descriptors_dim=2, linear=True).eval()
    batch, extra = batch_of(SMILES), torch.randn(len(SMILES), 2)
    [inputs] = model.head_inputs(model.encode(batch), batch, extra)
    [raw] = model(batch, extra)
    views = len(encoder.readout_views)
    assert inputs.shape[1] == 2 * encoder.width * views + WIDTH + 2 and len(model.heads) == len(model.linear) == 1
    whole = vectors_of(encoder, SMILES)
    assert torch.allclose(inputs[:, -WIDTH - 2 : -2], whole[:, -WIDTH:], rtol=1e-5, atol=1e-6)
    assert torch.allclose(raw, model.heads[0](inputs) + model.linear[0](inputs))
    raw.sum().backward()
    assert encoder.summary.linear.weight.grad.abs().sum() > 0
    encoder.zero_grad(set_to_none=True)


def test_labels_are_a_linear_map_of_the_summary_and_train_it():
    encoder = small_encoder(summary=WIDTH)
    objective = build_objective("fingerprints", encoder)
    assert [type(part) for part in objective.predict] == [torch.nn.Linear]
    assert objective.predict[0].in_features == WIDTH and objective.config()["hidden"] == 0
    batch = batch_of(SMILES)
    labels = torch.randint(0, 2, (len(SMILES), 1024))
    objective.loss(objective.predicted(encoder(batch), batch), labels).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.summary.parameters())
    assert int(encoder.summary.standard.batches) == 1


@pytest.mark.parametrize(
    ("objective", "trained"),
    [("masked_graph", False), ("masked_graph+motifs", True), ("contrastive", True), ("masked_attributes", False)],
)
def test_what_reaches_the_summary_says_so(objective, trained):
    assert build_objective(objective, small_encoder(summary=WIDTH)).trains_summary is trained


def labelled():
    smiles = molecules(40)
    return PropertyData(
        smiles=smiles,
        rows=list(range(40)),
        graphs=[featurize(Chem.MolFromSmiles(text)) for text in smiles],
        y=np.array([[float(heteroatoms(text))] for text in smiles]),
        targets=[Target("count", "regression")],
        fingerprints=np.zeros((40, 256), np.uint8),
    )


def pooled_of(encoder, graphs):
    with torch.no_grad():
        batch = collate(graphs)
        return encoder.pooled_vectors(encoder(batch), batch).double()


def test_an_untrained_summary_takes_its_scales_from_the_molecules_at_hand():
    data, part = labelled(), np.arange(10, 40)
    encoder = small_encoder(summary=WIDTH).eval()
    settle_summary(encoder, data, part, torch.device("cpu"))
    expected = pooled_of(encoder, data.graphs[10:])
    standard = encoder.summary.standard
    assert torch.allclose(standard.mean.double(), expected.mean(0), atol=1e-5)
    assert torch.allclose(standard.variance.double(), expected.var(0, correction=0), rtol=1e-3, atol=1e-6)
    kept = standard.mean.clone()
    encoder.train()
    encoder.summary(torch.randn(8, encoder.pooled_width))
    settle_summary(encoder, data, np.arange(5), torch.device("cpu"))
    assert torch.equal(standard.mean, kept)


def test_a_short_pretraining_leaves_scales_that_finetuning_holds():
    data, encoder = labelled(), small_encoder(summary=WIDTH)
    encoder.summary(torch.randn(8, encoder.pooled_width))
    kept = encoder.summary.standard.mean.clone()
    settle_summary(encoder, data, np.arange(5), torch.device("cpu"))
    encoder.train()
    encoder.summary(torch.randn(8, encoder.pooled_width))
    assert torch.equal(encoder.summary.standard.mean, kept)


@pytest.mark.parametrize("probe", [True, False])
def test_random_networks_are_the_same_whichever_cell_comes_first(probe):
    from mesomer.data.splits import Split

    data = labelled()
    order = np.random.default_rng(0).permutation(40)
    splits = [
        Split("random", 0, order[:30], order[30:35], order[35:]),
        Split("random", 1, order[10:], order[:5], order[5:10]),
    ]
    plain = {"epochs": 1, "batch_size": 16, "ffn_hidden": 8}
    options = FinetuneOptions(scratch=True, probe=probe, accelerator="cpu", precision="32", **({} if probe else plain))
    base, context = small_encoder(summary=WIDTH), Context.start("cpu", "32")
    cells = plan_cells(splits, options)
    forward = [Cells(data, splits, base, options, context) for _ in range(2)]
    one = {cell: forward[0].run(cell).predicted["test"] for cell in cells}
    other = {cell: forward[1].run(cell).predicted["test"] for cell in reversed(cells)}
    for cell in cells:
        assert np.array_equal(one[cell], other[cell])
    runner = forward[0]
    results = [runner.run(cell) for cell in cells]
    predictor = runner.assemble(results)
    batch = collate([data.graphs[at] for at in splits[1].test])
    assert predictor.predict(batch)[1] == pytest.approx(results[1].predicted["test"], abs=1e-5)


def test_frozen_vectors_of_random_weights_are_settled_on_all_molecules():
    data = labelled()
    encoder = fresh_encoder(small_encoder(summary=WIDTH), 5).eval()
    vectors = molecule_vectors(encoder, data, torch.device("cpu"))
    assert vectors.shape == (40, encoder.molecule_width)
    summary = vectors[:, -WIDTH:]
    assert ((summary > 0).mean(0) > 0.05).mean() > 0.8  # unscaled, most units would be all on or all off
    assert ((summary > 0).mean(0) < 0.95).mean() > 0.8


def test_scales_are_taken_without_spoiling_the_weights_where_the_encoder_moves(monkeypatch):
    """A change of dtype and back takes the way that a move to another device takes."""
    data, encoder = labelled(), small_encoder(summary=WIDTH)
    monkeypatch.setattr(type(encoder), "to", lambda self, device: self.double().float())
    settle_summary(encoder, data, np.arange(40), torch.device("cpu"))
    assert not any(tensor.is_inference() for tensor in encoder.state_dict().values())
    batch = collate(data.graphs[:4])
    encoder.molecule_vectors(encoder(batch), batch).sum().backward()


def test_asking_for_vectors_leaves_the_encoder_as_it_is():
    encoder = small_encoder(summary=WIDTH).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    first = molecule_vectors(encoder, labelled(), torch.device("cpu"))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert np.array_equal(first, molecule_vectors(encoder, labelled(), torch.device("cpu")))


def test_a_published_network_takes_no_summary_of_other_views_into_finetuning():
    sizes = {"rules": "published", "stage": "pretraining", "pooling": "mean"}
    encoder = small_encoder(summary=WIDTH, **sizes)
    encoder.summary.standard.settle(torch.randn(20, encoder.pooled_width))
    started = encoder.for_finetuning(3)
    assert started.summary.standard.untouched
    weight = "node_blocks.0.merge.weight"
    assert torch.equal(started.state_dict()[weight], encoder.state_dict()[weight])


def test_the_second_network_of_context_prediction_has_none():
    encoder = build_encoder("gin", **METHODS["gin"], summary=WIDTH)
    assert build_objective("context_prediction", encoder).surroundings.summary is None


@pytest.mark.parametrize("width", ["12", 1.5])
def test_a_width_that_is_no_whole_number_is_refused(width):
    with pytest.raises(MesomerError, match="option summary is"):
        small_encoder(summary=width)
