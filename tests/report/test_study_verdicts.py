"""Verdicts of studies with known truths, and their figures against `mesomer.statistics`."""

from __future__ import annotations

import csv
import json
import math
import re

import numpy as np
import pytest
from simulated_studies import ARMS, add_predictions, change_rows, read_rows, write_rows, write_study

from mesomer.errors import MesomerError
from mesomer.report.study import write_study_report
from mesomer.report.study_balance import balanced, size_ratio
from mesomer.report.study_folder import COLUMNS, read_predictions, read_study
from mesomer.report.study_record import as_json, verdicts_record
from mesomer.report.study_text import cautions, headline, needed_sentence
from mesomer.report.study_verdicts import analyse
from mesomer.statistics import (
    against_reference,
    bootstrap_molecules,
    cross_validation,
    resampled_t,
    smallest_detectable,
    tukey,
)

RMSE = lambda truth, found: float(np.sqrt(np.mean((truth - found) ** 2)))  # noqa: E731


def scores(folder, arm, split="scaffold", target="logS", column="value"):
    """The scores of an arm, fold by fold, straight from the file."""
    return np.array([
        float(row[column]) for row in read_rows(folder)
        if (row["arm"], row["split"], row["target"], row["label_count"]) == (arm, split, target, "")
    ])  # fmt: skip


def split_of(folder, name="scaffold"):
    return next(split for split in analyse(read_study(folder)) if split.split == name)


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"),
    [(0.2, 0.05, "helps"), (-0.2, 0.05, "hurts"), (0.0, 0.01, "no practical difference"), (0.05, 0.2, "undecided")],
)
@pytest.mark.parametrize("metric", ["rmse", "roc_auc"])
def test_known_truths(tmp_path, gain, spread, verdict, metric):
    folder = write_study(tmp_path / "s", {"pretrained": gain}, spread, metric=metric, splits=("scaffold",))
    primary = split_of(folder).primary
    assert primary.verdict == verdict
    assert primary.low <= gain <= primary.high


def test_figures_are_those_of_the_statistics(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.05, "ecfp_forest": -0.02, "ecfp_boosting": 0.04}, 0.06)
    split = split_of(folder)
    found = {arm: scores(folder, arm) for arm in ("pretrained", "random", "ecfp_forest", "ecfp_boosting")}
    gains = found["random"] - found["pretrained"]
    alone = resampled_t(gains, 0.25)
    primary = split.primary
    assert (primary.low, primary.high) == pytest.approx(alone.interval())
    assert (primary.better, primary.equal, primary.worse) == pytest.approx(alone.posterior(0.05))
    assert primary.detectable == pytest.approx(smallest_detectable(gains.std(ddof=1), cross_validation(5, 5)))
    assert primary.p == primary.p_holm == pytest.approx(alone.p)

    for row, wanted in zip(split.against_twin, against_reference(found, "random", 0.25, "min", 0.05), strict=True):
        assert row.first == wanted.arm and row.second == "random" and row.comparisons == 3
        assert (row.wide_low, row.wide_high, row.p_holm) == pytest.approx((wanted.low, wanted.high, wanted.p_holm))
        assert row.verdicts[1] == str(wanted.verdict)
    assert [row.second for row in split.against_references] == ["ecfp_forest", "ecfp_boosting"]
    forest = split.against_references[0]
    wide = resampled_t(found["ecfp_forest"] - found["pretrained"], 0.25).interval(comparisons=2)
    assert (forest.wide_low, forest.wide_high) == pytest.approx(wide)
    assert split.best_reference.second == "ecfp_boosting"
    assert split.pairs.half_width == pytest.approx(tukey(found, 0.25, "min").half_width)
    assert split.floor.first == "pretrained" and split.floor.second == "mean"
    arm = next(arm for arm in split.arms if arm.arm.name == "pretrained")
    assert arm.mean == pytest.approx(found["pretrained"].mean())
    assert (arm.low, arm.high) == pytest.approx(resampled_t(found["pretrained"], 0.25).interval())
    assert arm.seconds == pytest.approx(25 * 95) and arm.cells == 25


