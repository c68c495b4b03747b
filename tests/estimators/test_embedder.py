"""The transformer: vectors as `mesomer.load` gives them, in pipelines, frames, copies and pickles."""

from __future__ import annotations

import pickle
import shutil
import warnings

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_models import save_encoder

import mesomer
from mesomer.errors import MesomerError
from mesomer.estimators import MolEmbedder


@pytest.fixture
def embedder(encoder):
    return MolEmbedder(encoder, accelerator="cpu")


def test_vectors_are_those_of_the_model(encoder, embedder, smiles):
    expected = mesomer.load(encoder, accelerator="cpu").embed(smiles)
    assert np.array_equal(embedder.transform(smiles), expected)
    assert np.array_equal(embedder.fit(smiles).fit_transform(smiles), expected)
    assert np.array_equal(MolEmbedder(mesomer.load(encoder)).transform(smiles), expected)
    half = MolEmbedder(encoder, dtype="float16").transform(smiles)
    assert half.dtype == np.float16 and half == pytest.approx(expected, abs=2e-2)
    with pytest.raises(MesomerError, match="dtype"):
        MolEmbedder(encoder, dtype="int8").transform(smiles)


def test_bad_rows_are_nan_with_one_warning_that_counts_reasons(embedder, encoder):
    rows = ["CCO", "C(C", "", "CC", None, "[H][H]"]
    with pytest.warns(UserWarning) as told:
        found = embedder.transform(rows)
    assert np.isnan(found).all(1).tolist() == [False, True, True, False, True, True]
    (text,) = [str(item.message) for item in told]
    assert text.startswith("4 of 6 rows are no usable molecules: 2 empty (rows 2, 4), 1 cannot parse (row 1: 'C(C')")
    assert told[0].filename == __file__
    with pytest.raises(
        MesomerError, match=r"Row 1 \(counted from 0\) is no usable molecule: cannot parse \('C\(C'\); 3 more"
    ):
        MolEmbedder(encoder, on_error="raise").transform(rows)
    with pytest.raises(MesomerError, match="on_error"):
        MolEmbedder(encoder, on_error="keep").transform(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        embedder.transform(["CCO"])


def test_atoms_and_bonds_are_arrays_of_arrays(encoder):
    with pytest.warns(UserWarning, match="their vectors are None"):
        found = MolEmbedder(encoder, level="atom").transform(["CCO", "C(C", "C"])
    assert found.dtype == object and found[0].shape[0] == 3 and found[1] is None and found[2].shape[0] == 1
    with pytest.raises(MesomerError, match="no columns to name"):
        MolEmbedder(encoder, level="bond").get_feature_names_out()


def test_frames_get_named_columns(embedder, smiles):
    table = pandas.DataFrame({"smiles": smiles, "pH": np.arange(60.0)}, index=np.arange(60) + 100)
    frame = embedder.set_output(transform="pandas").transform(table["smiles"])
    assert list(frame.columns) == list(embedder.get_feature_names_out()) and frame.columns[0] == "embedding_0"
    assert (frame.index == table.index).all()
    both = make_column_transformer((embedder, "smiles"), ("passthrough", ["pH"])).fit_transform(table)
    assert both.shape == (60, frame.shape[1] + 1)


def test_pipelines_searches_and_other_processes(encoder, embedder, smiles, counts):
    pipeline = make_pipeline(embedder, StandardScaler(), Ridge())
    scores = cross_val_score(pipeline, smiles, counts, cv=3)
    assert scores.mean() > 0.7
    assert cross_val_score(pipeline, smiles, counts, cv=3, n_jobs=2) == pytest.approx(scores, abs=1e-4)
    search = GridSearchCV(pipeline, {"ridge__alpha": [0.1, 1000.0]}, cv=3).fit(np.array(smiles), counts)
    assert search.best_params_ == {"ridge__alpha": 0.1}


def test_copies_hold_arguments_only(embedder, encoder, smiles):
    expected = embedder.fit(smiles).transform(smiles)
    text = pickle.dumps(embedder)
    assert len(text) < 1000
    assert np.array_equal(pickle.loads(text).transform(smiles), expected)
    copy = clone(embedder)
    assert copy.get_params() == embedder.get_params() and "_embedder" not in vars(copy)
    changed = embedder.set_params(level="atom").transform(smiles[:1])
    assert changed.dtype == object  # the loaded encoder follows the arguments


def test_a_loaded_model_may_be_the_argument_and_is_copied(encoder, smiles):
    model = mesomer.load(encoder, accelerator="cpu")
    expected = model.embed(smiles)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).embed(smiles), expected)
    assert np.array_equal(clone(MolEmbedder(model)).fit_transform(smiles), expected)


@pytest.fixture
def replaced(tmp_path):
    """A model folder, and what puts other weights into it."""

    def replace(seed):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        return str(save_encoder(tmp_path / "model", seed))

    return replace


def test_the_memory_of_a_pipeline_serves_no_vectors_of_weights_that_were_replaced(replaced, smiles, counts, tmp_path):
    pipeline = make_pipeline(MolEmbedder(replaced(0), accelerator="cpu"), Ridge(), memory=str(tmp_path / "memory"))
    first = pipeline.fit(smiles, counts).predict(smiles)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MolEmbedder, "transform", lambda *_: pytest.fail("the memory was not used"))
        pipeline.fit(smiles, counts)
    replaced(1)
    again = pipeline.fit(smiles, counts).predict(smiles)
    fresh = make_pipeline(MolEmbedder(replaced(1), accelerator="cpu"), Ridge()).fit(smiles, counts).predict(smiles)
    assert np.array_equal(again, fresh) and not np.array_equal(again, first)


def test_an_embedder_in_use_notices_that_its_weights_were_replaced(replaced, smiles, monkeypatch):
    embedder = MolEmbedder(replaced(0), accelerator="cpu")
    first = embedder.transform(smiles)
    with monkeypatch.context() as patch:  # unchanged files are neither read nor hashed again
        patch.setattr("mesomer.files.sha256_of", lambda path: pytest.fail("hashed again"))
        patch.setattr(mesomer.inference.Embedder, "__init__", lambda *_: pytest.fail("read again"))
        assert np.array_equal(embedder.transform(smiles), first)
        pickle.dumps(embedder)
    folder = replaced(1)
    assert np.array_equal(embedder.transform(smiles), mesomer.load(folder, "cpu").embed(smiles))
    assert not np.array_equal(embedder.transform(smiles), first)


def test_an_embedder_of_a_model_that_is_not_here_may_be_pickled_and_copied():
    for name in ("no-such-model", "org/of-a-hub", 5):
        assert pickle.loads(pickle.dumps(clone(MolEmbedder(name)))).model == name


def test_warnings_inside_of_scikit_learn_name_the_callers_line(embedder, smiles, counts, tmp_path):
    rows = ["C(C", *smiles[1:]]
    pipeline = make_pipeline(embedder, SimpleImputer(), Ridge(), memory=str(tmp_path / "memory"))
    with pytest.warns(UserWarning, match=r"cannot parse \(row 0: 'C\(C'\)") as told:
        cross_val_score(pipeline, rows, counts, cv=3)
        pipeline.fit(rows, counts)
    assert len(told) == 4 and {item.filename for item in told} == {__file__}  # training parts, one test part, the fit


def test_a_long_molecule_is_shown_shortened(embedder):
    with pytest.warns(UserWarning, match=r"\(row 0: 'C\(CCCCCCCCCCCCCCCCCCCCCCCCC\.\.\.'\)"):
        embedder.transform(["C(" + "C" * 100, "C"])
