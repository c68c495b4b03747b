"""Wrong designs are refused in one sentence, with the largest one that works."""

from __future__ import annotations

import numpy as np
import pytest
from small_corpora import demo_rows
from small_models import write_table

from mesomer.data.splits import Split
from mesomer.errors import MesomerError
from mesomer.studies.checks import (
    check_columns,
    check_splits,
    data_checks,
    require_apart,
    require_molecules,
    require_scaffolds,
)
from mesomer.studies.design import StudyOptions
from mesomer.studies.molecules import draw, read_molecules
from mesomer.studies.prepare import prepare

ROWS = demo_rows(60)
SMILES = [row["smiles"] for row in ROWS]
VALUES = [float(row["activity"]) for row in ROWS]


@pytest.fixture
def read(tmp_path, request_of):
    """Makes a study's molecules from columns."""

    def make(columns, targets=("y",), **more):
        path = write_table(tmp_path / "table.csv", columns)
        return read_molecules(request_of(path, targets, **more).source)

    return make


def test_too_few_molecules_for_the_folds(read):
    study = read({"smiles": SMILES[:35], "y": VALUES[:35]})
    with pytest.raises(MesomerError, match="35 different molecules are too few for 5 folds") as caught:
        require_molecules(study, StudyOptions(), 5)
    assert "--folds 3" in caught.value.hint and "times the spread" in caught.value.hint
    require_molecules(study, StudyOptions(folds=3), 5)
    with pytest.raises(MesomerError, match="too few for a study"):
        require_molecules(read({"smiles": SMILES[:15], "y": VALUES[:15]}), StudyOptions(folds=2), 5)


def test_a_class_with_fewer_than_two_molecules_a_fold(read):
    study = read({"smiles": SMILES, "y": [1] * 7 + [0] * 53})
    with pytest.raises(MesomerError, match="only 7 of the class '1'") as caught:
        require_molecules(study, StudyOptions(), 5)
    assert "--folds 3" in caught.value.hint
    require_molecules(study, StudyOptions(folds=3), 5)


def test_nothing_to_learn(read):
    with pytest.raises(MesomerError, match="nothing to learn"):
        require_molecules(read({"smiles": SMILES, "y": [1.5] * 60}), StudyOptions(), 5)


def test_a_fold_with_one_class_only(read):
    # all positives share a scaffold, so that one scaffold fold has them all
    rings = [f"c1ccccc1C{'C' * at}" for at in range(12)]
    study = read({"smiles": [*rings, *SMILES[:48]], "y": [1] * 12 + [0] * 48})
    drawn = draw(study, "scaffold", 2, 5)
    with pytest.raises(MesomerError, match="With the scaffold splits the training part of repeat") as caught:
        check_splits(study, "scaffold", drawn, 2, 5)
    assert caught.value.hint == "The largest design that works is --splits stratified --folds 5."
    (note,) = check_splits(study, "stratified", draw(study, "stratified", 2, 5), 2, 5)
    assert note.check == "small parts" and "has 12 molecules" in note.sentence and note.sentence.count("5") == 1


def test_parts_too_small_or_without_a_second_class_to_choose_by(read):
    study = read({"smiles": SMILES, "y": [at % 7 for at in range(60)]})
    few = Split("balanced", "balanced", np.arange(10, 60), np.arange(4, 10), np.arange(4), "", 0, 0, 0)
    with pytest.raises(MesomerError, match="A test part of the balanced splits has 4 molecules"):
        check_splits(study, "balanced", [few], 1, 1)
    classes = read({"smiles": SMILES, "y": [0, 1] * 10 + [0] * 6 + [0, 1] * 17})
    lone = Split("balanced", "balanced", np.arange(26, 60), np.arange(20, 26), np.arange(20), "", 0, 0, 0)
    notes = {note.check: note.sentence for note in check_splits(classes, "balanced", [lone], 1, 1)}
    assert "In 1 of 1 balanced folds the validation part has one class only" in notes["validation without a score"]
    both = Split("balanced", "balanced", np.arange(26, 60), np.arange(6), np.arange(6, 26), "", 0, 0, 0)
    assert "validation without a score" not in {note.check for note in check_splits(classes, "balanced", [both], 1, 1)}


def test_a_scaffold_in_half_of_the_molecules_is_refused_and_in_half_a_fold_noted(read):
    chains = [f"{'C' * at}O" for at in range(1, 40)]
    study = read({"smiles": [*chains, *SMILES[:30]], "y": range(69)})
    with pytest.raises(MesomerError, match="39 of 69 molecules have no ring at all") as caught:
        require_scaffolds(study, ("random", "scaffold"))
    assert caught.value.hint == "Use --splits random."
    study = read({"smiles": [*chains[:15], *SMILES[:50]], "y": range(65)})
    notes = check_splits(study, "scaffold", draw(study, "scaffold", 1, 5), 1, 5)
    assert (notes[0].check, notes[0].severity) == ("dominating scaffold", "caution")
    assert set(notes[0].rows) <= set(range(1, 17)) and len(notes[0].smiles) == 4


