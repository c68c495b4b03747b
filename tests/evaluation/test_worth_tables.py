"""Tables of the comparison, from made-up cells."""

from __future__ import annotations

import math

import pytest
from worth_design import SETTINGS, Cell, Facts
from worth_tables import (
    Results,
    counts_text,
    difference_text,
    differences_table,
    fill_page,
    short_text,
    whole_text,
    write_results,
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


def test_the_csv_has_a_row_for_each_cell_and_marks_the_chosen_ones(tmp_path):
    results = made([0.6] * 5, [0.7] * 5)
    write_results(tmp_path / "results.csv", results)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 + 4 + 5
    assert sum(line.split(",")[4] == "1" for line in lines[1:]) == 10


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
    assert fill_page(page, {"worth": r"new \1 text", "worth in short": "unused"})
    filled = page.read_text()
    assert filled == "before\n<!-- worth: begin -->\n\nnew \\1 text\n\n<!-- worth: end -->\nafter\n"
    assert fill_page(page, {"worth": r"new \1 text"}) and page.read_text() == filled
    page.write_text("no markers\n")
    assert not fill_page(page, {"worth": "text"})
