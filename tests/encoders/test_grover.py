"""GROVER's encoder beyond the published outputs: what the sound one must not depend on, variants, depths, columns."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem import published
from mesomer.chem.featurize import featurize, featurize_many, graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.chem.schema import ATOM_BYTES, ATOM_FIELDS, BOND_BYTES, CHARGE_OFFSET
from mesomer.encoders.base import build_encoder, sizes
from mesomer.encoders.grover import VIEWS, Grover
from mesomer.encoders.grover_blocks import DynamicNetworks, draw_depths
from mesomer.encoders.grover_features import published_tables
from mesomer.encoders.rows import node_rows, table_width
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.outputs import Output

SMILES = [
    "C",
    "[Na+].[Cl-]",
    "CCO",
    "C[C@H](N)C(=O)O",
    "OC(=O)[C@@H](C)N",
    "F/C=C/Cl",
    "F/C=C\\Cl",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "O=S(=O)(N)c1ccc(cc1)n1nc(cc1c1ccc(C)cc1)C(F)(F)F",
    "C[C@]12CC[C@H]3[C@@H](CC[C@@H]4CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "F[P-](F)(F)(F)(F)F",
    "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1",
    "[Fe+3]",
]


def disturbed(**options) -> Grover:
    """A small encoder of which no parameter has a symmetric value that could hide a dependence."""
    torch.manual_seed(3)
    network = Grover(**({"hidden_size": 16, "depth": 3, "heads": 2, "blocks": 2} | options)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.fixture(scope="module", params=["code", "paper"])
def encoder(request) -> Grover:
    return disturbed(attention=request.param, update=request.param)


def encoded(encoder, graphs):
    batch = collate(graphs)
    with torch.no_grad():
        output = encoder(batch)
        return batch, output, encoder.molecule_vectors(output, batch)


def graphs_of(smiles):
    return [graph_from_smiles(text)[0] for text in smiles]


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@given(st.sampled_from(SMILES), st.lists(st.sampled_from(SMILES), max_size=5), st.integers(0, 5))
@settings(max_examples=12, deadline=None)
def test_batch_mates_change_nothing(encoder, smiles, mates, place):
    graphs = graphs_of(mates)
    place = min(place, len(graphs))
    graphs.insert(place, *graphs_of([smiles]))
    alone, together = encoded(encoder, [graphs[place]]), encoded(encoder, graphs)
    assert close(alone[2][0], together[2][place])
    for view in VIEWS:
        offsets = together[0].atom_offsets if view.startswith("atom") else 2 * together[0].bond_offsets
        rows = slice(*offsets[place : place + 2].tolist())
        assert close(alone[1].views[view], together[1].views[view][rows])


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_atom_order_changes_the_order_of_rows_only(encoder, smiles, seed):
    mol = Chem.MolFromSmiles(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    first, second = encoded(encoder, [featurize(mol)]), encoded(encoder, [featurize(Chem.RenumberAtoms(mol, order))])
    assert close(first[2], second[2])
    back = {old: new for new, old in enumerate(order)}
    rows = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(second[0].source, second[0].target, strict=True))}
    same = [rows[back[int(a)], back[int(b)]] for a, b in zip(first[0].source, first[0].target, strict=True)]
    for view in VIEWS:
        ours, moved = first[1].views[view], second[1].views[view]
        assert close(ours[order], moved) if view.startswith("atom") else close(ours, moved[same])


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_the_spelling_changes_nothing(encoder, smiles, seed):
    spelt = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed)[0]
    assert close(encoded(encoder, graphs_of([smiles]))[2], encoded(encoder, graphs_of([spelt]))[2])


@pytest.mark.parametrize(
    "pair", [("F/C=C/Cl", "F/C=C\\Cl"), ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"), ("C[O]", "CO"), ("[NH4+]", "N")]
)
def test_different_molecules_differ(encoder, pair):
    vectors = encoded(encoder, graphs_of(pair))[2]
    assert not close(vectors[0], vectors[1])


def test_the_published_function_mixes_batch_mates_only_if_asked():
    graphs = graphs_of(["CCO", "CC(C)(C)C", "F[P-](F)(F)(F)(F)F"])
    network = disturbed(rules="published")
    assert close(encoded(network, graphs[:1])[2][0], encoded(network, graphs)[2][0])
    network.batchwise = True
    assert not close(encoded(network, graphs[:1])[2][0], encoded(network, graphs)[2][0])
    assert network.config()["batchwise"] is True


def test_imported_models_take_tables_of_four_columns_or_as_many_as_a_molecule_needs():
    graphs = graphs_of(["CCO", "CC(C)(C)C", "F[P-](F)(F)(F)(F)F", "C"])
    widths = table_width(collate(graphs), batchwise=False)
    assert widths.values[widths.of_molecule].tolist() == [4, 4, 6, 4]
    assert table_width(collate(graphs[:1]), batchwise=True).values.tolist() == [2]


@pytest.mark.parametrize("rules", ["sound", "published"])
def test_each_variant_of_the_paper_is_another_function_of_the_same_weights(rules):
    code, graphs = disturbed(rules=rules), graphs_of(SMILES)
    vectors = encoded(code, graphs)[2]
    for option in ("attention", "update"):
        paper = Grover(**(code.config() | {option: "paper"})).eval()
        paper.load_state_dict(code.state_dict())
        assert not close(encoded(paper, graphs)[2], vectors)


def test_attention_over_the_molecule_is_softmax_over_its_rows():
    """Against a plain computation, one molecule and one head at a time."""
    network = disturbed(attention="paper", blocks=1, heads=2, rules="published", batchwise=True)
    batch = collate(graphs_of(["CCO", "C", "c1ccccc1F"]))
    rows = network.rows(batch)
    block, width = network.node_blocks[0], network.width
    states = torch.randn(batch.num_atoms + rows.padding, 3, 2, width)
    with torch.no_grad():
        found = block.attend(states, rows.node)
        query, key, value = (
            layer(states[:, i])
            for i, layer in enumerate((block.attention.query, block.attention.key, block.attention.value))
        )
        owner = torch.cat([torch.full((rows.padding,), -1), batch.atom_molecule])
        for molecule in owner.unique():
            mine = (owner == molecule).nonzero().flatten()
            for head in range(2):
                scores = query[mine, head] @ key[mine, head].T / math.sqrt(width)
                mixed = block.attention.output(torch.softmax(scores, dim=1) @ value[mine, head])
                assert close(found[mine, head], mixed)


def test_depths_are_drawn_as_published():
    torch.manual_seed(0)
    counts = Counter(draw_depths(6, 20_000))
    shares = {3: 0.0215, 4: 0.1363, 5: 0.3423, 6: 0.3423, 7: 0.1363, 8: 0.0215}  # grover.md 3.2
    assert counts.keys() == shares.keys()
    for depth, share in shares.items():
        assert counts[depth] / 20_000 == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("activation", ["PReLU", "LeakyReLU"])
@pytest.mark.parametrize("depths", [[4, 2, 3, 1], [3, 3, 3, 3], [0, -1, 1, 0], [1, 5, 5, 1], [5, 4, 3, 2]])
def test_networks_with_depths_are_networks_of_these_depths(activation, depths):
    torch.manual_seed(1)
    batch = collate(graphs_of(SMILES))
    lists, x = node_rows(batch), torch.randn(batch.num_atoms, 8)
    together = DynamicNetworks(8, 4, 3, activation, True, 0.0, True)
    if together.activation.slope is not None:
        torch.nn.init.uniform_(together.activation.slope, 0.1, 0.9)
    found = together(x, lists, depths).view(len(x), 4, 8)
    for network, depth in enumerate(depths):
        alone = DynamicNetworks(8, 4, max(depth, 1), activation, True, 0.0, True)
        alone.load_state_dict(together.state_dict())
        expected = alone(x, lists).view(len(x), 4, 8)[:, network]
        torch.testing.assert_close(found[:, network], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("update", ["code", "paper"])
@pytest.mark.parametrize(
    "depths", [None, [4, 2, 3, 1, 5, 2], [2, 2, 2, 2, 2, 1], [0, 3, 3, -1, 3, 0], [1, 0, 1, 1, 0, 1]]
)
def test_the_fused_block_is_the_block_part_by_part(depths, update, bias):
    """States and gradients in double precision, with and without depths of their own; states without gradients too."""
    network = disturbed(blocks=1, update=update, bias=bias, dropout=0.0).double().train()
    batch = collate(graphs_of(SMILES))
    rows = network.rows(batch)
    for block, hood in ((network.node_blocks[0], rows.node), (network.edge_blocks[0], rows.edge)):
        x = torch.randn(hood.lists.lists().rows, network.width, dtype=torch.float64, requires_grad=True)
        weight = torch.randn_like(x)
        found = []
        for lists in (None, hood.lists.lists()):
            network.zero_grad()
            x.grad = None
            state = block(x, hood, depths, lists)
            (state * weight).sum().backward()
            names = dict(block.named_parameters())
            found.append([state.detach(), x.grad, *(p.grad for n, p in names.items() if not n.startswith("project"))])
        with torch.no_grad():
            torch.testing.assert_close(block(x, hood, depths, lists), found[0][0], rtol=1e-9, atol=1e-10)
        for first, second in zip(*found, strict=True):
            if first is None:  # no network runs a round
                assert second is None
            else:
                torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-10)


def test_the_fused_block_leaves_its_weights_alone_where_there_is_one_row():
    network = disturbed(blocks=1, bias=True)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    first, second = (encoded(network, graphs_of(["C"]))[2] for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_every_weight_learns_at_random_depths():
    torch.manual_seed(2)
    network, batch = disturbed(activation="PReLU", blocks=1).train(), collate(graphs_of(SMILES))
    depths = [[3, 2, 4, 2, 5, 3]] * 2
    rows = network.rows(batch)
    features = network.features(batch, rows)
    views = network.views(*network.branches(features, rows, depths), rows, features)
    sum(view.square().sum() for view in views.values()).backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_depths_are_random_in_training_only_and_repeat_with_the_generator():
    network, graphs = disturbed(dropout=0.0), graphs_of(SMILES)
    still = encoded(network, graphs)[2]
    assert close(encoded(network, graphs)[2], still)
    network.train()
    torch.manual_seed(5)
    first = encoded(network, graphs)[2]
    torch.manual_seed(5)
    assert torch.equal(encoded(network, graphs)[2], first)
    assert not close(encoded(network, graphs)[2], first)
    network.random_depth = False
    assert close(encoded(network, graphs)[2], still)


@given(st.lists(st.lists(st.integers(0, 255), min_size=ATOM_BYTES, max_size=ATOM_BYTES), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_columns_are_the_published_ones_for_any_code(rows):
    codes = np.array(rows, dtype=np.uint8)
    codes[:, ATOM_FIELDS["atomic_number"].byte] %= 119
    charge = ATOM_FIELDS["charge"].byte
    codes[:, charge] = CHARGE_OFFSET - 6 + codes[:, charge] % 12
    bonds = np.ascontiguousarray(codes[:, :BOND_BYTES])
    atom_tables, bond_tables = published_tables()
    np.testing.assert_array_equal(atom_tables(torch.from_numpy(codes)).numpy(), published.grover_atoms(codes))
    np.testing.assert_array_equal(bond_tables(torch.from_numpy(bonds)).numpy(), published.grover_bonds(bonds))


def test_a_charge_that_the_published_code_stops_at_takes_the_nearest_slot():
    mols = [Chem.MolFromSmiles("[U]") for _ in range(2)]
    for mol, charge in zip(mols, (9, 5), strict=True):
        mol.GetAtomWithIdx(0).SetFormalCharge(charge)
    far, near = published_tables()[0](torch.from_numpy(featurize_many(mols).atoms))
    assert torch.equal(far, near)


def test_parameters_of_the_published_sizes():
    """48 and 107 million with PReLU (grover.md 6.2); nothing is allocated."""
    for size, count in (("base", 48_388_832), ("large", 107_143_232)):
        with torch.device("meta"):
            network = Grover(**sizes("grover")[size], activation="PReLU", rules="published")
        # the two unused slopes of the published code are not there
        assert sum(parameter.numel() for parameter in network.parameters()) == count - 2


def test_config_rebuilds_the_encoder():
    first = disturbed(rules="published", attention="paper", pooling="mean_sum", random_depth=False)
    second = build_encoder("grover", **first.config())
    assert second.config() == first.config()
    second.load_state_dict(first.state_dict())
    graphs = graphs_of(SMILES)
    assert torch.equal(encoded(second.eval(), graphs)[2], encoded(first, graphs)[2])
    assert encoded(first, graphs)[2].shape[1] == first.molecule_width


@pytest.mark.parametrize(
    "options",
    [
        {"rules": "mine"},
        {"attention": "mine"},
        {"update": "mine"},
        {"pooling": "mine"},
        {"batchwise": True},
        {"hidden_size": 15, "heads": 2},
        {"hidden_size": 151, "heads": 1, "rules": "published"},
        {"depth": 0},
        {"blocks": 0},
        {"wide": 3},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(MesomerError):
        build_encoder("grover", **({"hidden_size": 16} | options))


@pytest.mark.parametrize("rules", ["sound", "published"])
def test_heads_read_the_atom_views_and_the_bond_outputs_are_not_computed(rules):
    network, batch = disturbed(rules=rules), collate(graphs_of(SMILES))
    model = PropertyModel(network, [Output("regression")])
    called = []
    for view, output in network.outputs.items():
        output.register_forward_hook(lambda *_, view=view: called.append(view))
    with torch.no_grad():
        found = model.encode(batch).views
        assert called == list(VIEWS[:2]) == list(found)
        every = network(batch).views
    assert list(every) == list(VIEWS)
    assert all(torch.equal(x, every[view]) for view, x in found.items())


def test_a_molecule_without_bonds_has_a_vector(encoder):
    vectors = encoded(encoder, graphs_of(["[Na+]", "C"]))[2]
    assert torch.isfinite(vectors).all()
    assert not close(vectors[0], vectors[1])
    assert (vectors[:, vectors.shape[1] // 2 :] == 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_a_compiled_encoder_gives_the_same_and_is_not_compiled_for_each_batch(training):
    """Vectors and gradients; one graph in use, and with drawn depths none any more once all parts have been met."""
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    plain, compiled = disturbed(dropout=0.0, blocks=1), disturbed(dropout=0.0, blocks=1)
    compiled.compile(backend="aot_eager")
    graphs, made = graphs_of(SMILES), []
    before = counters["stats"]["unique_graphs"]
    for turn in range(10):
        found = []
        for network in (plain.train(training), compiled.train(training)):
            network.zero_grad()
            torch.manual_seed(turn)
            batch = collate(graphs[turn % 4 : 9 + turn % 4])
            with torch.set_grad_enabled(training):
                vectors = network.molecule_vectors(network(batch), batch)
            if training:
                vectors.square().sum().backward()
            found.append([vectors.detach(), *(p.grad for p in network.parameters())])
        made.append(counters["stats"]["unique_graphs"] - before)
        for first, second in zip(*found, strict=True):
            if first is None or second is None:  # no network runs a round
                assert all(x is None or not x.any() for x in (first, second))
            else:
                torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-5)
    assert made[-1] == made[-4] and (made[-1] == 1 if not training else made[-1] < 20)
