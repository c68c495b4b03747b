"""R-MAT and MAT against the outputs of the published code, at the tolerances of the sets' READMEs."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
import torch
from reference_nodes import CLOSE, FAMILIES, ROUGH, assert_close, deviation, models, reference_of
from torch.nn import functional

from mesomer.chem.conformers import drawn
from mesomer.chem.graph import collate
from mesomer.encoders import rmat_features
from mesomer.encoders.base import build_encoder
from mesomer.encoders.rmat_features import BOND_CHANNELS, ORDERS, adjacency, distances, layout_of, neighbourhood_order
from mesomer.heads import PropertyModel

pytestmark = pytest.mark.reference
MODELS, RMAT = models(*FAMILIES), models("rmat")
SETS = sorted({family for family, _ in MODELS})
TIGHT = 1e-5


def sizes(graphs):
    return [len(graph.atoms) + 1 for graph in graphs]


def alone(pairs, graphs):
    """Pairs of padded molecules [M, ..., n, n] as the sets store those of all molecules: one N x N after the other."""
    return np.concatenate([one[:size, :size].reshape(-1) for one, size in zip(pairs, sizes(graphs), strict=True)])


def feature_maker(family):
    """The node features of the family, from an encoder of no particular size."""
    return build_encoder(family, hidden_size=4, heads=2, blocks=1).features


@pytest.mark.parametrize("family", SETS)
def test_nodes_and_geometry(family):
    reference = reference_of(family)
    arrays, make = reference.arrays, feature_maker(family)
    first = reference.batches["b8"]
    for graphs in (reference.graphs, reference.spelt):
        batch = collate(graphs)
        assert np.array_equal(batch.atom_offsets.diff().numpy(), arrays["n_atoms"])
        assert np.array_equal(make(batch, layout_of(batch)).numpy(), arrays["all_node_features"])
    stored = np.concatenate([graph.coordinates for graph in reference.graphs])
    assert np.array_equal(stored, arrays["coordinates"].astype(np.float32))
    assert drawn(stored, arrays["n_atoms"])[arrays["conformer_status"][:, 2] == 0].all()
    batch = reference.batch(0, first)
    layout = layout_of(batch)
    assert np.array_equal(layout.pad(make(batch, layout)).numpy(), arrays["b8_node_features"])
    assert_close(distances(batch.coordinates, layout), arrays["b8_distance_matrix"], "distances", 1e-6 / 1e6)


@pytest.mark.parametrize("family", SETS)
def test_pairs_of_every_molecule(family):
    reference = reference_of(family)
    arrays = reference.arrays
    if "all_order_bucket" not in arrays:
        batch = reference.batch(0, reference.batches["b8"])
        assert np.array_equal(adjacency(batch, layout_of(batch)).numpy(), arrays["b8_adjacency_matrix"])
        return
    encoder = build_encoder("rmat", hidden_size=4, heads=2, blocks=1)
    for graphs in (reference.graphs, reference.spelt):
        batch = collate(graphs)
        layout = layout_of(batch)
        order = neighbourhood_order(adjacency(batch, layout), layout).numpy()
        assert np.array_equal(alone(order, graphs), arrays["all_order_bucket"])
        coordinates = torch.zeros(batch.num_atoms, 3)
        bonds = encoder.pairs(batch, layout, coordinates)[..., :BOND_CHANNELS].numpy().astype(int)
        assert np.array_equal(alone((bonds << np.arange(BOND_CHANNELS)).sum(-1), graphs), arrays["all_bond_bits"])
    batch = reference.batch(0, reference.batches["b8"])
    pairs = encoder.pairs(batch, layout_of(batch), batch.coordinates).permute(0, 3, 1, 2).numpy()
    assert np.array_equal(pairs[:, :BOND_CHANNELS], arrays["b8_bond_features"])
    assert np.array_equal(pairs[:, BOND_CHANNELS : BOND_CHANNELS + ORDERS], arrays["b8_relative_matrix"])


@pytest.mark.parametrize(("family", "name"), RMAT)
@torch.no_grad()
def test_radial_functions_and_pair_networks(family, name):
    reference = reference_of(family)
    arrays, encoder = reference.arrays, reference.model(name).encoder
    at = torch.from_numpy(arrays["rbf_at"]).float()
    assert np.abs(encoder.pairs.radial(at).numpy() - arrays[f"{name}_rbf_table"]).max() <= 2e-5
    batch = reference.batch(0, reference.batches["b3"])
    pairs = encoder.relations(batch, layout_of(batch))
    radial = pairs[..., BOND_CHANNELS + ORDERS :].permute(0, 3, 1, 2).numpy()
    assert np.abs(radial - arrays[f"{name}_b3_rbf"]).max() <= 2e-5
    attention = encoder.blocks[0].attention
    for network, key in ((attention.keys, "K"), (attention.values, "V")):
        found = network(pairs).unflatten(-1, (attention.heads, -1)).permute(0, 3, 4, 1, 2)
        assert_close(found, arrays[f"{name}_b3_relative_{key}"], f"{name} relative {key}", TIGHT)


def first_probabilities(encoder, batch):
    part, states = encoder.states(batch)
    block = encoder.blocks[0]
    x = block.attention_norm(states[0])
    found = block.attention.probabilities(x, part)
    return part.layout.pack(found.transpose(1, 2)), block.attention(x, [part])


@pytest.mark.parametrize(("family", "name"), MODELS)
@torch.no_grad()
def test_every_stage_of_the_encoder(family, name):
    """On the rows of nodes: those of padding are never computed."""
    reference = reference_of(family)
    encoder, arrays = reference.model(name).encoder, reference.arrays
    batch = reference.batch(0, reference.batches["b8"])
    part, states = encoder.states(batch)
    layout = part.layout

    def expected(key):
        return layout.pack(torch.from_numpy(arrays[f"{name}_b8_{key}"])).numpy()

    for state, key in zip(states, ["embedded", *(f"layer{i}" for i in range(len(states) - 2)), "encoded"], strict=True):
        assert_close(state, expected(key), f"{name} {key}", TIGHT if key == "embedded" else ROUGH)
    probabilities, attended = first_probabilities(encoder, batch)
    given = layout.pack(torch.from_numpy(arrays[f"{name}_b8_prob0"]).transpose(1, 2)).numpy()
    assert_close(probabilities, given, f"{name} prob0", CLOSE)
    assert_close(attended, expected("attn0"), f"{name} attn0", CLOSE)


def raw_outputs(reference, name, imported, size):
    """Head inputs and raw outputs of all molecules; a file of the contextual pre-training has outputs for nodes."""
    pooled, raw = [], []
    model, count = imported.module, len(reference.graphs)
    for start in range(0, count, size):
        batch = reference.batch(start, start + size)
        if isinstance(model, PropertyModel):
            features = reference.features(model)
            features = None if features is None else features[start : start + size]
            pooled += model.head_inputs(model.encode(batch), batch, features)
            raw += model(batch, features)
        else:
            raw.append(named_nodes(reference, name, imported, batch))
    return pooled, torch.cat(raw)


def named_nodes(reference, name, imported, batch):
    tensors = reference.checkpoint(name).tensors
    rows = imported.encoder(batch).views[imported.encoder.readout_views[0]]
    return functional.linear(rows, tensors["generator.proj.weight"], tensors["generator.proj.bias"])


@pytest.mark.parametrize(("family", "name"), MODELS)
@torch.no_grad()
def test_outputs_in_batches_and_one_by_one(family, name):
    reference = reference_of(family)
    imported = reference.model(name)
    for size in (reference.batches["predict"], 1):
        pooled, raw = raw_outputs(reference, name, imported, size)
        assert_close(raw, reference.arrays[f"{name}_pred"], f"{name} in batches of {size}", CLOSE)
        if pooled:
            assert_close(torch.cat(pooled), reference.arrays[f"{name}_pooled"], f"{name} pooled", CLOSE)


@pytest.mark.parametrize(("family", "name"), MODELS)
def test_loss_and_gradients(family, name):
    """What has no effect has no gradient, in the published code up to rounding."""
    reference = reference_of(family)
    arrays, imported = reference.arrays, reference.model(name)
    adapter = importlib.import_module(f"mesomer.interop.{family}")
    batch = reference.batch(0, reference.batches["b8"])
    target = torch.from_numpy(arrays[f"{name}_b8_target"])
    given = getattr(adapter, family.upper())
    gradients = {}
    if imported.kind == "predictor":
        features = reference.features(imported.module)
        [raw] = imported.module(batch, None if features is None else features[: batch.num_molecules])
        rmat = importlib.import_module("mesomer.interop.rmat")
        links = [*rmat.encoder_links(imported.encoder, "encoder.", given)]
        links += rmat.head_links(reference.checkpoint(name).tensors)
    else:
        target = layout_of(batch).pack(target)
        tensors = {key: x.requires_grad_() for key, x in reference.checkpoint(name).tensors.items() if "proj" in key}
        rows = imported.encoder(batch).views["node_from_node"]
        raw = functional.linear(rows, tensors["generator.proj.weight"], tensors["generator.proj.bias"])
        links = list(adapter.encoder_links(imported.encoder, "", given))
    loss = (raw - target).square().mean()
    assert float(loss.detach()) == pytest.approx(float(arrays[f"{name}_b8_loss"]), rel=1e-5, abs=1e-5)
    loss.backward()
    ours = {key: x.grad for key, x in imported.module.named_parameters()}
    assert None not in ours.values()
    still = {key: torch.zeros_like(x) for key, x in imported.module.named_buffers()}
    for link in links:
        if link.ours in ours or link.ours in still:
            gradients[link.theirs] = link.read(still | ours)
    if imported.kind == "encoder":
        gradients |= {key: x.grad for key, x in tensors.items()}
    names, norms = arrays[f"{name}_b8_grad_names"].tolist(), arrays[f"{name}_b8_grad_norms"]
    assert sorted(gradients) == sorted(names)
    found = np.array([float(gradients[key].double().norm()) for key in names])
    assert np.abs(found - norms).max() <= ROUGH * norms.max()


@pytest.mark.parametrize(("family", "name"), RMAT)
@torch.no_grad()
def test_what_the_published_code_never_trains_has_no_effect(family, name):
    reference = reference_of(family)
    encoder, batch = reference.model(name).encoder, reference.batch(0, reference.batches["b8"])
    before = encoder(batch).views["node_from_node"]
    dead = [x for key, x in encoder.named_buffers() if key.endswith(("attention.u", "keys.second.bias"))]
    assert len(dead) == 2 * len(encoder.blocks)
    for x in dead:
        x += torch.linspace(-1, 1, x.numel()).view(x.shape)
    assert_close(encoder(batch).views["node_from_node"], before.numpy(), f"{name} with other dead weights", CLOSE)


@pytest.mark.parametrize(("family", "name"), MODELS)
def test_a_file_is_taken_whole_and_can_be_written_again(family, name):
    reference = reference_of(family)
    imported, checkpoint = reference.model(name), reference.checkpoint(name)
    described = reference.config["models"][name]["state_dict"]
    assert {key: list(x.shape) for key, x in checkpoint.tensors.items()} == described
    rmat = importlib.import_module("mesomer.interop.rmat")
    family_of = getattr(importlib.import_module(f"mesomer.interop.{family}"), family.upper())
    prefix = "encoder." if imported.kind == "predictor" else ""
    links = [*rmat.encoder_links(imported.encoder, prefix, family_of), *rmat.head_links(checkpoint.tensors)]
    ours = imported.module.state_dict()
    written = {link.theirs: link.read(ours) for link in links if link.ours in ours}
    assert written.keys() == imported.used == described.keys() - imported.left_out.keys()
    assert all(name.startswith("generator.") for name in imported.left_out)
    assert all(torch.equal(x, checkpoint.tensors[key]) for key, x in written.items())
    total = sum(x.numel() for x in ours.values()) + sum(checkpoint.tensors[key].numel() for key in imported.left_out)
    assert total == reference.config["models"][name]["parameters"]


def changed(encoder, change):
    """The same encoder with other weights in its first attention, or other rules."""
    if change == "paper":
        other = type(encoder)(**encoder.config() | {"rules": "paper"}).eval()
        other.load_state_dict(encoder.state_dict())
        return other
    if change == "u with the key atom":
        for block in encoder.blocks:
            block.attention._padded = lambda rows, layout, own=block.attention: _asked_of_the_key(own, rows, layout)
        return encoder
    with torch.no_grad():
        for block in encoder.blocks:
            block.attention.v *= {"v left out": 0.0, "v scaled": (encoder.width / block.attention.heads) ** -0.5}[
                change
            ]
    return encoder


def _asked_of_the_key(attention, rows, layout):
    padded = type(attention)._padded(attention, rows, layout)
    return padded._replace(query=padded.query + attention.u)


@pytest.mark.parametrize("change", ["paper", "v left out", "v scaled", "u with the key atom"])
@pytest.mark.parametrize(("family", "name"), RMAT)
@torch.no_grad()
def test_misreadings_of_attention_are_seen(family, name, change):
    reference = reference_of(family)
    encoder = changed(reference.model(name).encoder, change)
    batch = reference.batch(0, reference.batches["b8"])
    found, _ = first_probabilities(encoder, batch)
    given = torch.from_numpy(reference.arrays[f"{name}_b8_prob0"])
    assert deviation(found, layout_of(batch).pack(given.transpose(1, 2)).numpy()) > 100 * CLOSE


@pytest.mark.parametrize(("family", "name"), MODELS)
@torch.no_grad()
def test_misreadings_of_geometry_are_seen(family, name, monkeypatch):
    """A dummy that is near, and one that is not pooled."""
    reference = reference_of(family)
    imported, size = reference.model(name), reference.batches["predict"]
    monkeypatch.setattr(rmat_features, "DUMMY_DISTANCE", 1.0)
    assert deviation(raw_outputs(reference, name, imported, size)[1], reference.arrays[f"{name}_pred"]) > 100 * CLOSE
    monkeypatch.undo()
    if imported.kind == "predictor":
        imported.module.views = ("atom_from_atom",)
        found = raw_outputs(reference, name, imported, size)[1]
        assert deviation(found, reference.arrays[f"{name}_pred"]) > 100 * CLOSE


@pytest.mark.parametrize("family", SETS)
def test_no_array_of_the_set_is_left_out(family):
    """New kinds of arrays in a set would need a test of their own. Descriptors are compared in tests/chem."""
    reference = reference_of(family)
    names = "|".join(name for _, name in models(family))
    compared = [
        "n_atoms$", "coordinates$", "conformer_status$", r"features_\d+$", "all_", "b8_", "rbf_at$",
        rf"({names})_(rbf_table|b3_rbf|b3_relative_[KV]|pooled|pred)$",
        rf"({names})_b8_(embedded|encoded|layer\d+|attn0|prob0|target|loss|grad_names|grad_norms)$",
    ]  # fmt: skip
    assert [key for key in reference.arrays if not re.match("|".join(compared), key)] == []
