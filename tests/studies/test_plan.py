"""What is cut, in which order, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesomer.errors import MesomerError
from mesomer.studies.design import Cell, Design
from mesomer.studies.plan import SPARE, Costs, cuts, fit_into, in_words

DESIGN = Design(
    splits=("scaffold", "random"), repeats=5, folds=5, trials=4, epochs=30, label_counts=(20, 60),
    arms=("pretrained", "random", "ecfp_forest", "frozen_linear"),
)  # fmt: skip
COSTS = Costs({"pretrained": 10.0, "random": 10.0, "ecfp_forest": 2.0, "frozen_linear": 1.0}, 30, 200, 5)


def test_a_cell_costs_its_trials_its_epochs_and_its_labels():
    seconds = COSTS.cell(DESIGN)
    assert seconds(Cell("random", 0, 0, "pretrained")) == pytest.approx(40)
    assert seconds(Cell("random", 0, 0, "pretrained", 20)) == pytest.approx(4)
    assert seconds(Cell("random", 0, 0, "frozen_linear")) == pytest.approx(1)  # nothing to search
    fewer = replace(DESIGN, epochs=10, trials=1)
    assert COSTS.cell(fewer)(Cell("random", 0, 0, "pretrained")) == pytest.approx(10 / 3)
    assert COSTS.cell(fewer)(Cell("random", 0, 0, "ecfp_forest")) == pytest.approx(2)
    ten = replace(DESIGN, folds=10)
    assert COSTS.cell(ten)(Cell("random", 0, 0, "frozen_linear")) == pytest.approx(0.9 / 0.8)


def test_the_order_of_the_cuts():
    steps = list(cuts(DESIGN))
    assert [said for _, said in steps] == [
        "4 settings of each arm to one: nothing is searched", "the random splits", "5 repeats to 3", "3 repeats to 1",
        "30 epochs to 10", "the learning curve",
    ]  # fmt: skip
    last = steps[-1][0]
    assert last == Design(
        splits=("scaffold",), repeats=1, folds=5, trials=1, epochs=10, label_counts=(), arms=DESIGN.arms
    )
    totals = [COSTS.total(design, 1) for design in (DESIGN, *(design for design, _ in steps))]
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == len(totals)
    only = list(cuts(replace(DESIGN, splits=("random",))))
    assert "the random splits" not in [said for _, said in only]


def test_the_largest_design_that_fits():
    steps = [(DESIGN, ""), *cuts(DESIGN)]
    for number, (design, _) in enumerate(steps):
        minutes = COSTS.total(design, 2) / 60 + 1e-9
        found, said = fit_into(DESIGN, COSTS, minutes, 2)
        assert found == design and len(said) == number
    assert fit_into(DESIGN, COSTS, None, 1) == (DESIGN, [])


def test_what_cannot_fit_is_refused_with_the_minutes_that_it_takes():
    smallest = [design for design, _ in cuts(DESIGN)][-1]
    needed = COSTS.total(smallest, 1) / 60
    with pytest.raises(MesomerError, match="Even the smallest study") as caught:
        fit_into(DESIGN, COSTS, needed / 2, 1)
    assert f"--minutes {-int(-needed // 1)}" in caught.value.hint and "pretrained" in caught.value.hint


def test_the_plan_in_words():
    seconds = SPARE * sum(map(COSTS.cell(DESIGN), [Cell("random", 0, 0, arm) for arm in DESIGN.arms])) * 50
    assert COSTS.total(replace(DESIGN, label_counts=()), 1) == pytest.approx(seconds)
    text = in_words(DESIGN, COSTS, 2)
    assert "4 arms on scaffold splits (5 x 5 folds) and random splits (5 x 5 folds), 4 settings each, 30 epochs" in text
    assert "280 cells" in text and "2 processes" in text
