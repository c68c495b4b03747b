"""GIN, GCN, GraphSAGE and GAT against the outputs of the published code, at the tolerance of the set's README."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import find_reference

from mesomer.chem.masking import hide
from mesomer.encoders.base import build_encoder
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.interop.pretrain_gnns import convert
from mesomer.interop.pretrain_gnns_outputs import outputs, read_batch

pytestmark = pytest.mark.reference


def models() -> dict[str, str]:
    """Name and file of the set's models whose file is there."""
    reference = find_reference()
    folder = None if reference is None else reference / "parity" / "pretrain_gnns"
    if folder is None or not (folder / "config.json").is_file():
        return {}
    named = json.loads((folder / "config.json").read_text())["models"]
    return {name: about["file"] for name, about in named.items() if (folder / about["file"]).is_file()}


MODELS = models()


@pytest.fixture(scope="module")
def folder(parity):
    return parity("pretrain_gnns")


@pytest.fixture(scope="module")
def arrays(folder):
    return dict(np.load(folder / "expected.npz"))


@pytest.fixture(scope="module")
def batch(folder):
    return read_batch(folder / "smiles.csv")


def assert_close(ours, expected, name):
    actual = ours.detach().double().numpy()
    assert actual.shape == expected.shape, name
    worst, limit = np.abs(actual - expected).max(), 1e-5 * np.abs(expected).max()
    assert worst <= limit, f"{name}: {worst:.2e} above {limit:.2e}"


def rows_of_the_tables(encoder, batch):
    """Our rows as indices into each field's own table: atoms [A, 2], directed bonds [B, 2]."""
    atoms, bonds = encoder.atom_rows(batch.atom_codes), encoder.bond_rows(batch.bond_codes)
    return (
        (atoms - torch.tensor([0, encoder.atom_rows.sizes[0]])).numpy(),
        (bonds - torch.tensor([0, encoder.bond_rows.sizes[0]])).repeat_interleave(2, dim=0).numpy(),
    )


def test_features_also_of_what_is_masked(arrays, batch):
    encoder = build_encoder("gin", hidden_size=4, depth=1, rules="published")
    atoms, bonds = rows_of_the_tables(encoder, batch)
    np.testing.assert_array_equal(atoms, arrays["x"])
    np.testing.assert_array_equal(bonds, arrays["edge_attr"])
    np.testing.assert_array_equal(batch.atom_molecule.numpy(), arrays["batch"])
    hidden = torch.zeros(batch.num_atoms, dtype=torch.bool)
    hidden[torch.from_numpy(arrays["mask/atoms"])] = True
    beside = (hidden[batch.source] | hidden[batch.target])[::2]
    atoms, bonds = rows_of_the_tables(encoder, hide(batch, hidden, beside))
    np.testing.assert_array_equal(atoms, arrays["mask/x"])
    np.testing.assert_array_equal(bonds, arrays["mask/edge_attr"])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_array_of_a_model(folder, arrays, batch, name):
    encoder = convert(read_checkpoint(folder / MODELS[name])).encoder
    compared = set()
    with torch.no_grad():
        for stored, found in outputs(encoder, batch, name):
            assert_close(found, arrays[stored], stored)
            compared.add(stored)
        assert_close(encoder(batch).views["atom_state"], arrays[f"{name}/node"], name)
    assert compared == {key for key in arrays if key.startswith(f"{name}/")}


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"pooling": "mean"}, "graph_mean"),
        ({"pooling": "sum"}, "graph_sum"),
        ({"pooling": "max"}, "graph_max"),
        ({"jk": "concat"}, "graph_mean_jk_concat"),
        ({"jk": "max"}, "graph_mean_jk_max"),
    ],
)
@pytest.mark.parametrize("name", [name for name in MODELS if name == "gin"])
def test_options_are_the_published_ones(folder, arrays, batch, name, options, stored):
    imported = convert(read_checkpoint(folder / MODELS[name])).encoder
    encoder = build_encoder("gin", **(imported.config() | options)).eval()
    encoder.load_state_dict(imported.state_dict())
    with torch.no_grad():
        output = encoder(batch)
        assert_close(encoder.molecule_vectors(output, batch), arrays[f"{name}/{stored}"], stored)
