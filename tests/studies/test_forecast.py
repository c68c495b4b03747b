"""Plans of presets and grids: set by set, and their sum."""

from __future__ import annotations

import gzip

import pytest
from small_corpora import demo_rows
from small_models import write_table

from mesomer.commands.study import study
from mesomer.errors import MesomerError
from mesomer.studies.forecast import forecast_grid, forecast_preset
from mesomer.studies.grid import grid_of

STAGE = {"max_steps": 1, "probe_molecules": 0}
CONTENT = {
    "name": "small",
    "sets": ["a.csv", "b.csv"],
    "base": {"network": "tiny", "corpus": "some", "pretraining": "masked", "split": "random"},
    "vary": {"pretraining": ["infomax"], "features": ["rich"], "finetuning": ["gentle"]},
    "study": {"repeats": 1, "folds": 2, "trials": 1, "epochs": 1, "label_shares": []},
    "networks": {"tiny": {"method": "gin", "hidden_size": 8, "depth": 1}},
    "corpora": {"some": {"table": "corpus.csv"}},
    "pretrainings": {
        "masked": [{"objective": "masked_attributes", **STAGE}],
        "infomax": [{"objective": "infomax", **STAGE}],
    },
    "finetunings": {"gentle": {"epochs": 2}},
}


def plan(minutes: float, **arms: float) -> dict:
    return {"minutes": minutes + sum(arms.values()), "arm_minutes": arms, "pilot": None, "plan": "", "cut": [],
            "checks": []}  # fmt: skip


def test_a_preset_is_the_sum_of_its_sets_and_names_what_is_refused():
    asked = []

    def power(one):
        asked.append(one)
        if one == "esol":
            raise MesomerError("Too few.", "Give more.")
        return plan(1.0, pretrained=10.0, random=5.0)

    found = forecast_preset("moleculenet", ["bace", "esol", "freesolv"], power)
    assert asked == ["freesolv", "esol", "bace"] and found["minutes"] == 32
    assert found["refused"] == {"esol": "Too few. Give more."} and list(found["sets"]) == ["freesolv", "bace"]
    with pytest.raises(MesomerError, match="No set of the preset moleculenet can be studied; esol: Too few"):
        forecast_preset("moleculenet", ["esol"], power)
    with pytest.raises(MesomerError, match="no preset"):
        forecast_preset("molnet", [], power)


def test_a_grid_counts_once_what_its_points_share():
    grid = grid_of(CONTENT, "here")
    assert [point.name for point in grid.points()] == [
        "base", "features=rich", "pretraining=infomax", "finetuning=gentle",
    ]  # fmt: skip
    asked = []

    def power(one, network, options, with_pilot):
        asked.append((one, options.epochs, options.arms[0], with_pilot))
        if one == "b.csv":
            raise MesomerError("Too few.")
        first, twin, *_ = options.arms
        return plan(1.0, **{first: 10.0, twin: 5.0, "ecfp_forest": 2.0, "mean": 0.5})

    found = forecast_grid(grid, "cpu", power)
    mine = [entry for entry in asked if entry[0] == "a.csv"]
    # base and infomax are planned alike; only the first has a pilot
    assert mine == [
        ("a.csv", 1, "pretrained", True),
        ("a.csv", 1, "pretrained_descriptors", False),
        ("a.csv", 2, "pretrained", False),
    ]
    base, rich, infomax, gentle = 18.5, 18.5 - 2.5, 18.5 - 2.5 - 5, 18.5
    assert found["minutes"] == pytest.approx(base + rich + infomax + gentle)
    assert (found["points"], found["models"], found["missing"]) == (4, 3, ["corpus.csv"])
    assert found["refused"] == {"b.csv": "Too few."} and found["sets"]["a.csv"]["points"] == 4


@pytest.fixture
def a_grid(tmp_path, monkeypatch):
    rows = demo_rows(60)
    columns = {"smiles": [row["smiles"] for row in rows], "activity": [row["activity"] for row in rows]}
    write_table(tmp_path / "a.csv", columns)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(
        """
name: small
sets: [{table: a.csv, targets: [activity]}, {table: b.csv, targets: [activity]}]
base: {network: tiny, corpus: some, pretraining: masked, split: random}
vary: {finetuning: [gentle]}
study: {repeats: 1, folds: 2, trials: 1, epochs: 1, label_shares: []}
networks: {tiny: {method: gin, hidden_size: 8, depth: 1}}
corpora: {some: {table: corpus.csv}}
pretrainings: {masked: [{objective: masked_attributes, max_steps: 1}]}
finetunings: {gentle: {epochs: 2}}
"""
    )
    return tmp_path


def test_planning_a_grid_trains_no_model_and_writes_nothing(a_grid, capsys):
    before = sorted(a_grid.rglob("*"))
    found = study("power", grid="grid.yaml", output="out", jobs=1)
    assert sorted(a_grid.rglob("*")) == before
    assert list(found["sets"]) == ["a.csv"] and "b.csv" in found["refused"]
    pilot = found["sets"]["a.csv"]["pilot"]
    assert pilot["splits"]["random"]["seen_on"] == "pair" and found["minutes"] > 0
    text = found["text"]
    for words in (
        "Left out: b.csv", "at most about at 2 points", "In all at most about", "Pre-training the 1 models of the grid",
        "Tables that are not there yet: corpus.csv", "Nothing was written",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"folder": "a.csv", "preset": "moleculenet"}, "one thing to study"),
        ({"preset": "moleculenet", "grid": "sun2022-mini"}, "one thing to study"),
        ({"folder": "a.csv", "sets": ["bace"]}, "--sets"),
        ({"preset": "moleculenet", "units": ["mM"]}, "--units is for the study of one table"),
        ({"grid": "sun2022-mini", "minutes": 5.0}, "--minutes has no effect with --grid"),
    ],
)
def test_plans_that_make_no_sense(words, said):
    with pytest.raises(MesomerError, match=said):
        study("power", **words)


def test_planning_a_preset(model, tmp_path, monkeypatch):
    from mesomer.studies import run

    (tmp_path / "molecules").mkdir()
    with gzip.open(tmp_path / "molecules" / "freesolv.csv.gz", "wt", encoding="utf-8") as handle:
        handle.write("smiles,freesolv\nCCO,-5.0\n")
    monkeypatch.setenv("MESOMER_DATA", str(tmp_path))
    asked = []
    monkeypatch.setattr(
        run, "power_of", lambda request, options: asked.append(request.data_name) or plan(2.0, mean=1.0)
    )
    found = study("power", preset="moleculenet", sets=["freesolv"], model=str(model), minutes=5.0)
    assert asked == ["freesolv"] and found["minutes"] == 3 and "In all at most about 3 min" in found["text"]
    assert "no pilot" in found["text"]
