"""Classes of any type, their order, several targets, and models that were saved or made by the command."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from small_models import molecules, write_table

from mesomer.errors import MesomerError
from mesomer.estimators import MolClassifier, MolRegressor

NEW = ["CCO", "OCc1ccncc1", "FC(F)C(=O)CO"]


@pytest.fixture
def arguments(probe):
    return probe | {"split": "stratified_cv", "folds": 2, "repeats": 1}


@pytest.mark.parametrize(
    ("few", "many"),
    [
        ("no", "yes"), ("yes", "a"), (0, 1), (7, -2), (False, True), (2.0, 1.0), ("none", "NA"), ("1", "1.0"),
        (np.str_("x"), np.str_("y")),
    ],
)  # fmt: skip
def test_classes_of_any_type_are_sorted_and_come_back(arguments, smiles, counts, few, many):
    labels = np.array([many if count > 2 else few for count in counts])
    classifier = MolClassifier(**arguments).fit(smiles, labels)
    assert np.array_equal(classifier.classes_, np.unique(labels)) and classifier.classes_.dtype == labels.dtype
    found, shares = classifier.predict(smiles), classifier.predict_proba(smiles)
    assert found.dtype == labels.dtype and shares.shape == (60, 2) and shares.sum(1) == pytest.approx(np.ones(60))
    assert np.array_equal(classifier.classes_[shares.argmax(1)], found)
    assert (
        classifier.score(smiles, labels) == pytest.approx((found == labels).mean()) and (found == labels).mean() > 0.8
    )


@pytest.mark.parametrize(
    "labels", [("yes", "yes "), ("a", "a ", "b"), ("na", "none", "x"), ("1 a", "1 a ", "a", "2 1 a")]
)
def test_labels_that_differ_in_white_space_only_are_classes_of_their_own(arguments, smiles, counts, labels, tmp_path):
    given = np.array([labels[int(count) % len(labels)] for count in counts])
    classifier = MolClassifier(**arguments).fit(smiles, given)
    shares = classifier.predict_proba(smiles)
    assert classifier.classes_.tolist() == sorted(labels) and shares.shape == (60, len(labels))
    assert shares.sum(1) == pytest.approx(np.ones(60)) and len(np.unique(shares[0])) == len(labels)
    assert np.array_equal(classifier.classes_[shares.argmax(1)], classifier.predict(smiles))
    assert classifier.score(smiles, given) == pytest.approx((classifier.predict(smiles) == given).mean())
    assert classifier.score(smiles, given) > 1 / len(labels)
    classifier.save(tmp_path / "m")
    assert np.array_equal(MolClassifier.load(tmp_path / "m").predict_proba(smiles), shares)


@pytest.mark.parametrize("kind", [list, pandas.Series, lambda labels: np.array(labels, dtype=object)])
def test_many_classes_with_missing_labels(arguments, smiles, counts, kind, tmp_path):
    labels = [None if at % 11 == 0 else ("few", "some", "many")[min(int(c) // 2, 2)] for at, c in enumerate(counts)]
    classifier = MolClassifier(**arguments).fit(smiles, kind(labels))
    assert classifier.classes_.tolist() == ["few", "many", "some"]
    assert classifier.predict_proba(NEW).shape == (3, 3) and classifier.score(smiles, kind(labels)) > 0.7
    classifier.save(tmp_path / "model")
    loaded = MolClassifier.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(NEW), classifier.predict_proba(NEW))
    assert np.array_equal(loaded.classes_, classifier.classes_)


def test_several_targets_are_lists(arguments, smiles, counts, tmp_path):
    labels = pandas.DataFrame({
        "polar": np.where(counts > 2, "yes", "no"),
        "kind": [min(int(count) // 2, 2) for count in counts],
    })  # fmt: skip
    labels.loc[::9, "polar"] = None
    classifier = MolClassifier(**arguments).fit(smiles, labels)
    assert [classes.tolist() for classes in classifier.classes_] == [["no", "yes"], [0, 1, 2]]
    assert [shares.shape for shares in classifier.predict_proba(NEW)] == [(3, 2), (3, 3)]
    found = classifier.predict(NEW)
    assert found.shape == (3, 2) and set(found[:, 0]) <= {"no", "yes"} and set(found[:, 1]) <= {0, 1, 2}
    assert classifier.score(smiles, labels) > 0.7
    classifier.save(tmp_path / "model")
    assert (MolClassifier.load(tmp_path / "model").predict(NEW) == found).all()


def test_bad_molecules(arguments, smiles, counts):
    classifier = MolClassifier(**arguments).fit(smiles, (counts > 2).astype(int))
    with pytest.warns(UserWarning, match="1 of 2 rows is no usable molecule"):
        found = classifier.predict(["C(C", "CCO"])
    assert found.dtype == object and np.isnan(found[0]) and found[1] in (0, 1)
    with pytest.warns(UserWarning, match="NaN"):
        assert np.isnan(classifier.predict_proba(["C(C"])).all()
    lone = [*smiles, "C(C"]
    labels = [*np.where(counts > 2, "yes", "no"), "rare"]
    with pytest.warns(UserWarning, match="1 of 61"):
        assert MolClassifier(**arguments).fit(lone, labels).classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (["a"] * 60, ValueError, "only one class, "),
        ([None] * 60, ValueError, "no label"),
        (np.linspace(0, 1.3, 60), ValueError, "Unknown label type"),
        (["a", 1] * 30, MesomerError, "different types: int, str"),
        (None, ValueError, "requires y to be passed"),
        (np.ones(60) * 1j, ValueError, "Complex data not supported"),
    ],
)
def test_labels_that_are_no_classes_are_said(arguments, smiles, labels, error, words):
    with pytest.raises(error, match=words) as told:
        MolClassifier(**arguments).fit(smiles, labels)
    assert isinstance(told.value, MesomerError)  # a notebook shows one sentence, whatever scikit-learn wants to catch


def test_models_of_the_command(encoder, smiles, counts, tmp_path):
    from mesomer.training.finetune import finetune
    from mesomer.training.finetune_plan import FinetuneOptions

    words = np.where(counts > 2, "active", "inactive")
    table = write_table(tmp_path / "data.csv", {"smiles": smiles, "n": counts, "hit": words, "one": (counts > 2) * 1})
    runs = {}
    for name in ("n", "hit", "one"):
        runs[name] = tmp_path / name
        finetune(
            str(table), targets=[name], output=runs[name], model=encoder, split="stratified_cv", folds=2, repeats=1,
            options=FinetuneOptions(probe=True, accelerator="cpu"),
        )  # fmt: skip
    hit, one = MolClassifier.load(runs["hit"]), MolClassifier.load(runs["one"])
    assert hit.classes_.tolist() == ["active", "inactive"] and one.classes_.tolist() == [0, 1]
    assert hit.score(smiles, words) > 0.8 and one.score(smiles, (counts > 2) * 1) > 0.8
    own = MolClassifier(encoder, probe=True, split="stratified_cv", folds=2, repeats=1, accelerator="cpu").fit(
        smiles, words
    )
    assert own.predict_proba(molecules(20, seed=5)) == pytest.approx(hit.predict_proba(molecules(20, seed=5)), abs=1e-6)
    with pytest.raises(MesomerError, match="predicts 'n' as regression, and MolClassifier is for binary"):
        MolClassifier.load(runs["n"])
    with pytest.raises(MesomerError, match="Take MolClassifier"):
        MolRegressor.load(runs["hit"])


def test_blank_labels_are_missing(arguments, smiles, counts):
    words = np.where(counts > 2, "yes", "no").astype(object)
    words[:3] = ["", " ", None]
    classifier = MolClassifier(**arguments).fit(smiles, words)
    assert classifier.classes_.tolist() == ["no", "yes"]
    assert classifier.score(smiles, words) == classifier.score(smiles[3:], words[3:])
    assert classifier.score(smiles, [*words[:-1], "another"]) < 1  # a class that it does not know is wrong, no error


def test_labels_of_another_type_have_no_score(arguments, smiles, counts):
    numbers = (counts > 2).astype(int)
    classifier = MolClassifier(**arguments).fit(smiles, numbers.astype(str))
    assert classifier.score(smiles, numbers.astype(str)) > 0.5
    with pytest.raises(ValueError, match=r"type str \('[01]'\).* type int \([01]\)"):
        classifier.score(smiles, numbers)
    assert MolClassifier(**arguments).fit(smiles, numbers).score(smiles, numbers.astype(float)) > 0.5