def test_differences_without_spread_are_undecided_and_have_no_interval(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    steady = {"pretrained": "0.26", "random": "0.9", "mean": "0.95"}
    change_rows(folder, lambda row: row | ({"value": steady[row["arm"]]} if row["arm"] in steady else {}))
    made = write_study_report(folder)
    primary = made.verdicts["splits"]["scaffold"]["primary"]
    assert primary["verdict"] == "undecided" and primary["gain"] == pytest.approx(0.64)
    assert primary["low"] is primary["high"] is primary["better"] is None and primary["p"] == 1
    assert "it is undecided whether pre-training helps" in made.sentence
    assert "(no interval: all folds differ by the same amount: no spread to judge by)" in made.sentence
    assert "the same on every fold do not say" in made.path.with_suffix(".md").read_text()
    for page in (made.path, made.path.with_suffix(".md")):
        assert not re.search(r"\bnan\b", page.read_text())
    assert "nan" not in "\n".join(made.lines)


def test_a_number_of_molecules_far_beyond_those_there_are_is_not_told(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.05}, 2.0, splits=("scaffold",))
    study = read_study(folder)
    split = split_of(folder)
    assert split.needed.molecules > 10 * study.facts["data"]["molecules"]
    said = needed_sentence(study, split)
    assert "more than ten times as many molecules (there are" in said and f"{split.needed.molecules:,}" not in said


def test_alone_and_among_many_are_told_apart(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.06}, 0.048, splits=("scaffold",), seed=5)
    split = split_of(folder)
    row = next(row for row in split.against_twin if row.first == "pretrained")
    assert row.wide_low < split.primary.low == split.primary.wide_low and row.low == split.primary.low


def test_only_folds_that_all_arms_finished_count(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, 0.05, splits=("scaffold",))
    change_rows(folder, lambda row: None if row["arm"] == "pretrained" and int(row["repeat"]) >= 3 else row)
    change_rows(
        folder, lambda row: None if row["arm"] == "random" and (row["repeat"], row["fold"]) == ("0", "1") else row
    )
    split = split_of(folder)
    assert len(split.table.folds) == 14 and split.table.missing == 11 and (0, 1) not in split.table.folds
    assert split.primary.folds == 14


def test_an_arm_with_hardly_any_fold_is_left_out_and_named(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, 0.05, splits=("scaffold",))

    def late(row):
        early = (int(row["repeat"]), int(row["fold"])) < (0, 1)
        return (
            row
            if row["arm"] not in ("ecfp_boosting", "ecfp_forest") or (row["arm"] == "ecfp_boosting" and early)
            else None
        )

    change_rows(folder, late)
    split = split_of(folder)
    assert split.table.left_out == {"ecfp_forest": 0, "ecfp_boosting": 1}
    assert len(split.table.folds) == 25 and split.against_references == [] and split.best_reference is None


def test_one_fold_gives_no_verdict(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    change_rows(folder, lambda row: row if (row["repeat"], row["fold"]) == ("0", "0") else None)
    split = split_of(folder)
    assert split.primary is None and split.pairs is None and split.against_twin == []
    assert len(split.table.folds) == 1 and math.isfinite(split.table.mean("pretrained"))


def test_a_failed_cell_counts_with_the_mean_predictor(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.0}, 0.01, splits=("scaffold",))

    def fail(row):
        broken = row["arm"] == "pretrained" and row["fold"] == "2"
        return row | ({"failed": "diverged in epoch 3", "value": ""} if broken else {})

    change_rows(folder, fail)
    split = split_of(folder)
    assert len(split.table.folds) == 25 and len(split.table.failures) == 5
    assert split.table.failures[0].reason == "diverged in epoch 3"
    at = split.table.folds.index((0, 2))
    assert split.table.scores["pretrained"][at] == pytest.approx(split.table.scores["mean"][at])
    assert split.primary.gain < -0.04, "failing costs the arm something"
    assert next(arm.failed for arm in split.arms if arm.arm.name == "pretrained") == 5


def test_without_mean_predictor_a_failed_area_is_one_half(tmp_path):
    folder = write_study(tmp_path / "s", metric="roc_auc", splits=("scaffold",))
    change_rows(folder, lambda row: None if row["arm"] == "mean" else row)
    broken = ("pretrained", "0", "0")
    change_rows(
        folder, lambda row: row | ({"value": "nan"} if (row["arm"], row["repeat"], row["fold"]) == broken else {})
    )
    table = balanced(read_study(folder), "scaffold")
    assert table.scores["pretrained"][0] == 0.5
    assert table.failures[0].reason == "no score" and table.left_out == {"mean": 0}


