"""`mesomer import --from rmat` and `--from mat`: official layouts, what is refused or left out, and their use."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest
import torch
from rdkit import Chem
from reference_nodes import FAMILIES, models, reference_of

from mesomer.chem.conformers import conformer
from mesomer.chem.featurize import featurize
from mesomer.chem.graph import collate
from mesomer.commands.embed import embed
from mesomer.commands.import_weights import import_weights
from mesomer.encoders.base import build_encoder
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.inference.api import Model
from mesomer.inference.embed import Embedder
from mesomer.interop.mat import MAT
from mesomer.interop.rmat import RMAT, encoder_links, head_links
from mesomer.outputs import Output
from mesomer.training.checkpoint import load_encoder, load_model
from mesomer.training.predictor import load_predictor

FAMILY = {"rmat": RMAT, "mat": MAT}
SMALL = {"hidden_size": 8, "heads": 2, "blocks": 2}


def imported(path, output, source="rmat", **options):
    return import_weights(str(path), from_=source, output=str(output), **options)


def official_file(source="rmat", **options):
    """Tensors of a small official encoder file, its configuration, and our random encoder that they are of."""
    torch.manual_seed(0)
    encoder = build_encoder(source, **SMALL | ({"ffn_hidden": 12} if source == "rmat" else {}) | options)
    ours = encoder.state_dict()
    links = [link for link in encoder_links(encoder, "", FAMILY[source]) if link.ours in ours]
    tensors = {link.theirs: link.read(ours).detach().clone().contiguous() for link in links}
    shared = {"d_model": 8, "encoder_n_attn_heads": 2, "ffn_activation": "LeakyReLU", "dropout": 0.0}
    return tensors, shared, encoder


def save(path, tensors, configuration=None):
    torch.save(tensors, path)
    if configuration is not None:
        path.with_suffix(".json").write_text(json.dumps(configuration))
    return path


def assert_same_encoder(folder, encoder):
    found = load_encoder(folder).state_dict()
    assert found.keys() == encoder.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.reference
@pytest.mark.parametrize(("family", "name"), models(*FAMILIES))
def test_each_official_file(tmp_path, family, name):
    reference = reference_of(family)
    result = imported(reference.folder / f"{name}.pt", tmp_path / "model", family)
    contextual = reference.config["models"][name]["config"]["generator_aggregation"] == "contextual"
    assert result["kind"] == ("encoder" if contextual else "predictor")
    assert result["reloads_equal"] and not result["unknown"]
    assert result["used"] + len(result["left_out"]) == len(reference.checkpoint(name).tensors)
    assert result["difference"] < 5e-5 and f"{result['difference']:.1e}" in result["text"]
    assert load_model(tmp_path / "model").kind == result["kind"]
    if not contextual:
        predictor = load_predictor(tmp_path / "model")
        size = reference.batches["predict"]
        features = reference.arrays["features_200"][:size] if predictor.descriptors else None
        assert predictor.descriptors in ([], ["rdkit_2d_normalized"])
        found = predictor.predict(reference.batch(0, size), features)[0]
        expected = reference.arrays[f"{name}_pred"][:size]
        np.testing.assert_allclose(found, expected, atol=5e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("source", ["rmat", "mat"])
def test_a_published_file_has_an_encoder_only_and_no_configuration(tmp_path, source):
    """As rmat_4M and mat_masking_*: what its tensors do not tell is the published default, and said."""
    heads = {} if source == "rmat" else {"hidden_size": 32, "heads": 16}
    tensors, _, encoder = official_file(source, **heads)
    result = imported(save(tmp_path / "a.pt", tensors), tmp_path / "model", source)
    assert result["kind"] == "encoder" and not result["left_out"] and result["difference"] is None
    told = {text.split(" = ")[0] for text in result["assumed"]}
    radial = {"envelope_cutoff", "envelope_exponent"}
    mixing = {"encoder_n_attn_heads", "distance_matrix_kernel", "lambda_attention", "lambda_distance"}
    assert told == {"activation", "dropout"} | (radial if source == "rmat" else mixing)
    assert_same_encoder(tmp_path / "model", encoder)
    assert load_encoder(tmp_path / "model").config() == encoder.config()
    assert "coordinates" in (tmp_path / "model" / "README.md").read_text()


def test_an_imported_encoder_embeds_molecules_with_and_without_coordinates(tmp_path):
    tensors, configuration, encoder = official_file()
    imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model")
    smiles = ["CCO", "c1ccccc1", "nonsense"]
    found = Model(tmp_path / "model").embed(smiles)
    assert np.isnan(found[2]).all()
    for text, vector in zip(smiles[:2], found, strict=False):
        mol = Chem.MolFromSmiles(text)
        batch = collate([featurize(mol)._replace(coordinates=conformer(mol).coordinates)])
        with torch.no_grad():
            expected = encoder.eval().molecule_vectors(encoder(batch), batch)[0]
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)
    own = Chem.MolFromSmiles("CCO")
    shape = Chem.Conformer(3)
    for atom in range(3):
        shape.SetAtomPosition(atom, [3.0 * atom, 0, 1])
    shape.Set3D(True)
    own.AddConformer(shape)
    [given] = Model(tmp_path / "model").embed([own])
    assert not np.allclose(given, found[0], atol=1e-4)
    batch = collate([featurize(own, coordinates=True)])
    np.testing.assert_allclose(given, encoder.molecule_vectors(encoder(batch), batch).detach()[0], rtol=1e-4, atol=1e-5)
    whole = Chem.AddHs(own, addCoords=True)
    shuffled = Chem.RenumberAtoms(whole, [3, 0, 4, 1, 5, 2, 6, 7, 8])
    frame = pandas.DataFrame({"smiles": ["CCO", "CCO"], "molecule": [shuffled, own]})
    for molecules in ([shuffled, own], frame):  # hydrogens go, and take only their own places along
        found_whole, found_own = Model(tmp_path / "model").embed(molecules)
        np.testing.assert_allclose(found_whole, given, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found_own, given, rtol=1e-4, atol=1e-5)
    atoms = Embedder(str(tmp_path / "model"), level="atom").vector_lists([featurize(own, coordinates=True)])
    assert atoms[0].shape == (3, 8)
    with pytest.raises(MesomerError, match="no bond vectors"):
        Embedder(str(tmp_path / "model"), level="bond")


def test_embed_tells_of_molecules_on_top_of_each_other(tmp_path):
    tensors, configuration, _ = official_file()
    imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model")
    (tmp_path / "a.smi").write_text("CCO\n[Na+].[Cl-]\n")
    result = embed(str(tmp_path / "a.smi"), model=str(tmp_path / "model"), output=str(tmp_path / "out.csv"))
    assert "1 of 2 molecules with atoms on top of each other" in result["text"]
    assert "two dimensions" not in result["text"]


def with_head(source, readout="mean", layers=1, extra=0, **more):
    """A file with a head, its configuration, and our model that it is of."""
    tensors, configuration, encoder = official_file(source)
    torch.manual_seed(1)
    model = PropertyModel(
        encoder,
        [Output("regression")] * 2,
        readout=readout,
        attn_hidden=128,
        attn_out=4,
        descriptors_dim=extra,
        ffn_hidden=128 if layers == 2 else 0,
        ffn_layers=layers,
        activation="LeakyReLU",
        head_norm=layers == 2,
    )
    ours = model.state_dict()
    marker = {"generator.proj.weight": torch.ones(1)} if layers == 1 else {}
    for link in head_links(marker):
        if link.ours in ours:
            tensors[link.theirs] = link.read(ours).detach().clone()
    named = {"attention": "grover", "mean": "mean"}[readout]
    return tensors, configuration | {"generator_aggregation": named} | more, model


@pytest.mark.parametrize("source", ["rmat", "mat"])
@pytest.mark.parametrize(("readout", "layers"), [("mean", 1), ("attention", 2)])
def test_a_fine_tuned_file_is_a_predictor(tmp_path, source, readout, layers):
    tensors, configuration, model = with_head(source, readout, layers, dataset_type="classification")
    result = imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model", source)
    assert result["kind"] == "predictor" and not result["left_out"]
    assert not [text for text in result["assumed"] if "regresses" in text]
    predictor = load_predictor(tmp_path / "model")
    assert [target.type for target in predictor.targets] == ["binary", "binary"]
    mol = Chem.MolFromSmiles("CC(=O)N")
    batch = collate([featurize(mol)._replace(coordinates=conformer(mol).coordinates)])
    with torch.no_grad():
        expected = torch.sigmoid(model.eval()(batch)[0])
    np.testing.assert_allclose(predictor.predict(batch, None)[0], expected, rtol=1e-4, atol=1e-5)
    assert len(Model(tmp_path / "model").predict(["CC(=O)N"])["task_0_pred"]) == 1


def test_mixing_arguments_of_mat_are_checked(tmp_path):
    tensors, configuration, _ = official_file("mat")
    for name, value in {"lambda_attention": "third", "distance_matrix_kernel": 1, "encoder_n_attn_heads": "2"}.items():
        with pytest.raises(MesomerError, match=f"argument {name} is {value!r}"):
            imported(save(tmp_path / "a.pt", tensors, configuration | {name: value}), tmp_path / "model", "mat")


def test_other_molecule_features_have_to_be_given(tmp_path):
    tensors, configuration, _ = with_head("rmat", extra=5)
    configuration |= {"generator_features_generators": ["morgan"], "generator_d_generated_features": 5}
    imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model")
    assert load_predictor(tmp_path / "model").descriptors == [f"feature_{i}" for i in range(5)]
    del configuration["generator_d_generated_features"]
    with pytest.raises(MesomerError, match="13 numbers") as told:
        imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "other")
    assert "generator_d_generated_features" in told.value.hint


def test_a_head_whose_pooling_nothing_tells_is_refused(tmp_path):
    tensors, configuration, _ = with_head("rmat")
    del configuration["generator_aggregation"]
    with pytest.raises(MesomerError, match="mean or not at all"):
        imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model")
    with pytest.raises(MesomerError, match="does not fit"):
        imported(save(tmp_path / "a.pt", tensors, configuration | {"generator_aggregation": "grover"}), tmp_path / "m")


def test_files_of_others_are_named(tmp_path):
    for source, other in (("rmat", "mat"), ("mat", "rmat")):
        tensors, configuration, _ = official_file(source)
        with pytest.raises(MesomerError, match="features") as told:
            imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model", other)
        assert f"--from {source}" in told.value.hint
        with pytest.raises(MesomerError, match="R-MAT's" if source == "rmat" else "MAT's"):
            imported(tmp_path / "a.pt", tmp_path / "model", "grover")
    with pytest.raises(MesomerError, match="GROVER's") as told:
        imported(save(tmp_path / "b.pt", {"grover.encoders.x": torch.ones(1)}), tmp_path / "model")
    assert told.value.hint == "Import it with --from grover."
    with pytest.raises(MesomerError, match="first key is src_embed"):
        imported(save(tmp_path / "d.pt", {"src_embed.lut.weight": torch.ones(37)}), tmp_path / "model")
    with pytest.raises(MesomerError, match="first key is x"):
        imported(save(tmp_path / "c.pt", {"x": torch.ones(1)}), tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"d_model": 9}, "d_model"),
        ({"encoder_n_attn_heads": 4}, "encoder_n_attn_heads"),
        ({"envelope_num_radial": 12}, "envelope_num_radial"),
        ({"d_edge": 20}, "d_edge"),
        ({"ffn_n_layers": 3}, "ffn_n_layers"),
        ({"ffn_d_hidden": 9}, "ffn_d_hidden"),
        ({"ffn_activation": "PReLU"}, "PReLU"),
        ({"envelope_cutoff": "twenty"}, "argument envelope_cutoff is 'twenty', and a number"),
        ({"envelope_exponent": [5]}, "argument envelope_exponent is"),
        ({"dropout": "some"}, "argument dropout is 'some'"),
        ({"ffn_d_hidden": "x"}, "argument ffn_d_hidden is 'x'|ffn_d_hidden is x"),
    ],
)
def test_a_configuration_that_does_not_fit(tmp_path, change, sentence):
    tensors, configuration, _ = official_file()
    with pytest.raises(MesomerError, match=sentence):
        imported(save(tmp_path / "a.pt", tensors, configuration | change), tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("encoder.norm.weight", None, r"encoder\.norm\.weight"),
        ("encoder.layers.1.self_attn.attention.relative_u", torch.ones(1, 2, 1, 3), r"shape \(1, 2, 1, 3\)"),
        ("encoder.layers.0.self_attn.attention.relative_u", None, "no relative attention"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, name, value, sentence):
    tensors, configuration, _ = official_file()
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    with pytest.raises(MesomerError, match=sentence):
        imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model")


def test_an_unknown_tensor_is_told(tmp_path):
    tensors, configuration, _ = official_file()
    path = save(tmp_path / "a.pt", tensors | {"strange.weight": torch.ones(1)}, configuration)
    result = imported(path, tmp_path / "model")
    assert result["unknown"] == ["strange.weight"] and "1 unknown: strange.weight" in result["text"]


def test_a_slope_and_other_radial_functions_are_taken(tmp_path):
    tensors, configuration, encoder = official_file(
        activation="PReLU", ffn_layers=3, radial_functions=5, cutoff=7.5, exponent=3.0
    )
    configuration |= {"ffn_activation": "PReLU", "envelope_cutoff": 7.5, "envelope_exponent": 3.0}
    imported(save(tmp_path / "a.pt", tensors, configuration), tmp_path / "model")
    assert_same_encoder(tmp_path / "model", encoder)
    assert load_encoder(tmp_path / "model").config() == encoder.config()
