"""Numbers: the model of the command, spread and intervals, several targets, what is left out, copies on disk."""

from __future__ import annotations

import inspect
import pickle
import re
import shutil
import warnings
from dataclasses import fields

import joblib
import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from small_models import heteroatoms, molecules, read_table, write_table

import mesomer
from mesomer import cli
from mesomer.errors import MesomerError
from mesomer.estimators import MolClassifier, MolRegressor
from mesomer.estimators.settings import OWN_NAMES
from mesomer.training.finetune_plan import FinetuneOptions

NEW = ["CCO", "OCc1ccncc1", "FC(F)CO"]


@pytest.fixture
def fitted(probe, smiles, counts):
    return MolRegressor(**probe).fit(smiles, counts)


def test_arguments_are_the_options_of_finetune_with_its_defaults():
    defaults = {name: entry.default for name, entry in inspect.signature(MolRegressor).parameters.items()}
    command = {name: entry.default for name, entry in inspect.signature(mesomer.finetune).parameters.items()}
    options = {option.name: option.default for option in fields(FinetuneOptions) if option.name not in OWN_NAMES}
    assert options.keys() <= defaults.keys()
    for name, value in defaults.items():
        if name not in ("random_state", "on_error", "verbose"):
            assert value == command[name], name
        if name in options and name != "descriptors":
            assert value == options[name], name
    assert defaults["random_state"] == command["seed"]
    assert inspect.signature(MolClassifier) == inspect.signature(MolRegressor)
    for name in defaults:
        assert re.search(rf"^\s+{name}: ", MolRegressor.__doc__, re.MULTILINE), name


def test_the_same_model_as_the_commands(encoder, smiles, counts, tmp_path, capsys):
    """Networks, not probes: fit, save and load equal finetune and predict."""
    table = write_table(tmp_path / "data.csv", {"smiles": smiles, "n": counts})
    options = {"epochs": 2, "ffn_hidden": 8, "repeats": 2, "split": "random", "batch_size": 16}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    run, out = str(tmp_path / "run"), str(tmp_path / "out.csv")
    assert cli.main(["finetune", str(table), "--targets", "n", "--model", encoder, "--output", run, "--seed", "3",
                     "--accelerator", "cpu", *words]) == 0, capsys.readouterr().err  # fmt: skip
    regressor = MolRegressor(encoder, **options, random_state=3, accelerator="cpu", verbose=False)
    regressor.fit(smiles, pandas.Series(counts, name="n"))
    write_table(tmp_path / "new.csv", {"smiles": NEW})
    of_command = MolRegressor.load(run, accelerator="cpu")
    assert of_command.get_params() | {"verbose": False} == regressor.get_params()
    np.testing.assert_equal(of_command.held_out_scores_, regressor.held_out_scores_)
    copied = shutil.copytree(tmp_path / "run" / "model", tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="does not say how its model was trained"):
        assert MolRegressor.load(copied).get_params() == MolRegressor().get_params()
    assert regressor.predict(NEW) == pytest.approx(of_command.predict(NEW), abs=1e-6)
    assert regressor.predict_interval(NEW)[0] == pytest.approx(
        of_command.predict_interval(NEW)[0], abs=1e-6, nan_ok=True
    )
    regressor.save(tmp_path / "saved")
    assert cli.main(["predict", str(tmp_path / "new.csv"), "--model", str(tmp_path / "saved"), "--output", out]) == 0
    mean, spread = regressor.predict(NEW, return_std=True)
    rows = read_table(tmp_path / "out.csv")
    assert [float(row["n_pred"]) for row in rows] == pytest.approx(mean, rel=1e-5)
    assert [float(row["n_pred_std"]) for row in rows] == pytest.approx(spread, rel=1e-4)


def test_it_learns_and_a_seed_repeats_it(probe, fitted, smiles, counts):
    new = molecules(40, seed=9)
    assert fitted.score(new, [heteroatoms(text) + 0.25 for text in new]) > 0.4
    again = clone(fitted).fit(smiles, counts)
    assert np.array_equal(again.predict(new), fitted.predict(new))
    other = MolRegressor(**probe, random_state=1).fit(smiles, counts)
    assert not np.array_equal(other.predict(new), fitted.predict(new))
    drawn = [MolRegressor(**probe, random_state=np.random.RandomState(5)).fit(smiles, counts) for _ in range(2)]
    assert np.array_equal(drawn[0].predict(new), drawn[1].predict(new))
    generator = np.random.default_rng(5)
    drawn = [MolRegressor(**probe, random_state=generator).fit(smiles, counts) for _ in range(2)]
    assert not np.array_equal(drawn[0].predict(new), drawn[1].predict(new))
    again = MolRegressor(**probe, random_state=np.random.default_rng(5)).fit(smiles, counts)
    assert np.array_equal(again.predict(new), drawn[0].predict(new))


