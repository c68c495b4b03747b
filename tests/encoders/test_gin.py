"""The GIN family beyond the published outputs: what a result must not depend on, batch norm, fields, readouts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem import published
from mesomer.chem.featurize import featurize, graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.chem.masking import hide
from mesomer.chem.schema import ATOM_BYTES, BOND_BYTES
from mesomer.encoders.base import build_encoder, sizes
from mesomer.encoders.gin import VIEW, GINFamily
from mesomer.encoders.gin_features import FieldRows, input_fields
from mesomer.encoders.readouts import READOUTS, GraphReadout
from mesomer.errors import MesomerError

SMILES = [
    "C",
    "[Na+].[Cl-]",
    "CCO",
    "C[C@H](N)C(=O)O",
    "F/C=C/Cl",
    "F/C=C\\Cl",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "C[C@]12CC[C@H]3[C@@H](CC[C@@H]4CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "F[P-](F)(F)(F)(F)F",
    "[Fe+3]",
]
LAYERS = ("gin", "gcn", "graphsage", "gat")


def disturbed(**options) -> GINFamily:
    """A small encoder of which no parameter or statistic has a symmetric value that could hide a dependence."""
    torch.manual_seed(3)
    network = GINFamily(**({"hidden_size": 8, "depth": 2} | options)).eval()
    with torch.no_grad():
        for tensor in (*network.parameters(), *(norm.running_mean for norm in network.norms)):
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return network


@pytest.fixture(scope="module", params=LAYERS)
def encoder(request) -> GINFamily:
    return disturbed(layer=request.param)


def graphs_of(smiles):
    return [graph_from_smiles(text)[0] for text in smiles]


@torch.no_grad()
def encoded(encoder, graphs):
    """The vectors of atoms and of molecules."""
    batch = collate(graphs)
    output = encoder(batch)
    return output.views[VIEW], encoder.molecule_vectors(output, batch), batch


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@given(st.sampled_from(SMILES), st.lists(st.sampled_from(SMILES), max_size=4), st.integers(0, 4))
@settings(max_examples=10, deadline=None)
def test_batch_mates_change_nothing(encoder, smiles, mates, place):
    graphs = graphs_of(mates)
    place = min(place, len(graphs))
    graphs.insert(place, *graphs_of([smiles]))
    alone, together = encoded(encoder, [graphs[place]]), encoded(encoder, graphs)
    assert close(alone[1][0], together[1][place])
    assert close(alone[0], together[0][slice(*together[2].atom_offsets[place : place + 2].tolist())])


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_neither_atom_order_nor_spelling_changes_anything(encoder, smiles, seed):
    mol = Chem.MolFromSmiles(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    first, second = encoded(encoder, [featurize(mol)]), encoded(encoder, [featurize(Chem.RenumberAtoms(mol, order))])
    assert close(first[1], second[1]) and close(first[0][order], second[0])
    spelt = Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed)[0]
    assert close(encoded(encoder, graphs_of([spelt]))[1], first[1])


@pytest.mark.parametrize("features", ["basic", "rich"])
@pytest.mark.parametrize("pair", [("F/C=C/Cl", "F/C=C\\Cl"), ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"), ("CC", "C=C")])
def test_different_molecules_differ(features, pair):
    vectors = encoded(disturbed(features=features), graphs_of(pair))[1]
    assert not close(vectors[0], vectors[1])


def test_rich_features_see_what_basic_ones_do_not():
    graphs = graphs_of(["C[O]", "CO", "[NH4+]", "N"])
    basic, rich = (encoded(disturbed(features=features), graphs)[1] for features in ("basic", "rich"))
    for at in (0, 2):
        assert close(basic[at], basic[at + 1]) and not close(rich[at], rich[at + 1])


def test_published_features_change_with_the_spelling():
    vectors = encoded(disturbed(rules="published"), graphs_of(["F/C=C/Cl", "F\\C=C\\Cl"]))[1]
    assert not close(vectors[0], vectors[1])


def test_batch_norm_sees_mates_in_training_only():
    network, graphs = disturbed(), graphs_of(SMILES)
    statistics = [norm.running_mean.clone() for norm in network.norms]
    encoded(network, graphs)
    assert all(torch.equal(a, norm.running_mean) for a, norm in zip(statistics, network.norms, strict=True))
    network.train()
    together, alone = encoded(network, graphs)[0], encoded(network, graphs[2:3])[0]
    assert not close(together[3:6], alone)
    assert not any(torch.equal(a, norm.running_mean) for a, norm in zip(statistics, network.norms, strict=True))


def test_one_atom_trains(encoder):
    """Published code stops here: one row has no variance."""
    network = disturbed(**encoder.config()).train()
    loss = network(collate(graphs_of(["C"]))).views[VIEW].square().sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(network.atoms.grad).all()
    assert close(encoded(network, graphs_of(["C"]))[0], encoded(network.eval(), graphs_of(["C"]))[0])


def test_every_weight_learns(encoder):
    network = disturbed(**encoder.config()).train()
    network(collate(graphs_of(SMILES))).views[VIEW].square().sum().backward()
    assert not [name for name, x in network.named_parameters() if x.grad is None or not torch.isfinite(x.grad).all()]


def test_half_precision_is_near(encoder):
    network, batch = disturbed(**encoder.config() | {"hidden_size": 32}), collate(graphs_of(SMILES))
    with torch.no_grad():
        exact = network(batch).views[VIEW]
        with torch.autocast("cpu", torch.bfloat16):
            near = network(batch)
            vectors = network.molecule_vectors(near, batch)
    assert near.views[VIEW].dtype == vectors.dtype == torch.float32
    assert (near.views[VIEW] - exact).norm() < 0.1 * exact.norm()


def test_rows_are_the_published_ones_for_every_code():
    atoms, bonds = (FieldRows(fields) for fields in input_fields("published", "basic"))
    codes = np.random.default_rng(0).integers(0, 256, (4000, ATOM_BYTES)).astype(np.uint8)
    codes[:256, 0] = np.arange(256)
    expected = published.basic_atoms(codes)
    found = atoms(torch.from_numpy(codes)).numpy() - [0, 120]
    known = expected >= 0
    np.testing.assert_array_equal(found[known], expected[known])
    assert set(found[:, 0][~known[:, 0]]) == {118, 119} and set(found[:, 1][~known[:, 1]]) == {0}
    codes = np.stack(np.divmod(np.arange(1 << 16), 256), axis=1).astype(np.uint8)
    assert codes.shape[1] == BOND_BYTES
    expected, found = published.basic_bonds(codes), bonds(torch.from_numpy(codes)).numpy() - [0, 6]
    known = expected >= 0
    np.testing.assert_array_equal(found[known], expected[known])
    masked = codes[:, 0] & 31 == 31
    assert set(found[masked, 0]) == {5} and set(found[~known[:, 0] & ~masked, 0]) == {0}


@pytest.mark.parametrize("options", [{"rules": "published"}, {"features": "basic"}, {"features": "rich"}])
def test_a_hidden_atom_and_bond_are_unlike_all_others(options):
    """What is hidden looks alike, whatever it was; nothing that is no mask looks up its rows."""
    network = disturbed(**options)
    batch = collate(graphs_of(["*C", "[U+2]", "c1ccccc1", "C[C@H](N)Cl", "C->[Fe]"]))
    everywhere = hide(batch, torch.ones(batch.num_atoms, dtype=torch.bool), torch.ones(batch.num_bonds // 2) > 0)
    for rows, codes, masks, mask in (
        (network.atom_rows, batch.atom_codes, everywhere.atom_codes, 119),
        (network.bond_rows, batch.bond_codes, everywhere.bond_codes, 5),
    ):
        assert len(torch.unique(rows(masks), dim=0)) == 1 and rows(masks)[0, 0] == mask
        assert mask not in rows(codes)[:, 0]


@pytest.mark.parametrize("kind", [*READOUTS, "set2set3"])
def test_readouts_against_one_molecule_at_a_time(kind):
    torch.manual_seed(0)
    readout = GraphReadout(6, kind)
    sizes_of, x = [3, 1, 5], torch.randn(9, 6)
    found = readout(x, torch.repeat_interleave(torch.arange(3), torch.tensor(sizes_of)), 3)
    assert found.shape == (3, readout.out_width)
    for row, part in zip(found, x.split(sizes_of), strict=True):
        if kind.startswith("set2set"):
            known, state = torch.zeros(12), None
            for _ in range(int(kind[-1])):
                question, state = readout.memory(known.view(1, 1, -1), state)
                question = question.flatten()
                known = torch.cat([question, torch.softmax(part @ question, 0) @ part])
            expected = known
        elif kind == "gate":
            expected = torch.softmax(readout.gate(part)[:, 0], 0) @ part
        else:
            by_kind = {"mean": part.mean(0), "sum": part.sum(0), "max": part.amax(0)}
            by_kind["mean_sum"] = torch.cat([part.mean(0), part.sum(0) / 32])
            expected = by_kind[kind]
        assert close(row, expected)


@pytest.mark.parametrize("jk", ["last", "concat", "max", "sum"])
def test_jumps_and_config(jk):
    first = disturbed(jk=jk, layer="gat", pooling="set2set2", dropout=0.2)
    second = build_encoder("gin", **first.config())
    second.load_state_dict(first.state_dict())
    graphs = graphs_of(SMILES)
    atoms, vectors, batch = encoded(second.eval(), graphs)
    assert torch.equal(vectors, encoded(first, graphs)[1]) and second.config() == first.config()
    assert atoms.shape[1] == first.width and vectors.shape[1] == first.molecule_width == 2 * first.width
    states = first.states(batch)
    if jk == "sum":
        assert close(atoms, states[0] + states[1] + states[2])


def test_published_sizes():
    """What the published files hold (study.md 2.3)."""
    for layer, count in (("gin", 1_860_905), ("gcn", 507_905), ("graphsage", 507_905), ("gat", 980_405)):
        with torch.device("meta"):
            network = GINFamily(**sizes("gin")["base"], layer=layer, rules="published")
        assert sum(x.numel() for x in network.state_dict().values()) == count


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "mine"},
        {"jk": "mine"},
        {"rules": "mine"},
        {"features": "mine"},
        {"rules": "published", "features": "rich"},
        {"pooling": "set2set0"},
        {"depth": 0},
        {"hidden_size": 0},
        {"dropout": 1.0},
        {"wide": 3},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(MesomerError):
        build_encoder("gin", **({"hidden_size": 8} | options))
