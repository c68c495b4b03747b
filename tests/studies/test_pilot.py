"""What is tried before a study, how long that may take, and what it promises."""

from __future__ import annotations

import json
import math
import types
from dataclasses import replace

import numpy as np
import pytest

from mesomer.statistics import Pilot, cross_validation
from mesomer.studies import rehearsal as rehearsing
from mesomer.studies.arms import headline_pair
from mesomer.studies.design import Design, StudyOptions
from mesomer.studies.pilot import Seen, _spread
from mesomer.studies.plan import SPARE, Costs
from mesomer.studies.promise import KIND_FACTORS, NETWORK_FACTORS, Plan, expected, promise
from mesomer.studies.rehearsal import MOST_SECONDS, SHARE, Rehearsal, parts_of, rehearsal_of, rehearsal_seconds
from mesomer.studies.run import power_of, run_study

DESIGN = Design(
    splits=("scaffold", "random"), repeats=5, folds=5, trials=4, epochs=30, label_counts=(),
    arms=("pretrained", "random", "ecfp_forest", "mean"),
)  # fmt: skip
ONE_X_FIVE = cross_validation(1, 5)


def costs_of(seconds: float) -> Costs:
    """Costs of networks that take so many seconds for each of 30 epochs."""
    trial = {"pretrained": 30 * seconds, "random": 30 * seconds, "ecfp_forest": 1.0, "mean": 0.0}
    return Costs(trial, 30, 200, 5)


@pytest.mark.parametrize(
    ("arms", "pair"),
    [
        (("mean", "random", "pretrained"), ("pretrained", "random")),
        (("pretrained_descriptors", "random_descriptors", "mean"), ("pretrained_descriptors", "random_descriptors")),
        (("pretrained", "mean"), ("pretrained", "ecfp_forest")),
        (("frozen_linear", "frozen_random_linear", "ecfp_forest"), None),
    ],
)
def test_the_pair_that_the_headline_compares(arms, pair):
    assert headline_pair(arms) == pair


def test_a_rehearsal_is_as_long_as_its_time_allows():
    quick = rehearsal_of(DESIGN, costs_of(0.1), 60, 1)
    assert quick.epochs == rehearsing.MOST_EPOCHS and [len(found) for found in quick.parts.values()] == [5, 5]
    assert quick.seconds == pytest.approx(SPARE * 20 * 0.1 * 10)
    short = rehearsal_of(replace(DESIGN, epochs=2), costs_of(0.1), 60, 1)
    assert short.epochs == 2  # as short as the study's own trainings
    slower = rehearsal_of(DESIGN, costs_of(1.0), 60, 1)
    assert slower.epochs == 5 and slower.seconds <= MOST_SECONDS
    fewer = rehearsal_of(DESIGN, costs_of(2.0), 60, 1)
    assert [len(found) for found in fewer.parts.values()] == [3, 3] and fewer.epochs == 4
    one = rehearsal_of(DESIGN, costs_of(3.3), 60, 1)
    assert {split: len(found) for split, found in one.parts.items()} == {"scaffold": 5} and one.epochs == 3
    assert rehearsal_of(DESIGN, costs_of(3.3), 60, 2).parts.keys() == {"scaffold", "random"}
    assert rehearsal_of(DESIGN, costs_of(30.0), 60, 1) is None
    assert rehearsal_of(DESIGN, costs_of(30.0), None, 1) is None
    for minutes in (0.5, 1, 2, 5, 60, None):
        bound = MOST_SECONDS if minutes is None else min(MOST_SECONDS, SHARE * 60 * minutes)
        for seconds in (0.01, 0.1, 1.0, 10.0):
            assert rehearsal_seconds(DESIGN, costs_of(seconds), minutes, 1) <= bound


