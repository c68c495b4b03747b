"""`mesomer.load`: what it takes, and how its settings reach the work."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from small_models import heteroatoms, molecules, save_encoder

import mesomer
from mesomer.errors import MesomerError
from mesomer.inference import api

SMILES = molecules(40, seed=4)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "small")


@pytest.fixture(scope="module")
def predictor(encoder, tmp_path_factory):
    """A folder of a model that predicts a number."""
    path = tmp_path_factory.mktemp("predictor") / "model"
    counts = [heteroatoms(text) + 0.25 for text in SMILES]
    regressor = mesomer.MolRegressor(encoder, probe=True, split="random", repeats=1, accelerator="cpu", verbose=False)
    regressor.fit(SMILES, counts).save(path)
    return path


def test_a_loaded_model_is_given_back_or_takes_other_settings(encoder):
    model = mesomer.load(encoder, "cpu")
    assert mesomer.load(model) is model
    other = mesomer.load(model, "cpu", quiet=True)
    assert other is not model and other.folder is model.folder and other.quiet and not model.quiet
    assert inspect.signature(api.Model).parameters == inspect.signature(mesomer.load).parameters


def test_precision_is_that_of_the_vectors(encoder, predictor):
    full, half = (
        mesomer.load(encoder, "cpu").embed(SMILES),
        mesomer.load(encoder, "cpu", precision="bf16").embed(SMILES),
    )
    assert half.dtype == np.float32 and not np.array_equal(half, full) and half == pytest.approx(full, abs=0.1)
    assert np.array_equal(mesomer.load(encoder, "cpu", precision=32).embed(SMILES), full)
    found = [mesomer.load(predictor, "cpu", precision=word).predict(SMILES)["y_pred"] for word in ("32", "bf16")]
    assert np.array_equal(*found)


def test_threads_hold_during_the_work_only(encoder, predictor, monkeypatch):
    before, seen = torch.get_num_threads(), []
    inner = api.shown
    monkeypatch.setattr(api, "shown", lambda *given: seen.append(torch.get_num_threads()) or inner(*given))
    mesomer.load(encoder, "cpu", threads=before + 1).embed(SMILES)
    model = mesomer.load(predictor, "cpu", threads=before + 2)
    model.predict(SMILES)
    model.draw(SMILES[:2])
    assert seen == [before + 1, before + 2, before + 2] and torch.get_num_threads() == before


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_shows_no_progress(encoder, predictor, monkeypatch, quiet):
    seen = []
    inner = api.Progress
    monkeypatch.setattr(api, "Progress", lambda *given: seen.append(given[3]) or inner(*given))
    mesomer.load(encoder, "cpu", quiet=quiet).embed(SMILES)
    mesomer.load(predictor, "cpu", quiet=quiet).predict(SMILES)
    assert seen == [quiet, quiet]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"precision": "half"}, "^precision must be one of 32, bf16, not 'half'"),
        ({"threads": "2"}, "^threads must be a whole number or null, not '2'"),
        ({"threads": 0}, "^threads is 0, and must be 1 or more"),
        ({"quiet": 1}, "^quiet must be true or false, not 1"),
        ({"accelerator": 5}, "^accelerator must be text, not 5"),
    ],
)
def test_a_setting_of_another_type_is_one_sentence(encoder, wrong, words):
    with pytest.raises(MesomerError, match=words):
        mesomer.load(encoder, **wrong)