def test_without_the_arm_of_the_mean_predictor_its_stored_score_counts(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    change_rows(folder, lambda row: row if row["arm"] in ("pretrained", "random") else None)
    change_rows(folder, lambda row: row | ({"failed": "1", "value": "1.7"} if row["arm"] == "pretrained" else {}))
    table = balanced(read_study(folder), "scaffold")
    assert table.scores["pretrained"] == pytest.approx(1.7) and table.scores["random"].max() < 1.5
    assert {failure.counted_with for failure in table.failures} == {"the mean predictor's score"}


def test_without_any_score_a_failed_error_is_the_worst(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    change_rows(folder, lambda row: None if row["arm"] == "mean" else row)
    change_rows(folder, lambda row: row | ({"failed": "1", "value": ""} if row["arm"] == "pretrained" else {}))
    table = balanced(read_study(folder), "scaffold")
    others = np.stack([table.scores[arm] for arm in ("random", "ecfp_forest", "ecfp_boosting")])
    assert table.scores["pretrained"] == pytest.approx(others.max(0))
    assert {failure.reason for failure in table.failures} == {"failed"}


def test_folds_without_a_defined_metric_are_left_out_for_all(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, 0.02, metric="roc_auc", splits=("scaffold",))
    change_rows(folder, lambda row: row | ({"value": ""} if row["fold"] == "4" else {}))
    split = split_of(folder)
    assert split.table.undefined == [(repeat, 4) for repeat in range(5)]
    assert not split.table.failures and split.primary.folds == 20


def test_several_targets_each_with_holm(tmp_path):
    names = ("a", "b", "c")
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, 0.03, metric="roc_auc", zone=0.02, targets=names)
    split = split_of(folder)
    assert split.primary.gain == pytest.approx(np.mean(scores(folder, "pretrained", target="mean")
                                                       - scores(folder, "random", target="mean")))  # fmt: skip
    assert [row.target for row in split.targets] == list(names) and split.untold == []
    raw = [
        resampled_t(scores(folder, "pretrained", target=n) - scores(folder, "random", target=n), 0.25) for n in names
    ]
    smallest = min(range(3), key=lambda at: raw[at].p)
    assert split.targets[smallest].contrast.p_holm == pytest.approx(3 * raw[smallest].p)
    assert split.targets[0].contrast.wide_high == pytest.approx(raw[0].interval(comparisons=3)[1])


def test_targets_in_units_of_their_own_need_a_spread(tmp_path):
    data = {"file": "d.csv", "molecules": 500, "targets": [{"name": "a", "task": "regression", "deviation": 2.0},
            {"name": "b", "task": "regression", "zone": 0.3}, {"name": "c", "task": "regression"}]}  # fmt: skip
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, targets=("a", "b", "c"), splits=("random",), data=data)
    split = split_of(folder, "random")
    assert {row.target: row.contrast.zone for row in split.targets} == pytest.approx({"a": 0.1, "b": 0.3})
    assert split.untold == ["c"]


def test_learning_curve(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, 0.02, splits=("scaffold",), label_counts=(80, 240))
    points = split_of(folder).curve
    assert [(point.labels, point.full, point.folds) for point in points] == [
        (80, False, 25),
        (240, False, 25),
        (800, True, 25),
    ]
    for point in points:
        assert point.gain.low < 0.1 < point.gain.high
    assert points[0].means["random"] == pytest.approx(points[2].means["random"] + 0.1, abs=0.03)


def test_overlap_moves_the_headline(tmp_path):
    little = write_study(tmp_path / "little", {"pretrained": 0.1}, overlap=0.2, splits=("scaffold",))
    split = split_of(little)
    assert split.overlap == pytest.approx(0.2) and not split.on_novel
    assert split.novel.gain == pytest.approx(split.primary.gain), "the shift is the same for both arms"

    much = write_study(tmp_path / "much", {"pretrained": 0.1}, overlap=0.7, splits=("scaffold",))
    change_rows(much, lambda row: row | ({"value_novel": row["value"]} if row["arm"] == "random" else {}))
    split = split_of(much)
    assert split.on_novel and split.primary.gain == pytest.approx(0.09, abs=0.02)
    gains = scores(much, "random", column="value_novel") - scores(much, "pretrained", column="value_novel")
    assert split.primary.gain == pytest.approx(gains.mean())


