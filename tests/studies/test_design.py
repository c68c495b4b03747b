"""Options, cells in running order, seeds and parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest

from mesomer.errors import MesomerError
from mesomer.studies.arms import ARMS, choose
from mesomer.studies.design import Cell, Design, StudyOptions, cells_of, dealt, fold_seed, label_counts, read_part

DESIGN = Design(
    splits=("scaffold", "random"), repeats=2, folds=3, trials=2, epochs=5, label_counts=(20, 50),
    arms=("pretrained", "random", "mean"),
)  # fmt: skip
SECONDS = {"pretrained": 9.0, "random": 8.0, "mean": 0.1}


def test_an_interrupted_study_is_balanced():
    cells = cells_of(DESIGN, lambda cell: SECONDS[cell.arm])
    assert len(set(cells)) == len(cells) == 2 * 2 * 3 * 3 + 3 * 2 * 2 * 3
    assert len({cell.name for cell in cells}) == len(cells)
    whole = [cell for cell in cells if cell.labels is None]
    assert cells[: len(whole)] == whole
    for stop in range(len(whole)):
        folds = {arm: sum(cell.arm == arm for cell in whole[:stop]) for arm in DESIGN.arms}
        assert max(folds.values()) - min(folds.values()) <= 2  # the two kinds of split of one fold
    for _, inside in groupby(whole, key=lambda cell: (cell.repeat, cell.fold)):
        seconds = [SECONDS[cell.arm] for cell in inside]
        assert seconds == sorted(seconds)
    assert {cell.repeat for cell in cells if cell.labels is not None} == {0}


def test_rules_without_folds_have_one_for_each_repeat():
    design = Design(**{**vars(DESIGN), "splits": ("balanced",), "label_counts": ()})
    cells = cells_of(design, lambda cell: 0.0)
    assert {(cell.repeat, cell.fold) for cell in cells} == {(0, 0), (1, 0)}


def test_parts_share_the_cells_whatever_their_order():
    cells = cells_of(DESIGN, lambda cell: SECONDS[cell.arm])
    parts = [dealt(cells, (number, 3)) for number in (1, 2, 3)]
    assert sorted(cell for part in parts for cell in part if cell.labels is None) == sorted(
        cell for cell in cells if cell.labels is None
    )
    assert sum(map(len, parts)) == len(cells) and all(parts)
    backwards = cells_of(DESIGN, lambda cell: -SECONDS[cell.arm])
    assert set(dealt(backwards, (2, 3))) == set(parts[1])


def test_the_seed_belongs_to_the_fold():
    seeds = [fold_seed(0, split, repeat, fold) for split in "ab" for repeat in range(3) for fold in range(3)]
    assert len(set(seeds)) == len(seeds)
    assert fold_seed(0, "a", 1, 2) == fold_seed(0, "a", 1, 2) != fold_seed(1, "a", 1, 2)


def test_a_design_survives_its_file():
    assert Design.from_json(DESIGN.to_json()) == DESIGN
    assert DESIGN.to_json()["rules"] == {"scaffold": "scaffold_cv", "random": "cv"}


def test_points_of_the_learning_curve():
    assert label_counts((0.1, 0.3, 0.05), 400) == (20, 40, 120)
    assert label_counts((0.1, 0.3), 50) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ("time",)}, "drawn once"),
        ({"splits": ("random", "cv")}, "twice"),
        ({"splits": ("scafold",)}, "Did you mean"),
        ({"folds": 1}, "--folds"),
        ({"repeats": 0}, "--repeats"),
        ({"label_shares": (0.1, 30.0)}, "share"),
        ({"splits": ()}, "at least one"),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(MesomerError, match=said):
        StudyOptions(**options)


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0"])
def test_a_part_must_be_one_of_several(text):
    with pytest.raises(MesomerError, match="--part"):
        read_part(text)
    assert read_part("2/8") == (2, 8)


def test_large_sets_get_fewer_repeats():
    assert (StudyOptions().repeats_for(5000), StudyOptions().repeats_for(5001)) == (5, 3)
    assert StudyOptions(repeats=4).repeats_for(9999) == 4


def test_arms_are_known_by_name_and_come_with_what_they_are_the_twin_of():
    assert [arm.name for arm in choose(["mean", "pretrained", "random"])] == ["pretrained", "random", "mean"]
    assert {arm.twin_of for arm in choose([])} >= {"pretrained", "frozen_linear", "frozen_forest"}
    assert not any(arm.name.endswith("_descriptors") for arm in choose([]))
    with pytest.raises(MesomerError, match="twin"):
        choose(["random", "mean"])
    with pytest.raises(MesomerError, match="Did you mean"):
        choose(["ecfp_forrest", "mean"])
    with pytest.raises(MesomerError, match="at least two"):
        choose(["mean"])
    assert all(name == arm.name for name, arm in ARMS.items())
    assert Cell("random", 0, 1, "mean", 30).name == "random-r0-f1-mean-labels30"


@pytest.mark.parametrize(
    "wrong", [{"max_lr": 0.001}, {"max_lr": "1e-3", "dropout": 0.1}, {"max_lr": 0.0, "dropout": 0.1}, ["max_lr"]]
)
def test_settings_of_networks_name_a_rate_and_a_dropout(wrong):
    with pytest.raises(MesomerError, match="A setting of the networks is"):
        StudyOptions(settings=(wrong,))


def test_settings_of_networks_belong_to_the_design():
    named = replace(DESIGN, settings=({"max_lr": 0.001, "dropout": 0.5},))
    assert Design.from_json(named.to_json()) == named and Design.from_json(DESIGN.to_json()) == DESIGN