def test_without_a_network_two_methods_are_tried():
    costs = Costs({"frozen_linear": 1.0, "ecfp_forest": 2.0, "mean": 0.0}, 30, 200, 5)
    classical = replace(DESIGN, arms=("frozen_linear", "ecfp_forest", "mean"))
    found = rehearsal_of(classical, costs, 60, 1)
    assert found.pair == ("frozen_linear", "ecfp_forest") and found.seconds == pytest.approx(SPARE * 10 * 3.0)
    assert rehearsal_of(classical, costs, 0.1, 1) is None
    assert rehearsal_of(replace(DESIGN, arms=("ecfp_forest", "mean")), costs_of(0.1), 60, 1) is None


def test_nothing_is_rehearsed_without_a_spread():
    fixed = replace(DESIGN, splits=("deterministic",))
    assert rehearsal_of(fixed, costs_of(0.1), 60, 1) is None and parts_of(fixed, "deterministic", 5) == []
    assert rehearsal_of(replace(DESIGN, splits=("balanced",), repeats=1), costs_of(0.1), 60, 1) is None
    drawn = rehearsal_of(replace(DESIGN, splits=("balanced",)), costs_of(0.1), 60, 1)
    assert drawn.parts == {"balanced": [(repeat, 0) for repeat in range(5)]}
    assert parts_of(replace(DESIGN, folds=2), "random", 5) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]


def plan_of(design: Design = DESIGN, rehearsal: Rehearsal | None = None) -> Plan:
    return Plan(design, costs_of(0.1), rehearsal, 1)


def test_what_is_expected_is_what_was_seen_of_the_pair_or_the_forests_widened():
    forests, networks = Pilot(0.01, 0.006, 0.028, ONE_X_FIVE), Pilot(0.3, 0.2, 0.9, ONE_X_FIVE)
    assert expected(Seen(forests, networks), plan_of()) == networks
    usual, most = NETWORK_FACTORS
    assert expected(Seen(forests, None), plan_of())[:3] == (usual * 0.01, 0.006, pytest.approx(most * 0.028))
    classical = plan_of(replace(DESIGN, arms=("ecfp_forest", "mean")))
    assert expected(Seen(forests, None), classical)[:3] == (
        KIND_FACTORS[0] * 0.01, 0.006, pytest.approx(KIND_FACTORS[1] * 0.028),
    )  # fmt: skip


def test_a_promise_is_a_range_in_sentence_and_file():
    seen = {"scaffold": Seen(Pilot(0.01, 0.006, 0.028, ONE_X_FIVE), Pilot(0.3, 0.2, 0.9, ONE_X_FIVE)),
            "random": Seen(Pilot(0.01, 0.006, 0.028, ONE_X_FIVE), None)}  # fmt: skip
    rehearsal = Rehearsal(("pretrained", "random"), {"scaffold": [(0, 0)]}, 4, 60.0)
    found = promise(seen, plan_of(rehearsal=rehearsal), 0.05, "rmse", 12.0)
    assert json.loads(json.dumps(found)) == found
    first = found["splits"]["scaffold"]
    # 1.573 is the smallest detectable difference of 5 x 5 folds in units of the spread
    assert [first[key] for key in ("mde_low", "mde", "mde_high")] == pytest.approx(
        [1.573 * s for s in (0.2, 0.3, 0.9)], rel=1e-3
    )
    assert (first["seen_on"], found["splits"]["random"]["seen_on"]) == ("pair", "forests")
    sentence = found["sentence"]
    assert "gain of pretrained over random, trained for 4 epochs (the study trains up to 30) on 5 parts" in sentence
    assert "a true difference of 0.31 to 1.4 (best guess 0.47) between them" in sentence
    assert "cannot show that there is no practical difference" in sentence
    assert "not tried here" in sentence and "5 and up to 15 times" in sentence
    row = next(row for row in found["mde_by_design"] if (row["repeats"], row["folds"]) == (5, 5))
    assert row["mde_high"] == first["mde_high"] and row["minutes"] * 60 == pytest.approx(plan_of().seconds + 60)
    areas = promise(seen, plan_of(rehearsal=rehearsal), 0.02, "roc_auc", 12.0)["sentence"]
    assert "differences above 1 cannot be" in areas
    wide = promise(seen, plan_of(rehearsal=rehearsal), 0.5, "rmse", 12.0)
    assert "may be able to show" in wide["sentence"]
    assert promise(seen, plan_of(rehearsal=rehearsal), 1.1, "rmse", 1.0)["splits"]["scaffold"]["can_show_equality"] == (
        "yes"
    )
    classical = promise(seen, plan_of(replace(DESIGN, arms=("ecfp_forest", "mean"))), 0.05, "rmse", 1.0)
    assert classical["splits"]["random"]["mde_high"] == pytest.approx(1.573 * KIND_FACTORS[1] * 0.028, rel=1e-3)
    assert "two methods, which were not tried here, are taken to spread some 2 and up to 5" in classical["sentence"]


