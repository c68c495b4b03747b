"""The sound BatmanNet: what its results must not depend on."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem.featurize import featurize, graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.encoders.base import ENCODERS, build_encoder, sizes
from mesomer.encoders.batmannet import BatmanNet
from mesomer.errors import MesomerError

SMILES = [
    "C",
    "[Na+].[Cl-]",
    "CCO",
    "C[C@H](N)C(=O)O",
    "OC(=O)[C@@H](C)N",
    "F/C=C/Cl",
    "F/C=C\\Cl",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "CC(=O)Oc1ccccc1C(=O)O",
    "O=S(=O)(N)c1ccc(cc1)n1nc(cc1c1ccc(C)cc1)C(F)(F)F",
    "C[C@]12CC[C@H]3[C@@H](CC[C@@H]4CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "[O-][N+](=O)c1ccc(cc1)/C=C/C(=O)N[C@@H](CO)c1ccccc1",
    "F[P-](F)(F)(F)(F)F",
    "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1",
    "[Fe+3]",
    "C#CCN1CCOCC1",
]


@pytest.fixture(scope="module")
def encoder() -> BatmanNet:
    torch.manual_seed(3)
    network = BatmanNet(hidden_size=16, blocks=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # norms and slopes too, so that no symmetric value hides a dependence
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def encoded(encoder, graphs):
    batch = collate(graphs)
    with torch.no_grad():
        output = encoder(batch)
        return batch, output, encoder.molecule_vectors(output, batch)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@given(st.sampled_from(SMILES), st.lists(st.sampled_from(SMILES), max_size=5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_batch_mates_change_nothing(encoder, smiles, mates, place):
    graphs = [graph_from_smiles(s)[0] for s in mates]
    place = min(place, len(graphs))
    graphs.insert(place, graph_from_smiles(smiles)[0])
    alone = encoded(encoder, [graphs[place]])
    together = encoded(encoder, graphs)
    assert close(alone[2][0], together[2][place])
    atoms = slice(*together[0].atom_offsets[place : place + 2].tolist())
    assert close(alone[1].views["atom_from_atom"], together[1].views["atom_from_atom"][atoms])
    bonds = slice(*(2 * together[0].bond_offsets[place : place + 2]).tolist())
    assert close(alone[1].views["bond_from_bond"], together[1].views["bond_from_bond"][bonds])


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_atom_order_changes_the_order_of_rows_only(encoder, smiles, seed):
    mol = Chem.MolFromSmiles(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.Random(seed).shuffle(order)
    moved = Chem.RenumberAtoms(mol, order)
    first, second = encoded(encoder, [featurize(mol)]), encoded(encoder, [featurize(moved)])
    assert close(first[2], second[2])
    assert close(first[1].views["atom_from_atom"][order], second[1].views["atom_from_atom"])
    back = {old: new for new, old in enumerate(order)}
    rows = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(second[0].source, second[0].target, strict=True))}
    same = [rows[back[int(a)], back[int(b)]] for a, b in zip(first[0].source, first[0].target, strict=True)]
    assert close(first[1].views["bond_from_bond"], second[1].views["bond_from_bond"][same])


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_spelling_changes_nothing(encoder, smiles, seed):
    spelt = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed)[0]
    assert close(
        encoded(encoder, [graph_from_smiles(smiles)[0]])[2], encoded(encoder, [graph_from_smiles(spelt)[0]])[2]
    )


@pytest.mark.parametrize(("one", "other"), [(3, 4), (5, 6)])
def test_stereoisomers_differ(encoder, one, other):
    pair = encoded(encoder, [graph_from_smiles(SMILES[i])[0] for i in (one, other)])[2]
    assert close(pair[0], pair[1]) == (Chem.CanonSmiles(SMILES[one]) == Chem.CanonSmiles(SMILES[other]))


def test_enantiomers_differ(encoder):
    pair = encoded(encoder, [graph_from_smiles(s)[0] for s in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O")])[2]
    assert not close(pair[0], pair[1])


def test_the_published_function_mixes_batch_mates_only_if_asked():
    torch.manual_seed(1)
    graphs = [graph_from_smiles(s)[0] for s in ("CCO", "CC(C)(C)C", "F[P-](F)(F)(F)(F)F")]
    for stage in ("pretraining", "finetuning"):
        network = BatmanNet(hidden_size=8, blocks=1, rules="published", stage=stage).eval()
        alone, together = encoded(network, graphs[:1])[2], encoded(network, graphs)[2]
        assert close(alone[0], together[0])
        network.batchwise = True
        assert not close(encoded(network, graphs[:1])[2][0], encoded(network, graphs)[2][0])


@pytest.mark.parametrize("name", ENCODERS.names())
def test_config_rebuilds_every_size(name):
    for size, options in sizes(name).items():
        with torch.device("meta"):  # the large ones would take gigabytes
            first = build_encoder(name, **options)
            second = build_encoder(name, **first.config())
        assert second.config() == first.config(), size
        shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (first, second)]
        assert shapes[0] == shapes[1], size


def test_the_base_size_is_the_published_one():
    options = sizes("batmannet")["base"]
    from mesomer.objectives.masked_graph import MaskedGraph

    model = MaskedGraph(
        BatmanNet(**options, activation="PReLU", rules="published", stage="pretraining"), decoder_blocks=2
    )
    dead = 133_518  # published parameters that never receive a gradient; ours keeps the two carried norms of them
    assert sum(p.numel() for p in model.parameters()) == 2_575_709 - dead + 4 * 100


@pytest.mark.parametrize(
    "options",
    [
        {"rules": "mine"},
        {"batchwise": True},
        {"hidden_size": 15},
        {"hidden_size": 39, "heads": 3, "rules": "published"},
        {"wide": 3},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(MesomerError):
        build_encoder("batmannet", **options)


def test_a_molecule_without_bonds_has_a_vector(encoder):
    vectors = encoded(encoder, [graph_from_smiles(s)[0] for s in ("[Na+]", "C")])[2]
    assert torch.isfinite(vectors).all()
    assert not close(vectors[0], vectors[1])
    assert (vectors[:, -encoder.molecule_width // 2 :] == 0).all()
