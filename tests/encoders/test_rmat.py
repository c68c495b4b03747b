"""R-MAT and MAT beyond the published outputs: what they must not depend on, the factorised pair term, refusals."""

from __future__ import annotations

import math
import random
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem.conformers import CONFORMERS, conformer
from mesomer.chem.featurize import featurize
from mesomer.chem.graph import collate
from mesomer.encoders.base import build_encoder, sizes
from mesomer.encoders.rmat_features import (
    RadialBasis,
    adjacency,
    coordinates_of,
    distances,
    layout_of,
    neighbourhood_order,
)
from mesomer.encoders.rmat_groups import LARGEST_WASTE, like_sized, taken
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.outputs import Output

SMILES = [
    "C",
    "[Na+].[Cl-]",
    "CCO",
    "F/C=C/Cl",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "O=S(=O)(N)c1ccc(cc1)n1nc(cc1c1ccc(C)cc1)C(F)(F)F",
    "C[C@]12CC[C@H]3[C@@H](CC[C@@H]4CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "F[P-](F)(F)(F)(F)F",
    "CCCCCCCCCCCCCCCC",
    "[Fe+3].O",
]
VARIANTS = {
    "code": ("rmat", {"ffn_hidden": 24}),
    "paper": ("rmat", {"ffn_hidden": 24, "rules": "paper", "activation": "PReLU"}),
    "exp": ("mat", {}),
    "softmax": ("mat", {"kernel": "softmax", "attention_share": 0.2, "activation": "Linear"}),
}


def disturbed(variant="code", **options):
    """A small encoder of which no parameter has a symmetric value that could hide a dependence.

    In float64: scores of attention go into the hundreds where atoms are close.
    """
    name, fixed = VARIANTS[variant]
    torch.manual_seed(3)
    network = build_encoder(name, **{"hidden_size": 16, "heads": 2, "blocks": 2} | fixed | options).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def encoder(request):
    return disturbed(request.param)


def placed(smiles, seed=0):
    """A molecule with coordinates: drawn at random, four decimals."""
    mol = Chem.MolFromSmiles(smiles)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    draw = random.Random(f"{smiles} {seed}")
    for atom in range(mol.GetNumAtoms()):
        conformer.SetAtomPosition(atom, [round(draw.uniform(-6, 6), 4) for _ in range(3)])
    mol.AddConformer(conformer)
    return mol


def graphs_of(smiles):
    return [featurize(placed(text), coordinates=True) for text in smiles]


def encoded(encoder, graphs):
    batch = collate(graphs)
    with torch.no_grad():
        output = encoder(batch)
        return batch, output, encoder.molecule_vectors(output, batch)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@given(st.sampled_from(SMILES), st.lists(st.sampled_from(SMILES), max_size=4), st.integers(0, 4))
@settings(max_examples=8, deadline=None)
def test_batch_mates_change_nothing(encoder, smiles, mates, place):
    graphs = graphs_of(mates)
    place = min(place, len(graphs))
    graphs.insert(place, *graphs_of([smiles]))
    alone, together = encoded(encoder, [graphs[place]]), encoded(encoder, graphs)
    assert close(alone[2][0], together[2][place])
    atoms = slice(*together[0].atom_offsets[place : place + 2].tolist())
    assert close(alone[1].views["atom_from_atom"], together[1].views["atom_from_atom"][atoms])
    nodes = slice(atoms.start + place, atoms.stop + place + 1)
    assert close(alone[1].views["node_from_node"], together[1].views["node_from_node"][nodes])


def test_a_large_molecule_does_not_pad_the_others():
    """Forty small molecules and one of 301 nodes: few pairs more than there are, and nothing else is different."""
    graphs = graphs_of(["C" * 300, *["CCO", "c1ccccc1N"] * 20])
    batch = collate(graphs)
    groups = like_sized(batch)
    assert sorted(torch.cat(groups).tolist()) == list(range(41)) and len(groups) == 3
    sizes = [len(graph.atoms) + 1 for graph in graphs]
    padded = sum(len(group) * max(sizes[at] for at in group.tolist()) ** 2 for group in groups)
    assert padded <= LARGEST_WASTE * sum(size**2 for size in sizes)
    alike = collate(graphs_of(["CCCC", "CCCCC", "CCCCC"]))
    assert len(like_sized(alike)) == 1 < len(like_sized(collate(graphs[1:3])))


