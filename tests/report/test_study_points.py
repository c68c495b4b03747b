"""Models on the same folds: the points of a grid against its base, all pairs, and what cannot be paired."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from html_pages import Page
from simulated_studies import change_rows, read_rows, write_study

from mesomer.data.splits import Split, write_splits
from mesomer.report.study_comparison import write_comparison
from mesomer.report.study_sets import collect
from mesomer.report.study_sets_points import compare_models, join_points
from mesomer.statistics import fold_ratio, holm, meta_analysis, paired_gains, resampled_t, tukey

MOLECULES, REPEATS, FOLDS = 60, 5, 5


def make(folder, name, model, level=0.0, *, seed=0, others_from=REPEATS, repeats=REPEATS, metric="rmse", spread=0.02):
    """A study of a model on a set: its pre-trained network is better by `level` than that of other models."""
    place = write_study(folder / model / name, {"pretrained": 0.1 + level}, spread, metric=metric,
                        splits=("scaffold",), repeats=repeats, folds=FOLDS, molecules=MOLECULES, seed=17)  # fmt: skip
    noise = np.random.default_rng(seed)
    change_rows(place, lambda row: row | {"value": float(row["value"]) + noise.normal(0, spread / 2)})
    plan = json.loads((place / "study.json").read_text())
    plan["data"]["file"], plan["model"]["name"] = f"{name}.csv", model
    plan["data"]["targets"][0]["deviation"] = 2.0
    (place / "study.json").write_text(json.dumps(plan))
    found = []
    for repeat in range(repeats):  # from one repeat on other divisions than those of other studies
        order = np.random.default_rng([repeat, repeat >= others_from])
        parts = np.array_split(order.permutation(MOLECULES), FOLDS)
        for fold, test in enumerate(parts):
            rest = np.setdiff1d(np.arange(MOLECULES), test)
            found.append(Split("scaffold_cv", "scaffold_cv", rest[5:], rest[:5], np.sort(test), repeat=repeat,
                               fold=fold))  # fmt: skip
    write_splits(place / "splits-scaffold.csv", found, list(range(1, 1 + MOLECULES)), ["C"] * MOLECULES)
    return place


def scores(folder):
    return np.array([float(row["value"]) for row in read_rows(folder) if row["arm"] == "pretrained"])


@pytest.fixture
def grid(tmp_path):
    """A base and two points on one set: one much better, one alike."""
    names = {"base": 0.0, "pretraining=infomax": 0.2, "features=rich": 0.0}
    return [make(tmp_path, "esol", model, level, seed=at) for at, (model, level) in enumerate(names.items())]


def contrasts(folder):
    with open(folder / "contrasts.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_points_against_the_base_and_all_pairs(grid, tmp_path):
    report = write_comparison(grid, tmp_path / "out")
    base, better, alike = map(scores, grid)
    found = {name: resampled_t(paired_gains(values, base, "min"), fold_ratio(FOLDS))
             for name, values in (("pretraining=infomax", better), ("features=rich", alike))}  # fmt: skip
    rows = contrasts(tmp_path / "out")
    against, pairs = rows[:2], rows[2:]
    adjusted = holm([one.p for one in found.values()])
    for row, (name, one), p in zip(against, found.items(), adjusted, strict=True):
        assert (row["set"], row["split"], row["first"], row["second"]) == ("esol", "scaffold", name, "base")
        assert row["family"] == "against the base (Holm, Bonferroni)" and row["comparisons"] == "2"
        numbers = [float(row[key]) for key in ("gain", "low", "high", "joint_low", "joint_high", "p", "joint_p")]
        wanted = [one.mean, *one.interval(), *one.interval(comparisons=2), one.p, p]
        assert numbers == pytest.approx(wanted, rel=1e-9) and row["folds"] == "25"
        assert float(row["mean_second"]) == pytest.approx(base.mean())
    table = {"base": base, "pretraining=infomax": better, "features=rich": alike}
    for row, pair in zip(pairs, tukey(table, fold_ratio(FOLDS), "min").pairs, strict=True):
        assert (row["family"], row["first"], row["second"]) == ("all pairs (Tukey)", pair.first, pair.second)
        assert float(row["joint_p"]) == pytest.approx(pair.p) and row["p"] == "" == row["low"]
        assert float(row["joint_low"]) == pytest.approx(pair.low)
    assert [row["verdict"] for row in against] == ["better (by more than the zone)", "no practical difference"]
    sentence = report.sentences[0]
    assert sentence.startswith("On the same folds, of 2 comparisons of a point with the base 1 is better "
                               "(pretraining=infomax on esol), none is worse, 1 is without practical difference and "
                               "none is undecided;")  # fmt: skip
    assert "each model was pre-trained once" in sentence
    page = Page(report.path.read_text(encoding="utf-8")).text
    for words in ("Models on the same folds", sentence, "over that of the base", "contrasts.csv",
                  "pretraining=infomax against features=rich", "pretraining=infomax against base",
                  "luck of the pre-training"):  # fmt: skip
        assert words in " ".join(page.split()), words
    assert report.path.read_text(encoding="utf-8").count("<figure>") >= 2


def test_only_folds_with_the_same_molecules_are_paired(grid, tmp_path):
    other = make(tmp_path, "esol", "split seed=1", seed=5, others_from=0)
    partly = make(tmp_path, "esol", "split seed=2", seed=9, others_from=2)
    shorter = make(tmp_path, "esol", "finetuning=short", seed=6, repeats=3)
    bare = make(tmp_path, "esol", "network=gcn", seed=7)
    (bare / "splits-scaffold.csv").unlink()
    another = make(tmp_path, "esol", "corpus=zinc", seed=8)
    plan = (another / "study.json").read_text()
    (another / "study.json").write_text(plan.replace("ab" * 32, "ef" * 32))
    report = write_comparison([*grid, other, partly, shorter, bare, another], tmp_path / "out")
    rows = {row["first"]: row for row in contrasts(tmp_path / "out") if row["family"].startswith("against")}
    assert {name: row["folds"] for name, row in rows.items()} == {
        "pretraining=infomax": "25", "features=rich": "25", "split seed=2": "10", "finetuning=short": "15"
    }  # fmt: skip
    expected = resampled_t(paired_gains(scores(shorter), scores(grid[0])[:15], "min"), fold_ratio(FOLDS))
    assert float(rows["finetuning=short"]["gain"]) == pytest.approx(expected.mean)
    page = " ".join(Page(report.path.read_text(encoding="utf-8")).text.split())
    for words in (
        "split seed=1 is not compared with the others: its folds hold other molecules.",
        "network=gcn is not compared with the others: splits-scaffold.csv is not in its folder",
        "corpus=zinc is not compared with the others: its table or its labels are others.",
        "not among all pairs, as they lack folds of the others: split seed=2, finetuning=short.",
    ):
        assert words in page, words


def test_points_are_joined_over_sets(tmp_path):
    places = [(name, model) for name in ("esol", "lipo") for model in ("base", "x=1")]
    folders = [make(tmp_path, *place, 0.2 * (place[1] != "base"), seed=at) for at, place in enumerate(places)]
    report = write_comparison(folders, tmp_path / "out")
    compared = compare_models(collect(folders))
    (one,) = join_points(compared)
    gains = [models.against_base[0] for models in compared]
    wanted = meta_analysis([g.gain / 2 for g in gains], [g.error / 2 for g in gains])
    assert one.found == wanted and one.sets == ["esol", "lipo"] and one.p_holm == wanted.p
    assert "Over the sets: mean gain of each point" in report.path.read_text(encoding="utf-8")


def test_two_models_without_a_base_are_a_pair(tmp_path):
    folders = [
        make(tmp_path, "esol", model, level, seed=at) for at, (model, level) in enumerate((("a", 0), ("b", 0.2)))
    ]
    report = write_comparison(folders, tmp_path / "out")
    (row,) = contrasts(tmp_path / "out")
    expected = resampled_t(paired_gains(*map(scores, folders), "min"), fold_ratio(FOLDS))
    assert [float(row[key]) for key in ("gain", "joint_low", "joint_p")] == pytest.approx(
        [expected.mean, expected.interval()[0], expected.p], rel=1e-3
    )
    assert "of 1 pair of models none is better, 1 is worse (a against b on esol)" in report.sentences[0]


def test_one_model_leaves_no_table_of_contrasts(grid, tmp_path):
    write_comparison(grid, tmp_path / "out")
    report = write_comparison(grid[:1], tmp_path / "out")
    assert not (tmp_path / "out" / "contrasts.csv").exists()
    assert "Models on the same folds" not in report.path.read_text(encoding="utf-8")


def test_fixed_divisions_and_failures(grid, tmp_path):
    change_rows(grid[1], lambda row: row | ({"failed": "diverged"} if row["arm"] == "pretrained" and
                                            row["fold"] == "0" else {}))  # fmt: skip
    page = write_comparison(grid, tmp_path / "out").path.read_text(encoding="utf-8")
    assert "pretraining=infomax failed on 5 folds" in page
    for folder in grid:
        plan = (folder / "study.json").read_text()
        (folder / "study.json").write_text(plan.replace('"scaffold_cv"', '"deterministic"'))
    write_comparison(grid, tmp_path / "out")
    assert not (tmp_path / "out" / "contrasts.csv").exists()