def test_interval_over_molecules_draws_the_same_ones_in_every_repeat(tmp_path):
    folder = write_study(tmp_path / "s", splits=("random",), repeats=2, folds=3, molecules=150)
    add_predictions(folder, {"pretrained": 0.4, "random": 0.6})
    low, high = split_of(folder, "random").molecules
    part = read_predictions(folder, ["pretrained", "random"])
    one, two = part.where("random", "pretrained"), part.where("random", "random")
    table = {}
    for name, arm in (("one", one), ("two", two)):
        grid = np.zeros((150, 2))
        grid[arm.row - 1, arm.repeat] = arm.predicted
        table[name] = grid
    truth = np.zeros(150)
    truth[one.row - 1] = one.truth

    def mean(labels, columns):
        return np.mean([RMSE(labels, column) for column in columns.T])

    assert (low, high) == bootstrap_molecules([truth], [table["one"]], [table["two"]], mean, "min", draws=1000)
    independent = bootstrap_molecules([truth] * 2, list(table["one"].T), list(table["two"].T), RMSE, "min", draws=1000)
    assert high - low > independent[1] - independent[0]


def test_molecules_of_one_scaffold_are_drawn_together(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",), repeats=2, folds=3, molecules=150)
    add_predictions(folder, {"pretrained": 0.4, "random": 0.6})
    alone = split_of(folder).molecules
    rings = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccoc1", "c1ccsc1", "C1CCCC1", "c1cc[nH]c1", "C1CCNCC1", "C1CCOCC1",
             "c1ccc2ccccc2c1", "c1ccc2ncccc2c1", "C1CC1"]  # fmt: skip
    with open(folder / "molecules.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["row", "smiles"], *((row + 1, "C" + rings[row % 12]) for row in range(150))])
    together = split_of(folder).molecules
    assert together != alone and all(np.isfinite(together))
    with open(folder / "molecules.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["row", "smiles"], *((row + 1, "C" + rings[row % 3]) for row in range(150))])
    assert split_of(folder).molecules is None  # three scaffolds are no sample
    plan = json.loads((folder / "study.json").read_text())
    plan["design"]["rules"] = {"scaffold": "cv"}
    (folder / "study.json").write_text(json.dumps(plan))
    assert split_of(folder).molecules is not None  # random folds draw molecules


def test_one_fixed_division_has_no_verdict(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, splits=("deterministic",), folds=1, molecules=100)
    add_predictions(folder, {"pretrained": 0.4, "random": 0.9})
    study = read_study(folder)
    (split,) = found = analyse(study)
    assert split.primary is None and not split.against_twin and not split.against_references and split.pairs is None
    assert all(math.isnan(figures.low) for figures in split.arms) and split.molecules is not None
    sentence = headline(study, found)
    assert "On the one division" in sentence and "cannot say whether pre-training helps" in sentence
    assert "over its test molecules" in sentence
    assert any("one and the same division" in text for text in cautions(study, found))
    with open(folder / "molecules.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["row", "smiles"], *((row, "Cc1ccccc1") for row in range(1, 101))])
    assert analyse(read_study(folder))[0].molecules is None  # its division is by scaffolds, and one is no sample


def test_undecided_says_what_would_settle_it(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.0}, 0.2, splits=("scaffold",))
    split = split_of(folder)
    assert split.primary.verdict == "undecided"
    assert split.needed.molecules == math.ceil(1000 * (split.primary.detectable / 0.05) ** 2)


def test_parts_joined_end_to_end(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    text = (folder / "results.csv").read_text()
    head, first = text.splitlines()[:2]
    (folder / "results.csv").write_text(text + head + "\r\n" + first + "\r\n")
    study = read_study(folder)
    assert study.repeated_cells == 1 and len(study.runs) == 125


def test_the_record_is_plain_json(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, 1e-5, overlap=0.3, label_counts=(80,))
    study = read_study(folder)
    record = json.loads(as_json(verdicts_record(study, analyse(study))))
    assert record["verdict"] == "helps" and record["headline_split"] == "scaffold"
    primary = record["splits"]["scaffold"]["primary"]
    assert primary["gain"] == pytest.approx(0.2, abs=1e-5)
    assert len(record["splits"]["scaffold"]["learning_curve"]) == 2


def test_ratio_counts_the_validation_part_as_training(tmp_path):
    study = read_study(write_study(tmp_path / "s", molecules=500, folds=5))
    assert size_ratio(study, "scaffold") == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "study.json").unlink(), "not a study folder"),
        (lambda f: (f / "study.json").write_text("{"), "not a JSON file"),
        (lambda f: (f / "study.json").write_text('{"format": 1}'), "has no data, model"),
        (lambda f: (f / "results.csv").write_text("split,fold\n"), "has no column repeat"),
        (lambda f: (f / "results.csv").write_text((f / "results.csv").read_text()[:-30]), "cells instead of 17"),
        (lambda f: change_rows(f, lambda r: r | {"arm": "grover"}), "no arm 'grover'"),
        (lambda f: change_rows(f, lambda r: r | {"fold": "x"}), "line 2: invalid literal"),
        (lambda f: change_rows(f, lambda r: r | ({"n_test": "7"} if r["arm"] == "mean" else {})), "was tested on 200"),
        (lambda f: (f / "predictions.csv").write_text("a,b\n1,2\n"), "has no column split"),
        (lambda f: (f / "predictions.csv.gz").write_bytes(b"no gzip"), "cannot be read"),
    ],
)  # fmt: skip
def test_broken_folders_are_one_sentence(tmp_path, break_it, words):
    folder = write_study(tmp_path / "s")
    break_it(folder)
    with pytest.raises(MesomerError, match=words):
        analyse(read_study(folder))


