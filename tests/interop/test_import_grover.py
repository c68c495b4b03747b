"""`mesomer import --from grover` and `--from kermt`: official layouts, KERMT's names, what is refused or left out."""

from __future__ import annotations

import argparse
import errno
import json
import os
import pickle
import re
import sys
import types
from collections import Counter

import numpy as np
import pytest
import torch
from reference_grover import Reference, model_names
from small_corpora import demo_rows
from small_models import write_table

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.commands.finetune import finetune
from mesomer.commands.import_weights import import_weights
from mesomer.encoders.grover import Grover
from mesomer.errors import MesomerError
from mesomer.inference.embed import Embedder
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.interop.grover import ARCHITECTURES, encoder_links
from mesomer.training import checkpoint
from mesomer.training.checkpoint import load_encoder, load_model
from mesomer.training.predictor import load_predictor
from mesomer.training.pretrain import PretrainOptions, build, take_heads

KINDS = {"pretrain": "encoder", "finetune": "predictor"}
FILES = [(name, kind) for part, kind in KINDS.items() for name in model_names(part)]
ENCODER = "grover.encoders."
BOND = "(SINGLE-STEREONONE-NONE)"


@pytest.fixture
def official(parity):
    return parity("grover")


def imported(path, output, source="grover", **options):
    return import_weights(str(path), from_=source, output=str(output), **options)


def official_file(hidden=8, heads=2, blocks=1, activation="PReLU", bias=False, prefix=ENCODER, **more):
    """Tensors of a small official checkpoint around our own random encoder, and that encoder."""
    torch.manual_seed(0)
    encoder = Grover(
        hidden_size=hidden, heads=heads, blocks=blocks, depth=3, activation=activation, bias=bias, rules="published"
    )
    ours = encoder.state_dict()
    tensors = {}
    for link in encoder_links(encoder, ""):
        if link.ours.removeprefix(".") in ours:
            name = link.theirs.removeprefix("encoders.")
            value = link._replace(ours=link.ours.removeprefix(".")).read(ours)
            tensors[prefix + name] = value.detach().clone().contiguous()
    arguments = {"depth": 3, "dense": False, "dropout": 0.1, "activation": activation, **more}
    return tensors, arguments, encoder


def save(path, tensors, arguments=None):
    content = {"state_dict": tensors, "args": argparse.Namespace(**arguments)} if arguments is not None else tensors
    torch.save(content, path)
    return path


def assert_same_encoder(folder, encoder):
    found = load_encoder(folder).state_dict()
    assert found.keys() == encoder.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.reference
@pytest.mark.parametrize(("stem", "kind"), FILES)
def test_each_kind_of_official_file(official, tmp_path, stem, kind):
    result = imported(official / f"{stem}.pt", tmp_path / "model")
    tensors = read_checkpoint(official / f"{stem}.pt").tensors
    assert result["kind"] == kind and result["reloads_equal"] and not result["unknown"] and not result["assumed"]
    assert result["used"] + len(result["left_out"]) == len(tensors)
    assert result["left_out"].keys() <= tensors.keys()
    assert result["difference"] < 5e-5
    assert f"{result['difference']:.1e}" in result["text"] and result["sha256"] in result["text"]
    encoder = load_encoder(tmp_path / "model")
    assert isinstance(encoder, Grover) and encoder.rules == "published" and encoder.batchwise is False
    assert load_model(tmp_path / "model").kind == kind


