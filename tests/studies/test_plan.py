"""What is cut, in which order, and what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mesomer.errors import MesomerError
from mesomer.studies.arms import choose
from mesomer.studies.design import Cell, Design
from mesomer.studies.plan import SPARE, SURE, Costs, arms_that_fit, cuts, fit_into, in_words

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


def test_what_comes_before_the_study_is_counted():
    minutes = COSTS.total(DESIGN, 2) / 60 + 1e-9
    assert fit_into(DESIGN, COSTS, minutes, 2, lambda design, allowed: 0.0)[1] == []
    assert len(fit_into(DESIGN, COSTS, minutes, 2, lambda design, allowed: 1.0)[1]) == 1
    asked = []
    fit_into(DESIGN, COSTS, minutes, 2, lambda design, allowed: asked.append(allowed) or 0.0)
    assert asked == [minutes]


def smallest_minutes(*arms: str) -> float:
    """What the smallest study of some arms takes."""
    smallest = [design for design, _ in cuts(DESIGN)][-1]
    return COSTS.total(replace(smallest, arms=arms or DESIGN.arms), 1) / 60


def test_what_cannot_fit_is_refused_with_the_minutes_that_it_takes():
    needed = smallest_minutes()
    with pytest.raises(MesomerError, match="Even the smallest study") as caught:
        fit_into(DESIGN, COSTS, needed / 100, 1)
    assert f"Give --minutes {-int(-needed // 1)}" in caught.value.hint and "pretrained" in caught.value.hint
    assert "no two --arms fit" in caught.value.hint
    with pytest.raises(MesomerError) as caught:  # a tenth of the minutes goes to the pilot
        fit_into(DESIGN, COSTS, 0.1, 1, lambda design, minutes: 6 * minutes)
    assert f"Give --minutes {-int(-needed / 0.9 // 1)}" in caught.value.hint


def test_what_cannot_fit_is_refused_with_the_arms_that_would():
    pair = smallest_minutes("pretrained", "random")
    with pytest.raises(MesomerError) as caught:
        fit_into(DESIGN, COSTS, 1.01 * pair, 1)  # the pair may fill all of it
    assert "or --arms pretrained,random, the most arms that fit" in caught.value.hint
    assert "alone" not in caught.value.hint
    three = smallest_minutes("pretrained", "random", "frozen_linear")
    with pytest.raises(MesomerError) as caught:  # the cheapest first: not the forest
        fit_into(DESIGN, COSTS, 1.001 * three / SURE, 1)
    assert "or --arms pretrained,random,frozen_linear, the most" in caught.value.hint
    cheap = smallest_minutes("ecfp_forest", "frozen_linear")
    with pytest.raises(MesomerError) as caught:
        fit_into(DESIGN, COSTS, 1.01 * cheap / SURE, 1)
    assert "or --arms ecfp_forest,frozen_linear, the most arms that fit" in caught.value.hint
    assert f"(pretrained and random alone need --minutes {-int(-pair // 1)})" in caught.value.hint
    # what is proposed is what fits
    proposed = re.search(r"--arms ([a-z_,]+),", caught.value.hint)[1].split(",")
    fit_into(replace(DESIGN, arms=tuple(proposed)), COSTS, 1.01 * cheap / SURE, 1)


def test_no_twin_is_proposed_without_what_it_is_the_twin_of():
    arms = ("frozen_linear", "frozen_random_linear", "ecfp_forest", "mean")
    costs = Costs({"frozen_linear": 9.0, "frozen_random_linear": 0.1, "ecfp_forest": 1.0, "mean": 0.0}, 30, 200, 5)
    design = replace(DESIGN, arms=arms, repeats=1, splits=("random",), label_counts=(), trials=1, epochs=10)
    assert arms_that_fit(design, costs, 5 * SPARE * 1.5 / 60, 1) == ("ecfp_forest", "mean")
    assert arms_that_fit(design, costs, 5 * SPARE * 20 / 60, 1) == arms
    choose(arms_that_fit(design, costs, 5 * SPARE * 10.1 / 60, 1))


def test_the_plan_in_words():
    seconds = SPARE * sum(map(COSTS.cell(DESIGN), [Cell("random", 0, 0, arm) for arm in DESIGN.arms])) * 50
    assert COSTS.total(replace(DESIGN, label_counts=()), 1) == pytest.approx(seconds)
    text = in_words(DESIGN, COSTS, 2)
    assert "4 arms on scaffold splits (5 x 5 folds) and random splits (5 x 5 folds), 4 settings each, 30 epochs" in text
    assert "280 cells" in text and "2 processes" in text
    assert in_words(DESIGN, COSTS, 2, 3600.0) != text  # a pilot of an hour is told