def test_padding_and_packing_have_their_gradients():
    layout = layout_of(collate(graphs_of(["CCO", "C", "CC(C)O"])))
    rows = torch.randn(len(layout.place), 2, 3, dtype=torch.float64, requires_grad=True)
    padded = torch.randn(3, layout.size, 2, dtype=torch.float64, requires_grad=True)
    assert layout.size * 3 > len(rows)
    assert torch.equal(layout.pack(layout.pad(rows)), rows)
    assert torch.autograd.gradcheck(layout.pad, rows) and torch.autograd.gradcheck(layout.pack, padded)


def test_a_block_keeps_no_heads_of_pairs_for_its_gradient():
    """Two sets of hidden units and two of weights a pair, as many as one head has; some rows a node."""
    batch = collate(graphs_of([SMILES[5], SMILES[6]]))
    hidden, heads, ffn = 48, 4, 96

    def kept(blocks):
        encoder = build_encoder("rmat", hidden_size=hidden, heads=heads, blocks=blocks, ffn_hidden=ffn)
        own = {x.untyped_storage().data_ptr() for x in encoder.parameters()}
        found = {}

        def keep(x):
            storage = x.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = x
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            output = encoder(batch).views["node_from_node"]
        assert output.requires_grad
        return sum(x.untyped_storage().nbytes() for x in found.values()) / 4

    layout = layout_of(batch)
    pairs, nodes = layout.molecules * layout.size**2, layout.molecules * layout.size
    block = kept(2) - kept(1)
    assert block <= pairs * (2 * hidden / heads + 2 * heads) + nodes * (13 * hidden + ffn) < pairs * 2 * hidden