@pytest.mark.reference
@pytest.mark.parametrize("stem", model_names("finetune"))
def test_a_fine_tuned_file_predicts_at_once(official, tmp_path, stem):
    """With its scaler and the names of its tasks, batch mates or not."""
    imported(official / f"{stem}.pt", tmp_path / "model")
    reference, predictor = Reference(official), load_predictor(tmp_path / "model")
    arguments = reference.config[f"{stem}_args"]
    assert [target.name for target in predictor.targets] == arguments["task_names"]
    predictor.members[0].encoder.batchwise = True
    features = None
    if predictor.descriptors:
        assert predictor.descriptors == ["rdkit_2d_normalized"]
        features = reference.arrays["features_200_raw"][: reference.size]
    found = predictor.predict(reference.batch(0, reference.size), features)[0]
    expected = reference.arrays[f"ft_{stem.removeprefix('finetune_')}_pred_bs{reference.size}"]
    np.testing.assert_allclose(found, expected[: reference.size], atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.reference
def test_an_imported_file_embeds(official, tmp_path):
    [stem] = model_names("pretrain")
    result = imported(official / f"{stem}.pt", tmp_path / "model")
    assert "mesomer embed" in result["text"]
    reference = Reference(official)
    vectors = Embedder(str(tmp_path / "model"), accelerator="cpu").vectors(reference.graphs)
    assert vectors.shape == (len(reference.graphs), 4 * reference.config[f"{stem}_args"]["hidden_size"])


@pytest.mark.parametrize("prefix", [ENCODER, "encoders.", "module.grover.encoders."])
@pytest.mark.parametrize(("activation", "bias", "blocks"), [("PReLU", False, 1), ("ReLU", True, 2)])
def test_an_encoder_alone_with_legacy_arguments(tmp_path, prefix, activation, bias, blocks):
    """What is known of the published files: no heads, and arguments of names that are no more."""
    tensors, arguments, encoder = official_file(activation=activation, bias=bias, blocks=blocks, prefix=prefix)
    legacy = {"backbone": "dualtrans", "input_layer": "fc", "no_attach_fea": True, "skip_epoch": 0, "coord": False}
    path = save(tmp_path / "a.pt", tensors, arguments | legacy)
    result = imported(path, tmp_path / "model")
    assert result["kind"] == "encoder" and not result["left_out"] and not result["assumed"]
    assert result["difference"] is None and "No stored outputs" in result["text"]
    assert_same_encoder(tmp_path / "model", encoder)


@pytest.mark.parametrize("dense", [False, True])
def test_the_dense_argument_chooses_the_update(tmp_path, dense):
    tensors, arguments, _ = official_file()
    imported(save(tmp_path / "a.pt", tensors, arguments | {"dense": dense}), tmp_path / "model")
    assert load_encoder(tmp_path / "model").config()["update"] == ("paper" if dense else "code")


def test_a_bare_file_says_what_it_assumes(tmp_path):
    tensors, _, _ = official_file()
    result = imported(save(tmp_path / "a.pt", tensors), tmp_path / "model")
    assert {told.split(" = ")[0] for told in result["assumed"]} == {"activation", "depth", "dense", "dropout"}
    assert load_encoder(tmp_path / "model").config()["depth"] == ARCHITECTURES["base"]["depth"]
    with pytest.raises(MesomerError, match="hidden_size"):
        imported(tmp_path / "a.pt", tmp_path / "other", architecture="large")
    tensors, _, _ = official_file(activation="ReLU")
    with pytest.raises(MesomerError, match="activation"):
        imported(save(tmp_path / "b.pt", tensors), tmp_path / "other")


def test_tensors_that_nobody_knows_are_listed_wherever_they_lie(tmp_path):
    tensors, arguments, _ = official_file(blocks=2, activation="PReLU")
    block = f"{ENCODER}node_blocks."
    dead = {f"{block}1.W_i.weight": torch.ones(8, 8), f"{block}1.layernorm.bias": torch.ones(8)}
    strange = {f"{block}0.heads.0.mpn_q.W_i.weight": torch.ones(8, 8), f"{block}1.heads.0.extra.weight": torch.ones(1)}
    result = imported(save(tmp_path / "a.pt", tensors | dead | strange, arguments), tmp_path / "model")
    assert set(result["unknown"]) == set(strange)
    stored = json.loads((tmp_path / "model" / "import.json").read_text())
    assert stored["shapes"][f"{block}0.heads.0.mpn_q.W_i.weight"] == [8, 8]


def test_kermt_after_contrastive_pretraining(tmp_path):
    """The encoder lies twice in the file, the decoder and the vocabulary heads beside it."""
    tensors, arguments, encoder = official_file(prefix="kermt.encoders.")
    twice = tensors | {f"latent_dist.{name}": value.clone() for name, value in tensors.items()}
    others = {
        "latent_dist.fc_mean_logscale.weight": torch.ones(2, 8),
        "latent_dist.readout.cached_zero_vector": torch.zeros(8),
        "decoder.token_embedding.weight": torch.ones(5, 2),
        "vocab_module.av_task_atom.linear.weight": torch.ones(9, 8),
        "vocab_module.fg_task_all.linear_atom_from_atom.weight": torch.ones(85, 8),
        "strange.weight": torch.ones(1),
    }
    path = save(tmp_path / "a.pt", twice | others, arguments | {"backbone": "gtrans", "pretrain_mode": "hybrid"})
    result = imported(path, tmp_path / "model", "kermt")
    assert result["kind"] == "encoder" and "pre-training" in result["what"]
    assert result["unknown"] == ["strange.weight"] and "1 unknown: strange.weight" in result["text"]
    reasons = {name: reason for name, reason in result["left_out"].items() if name in others}
    assert reasons.keys() == others.keys() and "decoder" in reasons["decoder.token_embedding.weight"]
    assert len(result["left_out"]) == len(others) + len(tensors)
    assert_same_encoder(tmp_path / "model", encoder)
    twice["latent_dist.kermt.encoders.node_blocks.0.W_o.weight"] += 1
    with pytest.raises(MesomerError, match=r"two different tensors encoders\.node_blocks\.0\.W_o\.weight"):
        imported(save(tmp_path / "b.pt", twice, arguments), tmp_path / "other", "kermt")


def pretraining_file(atoms=5, bonds=4):
    """A pre-training file of the published code's layout, and the folder of its vocabularies' names."""
    tensors, arguments, encoder = official_file()
    for branch in ("atom", "bond"):
        for head, rows in (
            (f"av_task_{branch}.linear", atoms), (f"bv_task_{branch}.linear", bonds),
            (f"bv_task_{branch}.linear_rev", bonds),
        ):  # fmt: skip
            tensors |= {f"{head}.weight": torch.randn(rows, 8), f"{head}.bias": torch.randn(rows)}
        for source in ("atom", "bond"):
            head = f"fg_task_all.linear_{branch}_from_{source}"
            tensors |= {f"{head}.weight": torch.randn(85, 8), f"{head}.bias": torch.randn(85)}
    names = {
        "atom": ["<pad>", "<other>", "C_C-SINGLE1", "C", "N"][:atoms],
        "bond": ["<pad>", "<other>", BOND, f"{BOND}_C-{BOND}1"],
    }
    return tensors, arguments, encoder, names


def save_vocabularies(folder, names, monkeypatch, package="kermt"):
    """As the published code pickles them, without that code."""
    folder.mkdir()
    module = types.ModuleType(f"{package}.data.torchvocab")
    module.MolVocab = type("MolVocab", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    monkeypatch.setitem(sys.modules, f"{package}.data", types.ModuleType(f"{package}.data"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for level, listed in names.items():
        vocabulary = module.MolVocab()
        vocabulary.__dict__ |= {"itos": listed, "freqs": Counter(listed), "vocab_type": level, "other_index": 1}
        (folder / f"mine_{level}_vocab.pkl").write_bytes(pickle.dumps(vocabulary))
    return folder


@pytest.mark.parametrize("source", ["grover", "kermt"])
def test_with_its_vocabularies_a_pretraining_file_keeps_its_heads(tmp_path, monkeypatch, source):
    tensors, arguments, encoder, names = pretraining_file()
    vocab = save_vocabularies(tmp_path / "vocab", names, monkeypatch, source)
    path = save(tmp_path / "a.pt", tensors, arguments)
    result = imported(path, tmp_path / "model", source, vocab=str(vocab))
    assert result["kind"] == "pretraining" and result["reloads_equal"] and not result["left_out"]
    assert result["used"] == len(tensors)
    assert_same_encoder(tmp_path / "model", encoder)
    model = load_model(tmp_path / "model")
    assert model.extra["vocabularies"] == names
    for ours, theirs in (
        ("contextual.heads.atom_from_bond", "av_task_bond.linear"),
        ("contextual.heads.bond_from_atom.forth", "bv_task_atom.linear"),
        ("contextual.heads.bond_from_atom.back", "bv_task_atom.linear_rev"),
        ("motifs.heads.bond_from_bond", "fg_task_all.linear_bond_from_bond"),
    ):
        assert torch.equal(model.state[f"parts.{ours}.weight"], tensors[f"{theirs}.weight"])
    # as `pretrain --init` asks: the heads are taken where the corpus has the same names
    options = PretrainOptions(method="grover", init=str(tmp_path / "model"))
    for listed, taken in ((names, True), ({**names, "atom": [*names["atom"][:-1], "O"]}, False)):
        objective = build(options, model)
        objective.parts["contextual"].name_rows(listed)
        told = take_heads(objective, model)
        same = torch.equal(
            objective.parts["contextual"].heads["atom_from_atom"].weight, tensors["av_task_atom.linear.weight"]
        )
        assert same == taken and ("heads.atom_from_atom" in told) != taken
        assert torch.equal(
            objective.parts["motifs"].heads["atom_from_atom"].weight,
            tensors["fg_task_all.linear_atom_from_atom.weight"],
        )


def test_vocabularies_that_do_not_fit(tmp_path, monkeypatch):
    tensors, arguments, _, names = pretraining_file()
    path = save(tmp_path / "a.pt", tensors, arguments)
    vocab = save_vocabularies(tmp_path / "vocab", {**names, "atom": names["atom"][:4]}, monkeypatch)
    with pytest.raises(MesomerError, match="names 5 contexts of atoms, and the vocabulary has 4"):
        imported(path, tmp_path / "model", vocab=str(vocab))
    with pytest.raises(MesomerError, match="no folder"):
        imported(path, tmp_path / "model", vocab=str(tmp_path / "absent"))
    (vocab / "mine_atom_vocab.pkl").unlink()
    with pytest.raises(MesomerError, match="one vocabulary of atoms, and holds none"):
        imported(path, tmp_path / "model", vocab=str(vocab))
    for content, sentence in (
        (pickle.dumps(Rude()), "asks to run .*system"), (b"junk", "no vocabulary file"),
        (pickle.dumps(3), "does not list"),
    ):  # fmt: skip
        (vocab / "mine_atom_vocab.pkl").write_bytes(content)
        with pytest.raises(MesomerError, match=sentence):
            imported(path, tmp_path / "model", vocab=str(vocab))
    with pytest.raises(MesomerError, match="does not go with --from batmannet"):
        imported(path, tmp_path / "model", "batmannet", vocab=str(vocab))
    alone, arguments, _ = official_file()
    whole = save_vocabularies(tmp_path / "whole", names, monkeypatch)
    with pytest.raises(MesomerError, match="has not all heads"):
        imported(save(tmp_path / "b.pt", alone, arguments), tmp_path / "model", vocab=str(whole))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("level", "change", "sentence"),
    [
        ("atom", {"itos": ["<pad>", "<other>", "C", "N", "C"]}, "lists C more than once"),
        ("atom", {"itos": ["<pad>", "<other>", "C", "N", BOND]}, "does not begin with an element"),
        ("atom", {"itos": ["<pad>", "<other>", "C", "N", "Xx_C-SINGLE1"]}, "does not begin with an element"),
        ("bond", {"itos": ["<pad>", "<other>", "C", "N"]}, "no vocabulary of bonds: 'C' does not begin"),
        ("atom", {"freqs": {"C_C-SINGLE1": 1, "C": 2, "N": 3}}, "lists C_C-SINGLE1 before C, which is commoner"),
        ("atom", {"stoi": {"<pad>": 0, "<other>": 1, "C_C-SINGLE1": 4, "C": 3, "N": 2}}, "another order than in stoi"),
    ],
)
def test_names_that_are_none_of_a_vocabulary(tmp_path, level, change, sentence):
    tensors, arguments, _, names = pretraining_file()
    path = save(tmp_path / "a.pt", tensors, arguments)
    for each, listed in names.items():
        counts = {name: 9 - place for place, name in enumerate(listed)}
        stored = {"itos": listed, "freqs": counts, "stoi": {name: place for place, name in enumerate(listed)}}
        (tmp_path / f"{each}_vocab.json").write_text(json.dumps(stored))
    assert imported(path, tmp_path / "model", vocab=str(tmp_path))["kind"] == "pretraining"
    file = tmp_path / f"{level}_vocab.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(MesomerError, match=sentence):
        imported(path, tmp_path / "other", vocab=str(tmp_path))
    assert not (tmp_path / "other").exists()


class Rude:
    """Pickles as a call of the shell."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.reference
def test_heads_with_vocabularies_name_as_published(official, tmp_path):
    """The reference set has the vocabularies as JSON beside its pre-training file."""
    [stem] = model_names("pretrain")
    result = imported(official / f"{stem}.pt", tmp_path / "model", vocab=str(official))
    assert result["kind"] == "pretraining" and not result["unknown"] and result["difference"] < 5e-5
    reference, model = Reference(official), load_model(tmp_path / "model")
    objective = build(PretrainOptions(method="grover", init=str(tmp_path / "model")), model)
    objective.parts["contextual"].name_rows(model.extra["vocabularies"])
    assert "the encoder and the heads" in take_heads(objective, model)
    objective.encoder.batchwise = True
    batch = reference.batch(0, reference.first)
    with torch.no_grad():
        views = objective.eval().encoder(batch).views
        found = objective.parts["contextual"].log_probabilities("atom_from_atom", views["atom_from_atom"])
    expected = reference.array("pre8_av_task_from_atom")[1:]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * max(1, np.abs(expected).max()))


def finetuned_file(features, prefix="kermt.encoders.", **more):
    """A fine-tuned file: one task, two layers in each head."""
    tensors, arguments, encoder = official_file(prefix=prefix)
    for view in ("atom_from_atom", "atom_from_bond"):
        tensors |= {
            f"mol_{view}_ffn.1.weight": torch.randn(5, 8 + features),
            f"mol_{view}_ffn.1.bias": torch.randn(5),
            f"mol_{view}_ffn.2.weight": torch.tensor([0.2]),
            f"mol_{view}_ffn.4.weight": torch.randn(1, 5),
            f"mol_{view}_ffn.4.bias": torch.randn(1),
        }
    tensors["readout.cached_zero_vector"] = torch.zeros(8)
    return (
        tensors,
        arguments | {"dataset_type": "regression", "task_names": ["logD"], "dist_coff": 0.15} | more,
        encoder,
    )


@pytest.mark.parametrize(
    ("more", "ours"),
    [
        ({"features_generator": ["rdkit_2d_normalized"]}, True),
        ({"features_generator": None, "features_path": ["train.npz"]}, True),
        (
            {
                "features_generator": ["rdkit_2d_normalized_cuik_molmaker"],
                "rdkit2D_normalization_type": "descriptastorus",
            },
            True,
        ),
        ({"features_generator": ["rdkit_2d_normalized_cuik_molmaker"], "rdkit2D_normalization_type": "fast"}, False),
        ({"features_generator": ["rdkit_2d"]}, False),
    ],
)
@pytest.mark.parametrize("source", ["grover", "kermt"])
def test_a_predictor_and_its_descriptors(tmp_path, source, more, ours):
    """Descriptors that are normalised otherwise than ours have to be given, and the card says so."""
    tensors, arguments, _ = finetuned_file(200, f"{source}.encoders.", **more)
    result = imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model", source)
    predictor = load_predictor(tmp_path / "model")
    assert result["kind"] == "predictor" and [target.name for target in predictor.targets] == ["logD"]
    assert predictor.members[0].disagreement == 0.15
    expected = ["rdkit_2d_normalized"] if ours else [f"feature_{i}" for i in range(200)]
    assert predictor.descriptors == expected
    assert any("give them in columns" in note for note in result["notes"]) != ours


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task_names": "logD"}, "argument task_names is 'logD', and a list of names"),
        ({"dist_coff": "much"}, "argument dist_coff is 'much', and a number"),
        ({"features_generator": 3}, "argument features_generator is 3"),
    ],
)
def test_arguments_of_a_predictor_that_do_not_fit(tmp_path, change, sentence):
    tensors, arguments, _ = finetuned_file(0, ENCODER)
    with pytest.raises(MesomerError, match=sentence):
        imported(save(tmp_path / "a.pt", tensors, arguments | change), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_two_tasks_of_one_name(tmp_path):
    tensors, arguments, _ = finetuned_file(0, ENCODER, task_names=["logD", "logD"])
    for view in ("atom_from_atom", "atom_from_bond"):
        tensors |= {f"mol_{view}_ffn.4.weight": torch.randn(2, 5), f"mol_{view}_ffn.4.bias": torch.randn(2)}
    with pytest.raises(MesomerError, match="more than one task 'logD'"):
        imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["data_scaler", "features_scaler"])
@pytest.mark.parametrize(
    ("scaler", "sentence"),
    [
        ({"means": np.ones(7), "stds": np.ones(7)}, "with 7 means, and 1 are expected"),
        ({"means": np.ones(1), "stds": np.ones(2)}, "with 2 stds, and 1 are expected"),
        ({"means": None, "stds": None}, "whose means are no finite numbers"),
        ({"means": np.ones(1), "stds": np.array([np.inf])}, "whose stds are no finite numbers"),
        ({"means": ["x"], "stds": [1.0]}, "whose means are no finite numbers"),
        ({"means": np.ones(1), "stds": np.zeros(1)}, "stds of 0 or less"),
        ([1.0], "as a list, not as means and stds"),
    ],
)
def test_a_scaler_that_does_not_fit(tmp_path, name, scaler, sentence):
    tensors, arguments, _ = finetuned_file(1, ENCODER)
    content = {"state_dict": tensors, "args": argparse.Namespace(**arguments), name: scaler}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(MesomerError, match=f"{name}.*{sentence}"):
        imported(tmp_path / "a.pt", tmp_path / "model")
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite(tmp_path, value):
    tensors, arguments, _ = official_file()
    name = f"{ENCODER}node_blocks.0.W_o.weight"
    tensors[name][0, 0] = value
    with pytest.raises(MesomerError, match=rf"values in {re.escape(name)} that are no finite numbers"):
        imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model")
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("kind", ["encoder", "predictor"])
def test_a_folder_that_does_not_read_back_is_not_left(tmp_path, monkeypatch, kind):
    tensors, arguments, _ = official_file() if kind == "encoder" else finetuned_file(0, ENCODER)
    path = save(tmp_path / "a.pt", tensors, arguments)
    imported(path, tmp_path / "whole")
    assert sorted(os.listdir(tmp_path / "whole")) == ["README.md", "config.json", "import.json", "model.safetensors"]
    write = checkpoint.save_file

    def flips(tensors, *rest, **more):
        name = next(name for name, x in tensors.items() if x.is_floating_point())
        write(tensors | {name: tensors[name] + 1}, *rest, **more)

    monkeypatch.setattr(checkpoint, "save_file", flips)
    with pytest.raises(MesomerError, match=r"/model does not read back as it was written"):
        imported(path, tmp_path / "model")
    before = (tmp_path / "whole" / "config.json").read_bytes()
    with pytest.raises(MesomerError, match="does not read back"):
        imported(path, tmp_path / "whole", overwrite=True)
    assert (tmp_path / "whole" / "config.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "whole"]


def test_a_full_disk_is_told_by_the_name_of_the_folder(tmp_path, monkeypatch):
    tensors, arguments, _ = official_file()
    path = save(tmp_path / "a.pt", tensors, arguments)

    def full(*rest, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(MesomerError) as told:
        imported(path, tmp_path / "model")
    assert told.value.message == f"Cannot write {tmp_path / 'model'}: the disk is full."
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_name_for_each_task(tmp_path):
    tensors, arguments, _ = finetuned_file(200, ENCODER, task_names=["logD", "logS"])
    with pytest.raises(MesomerError, match="The arguments name 2 tasks, and the file predicts 1"):
        imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model")


def test_an_imported_encoder_is_fine_tuned_with_columns_beside_it(tmp_path, capsys):
    """Two views with a head each, drawn depths, attention as readout, a column of features: all that is published."""
    tensors, arguments, encoder = official_file(dropout=0.1)
    imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model")
    rows = demo_rows(40)
    table = {name: [row[name] for row in rows] for name in ("smiles", "activity")} | {"size": list(range(40))}
    path = write_table(tmp_path / "data.csv", table)
    finetune(
        str(path), output=str(tmp_path / "run"), targets=["activity"], model=str(tmp_path / "model"), split="random",
        repeats=1, epochs=3, batch_size=8, readout="attention", descriptors=["size"], disagreement=0.1,
    )  # fmt: skip
    predictor = load_predictor(tmp_path / "run")
    assert predictor.descriptors == ["size"] and len(predictor.members[0].heads) == 2
    moved = predictor.members[0].encoder.state_dict()
    before = encoder.state_dict()
    assert moved.keys() == before.keys() and any(not torch.equal(moved[name], before[name]) for name in before)


@pytest.mark.parametrize("scaled", [True, False])
def test_standardised_features_keep_their_scales(tmp_path, scaled):
    tensors, arguments, _ = finetuned_file(2)
    scaler = {"means": np.array([1.0, 2.0]), "stds": np.array([2.0, 4.0])} if scaled else None
    content = {"state_dict": tensors, "args": argparse.Namespace(**arguments), "features_scaler": scaler}
    torch.save(content, tmp_path / "a.pt")
    result = imported(tmp_path / "a.pt", tmp_path / "model", "kermt")
    predictor = load_predictor(tmp_path / "model")
    assert predictor.descriptors == ["feature_0", "feature_1"]
    given = np.array([[3.0, np.nan]])
    found = predictor.predict(collate([graph_from_smiles("CCO")[0]]), given)
    plain = np.array([[1.0, 0.0]]) if scaled else np.array([[3.0, 0.0]])
    with torch.no_grad():
        raw = predictor.members[0](collate([graph_from_smiles("CCO")[0]]), torch.from_numpy(plain).float())
    np.testing.assert_allclose(found[0], ((raw[0] + raw[1]) / 2).numpy(), rtol=1e-5)
    assert any("standardised" in note for note in result["notes"]) == scaled


def test_layers_for_single_tasks_leave_the_encoder(tmp_path):
    tensors, arguments, encoder = finetuned_file(0)
    tensors["mol_atom_from_atom_ffn_task_specific.0.1.weight"] = torch.ones(1, 5)
    result = imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model", "kermt")
    assert result["kind"] == "encoder" and "single tasks" in result["what"] and not result["unknown"]
    assert_same_encoder(tmp_path / "model", encoder)


def test_files_of_others_are_named(tmp_path, parity):
    kermt, arguments, _ = official_file(prefix="kermt.encoders.")
    with pytest.raises(MesomerError, match="KERMT") as told:
        imported(save(tmp_path / "a.pt", kermt, arguments), tmp_path / "model")
    assert "--from kermt" in (told.value.hint or "")
    official, arguments, encoder = official_file()
    imported(save(tmp_path / "b.pt", official, arguments), tmp_path / "model", "kermt")
    assert_same_encoder(tmp_path / "model", encoder)
    with pytest.raises(MesomerError, match="GROVER"):
        imported(tmp_path / "b.pt", tmp_path / "other", "batmannet")
    with pytest.raises(MesomerError, match="first key is x"):
        imported(save(tmp_path / "c.pt", {"x": torch.ones(1)}), tmp_path / "other")
    with pytest.raises(MesomerError, match="BatmanNet"):
        imported(save(tmp_path / "d.pt", {"mygame.encoders.x": torch.ones(1)}, {}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"undirected": True}, "undirected"),
        ({"backbone": "gin"}, "backbone"),
        ({"activation": "ReLU"}, "PReLU"),
        ({"hidden_size": 9}, "hidden_size"),
        ({"depth": "six"}, "argument depth is 'six', and a whole number"),
        ({"depth": 2.5}, "argument depth is 2.5, and a whole number"),
        ({"depth": True}, "argument depth is True"),
        ({"dropout": float("nan")}, "argument dropout is nan"),
        ({"dropout": 1.5}, "argument dropout is 1.5, and a number from 0"),
        ({"dense": "yes"}, "argument dense is 'yes', and true or false"),
        ({"activation": ["PReLU"]}, "argument activation is .*, and text"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, change, sentence):
    tensors, arguments, _ = official_file()
    with pytest.raises(MesomerError, match=sentence):
        imported(save(tmp_path / "a.pt", tensors, arguments | change), tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("node_blocks.0.W_o.weight", None, r"W_o\.weight"),
        ("node_blocks.0.W_i.weight", torch.ones(8, 42), r"shape \(8, 42\)"),  # features of another code
        ("node_blocks.0.heads.0.mpn_q.W_h.weight", torch.ones(8, 8 + 14), r"shape \(8, 22\)"),  # attached features
    ],
)
def test_tensors_that_do_not_fit(tmp_path, name, value, sentence):
    tensors, arguments, _ = official_file()
    if value is None:
        del tensors[ENCODER + name]
    else:
        tensors[ENCODER + name] = value
    with pytest.raises(MesomerError, match=sentence):
        imported(save(tmp_path / "a.pt", tensors, arguments), tmp_path / "model")
