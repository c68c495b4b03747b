"""Molecules as programs hold them: the same vectors, predictions and messages whatever the container."""

from __future__ import annotations

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from rdkit import Chem
from small_models import write_table

import mesomer
from mesomer.errors import MesomerError
from mesomer.estimators import MolClassifier, MolEmbedder, MolRegressor
from mesomer.inference.molecules import molecules_of

TEXTS = ["CCO", "c1ccccc1", "CC(=O)N", None, "C(C"]
HOLDERS = {
    "list": list,
    "tuple": tuple,
    "array": lambda texts: np.array(texts, dtype=object),
    "matrix": lambda texts: np.array(texts, dtype=object).reshape(-1, 1),
    "rows": lambda texts: [[text] for text in texts],
    "generator": lambda texts: (text for text in texts),
    "pandas": lambda texts: pandas.Series(texts, index=[7, 7, 1, 2, 3]),
    "pandas string": lambda texts: pandas.Series(texts, dtype="string"),
    "pandas frame": lambda texts: pandas.DataFrame({"whatever": texts}),
    "pandas frame with names": lambda texts: pandas.DataFrame({"id": range(5), "SMILES": texts}),
    "polars": lambda texts: polars.Series(texts),
    "polars frame": lambda texts: polars.DataFrame({"structure": texts}),
    "arrow": lambda texts: pyarrow.chunked_array([texts[:2], texts[2:]]),
    "molecules": lambda texts: [None if text in (None, "C(C") else Chem.MolFromSmiles(text) for text in texts],
    "mix": lambda texts: [Chem.MolFromSmiles(texts[0]), *texts[1:3], float("nan"), texts[4]],
}


@pytest.fixture(scope="module")
def model(encoder):
    return mesomer.load(encoder, accelerator="cpu")


@pytest.fixture(scope="module")
def vectors(model):
    return model.embed(TEXTS)


@pytest.mark.parametrize("name", HOLDERS)
def test_every_container_gives_the_same_vectors(model, vectors, name):
    found = model.embed(HOLDERS[name](TEXTS))
    assert found.shape == (5, vectors.shape[1]) and np.isnan(found[3:]).all()
    assert found[:3] == pytest.approx(vectors[:3], abs=1e-6)


@pytest.mark.parametrize("cell", [np.str_, lambda text: np.array(text), lambda text: np.bytes_(text.encode())])
def test_values_of_numpys_are_cells_and_no_rows(model, vectors, cell):
    for kind in (list, tuple, lambda texts: np.fromiter(texts, dtype=object)):
        assert model.embed(kind([cell(text) for text in TEXTS[:3]])) == pytest.approx(vectors[:3], abs=1e-6)
    with pytest.raises(MesomerError, match="2 numbers are no column of molecules"):
        model.embed(list(np.zeros(2)))


SPELLINGS = {
    "with hydrogens": Chem.AddHs,
    "kekulised": lambda mol: _kekulised(mol, True),
    "kekulised, aromatic flags kept": lambda mol: _kekulised(mol, False),
    "never sanitised": lambda mol: Chem.MolFromSmiles(Chem.MolToSmiles(mol, canonical=False), sanitize=False),
    "no valence": lambda mol: Chem.MolFromSmiles("CN(C)(C)(C)C", sanitize=False),
}


def _kekulised(mol, clear):
    own = Chem.Mol(mol)
    Chem.Kekulize(own, clearAromaticFlags=clear)
    return own


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_molecule_in_any_state_gives_the_vector_of_its_smiles(model, name):
    text = "O=C([O-])c1ccc2[nH]c(/C=C/[C@H](F)Cl)cc2c1"
    mol = SPELLINGS[name](Chem.MolFromSmiles(text))
    reasons = model.reasons([mol, text])
    vectors = model.embed([mol, text])
    atoms = model.embed([mol, text], level="atom")
    if name == "no valence":
        assert reasons == ["RDKit cannot sanitise it", None]
        assert np.isnan(vectors[0]).all() and atoms[0] is None
    else:
        assert reasons == [None, None]
        assert vectors[0] == pytest.approx(vectors[1], abs=1e-6)
        assert atoms[0].shape == atoms[1].shape
    assert len(model.draw([mol, text]).items) == 2