@pytest.mark.parametrize("how", [{}, {"probe": False, "epochs": 1, "repeats": 1}])
def test_a_fit_leaves_the_callers_random_numbers_alone(probe, smiles, counts, how):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    MolRegressor(**probe | how).fit(smiles, counts).predict(smiles)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["smiles", "similarity", "row", "repeat", "fold", "n", None])
def test_a_name_of_a_result_column_is_no_name_of_a_target(probe, smiles, counts, name):
    regressor = MolRegressor(**probe, repeats=1).fit(smiles, pandas.Series(counts, name=name))
    assert regressor.targets_ == ["n" if name == "n" else "y"]
    two = pandas.DataFrame({"n": counts, name or "n_pred": -counts}) if name != "n" else np.stack([counts, -counts], 1)
    assert MolRegressor(**probe, repeats=1).fit(smiles, two).targets_ == ["y0", "y1"]


def test_weights_of_a_score(fitted, smiles, counts):
    some = np.arange(60) < 20
    assert fitted.score(smiles, counts, some) == pytest.approx(fitted.score(smiles[:20], counts[:20]))
    for weight, words in (
        ([1.0, 2.0], r"60 molecules and sample weights of the shape \(2,\)"),
        (["a"] * 60, "no number"),
    ):
        with pytest.raises(MesomerError, match=words):
            fitted.score(smiles, counts, sample_weight=weight)


def test_spread_and_intervals(probe, smiles, counts):
    regressor = MolRegressor(**(probe | {"split": "cv"}), repeats=1).fit(smiles, counts)
    mean, spread = regressor.predict(NEW, return_std=True)
    assert mean.shape == spread.shape == (3,) and (spread > 0).all()
    low, high = regressor.predict_interval(NEW)
    assert (low + high) / 2 == pytest.approx(mean) and regressor.predictor_.half_widths[0] == pytest.approx(
        (high - low)[0] / 2
    )
    assert regressor.half_widths(0.9) == pytest.approx(regressor.half_widths(0.9 + 1e-12))
    assert regressor.half_widths(0.5) < regressor.half_widths(0.8) <= regressor.half_widths(0.9)
    held = regressor.held_out_
    assert sorted(held.row) == list(range(60)) and held.truth[:, 0] == pytest.approx(counts[held.row])
    inside = np.abs(held.truth[:, 0] - held.predicted[:, 0]) <= regressor.half_widths(0.5)[0]
    assert 0.45 < inside.mean() < 0.6
    with pytest.raises(MesomerError, match="between 0 and 1"):
        regressor.half_widths(1.5)


def test_too_few_members_or_held_out_molecules_are_said(probe, smiles, counts):
    regressor = MolRegressor(**probe, repeats=1).fit(smiles, counts)
    with pytest.warns(UserWarning, match="one member and no spread"):
        assert np.isnan(regressor.predict(NEW, return_std=True)[1]).all()
    with pytest.warns(UserWarning, match=r"too few held-out molecules \(6\) for intervals at 90%"):
        assert np.isnan(regressor.predict_interval(NEW)).all()


def test_several_targets_with_missing_labels(probe, smiles, counts):
    labels = pandas.DataFrame({"n": counts, "length": [len(text) + 0.5 for text in smiles]})
    labels.loc[::7, "n"] = np.nan
    regressor = MolRegressor(**probe).fit(smiles, labels)
    assert regressor.targets_ == ["n", "length"] and regressor.predict(NEW).shape == (3, 2)
    assert regressor.score(smiles, labels) > 0.5
    assert [part.shape for part in regressor.predict_interval(NEW)] == [(3, 2), (3, 2)]
    one = MolRegressor(**probe).fit(smiles, counts[:, None])
    assert one.predict(NEW).shape == (3, 1) and one.targets_ == ["y"]


def test_bad_molecules_leave_with_their_labels(probe, smiles, counts, fitted):
    rows = [smiles[0], "C(C", *smiles[1:], None]
    labels = [counts[0], 1e6, *counts[1:], 0.0]
    with pytest.warns(UserWarning) as told:
        regressor = MolRegressor(**probe).fit(rows, labels)
    assert np.array_equal(regressor.predict(smiles), fitted.predict(smiles))
    assert [tuple(item) for item in regressor.rejects_] == [(1, "C(C", "cannot parse"), (61, None, "empty")]
    assert len(told) == 1 and "2 of 62 rows are no usable molecules" in str(told[0].message)
    assert told[0].filename == __file__ and "<td" in regressor.rejects_._repr_html_()
    with pytest.warns(UserWarning, match="their predictions are NaN"):
        found = regressor.predict(["CCO", "C(C"])
    assert np.isfinite(found[0]) and np.isnan(found[1])
    with pytest.warns(UserWarning, match="1 of 61"):
        assert regressor.score([*smiles, "C(C"], [*counts, 5.0]) == pytest.approx(regressor.score(smiles, counts))
    with pytest.raises(MesomerError, match="Row 1"):
        MolRegressor(**probe, on_error="raise").fit(rows, labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 60, r"row 0 \(counted from 0\) is no number: 'a'. Correct it, or take MolClassifier"),
        ([np.inf] * 60, "infinity"),
        ([1e30] * 60, r"in row 0 \(counted from 0\) is too large to compute with: 1e\+30"),
        (np.ones(60) * 1j, "Complex data not supported"),
        ([1.0] * 59, "60 molecules and 59 labels"),
        (np.zeros((60, 2, 2)), "shape"),
    ],
)
def test_labels_that_are_no_numbers_are_said(probe, smiles, labels, words):
    with pytest.raises(MesomerError, match=words):
        MolRegressor(**probe).fit(smiles, labels)