def test_few_scaffolds_are_refused_before_splits_are_drawn(request_of, tmp_path):
    chains = ["C" * (at % 9 + 1) for at in range(40)]
    rings = ("c1ccccc1", "C1CCCCC1", "c1ccncc1")
    for count, said, hint in (
        (1, "40 of 40 molecules have the scaffold", "--splits random"),
        (3, "scaffold groups are too few", "--splits random or fewer"),
    ):
        smiles = [rings[at % count] + "N" * (at % 2) + chain + "O" * (at // 18) for at, chain in enumerate(chains)]
        path = write_table(tmp_path / f"{count}.csv", {"smiles": smiles, "y": [at / 10 for at in range(40)]})
        with pytest.raises(MesomerError, match=said) as caught:
            prepare(request_of(path, ("y",)), StudyOptions(folds=4, arms=("ecfp_forest", "mean")))
        assert hint in caught.value.hint


def test_too_few_of_a_class_says_how_many_are_needed(read):
    with pytest.raises(MesomerError, match="only 3 of the class '1' are too few for a study") as caught:
        require_molecules(read({"smiles": SMILES, "y": [1] * 3 + [0] * 57}), StudyOptions(), 5)
    assert "4 of each class" in caught.value.hint


def test_a_measurement_that_decides_a_class_is_a_disguise(read):
    active = [int(value > np.median(VALUES)) for value in VALUES]
    columns = {"smiles": SMILES, "y": active, "measured": VALUES, "size": [len(text) for text in SMILES]}
    with pytest.raises(MesomerError, match=r"'measured' is the target 'y' in disguise \(\|2 AUC - 1\| 1.000\)"):
        check_columns(read(columns, descriptors=["measured"]))
    check_columns(read(columns, descriptors=["size"]))


def test_a_column_that_tells_classes_without_order_is_a_disguise(read):
    codes = [2.0, 3.0, 1.0]  # not in the order of the names
    kinds = [("acid", "base", "neutral")[at % 3] for at in range(60)]
    told = [codes[at % 3] + at / 1000 for at in range(60)]
    rare = ["odd" if at == 0 else kinds[at] for at in range(60)]
    columns = {"smiles": SMILES, "y": kinds, "rare": rare, "told": told, "place": list(range(60))}
    with pytest.raises(MesomerError, match=r"'told' is the target 'y' in disguise .*against the rest 1.000\)"):
        check_columns(read(columns, descriptors=["told"]))
    check_columns(read(columns, descriptors=["place"]))
    check_columns(read(columns, ("rare",), descriptors=["place"]))


def test_a_feature_column_that_is_the_label_in_disguise(read):
    columns = {"smiles": SMILES, "y": VALUES, "twin": [-(10.0**value) for value in VALUES], "ph": list(range(60))}
    with pytest.raises(MesomerError, match=r"'twin' is the target 'y' in disguise \(\|Spearman\| 1.000\)"):
        check_columns(read(columns, descriptors=("ph", "twin")))
    check_columns(read(columns, descriptors=("ph",)))


def test_a_test_molecule_in_the_training_part(read):
    study = read({"smiles": SMILES, "y": VALUES})
    split = draw(study, "random", 1, 5)[0]
    require_apart(study, "random", split)
    study.keys[int(split.train[0])] = study.keys[int(split.test[0])]
    with pytest.raises(MesomerError, match="1 test molecules are in the training part"):
        require_apart(study, "random", split)


def test_what_is_said_of_the_data(read):
    spelled = ["OCC", "CCO", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "not a molecule"]
    study = read({"smiles": [*spelled, *SMILES], "y": [1.0, 2.0, 3.0, 4.0, 5.0, *VALUES]})
    notes = {note.check: note for note in data_checks(study)}
    assert notes["duplicates"].rows == (1,) and "merged into 1 molecules" in notes["duplicates"].sentence
    assert notes["rejected rows"].rows == (5,)
    assert notes["same skeleton"].rows == (3, 4)
    assert "different labels" in notes["labels"].sentence and notes["labels"].severity == "caution"


def test_a_rare_class_is_told(read):
    study = read({"smiles": SMILES, "y": [1, 1] + [0] * 58})
    (note,) = [note for note in data_checks(study) if note.check == "rare class"]
    assert "only 2 of 60 molecules are '1'" in note.sentence


def test_targets_of_different_types_are_refused(tmp_path, request_of):
    path = write_table(tmp_path / "both.csv", {"smiles": SMILES, "a": VALUES, "b": [0, 1] * 30})
    with pytest.raises(MesomerError, match="different types"):
        prepare(request_of(path, ("a", "b")), StudyOptions(folds=2, repeats=1))


def test_of_several_targets_one_may_lack_a_class_somewhere(read):
    rare = [1.0 if at == 0 else 0.0 for at in range(60)]
    study = read({"smiles": SMILES, "often": [0, 1] * 30, "rare": rare}, ("often", "rare"))
    require_molecules(study, StudyOptions(), 1)
    notes = check_splits(study, "random", draw(study, "random", 1, 5), 1, 5)
    assert any(note.check == "undefined scores" and "rare (4)" in note.sentence for note in notes)


def test_arms_without_their_package_are_left_out_unless_they_are_named(table, request_of, monkeypatch):
    def absent():
        raise MesomerError("The package is not installed.", "Install it.")

    monkeypatch.setattr("mesomer.studies.prepare.descriptor_names", absent)
    options = StudyOptions(folds=2, repeats=1)
    ready = prepare(request_of(table), options)
    assert not any(arm.needs_descriptors for arm in ready.arms)
    assert any(note.check == "left out" and "descriptors_linear" in note.sentence for note in ready.checks)
    with pytest.raises(MesomerError, match="not installed"):
        prepare(request_of(table), StudyOptions(folds=2, repeats=1, arms=("descriptors_linear", "mean")))


def test_the_labels_of_a_check_are_those_of_the_table(read):
    study = read({"smiles": SMILES, "y": VALUES})
    assert np.allclose(study.data.y[:, 0], VALUES)