def test_containers_reach_the_estimators(encoder, smiles, counts, probe):
    regressor = MolRegressor(**probe).fit(polars.Series(smiles), polars.Series(counts))
    other = MolRegressor(**probe).fit(pandas.DataFrame({"s": smiles}), pandas.Series(counts, index=range(9, 69)))
    assert np.array_equal(regressor.predict(np.array(smiles)[:, None]), other.predict(tuple(smiles)))
    third = MolRegressor(**probe).fit([Chem.MolFromSmiles(text) for text in smiles], counts.tolist())
    assert third.predict(smiles) == pytest.approx(regressor.predict(smiles), abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("CCO", r"One SMILES is no list. Write \['CCO'\]"),
        (Chem.MolFromSmiles("CCO"), "One molecule is no list"),
        (np.zeros((3, 4)), r"array of shape \(3, 4\) is no column of molecules"),
        (np.zeros(3), "3 numbers are no column of molecules"),
        ([[1.0, 2.0]], "A row of 2 cells is no column"),
        ({"smiles": ["C"]}, "A dict is no list of molecules"),
        (7, "A int is no list of molecules"),
        (pandas.DataFrame({"a": ["x"], "b": [2]}), "SMILES"),
        (pandas.DataFrame({"a": [1.0, 2.0]}), "The column 'a' is no column of molecules"),
    ],
)
def test_what_is_no_column_of_molecules_is_said(model, encoder, wrong, words):
    for take in (model.embed, MolEmbedder(encoder).transform, MolEmbedder(encoder).fit):
        with pytest.raises(MesomerError, match=words):
            take(wrong)


def test_no_molecules_give_no_rows(model, vectors):
    assert model.embed([]).shape == (0, vectors.shape[1])


def test_other_columns_of_a_frame_stay_at_hand():
    items, columns = molecules_of(pandas.DataFrame({"pH": [7.0, 2.0], "smiles": ["C", "CC"]}))
    assert items == ["C", "CC"] and columns == {"pH": [7.0, 2.0]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"batch_size": 8.0}, "batch_size must be a whole number, not 8.0"),
        ({"max_lr": "1e-3"}, "max_lr must be a number, not '1e-3'"),
        ({"repeats": 1.0}, "repeats must be a whole number"),
        ({"standardize": "yes"}, "standardize must be true or false"),
        ({"precision": 16}, "precision must be one of auto, 32, bf16"),
        ({"descriptors": 3}, "descriptors must be a list of words or null"),
        ({"random_state": "x"}, "random_state is 'x', which cannot be used to seed"),
        ({"model": 5}, "A value of type int names no model"),
        ({"model": MolRegressor()}, "A value of type MolRegressor names no model"),
    ],
)
def test_an_argument_of_another_type_is_one_sentence(smiles, counts, encoder, wrong, words):
    with pytest.raises(MesomerError, match=words):
        MolRegressor(**{"model": encoder} | wrong).fit(smiles, counts)


def test_what_means_the_same_is_taken(smiles, counts, probe, encoder):
    plain = MolRegressor(**probe | {"precision": "32", "repeats": 1}).fit(smiles, counts)
    meant = MolRegressor(**probe | {"precision": 32, "repeats": np.int64(1)}).fit(smiles, counts)
    assert np.array_equal(plain.predict(smiles), meant.predict(smiles))
    one = MolRegressor(**probe, descriptors="rdkit_2d_normalized").fit(smiles, counts)
    assert one.predictor_.descriptors == ["rdkit_2d_normalized"]
    assert MolEmbedder(encoder, dtype=np.float64).transform(["CC"]).dtype == np.float64


def test_molecules_are_blamed_for_what_labels_are_not(counts, probe):
    with pytest.raises(MesomerError, match=r"No row of the list is a readable molecule \(60 cannot parse\)"):
        MolRegressor(**probe).fit(["C(C"] * 60, counts)
    with pytest.raises(MesomerError, match=r"Only 1 molecule has a usable label.*59 cannot parse"):
        MolRegressor(**probe).fit(["C(C"] * 59 + ["CCO"], counts)


def test_a_bad_row_warns_at_the_callers_line(model):
    with pytest.warns(
        UserWarning, match=r"1 of 2 rows is no usable molecule: 1 cannot parse \(row 1: 'C\(C'\).*NaN"
    ) as told:
        model.embed(["CC", "C(C"])
    assert told[0].filename == __file__


def test_commands_called_from_python_check_their_arguments(tmp_path):
    with pytest.raises(MesomerError, match=r"^epochs must be a whole number, not '3'"):
        mesomer.finetune("data.csv", output=tmp_path / "run", epochs="3")
    with pytest.raises(MesomerError, match=r"^The accelerator 'tpu|^There is no accelerator named 'tpu'"):
        mesomer.load(accelerator="tpu")
    with pytest.raises(TypeError, match=r"^finetune: got an unexpected keyword argument 'epoch'. Did you mean epochs"):
        mesomer.finetune("data.csv", output=tmp_path / "run", epoch=3)


def test_an_argument_that_an_estimator_does_not_have_is_said_with_the_nearest(probe, smiles, counts, tmp_path):
    MolRegressor(**probe, repeats=1).fit(smiles, counts).save(tmp_path / "m")
    words = "^MolRegressor: got an unexpected keyword argument 'epohcs'. Did you mean epochs?"
    for make in (MolRegressor, lambda **given: MolRegressor.load(tmp_path / "m", **given)):
        with pytest.raises(MesomerError, match=words) as told:
            make(epohcs=3)
        assert isinstance(told.value, TypeError)
    with pytest.raises(MesomerError, match=r"^MolEmbedder: got an unexpected keyword argument 'levle'"):
        MolEmbedder(levle="atom")
    with pytest.raises(MesomerError, match=r"^MolClassifier: too many positional arguments\. Give them by name"):
        MolClassifier("small", "random")


