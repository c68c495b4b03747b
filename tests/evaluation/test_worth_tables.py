"""Tables of the comparison, from made-up cells."""

from __future__ import annotations

import csv
import math

import pytest
from worth_design import SETTINGS, Cell, Facts
from worth_results import Background, Outside, Results, write_results
from worth_tables import (
    chance_text,
    counts_text,
    difference_text,
    differences_table,
    ended_table,
    fill_page,
    seen_text,
    short_text,
    twin_text,
    whole_text,
)

SEEDS = (0, 1, 2, 3, 4)
FACTS = Facts("m", "ab" * 32, {}, {}, {})
ABOUT = {"command": "python x", "model": "m", "version": "1", "machine": "one core"}


def cell(metric, test, valid=0.5):
    return {
        "metric": metric, "valid": valid, "test": test, "seconds": 36.0, "parameters": 1,
        "sizes": {"train": 8, "valid": 1, "test": 1}, "epochs": 3, "best_epoch": 2.0, "stopped": "early",
    }  # fmt: skip


def made(pretrained, forest, metric="rmse", name="esol"):
    """A network whose second setting is best on the validation part and whose other settings look better on the test
    part, and a forest.
    """
    worse = 0.1 if metric == "rmse" else -0.1
    cells = {}
    for at, setting in enumerate(SETTINGS):
        valid = 0.5 if at == 1 else 0.5 + worse
        test = pretrained[0] if at == 1 else pretrained[0] - worse
        cells[Cell(name, "pretrained", 0, setting)] = cell(metric, test, valid)
    for seed in SEEDS[1:]:
        cells[Cell(name, "pretrained", seed, list(SETTINGS)[1])] = cell(metric, pretrained[seed])
    cells |= {Cell(name, "ecfp_forest", seed): cell(metric, forest[seed]) for seed in SEEDS}
    return Results([name], ["pretrained", "ecfp_forest"], SEEDS, cells, len(cells))


@pytest.mark.parametrize("metric", ["rmse", "roc_auc"])
def test_the_setting_is_the_one_that_validation_prefers(metric):
    results = made([0.6, 0.6, 0.6, 0.6, 0.6], [0.7] * 5, metric)
    assert results.setting("esol", "pretrained") == list(SETTINGS)[1]
    assert results.scores("esol", "pretrained")[0] == 0.6


def test_no_setting_is_chosen_before_all_were_tried():
    results = made([0.6] * 5, [0.7] * 5)
    del results.cells[Cell("esol", "pretrained", 0, list(SETTINGS)[3])]
    assert results.setting("esol", "pretrained") is None
    assert results.scores("esol", "pretrained") == {}


def test_gains_are_positive_for_lower_errors_and_higher_areas():
    lower = made([0.6, 0.6, 0.6, 0.6, 0.6], [0.61, 0.62, 0.63, 0.64, 0.65])
    higher = made([0.61, 0.62, 0.63, 0.64, 0.65], [0.6] * 5, "roc_auc", "bbbp")
    for results, name in ((lower, "esol"), (higher, "bbbp")):
        found = results.difference(name, "pretrained", "ecfp_forest")
        # s = 0.0158114, sqrt(1/5 + 1/8) = 0.5700877, t of 4 degrees at 97.5 % = 2.7764451: half-width 0.0250265
        assert found.mean == pytest.approx(0.03)
        assert (found.low, found.high) == pytest.approx((0.0049735, 0.0550265), abs=1e-7)
        assert difference_text(found, 5) == "**+0.030 [+0.005, +0.055]**"


def test_a_missing_seed_is_shown_and_one_alone_has_no_interval():
    results = made([0.6] * 5, [0.61, 0.62, 0.63, 0.64, 0.65])
    del results.cells[Cell("esol", "ecfp_forest", 4)]
    assert difference_text(results.difference("esol", "pretrained", "ecfp_forest"), 5).endswith("(4 seeds)")
    for seed in (1, 2, 3):
        del results.cells[Cell("esol", "ecfp_forest", seed)]
    assert difference_text(results.difference("esol", "pretrained", "ecfp_forest"), 5) == "+0.010 (1 seed)"
    del results.cells[Cell("esol", "ecfp_forest", 0)]
    assert results.difference("esol", "pretrained", "ecfp_forest") is None
    assert "| `esol` | rmse |  |" in differences_table(results, "pretrained")