def test_parts_without_a_score_are_left_out_and_a_spread_of_nothing_is_none():
    first = {(0, at): value for at, value in enumerate([0.7, math.nan, 0.9, 0.8, 0.6])}
    second = dict.fromkeys(first, 0.5)
    found = _spread(DESIGN, "random", first, second, "max")
    assert found.design.splits == 4 and found.spread == pytest.approx(np.std([0.7, 0.9, 0.8, 0.6], ddof=1))
    assert _spread(DESIGN, "random", second, second, "max") is None
    assert _spread(DESIGN, "random", {(0, 0): 0.5, (0, 1): math.nan}, second, "max") is None


SHORT = StudyOptions(
    splits=("random",), repeats=1, folds=3, trials=1, epochs=2, batch_size=16, label_shares=(),
    arms=("pretrained", "random", "mean"),
)  # fmt: skip


def test_short_trainings_keep_their_promise(table, request_of):
    """The pilot trains the very cells where these are as short: what it promises is what the study finds."""
    request = request_of(table)
    found = run_study(request, SHORT)
    folder = request.source.folder
    pilot = json.loads((folder / "pilot.json").read_text())
    primary = json.loads((folder / "verdicts.json").read_text())["splits"]["random"]["primary"]
    kept = pilot["splits"]["random"]
    assert (pilot["pair"], pilot["epochs"], kept["parts"]) == (["pretrained", "random"], 2, 3)
    assert kept["spread"] == pytest.approx(primary["spread"], rel=1e-5)
    assert kept["mde_low"] < primary["detectable"] < kept["mde_high"]
    assert kept["mde"] == pytest.approx(primary["detectable"], rel=1e-2)  # folds of 20 and 20 and 20 molecules
    assert any("The pilot had promised" in line for line in found["lines"])
    for name in ("report.md", "report.html"):
        text = " ".join((folder / name).read_text().split())
        assert "the pilot promised a smallest detectable difference of" in text and "as promised" in text


def test_the_pilot_is_counted_in_the_plan(table, request_of, monkeypatch):
    found = power_of(request_of(table), SHORT)
    assert found["minutes"] > sum(found["arm_minutes"].values()) > 0
    assert found["pilot"]["seconds"] > 0
    monkeypatch.setattr(rehearsing, "SHARE", 0.0)
    without = power_of(request_of(table), SHORT)
    assert without["pilot"]["splits"]["random"]["seen_on"] == "forests"
    assert without["minutes"] == pytest.approx(sum(without["arm_minutes"].values()))


def test_a_rehearsal_that_is_late_ends_with_the_parts_that_it_has(table, request_of, monkeypatch):
    from mesomer.studies import pilot

    clock = iter([0.0] * 5 + [1000.0])  # two parts, and no third
    monkeypatch.setattr(pilot, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(pilot, "MOST_SECONDS", 500.0)
    found = power_of(request_of(table), replace(SHORT, folds=3))
    assert found["pilot"]["splits"]["random"]["parts"] == 2
    assert "on 2 parts" in found["pilot"]["sentence"]