def test_errors_name_arguments_and_not_options(probe, smiles, counts, encoder):
    with pytest.raises(MesomerError, match=r"^epochs is 0, and must be 1 or more"):
        MolRegressor(**(probe | {"probe": False}), epochs=0).fit(smiles, counts)
    with pytest.raises(MesomerError, match="groups"):
        MolRegressor(**(probe | {"split": "time"})).fit(smiles, counts)
    for state in (-1, 2**32):
        with pytest.raises(MesomerError, match=f"^random_state is {state}, and must lie between 0 and"):
            MolRegressor(**probe, random_state=state).fit(smiles, counts)
    with pytest.raises(MesomerError, match="no-such-model"):
        MolRegressor("no-such-model").fit(smiles, counts)
    with pytest.raises(NotFittedError):
        MolRegressor(encoder).predict(smiles)


def test_descriptor_columns_of_a_frame(probe, smiles, counts):
    table = pandas.DataFrame({"smiles": smiles, "pH": np.linspace(0, 9, 60)})
    labels = counts + 10 * table["pH"].to_numpy()
    regressor = MolRegressor(**probe, descriptors=["pH"]).fit(table, labels)
    assert regressor.score(table, labels) > 0.9
    with pytest.raises(MesomerError, match="descriptor column 'pH'"):
        regressor.predict(smiles)
    with pytest.raises(MesomerError, match=r"row 1: 'x'\) \(rows counted from 0\)"):
        MolRegressor(**probe, descriptors=["pH"]).fit(
            table.astype({"pH": object}).replace({"pH": {table["pH"][1]: "x"}}), labels
        )
    with pytest.raises(MesomerError, match="a label and a descriptor column"):
        MolRegressor(**probe, descriptors=["pH"]).fit(table, table["pH"])


def test_saved_pickled_and_dumped_models_predict_the_same(fitted, encoder, smiles, tmp_path):
    expected = fitted.predict(NEW)
    fitted.save(tmp_path / "model")
    loaded = MolRegressor.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(NEW), expected) and loaded.get_params() == fitted.get_params()
    assert np.array_equal(loaded.predict_interval(NEW), fitted.predict_interval(NEW))
    assert np.array_equal(mesomer.load(tmp_path / "model").predict(NEW)["y_pred"], expected)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(NEW), expected)
    joblib.dump(loaded, tmp_path / "model.joblib")
    assert np.array_equal(joblib.load(tmp_path / "model.joblib").predict(NEW), expected)
    with pytest.raises(MesomerError, match=r"0\.9 only"):
        loaded.predict_interval(NEW, 0.5)
    with pytest.raises(MesomerError, match=r"exists"):
        fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model", overwrite=True)
    with pytest.raises(MesomerError, match=r"Read it with MolRegressor.load"):
        MolClassifier.load(tmp_path / "model")
    with pytest.raises(MesomerError, match="holds an encoder"):
        MolRegressor.load(encoder)
    again = MolRegressor(str(tmp_path / "model"), **{"probe": True, "split": "random", "accelerator": "cpu"})
    assert again.fit(smiles, np.arange(60.0)).predict(NEW).shape == (3,)


def test_searches_and_other_processes(probe, smiles, counts):
    scores = cross_val_score(MolRegressor(**probe), smiles, counts, cv=3)
    assert scores.mean() > 0.4
    assert cross_val_score(MolRegressor(**probe), smiles, counts, cv=3, n_jobs=2) == pytest.approx(scores, abs=1e-4)
    both = MolRegressor(**(probe | {"probe": False}), epochs=1, ffn_hidden=8, repeats=1)
    with pytest.warns(UserWarning, match="on which epochs, ffn_hidden have no effect"):
        search = GridSearchCV(both, {"probe": [False, True]}, cv=2, error_score="raise").fit(smiles, counts)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    search = GridSearchCV(MolRegressor(**probe), {"scratch": [True, False], "repeats": [1]}, cv=2).fit(smiles, counts)
    assert search.best_estimator_.scratch == search.best_params_["scratch"] and search.predict(NEW).shape == (3,)


def test_threads_are_given_back(probe, smiles, counts):
    import torch

    before = torch.get_num_threads()
    regressor = MolRegressor(**probe, threads=2).fit(smiles, counts)
    regressor.predict(smiles)
    assert torch.get_num_threads() == before
    with pytest.raises(MesomerError, match=r"^threads is 0"):
        MolRegressor(**probe, threads=0).fit(smiles, counts)


def test_no_warning_where_all_is_well(probe, smiles, counts):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        MolRegressor(**probe).fit(smiles, counts).predict(smiles)