def test_another_format_and_a_zone_of_nothing(tmp_path):
    with pytest.raises(MesomerError, match="format 2, this version reads 1"):
        read_study(write_study(tmp_path / "a", format=2))
    with pytest.raises(MesomerError, match="zone 0 is not"):
        read_study(write_study(tmp_path / "b", zone=0))


def test_no_results_yet(tmp_path):
    folder = write_study(tmp_path / "s")
    write_rows(folder, [])
    assert analyse(read_study(folder)) == [] and "value" in COLUMNS


def test_splits_that_are_drawn_have_no_folds(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, splits=("balanced",), folds=1)
    plan = json.loads((folder / "study.json").read_text())
    plan["design"] |= {"folds": 5, "rules": {"balanced": "balanced"}}
    (folder / "study.json").write_text(json.dumps(plan))
    change_rows(folder, lambda row: row | {"n_test": "100", "n_train": "800", "n_valid": "100"})
    split = split_of(folder, "balanced")
    assert split.ratio == 0.125 and split.table.missing == 0 and split.primary.folds == 5


def test_the_score_without_search(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    rows = read_rows(folder)
    lines = [
        [*(row[name] for name in COLUMNS), float(row["value"]) + 0.1 if row["arm"] == "random" else ""] for row in rows
    ]
    with open(folder / "results.csv", "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([[*COLUMNS, "value_default"], *lines])
    found = {figures.arm.name: figures for figures in split_of(folder).arms}
    assert found["random"].default == pytest.approx(found["random"].mean + 0.1)
    assert math.isnan(found["pretrained"].default)


def test_the_headline_is_about_a_trained_network(tmp_path):
    frozen = [{"name": "frozen", "label": "f", "kind": "frozen"},
              {"name": "frozen_random", "label": "fr", "kind": "frozen", "twin_of": "frozen"}]  # fmt: skip
    study = read_study(write_study(tmp_path / "s", arms=[*frozen, *ARMS]))
    assert study.main == "pretrained"
    assert [(row.first, row.second) for row in analyse(study)[0].own_twins] == [
        ("frozen", "frozen_random"), ("pretrained", "random"),
    ]  # fmt: skip
    assert read_study(write_study(tmp_path / "f", arms=frozen)).main == "frozen"


def test_classes_have_no_interval_over_molecules(tmp_path):
    data = {"file": "d.csv", "molecules": 90, "targets": [{"name": "logS", "task": "multiclass"}]}
    folder = write_study(tmp_path / "s", metric="rmse", splits=("random",), repeats=2, folds=3, molecules=90)
    add_predictions(folder, {"pretrained": 0.4, "random": 0.6})
    assert split_of(folder, "random").molecules is not None
    plan = json.loads((folder / "study.json").read_text()) | {"data": data}
    (folder / "study.json").write_text(json.dumps(plan))
    assert split_of(folder, "random").molecules is None