@given(st.lists(st.sampled_from(SMILES), min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_some_molecules_of_a_batch_are_the_batch_of_these(smiles, draw):
    graphs = graphs_of(smiles)
    chosen = draw.sample(range(len(graphs)), draw.randint(1, len(graphs)))
    computed = np.concatenate([graph.coordinates for graph in graphs]) + 1
    whole = taken(collate(graphs, extras={CONFORMERS: computed}), torch.tensor(chosen))
    expected = collate([graphs[at] for at in chosen], keys=chosen)
    for field in fields(expected):
        if field.name != "extras":
            assert torch.equal(getattr(whole, field.name), getattr(expected, field.name)), field.name
    assert torch.equal(whole.extras[CONFORMERS], expected.coordinates + 1)


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_atom_order_changes_the_order_of_rows_only(encoder, smiles, seed):
    mol = placed(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    moved = Chem.RenumberAtoms(mol, order)
    first, second = (encoded(encoder, [featurize(one, coordinates=True)]) for one in (mol, moved))
    assert close(first[2], second[2])
    assert close(first[1].views["atom_from_atom"][order], second[1].views["atom_from_atom"])


@given(st.sampled_from(SMILES), st.integers(0, 100))
@settings(max_examples=6, deadline=None)
def test_turning_and_moving_change_nothing(encoder, smiles, seed):
    graph = graphs_of([smiles])[0]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    moved = graph._replace(coordinates=(graph.coordinates.astype(np.float64) @ turn + 7).astype(np.float32))
    # coordinates have four decimals, and the fastest radial function turns that into some thousandths
    assert torch.allclose(encoded(encoder, [graph])[2], encoded(encoder, [moved])[2], atol=0.02)


@given(st.sampled_from(SMILES))
@settings(max_examples=10, deadline=None)
def test_the_neighbourhood_order_is_the_number_of_bonds(smiles):
    mol = placed(smiles)
    batch = collate([featurize(mol, coordinates=True), graphs_of(["CCO"])[0]])
    layout = layout_of(batch)
    found = neighbourhood_order(adjacency(batch, layout), layout)[0]
    size = mol.GetNumAtoms() + 1
    bonds = Chem.GetDistanceMatrix(mol)
    expected = np.full((size, size), 5)
    expected[1:, 1:] = np.where(bonds > 1000, 5, np.minimum(bonds, 4))
    expected[0, 0] = 0
    assert np.array_equal(found[:size, :size].numpy(), expected)
    assert (found[size:] == -1).all() and (found[:, size:] == -1).all()


@pytest.mark.parametrize("variant", ["code", "paper"])
@torch.no_grad()
def test_the_factorised_attention_is_the_definition(variant):
    """Against scores and mixtures from the pair networks' whole output, one molecule at a time (rmat.md 3.3)."""
    network, graphs = disturbed(variant), graphs_of(SMILES)
    part, states = network.states(collate(graphs))
    block, layout, relations = network.blocks[0], part.layout, part.relations
    attention, x = block.attention, block.attention_norm(states[0])
    found = attention(x, [part])
    heads, width = 2, 8
    for number, graph in enumerate(graphs):
        size = len(graph.atoms) + 1
        rows = slice(int(layout.dummies[number]), int(layout.dummies[number]) + size)
        q, k, v = attention.states(x[rows]).unbind(1)
        pairs = relations[number, :size, :size]
        keys, values = (part(pairs).view(size, size, heads, width) for part in (attention.keys, attention.values))
        mixed = torch.zeros(size, heads, width, dtype=x.dtype)
        for head in range(heads):
            u, own = attention.u[0, head, 0], attention.v[0, head, 0, :, 0]
            b = keys[:, :, head]
            scores = q[:, head] @ k[:, head].T / math.sqrt(width) + b @ own
            scores += torch.einsum("id,ijd->ij", q[:, head], b) / math.sqrt(width)
            if variant == "code":
                scores += torch.einsum("id,ijd->ij", k[:, head], b) / math.sqrt(width) + (k[:, head] @ u)[:, None]
            else:
                scores += torch.einsum("jd,ijd->ij", k[:, head], b) / math.sqrt(width) + (k[:, head] @ u)[None, :]
            weights = torch.softmax(scores, dim=1)
            mixed[:, head] = weights @ v[:, head] + torch.einsum("ij,ijd->id", weights, values[:, :, head])
        assert close(found[rows], attention.output(mixed.flatten(1)))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_training_with_dropout_reaches_every_parameter(variant):
    network = disturbed(variant, dropout=0.2).train()
    batch = collate(graphs_of(SMILES))
    network(batch).views["node_from_node"].square().sum().backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    torch.manual_seed(1)
    first = network(batch).views["node_from_node"]
    torch.manual_seed(1)
    assert torch.equal(network(batch).views["node_from_node"], first)
    assert not close(network(batch).views["node_from_node"], first)


def test_dropped_attention_weights_take_their_share_of_the_bias():
    """With one molecule of one atom and all weights dropped but one, the mixture is that of its weight."""
    network = disturbed(dropout=0.5, blocks=1)
    batch = collate(graphs_of(["C"]))
    part, states = network.states(batch)
    attention = network.blocks[0].attention
    for pairs in (attention.keys, attention.values):
        pairs.dropout.rate = 0.0
    attention.train()
    with torch.no_grad():
        torch.nn.init.zeros_(attention.values.second.weight)
        torch.nn.init.zeros_(attention.weight[2])
        torch.nn.init.zeros_(attention.bias[2])
        torch.nn.init.ones_(attention.values.second.bias)
        x = network.blocks[0].attention_norm(states[0])
        torch.manual_seed(4)
        found = attention.answer(attention.attend(attention.asking(x), part))
        torch.manual_seed(4)
        weights = attention.dropout(attention.probabilities(x, part))
    expected = weights[0].sum(-1).T.repeat_interleave(8, dim=1)
    assert close(found, expected) and not close(found, torch.ones_like(found))


def test_the_radial_functions_at_both_ends():
    radial = RadialBasis(32, 20.0, 5.0)
    assert torch.allclose(radial(torch.zeros(1))[0], torch.arange(1, 33) * math.pi, rtol=1e-4)
    assert (radial(torch.tensor([20.0, 21.0, 1e6])) == 0).all()


def test_features_that_no_molecule_of_the_sets_has():
    """Charges at and beyond the ends share the last slot, as does any element or bond order not listed."""
    network = disturbed()
    atom = Chem.MolFromSmiles("[Si]")
    rows = []
    for charge in (-6, -5, -4, -2, 4, 5, 6):
        atom.GetAtomWithIdx(0).SetFormalCharge(charge)
        batch = collate([featurize(atom)])
        rows.append(network.features(batch, layout_of(batch))[1])
    slots = [int(row[24:35].argmax()) for row in rows]
    assert slots == [10, 0, 1, 3, 9, 10, 10]
    assert all(row[2 + 10] == 1 and row[:2].sum() == 0 for row in rows)
    for kind, slot in (("QUADRUPLE", 3), ("ZERO", 3), ("DATIVE", 0), ("ONEANDAHALF", 1)):
        mol = placed("CC")
        mol.GetBondWithIdx(0).SetBondType(Chem.BondType.names[kind])
        pairs = network.relations(batch := collate([featurize(mol, coordinates=True)]), layout_of(batch))
        assert pairs[0, 1, 2, :5].tolist() == [0, *np.eye(4)[slot].tolist()]
        assert torch.equal(pairs, pairs.transpose(1, 2))


def test_coordinates_are_taken_to_four_decimals():
    graph = graphs_of(["CCO"])[0]
    near = graph._replace(coordinates=graph.coordinates + np.float32(2e-5))
    first, second = (collate([one]) for one in (graph, near))
    assert torch.equal(*(distances(one.coordinates, layout_of(one)) for one in (first, second)))


@pytest.mark.parametrize("variant", ["code", "exp"])
def test_where_coordinates_come_from(variant):
    """The user's own before computed ones, molecule by molecule, and never none."""
    network = disturbed(variant)
    own, other = graphs_of(["CCO"])[0], featurize(placed("CCO", seed=1), coordinates=True)
    bare = own._replace(coordinates=np.full((3, 3), np.nan, np.float32))
    computed = np.concatenate([other.coordinates, other.coordinates])
    batch = collate([own, bare], extras={CONFORMERS: computed})
    found = coordinates_of(batch, "it").numpy()
    assert np.array_equal(found, np.concatenate([own.coordinates, other.coordinates]))
    alone = [encoded(network, [one])[2][0] for one in (own, other)]
    with torch.no_grad():
        assert close(network.molecule_vectors(network(batch), batch), torch.stack(alone))
    without = [one._replace(coordinates=None) for one in (own, bare)]
    assert np.array_equal(coordinates_of(collate(without, extras={CONFORMERS: computed}), "it").numpy(), computed)
    for graphs, word in (([own, bare], "not every"), (without, "no")):
        with pytest.raises(MesomerError, match=f"and {word} molecule") as told:
            network(collate(graphs))
        assert "prepare" in told.value.hint and "SDF" in told.value.hint


def test_parameters_of_the_published_sizes():
    """48,476,929 and 42,057,729 with heads of one output (rmat.md 3.8 and 12); nothing is allocated."""
    for name, readout, count in (("rmat", "attention", 48_476_929), ("mat", "mean", 42_057_729)):
        with torch.device("meta"):
            network = build_encoder(name, **sizes(name)["base"])
            model = PropertyModel(
                network, [Output("regression")], readout=readout, attn_hidden=128, attn_out=4, ffn_layers=1
            )
        assert sum(x.numel() for x in model.state_dict().values()) == count


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_config_rebuilds_the_encoder(variant):
    first = disturbed(variant, pooling="mean_sum")
    second = build_encoder(first.name, **first.config())
    assert second.config() == first.config()
    second.double().load_state_dict(first.state_dict())
    graphs = graphs_of(SMILES[:4])
    vectors = encoded(first, graphs)[2]
    assert torch.equal(encoded(second.eval(), graphs)[2], vectors)
    assert vectors.shape[1] == first.molecule_width


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rmat", {"rules": "mine"}),
        ("rmat", {"hidden_size": 15}),
        ("rmat", {"blocks": 0}),
        ("rmat", {"ffn_hidden": 0}),
        ("rmat", {"cutoff": 0.0}),
        ("rmat", {"radial_functions": 0}),
        ("rmat", {"pooling": "mine"}),
        ("rmat", {"activation": "mine"}),
        ("rmat", {"wide": 3}),
        ("mat", {"kernel": "mine"}),
        ("mat", {"attention_share": 0.9}),
        ("mat", {"distance_share": -0.1}),
        ("mat", {"dropout": 1.0}),
    ],
)
def test_impossible_options_are_refused(name, options):
    with pytest.raises(MesomerError):
        build_encoder(name, **({"hidden_size": 16, "heads": 2, "blocks": 1} | options))


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_half_precision_stays_near(variant):
    """Under autocast, as training and embedding on a GPU run it."""
    network = disturbed(variant).float()
    batch = collate([featurize(mol)._replace(coordinates=conformer(mol).coordinates) for mol in readable()])
    exact = network(batch).views["node_from_node"]
    with torch.autocast("cpu", torch.bfloat16):
        found = network(batch).views["node_from_node"].float()
    found.square().sum().backward()
    assert (found - exact).detach().abs().mean() < 0.1 * exact.detach().abs().mean()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def readable():
    return [Chem.MolFromSmiles(text) for text in ("CCO", "c1ccccc1N", "CC(=O)Nc1ccc(O)cc1")]
