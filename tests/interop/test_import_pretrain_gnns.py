"""`mesomer import --from pretrain-gnns`: published files, what tells their kind, what is refused; and what the
ordinary commands make of them.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from small_models import heteroatoms, molecules, write_table
from test_gin_reference import MODELS

from mesomer.chem.featurize import graph_from_smiles
from mesomer.commands.embed import embed
from mesomer.commands.finetune import finetune
from mesomer.commands.import_weights import import_weights
from mesomer.commands.predict import predict
from mesomer.encoders.gin import GINFamily
from mesomer.errors import MesomerError
from mesomer.inference.embed import Embedder
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.interop.pretrain_gnns import published_names
from mesomer.training.checkpoint import load_encoder, save_model


def imported(path, output, source="pretrain-gnns", **options):
    return import_weights(str(path), from_=source, output=str(output), **options)


def official_file(layer="gin", prefix=""):
    """Tensors of a small official file around our own random encoder, and that encoder."""
    torch.manual_seed(0)
    encoder = GINFamily(layer=layer, hidden_size=8, depth=2, rules="published", dropout=0.5).eval()
    for norm in encoder.norms:
        norm.running_mean.normal_()
        norm.num_batches_tracked.fill_(7)
    ours, tensors = encoder.state_dict(), {}
    for source in published_names(encoder):
        value = ours[source.ours]
        rows = [value.shape[0]] if value.dim() else [1]
        if len(source.theirs) == 2:
            rows = [value.shape[0] - 3, 3]
        parts = value.split(rows) if value.dim() else [value]
        for name, part in zip(source.theirs, parts, strict=True):
            tensors[prefix + name] = part.clone().unsqueeze(0) if name.endswith(".att") else part.clone()
    return tensors, encoder


def save(path, tensors):
    torch.save(tensors, path)
    return path


def assert_same_encoder(folder, encoder):
    found = load_encoder(folder)
    assert found.config() == encoder.config()
    assert all(torch.equal(found.state_dict()[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.reference
@pytest.mark.parametrize("name", sorted(MODELS))
def test_published_files(parity, tmp_path, name):
    path = parity("pretrain_gnns") / MODELS[name]
    result = imported(path, tmp_path / "model")
    assert result["kind"] == "encoder" and result["reloads_equal"] and not result["left_out"]
    assert result["used"] == len(read_checkpoint(path).tensors)
    assert result["difference"] < 1e-3 and f"{result['difference']:.1e}" in result["text"]
    config = load_encoder(tmp_path / "model").config()
    assert config["layer"] == name and config["rules"] == "published" and config["depth"] == 5


@pytest.mark.parametrize("prefix", ["", "gnn.", "module."])
@pytest.mark.parametrize(("layer", "file"), [("gin", "a"), ("gat", "a"), ("gcn", "my_GCN_2"), ("graphsage", "sage")])
def test_the_kind_of_file(tmp_path, layer, file, prefix):
    tensors, encoder = official_file(layer, prefix)
    result = imported(save(tmp_path / f"{file}.pth", tensors), tmp_path / "model")
    assert result["difference"] is None and not result["unknown"]
    assert any("name of the file" in said for said in result["assumed"]) == (layer in ("gcn", "graphsage"))
    assert_same_encoder(tmp_path / "model", encoder)


def test_what_tensors_do_not_tell_is_asked_for(tmp_path):
    tensors, encoder = official_file("graphsage")
    path = save(tmp_path / "a.pth", tensors)
    with pytest.raises(MesomerError, match="GCN or a GraphSAGE") as told:
        imported(path, tmp_path / "model")
    assert "--architecture graphsage" in (told.value.hint or "")
    imported(path, tmp_path / "model", architecture="graphsage")
    assert_same_encoder(tmp_path / "model", encoder)
    with pytest.raises(MesomerError, match="gnn_type gat"):
        imported(path, tmp_path / "other", architecture="gat")
    with pytest.raises(MesomerError, match="gnn_type is gcn"):
        imported(save(tmp_path / "gin.pth", official_file()[0]), tmp_path / "other", architecture="gcn")


def test_official_arguments(tmp_path):
    path = save(tmp_path / "a.pth", official_file()[0])
    (tmp_path / "a.json").write_text('{"JK": "concat", "graph_pooling": "set2set3", "dropout_ratio": 0.2}')
    result = imported(path, tmp_path / "model")
    config = load_encoder(tmp_path / "model").config()
    assert (config["jk"], config["pooling"], config["dropout"]) == ("concat", "set2set3", 0.2)
    assert all("JK =" not in said for said in result["assumed"])


@pytest.mark.parametrize(
    ("name", "value"), [("dropout_ratio", "0.2"), ("JK", 3), ("graph_pooling", ["mean"]), ("dropout_ratio", 1)]
)
def test_official_arguments_of_another_type(tmp_path, name, value):
    path = save(tmp_path / "a.pth", official_file()[0])
    (tmp_path / "a.json").write_text(json.dumps({name: value}))
    with pytest.raises(MesomerError, match=f"argument {name} is"):
        imported(path, tmp_path / "model")


def test_a_fine_tuned_file_gives_its_encoder(tmp_path):
    tensors, encoder = official_file(prefix="gnn.")
    heads = {"graph_pred_linear.weight": torch.ones(3, 8), "graph_pred_linear.bias": torch.ones(3)}
    result = imported(save(tmp_path / "a.pth", tensors | heads | {"odd": torch.ones(1)}), tmp_path / "model")
    assert result["left_out"].keys() == {*heads, "odd"} and result["unknown"] == ["odd"]
    assert_same_encoder(tmp_path / "model", encoder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gnns.1.mlp.0.weight": None}, r"no tensor gnns\.1\.mlp\.0\.weight"),
        ({"gnns.1.mlp.0.weight": torch.ones(16, 9)}, r"\(16, 9\)"),
        ({"gnns.0.edge_embedding1.weight": torch.ones(5, 8)}, r"\(5, 8\)"),
        ({"x_embedding1.weight": torch.ones(119, 8)}, "MolCLR"),
        ({"x_embedding1.weight": None}, "no checkpoint of pretrain-gnns"),
    ],
)
def test_files_that_do_not_fit(tmp_path, change, sentence):
    tensors = {name: x for name, x in (official_file()[0] | change).items() if x is not None}
    with pytest.raises(MesomerError, match=sentence):
        imported(save(tmp_path / "a.pth", tensors), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_other_importers_name_the_right_one(tmp_path):
    path = save(tmp_path / "a.pth", official_file()[0])
    with pytest.raises(MesomerError, match="those of pretrain-gnns") as told:
        imported(path, tmp_path / "model", "grover")
    assert "--from pretrain-gnns" in (told.value.hint or "")
    with pytest.raises(MesomerError, match="BatmanNet") as told:
        imported(save(tmp_path / "b.pth", {"mygame.encoders.x": torch.ones(1)}), tmp_path / "model")
    assert "--from batmannet" in (told.value.hint or "")


@pytest.mark.parametrize("model", ["imported gat", "sound gin"])
def test_the_ordinary_commands(tmp_path, model):
    """Embed, fine-tune (with a last batch of one molecule, from scratch, frozen, linear), and predict."""
    folder = tmp_path / "model"
    if model == "imported gat":
        imported(save(tmp_path / "a.pth", official_file("gat")[0]), folder)
        encoder = load_encoder(folder)
    else:
        encoder = GINFamily(hidden_size=8, depth=2)
        described = {"encoder": {"name": "gin", "config": encoder.config()}}
        save_model(folder, "encoder", described, encoder.state_dict(), "# test\n")
    smiles = [*molecules(40, seed=5), "C"]
    labels = [heteroatoms(text) + 0.5 for text in smiles]
    data = str(write_table(tmp_path / "data.csv", {"smiles": smiles, "n": labels}))
    got = embed(data, output=str(tmp_path / "v.npy"), model=str(folder), accelerator="cpu")
    assert got["dimension"] == encoder.molecule_width
    vectors = np.load(tmp_path / "v.npy")
    graphs = [graph_from_smiles(text)[0] for text in smiles]
    one = Embedder(str(folder), accelerator="cpu").vectors(graphs[:1])
    np.testing.assert_allclose(vectors[0], one[0], rtol=1e-4, atol=1e-5)
    assert Embedder(str(folder), "atom", accelerator="cpu").vector_lists(graphs[-1:])[0].shape == (1, encoder.width)
    with pytest.raises(MesomerError, match="no bond vectors"):
        Embedder(str(folder), "bond", accelerator="cpu")
    run, common = str(tmp_path / "run"), {"targets": ["n"], "repeats": 1, "split": "random", "accelerator": "cpu"}
    for number, options in enumerate(
        ({}, {"scratch": True, "readout": "set2set2"}, {"freeze": "encoder", "readout": "gate"}, {"probe": True})
    ):
        trained = {} if "probe" in options else {"epochs": 2, "ffn_hidden": 8, "batch_size": 31}
        finetune(data, output=f"{run}{number}", model=str(folder), **common, **trained, **options)
    tuned, frozen = (load_encoder(f"{run}{number}").state_dict() for number in (0, 2))
    assert not torch.equal(tuned["norms.0.running_mean"], encoder.state_dict()["norms.0.running_mean"])
    assert all(torch.equal(frozen[name], value) for name, value in encoder.state_dict().items())
    predict(data, model=f"{run}0", output=str(tmp_path / "p.csv"), accelerator="cpu")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(smiles) and all(np.isfinite(float(row["n_pred"])) for row in rows)