@pytest.mark.parametrize("take", [mesomer.load, MolRegressor.load, lambda name: MolEmbedder(name).transform(["C"])])
def test_what_names_no_model_is_said(take, probe):
    for wrong in (5, b"model", MolRegressor(**probe)):
        with pytest.raises(MesomerError, match=f"^A value of type {type(wrong).__name__} names no model"):
            take(wrong)


OTHERS = {
    "not text": [5, 2.5, True, ["C", "N"], object(), b"\xff\xfe"],
    "InChI instead of SMILES": ["InChI=1S/CH4/h1H4", " InChI=1/CH4/h1H4\n"],
    "query (SMARTS) instead of a molecule": ["[C,N]", "[C;H1]C", "[!#6]~O name", "C~C", Chem.MolFromSmarts("[#6]O")],
    "cannot parse": ["C(C", "c1cccc1", "a,b", "CN(C)(C)(C)C", "[R]", "C(C name, with comma"],
    "empty": ["", " ", "nan", None, float("nan"), pandas.NA],
    None: ["CC name, with comma", "CC |$a;b$|", b"CC", "*C", Chem.MolFromSmiles("*C")],
}


def test_reasons_say_what_was_given_instead_of_a_molecule(model, smiles, counts, probe):
    rows = [(item, reason) for reason, items in OTHERS.items() for item in items]
    reasons = [reason for _, reason in rows]
    assert model.reasons([item for item, _ in rows]) == reasons
    assert [item.reason for item in model.draw([item for item, _ in rows])] == reasons
    bad = [item for item, reason in rows if reason is not None]
    with pytest.warns(UserWarning, match="rows are no usable molecules"):
        regressor = MolRegressor(**probe, repeats=1).fit([*smiles, *bad], [*counts, *[0.0] * len(bad)])
    assert [item.reason for item in regressor.rejects_] == [reason for reason in reasons if reason is not None]


def test_too_few_rows_are_explained_in_python(smiles, counts, probe, tmp_path):
    with pytest.raises(MesomerError, match=r"needs at least 10.* mesomer\.load\(\)\.reasons\(X\) says") as told:
        MolRegressor(**probe).fit(smiles[:4], counts[:4])
    assert "mesomer check" not in str(told.value)
    table = write_table(tmp_path / "few.csv", {"smiles": smiles[:4], "n": counts[:4]})
    with pytest.raises(MesomerError, match=r"needs at least 10.* mesomer\.check shows which rows"):
        mesomer.finetune(table, targets="n", output=tmp_path / "run", model=probe["model"])


CHAINS = ["C" * (at + 1) for at in range(20)]
DATA_ERRORS = {
    "is a readable molecule": lambda fit: fit(["no", "C("] * 10, np.arange(20.0)),
    "needs at least 10": lambda fit: fit(["CCO", "CCN"], [1.5, 2.5]),
    "too large to compute with": lambda fit: fit(CHAINS, [1e30, *np.arange(19.0)]),
    "is no usable molecule": lambda fit: fit([*CHAINS, "C("], np.arange(21.0), on_error="raise"),
    "names a column twice": lambda fit: fit(pandas.DataFrame([["CCO", 1]], columns=["smiles", "smiles"]), [1.0]),
    "no SMILES column": lambda fit: fit(pandas.DataFrame({"a": ["x"], "b": ["y"]}), [1.0]),
    "groups of the shape": lambda fit: fit(["CCO", "CCN"], [1.5, 2.5], groups=[1]),
}


@pytest.mark.parametrize("words", DATA_ERRORS)
def test_wrong_data_is_a_value_error_too(encoder, words):
    def fit(molecules, labels, on_error="nan", groups=None):
        MolRegressor(encoder, probe=True, split="random", on_error=on_error).fit(molecules, labels, groups=groups)

    with pytest.raises(MesomerError, match=words) as caught:
        DATA_ERRORS[words](fit)
    assert isinstance(caught.value, ValueError)


def test_frames_without_a_name_for_the_smiles_get_advice_in_python(model):
    with pytest.raises(MesomerError, match=r"for example frame\['b'\]") as caught:
        model.embed(pandas.DataFrame({"a": ["x-1", "x-2"], "b": ["CCO", "CCN"]}))
    assert "smiles_column" not in str(caught.value)
    with pytest.raises(MesomerError, match=r"Give the column of molecules alone\.$"):
        model.embed(pandas.DataFrame({"a": ["x-1", "x-2"], "b": ["y-1", "y-2"]}))