def test_the_counts_tell_means_and_intervals_apart():
    sure = made([0.6] * 5, [0.7, 0.71, 0.7, 0.71, 0.7])
    unsure = made([0.6] * 5, [0.9, 0.5, 0.8, 0.5, 0.7], name="lipo")
    behind = made([0.6] * 5, [0.8, 0.81, 0.8, 0.81, 0.8], "roc_auc", "bbbp")
    both = Results(
        ["esol", "lipo", "bbbp"], ["pretrained", "ecfp_forest"], SEEDS,
        sure.cells | unsure.cells | behind.cells, 30,
    )  # fmt: skip
    text = counts_text(both, "pretrained")
    assert "on 2 of 3 sets by mean difference (2 of 2 regressions)" in text
    assert "above zero on 1, below zero on 1" in text


def test_near_ties_are_told_apart_from_wins():
    near = made([0.6] * 5, [0.609] * 5)
    assert "on 1 of 1 sets by mean difference (1 of 1 regressions), on 1 of them by less than 0.01;" in counts_text(
        near, "pretrained"
    )
    wide = made([0.6] * 5, [0.611] * 5)
    assert "on 0 of them by less than 0.01;" in counts_text(wide, "pretrained")


def test_intervals_are_counted_with_those_that_chance_would_give():
    sure = made([0.6] * 5, [0.7, 0.71, 0.7, 0.71, 0.7])
    unsure = made([0.6] * 5, [0.9, 0.5, 0.8, 0.5, 0.7], name="lipo")
    both = Results(["esol", "lipo"], ["pretrained", "ecfp_forest"], SEEDS, sure.cells | unsure.cells, 30)
    told = chance_text(both)
    assert "These are 2 intervals" in told and "about 0.1 of them" in told and told.endswith("; 1 do.")
    assert told in whole_text(both, FACTS, ABOUT) and told in short_text(both, FACTS, ABOUT)
    lone = Results(["esol"], ["pretrained", "ecfp_forest"], (0,), sure.cells, 5)
    assert chance_text(lone) == ""


def trained(arm, tests, name="esol", settings=SETTINGS, **more):
    """A network's finished cells, all settings alike."""
    cells = {Cell(name, arm, 0, setting): cell("rmse", tests[0]) | more for setting in settings}
    first = next(iter(SETTINGS))
    return cells | {Cell(name, arm, seed, first): cell("rmse", tests[seed]) | more for seed in SEEDS[1:]}


def test_a_network_with_descriptors_is_not_set_beside_random_weights_without():
    arms = ["pretrained", "pretrained+descriptors", "random"]
    cells = trained("pretrained", [0.5] * 5) | trained("random", [0.7] * 5)
    cells |= trained("pretrained+descriptors", [0.5] * 5, settings=[next(iter(SETTINGS))])
    alone = Results(["esol"], arms, SEEDS, cells, 1)
    assert "same network, random weights" not in differences_table(alone, "pretrained+descriptors")
    assert "with descriptors, against" not in whole_text(alone, FACTS, ABOUT)  # nothing to compare it with
    forest = {Cell("esol", "ecfp_forest", seed): cell("rmse", 0.6) for seed in SEEDS}
    beside = Results(["esol"], [*arms, "ecfp_forest"], SEEDS, cells | forest, 1)
    for text in (whole_text(beside, FACTS, ABOUT), short_text(beside, FACTS, ABOUT)):
        assert "| set | metric | count-ECFP, forest |" in text and "`random+descriptors`" in text
    both = trained("random+descriptors", [0.6] * 5, settings=[next(iter(SETTINGS))])
    whole = Results(["esol"], [*arms, "random+descriptors", "ecfp_forest"], SEEDS, cells | forest | both, 1)
    text = whole_text(whole, FACTS, ABOUT)
    assert "| set | metric | random weights, with descriptors | count-ECFP, forest |" in text
    assert "were not run" not in text


def test_trainings_that_the_bound_ended_are_counted():
    results = Results(["esol"], ["random"], SEEDS, trained("random", [0.7] * 5, sizes={"train": 893}), 5)
    at_bound, patient, both = (
        {"epochs": 11, "best_epoch": 11.0, "stopped": "done"},
        {"epochs": 9, "best_epoch": 5.0, "stopped": "early"},
        {"epochs": 11, "best_epoch": 7.0, "stopped": "done"},  # patience ends with the last epoch
    )
    near = at_bound | {"best_epoch": 8.0}
    for seed, facts in enumerate([at_bound, patient, both, near, near]):
        results.cells[Cell("esol", "random", seed, next(iter(SETTINGS)))].update(facts)
    lines = ended_table(results).splitlines()
    assert lines[2] == "| `esol` | 11 | 3 of 5 (1) |" and lines[3] == "| all |  | 3 of 5 (1) |"
    assert ended_table(results) in whole_text(results, FACTS, ABOUT)


def test_a_trained_twin_behind_its_own_frozen_vectors_is_named():
    arms = ["random", "frozen_random_linear"]
    frozen = {Cell(name, "frozen_random_linear", s): cell("rmse", 0.6) for name in ("esol", "lipo") for s in SEEDS}
    cells = frozen | trained("random", [0.7] * 5) | trained("random", [0.5] * 5, "lipo")
    text = twin_text(Results(["esol", "lipo"], arms, SEEDS, cells, 1))
    assert text.startswith("On 1 of 2 sets (`esol`)") and "starved" in text
    ahead = Results(["lipo"], arms, SEEDS, cells, 1)
    assert twin_text(ahead) == ""


def test_the_mean_of_the_labels_is_a_column_where_it_is_known():
    results = made([0.6] * 5, [0.7] * 5)
    assert "mean of the training labels" not in whole_text(results, FACTS, ABOUT)
    results.background = {"esol": Background(100, dict(enumerate([2.0, 2.2, 2.0, 2.2, 2.1])))}
    text = whole_text(results, FACTS, ABOUT)
    assert "count-ECFP, forest | mean of the training labels |" in text and "| 2.100 ± 0.100 |" in text


def test_shares_of_the_corpus_and_gains_outside_it_are_shown():
    cells = trained("pretrained", [0.5] * 5) | trained("random", [0.7] * 5)
    results = Results(["esol"], ["pretrained", "random"], SEEDS, cells, 1)
    outside = {key: Outside(7, 0.9 if key.arm == "random" else 0.8) for key in cells}
    results.background = {"esol": Background(200, {}, 10, 30, outside)}
    corpus = {"molecules": 5000, "unknown": []}
    told = seen_text(results, corpus)
    assert "| `esol` | 200 | 5.0 % | 15.0 % | rmse | +0.200 | +0.100 |" in told and "5,000 molecules" in told
    assert told in whole_text(results, FACTS, ABOUT | {"corpus": corpus})
    assert "started from" not in told and "started from old" in seen_text(results, corpus | {"unknown": ["old"]})
    assert "carries no keys" in whole_text(results, FACTS, ABOUT)


def test_nothing_is_said_of_networks_where_none_ran():
    forest = {Cell("esol", "ecfp_forest", seed): cell("rmse", 0.6) for seed in SEEDS}
    text = whole_text(Results(["esol"], ["pretrained", "ecfp_forest"], SEEDS, forest, 9), FACTS, ABOUT)
    assert "Networks:" not in text and "Settings" not in text and "Model m" not in text and "trainings" not in text
    alone = whole_text(Results(["esol"], ["ecfp_forest"], SEEDS, forest, 5), FACTS, ABOUT)
    assert "Differences" not in alone and "RMSE (lower is better)" in alone
    frozen = {Cell("esol", "frozen_linear", seed): cell("rmse", 0.6) for seed in SEEDS}
    assert "Model m" in whole_text(Results(["esol"], ["frozen_linear"], SEEDS, frozen, 5), FACTS, ABOUT)


def test_the_csv_has_a_row_for_each_cell_and_marks_the_chosen_ones(tmp_path):
    results = made([0.6] * 5, [0.7] * 5)
    seen = Cell("esol", "ecfp_forest", 0)
    results.background = {"esol": Background(10, {}, 1, 2, {seen: Outside(8, 0.75)})}
    write_results(tmp_path / "results.csv", results)
    with open(tmp_path / "results.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 4 + 4 + 5
    assert sum(row["chosen"] == "1" for row in rows) == 10
    assert {row["most_epochs"] for row in rows if row["arm"] == "pretrained"} == {"24"}
    outside = [(row["arm"], row["seed"], row["outside_molecules"]) for row in rows if row["test_outside"] == "0.75"]
    assert outside == [("ecfp_forest", "0", "8")]


def test_texts_name_what_made_them_and_what_is_missing():
    results = made([0.6] * 5, [0.7] * 5)
    for text in (whole_text(results, FACTS, ABOUT), short_text(results, FACTS, ABOUT)):
        assert "`python x`" in text and "abababababab" in text and "0.1 core-hours on one core" in text
        assert "Incomplete" not in text
    results.wanted += 1
    assert f"**Incomplete: {len(results.cells)} of {results.wanted} cells" in whole_text(results, FACTS, ABOUT)
    assert math.isclose(results.wanted, 14)


def test_only_what_lies_between_the_markers_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- worth: begin -->\nold\n<!-- worth: end -->\nafter\n")
    assert fill_page(page, {"worth": r"new \1 text", "worth in short": "unused"}) == {"worth"}
    filled = page.read_text()
    assert filled == "before\n<!-- worth: begin -->\n\nnew \\1 text\n\n<!-- worth: end -->\nafter\n"
    assert fill_page(page, {"worth": r"new \1 text"}) and page.read_text() == filled
    page.write_text("no markers\n")
    assert not fill_page(page, {"worth": "text"})
