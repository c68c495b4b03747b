"""Presets and pages on several studies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mesomer.commands.study import study as command
from mesomer.data.benchmarks import BENCHMARKS
from mesomer.errors import MesomerError
from mesomer.run import TimeUp
from mesomer.studies.campaign import PUBLISHED, read_published, study_folders
from mesomer.studies.design import StudyOptions
from mesomer.studies.presets import PRESETS, run_preset
from mesomer.studies.run import again, run_study

OPTIONS = StudyOptions(
    splits=("random",), repeats=1, folds=2, trials=1, epochs=1, label_shares=(), arms=("pretrained", "random", "mean")
)

RMSE = {"esol": (1, 2), "lipo": (0.6, 1), "freesolv": (2, 4.5)}
"""Between what is published and the deviation of the labels of our tables, in their units."""


def test_presets_name_known_sets_and_published_scores():
    for preset in PRESETS.values():
        assert set(preset.sets + preset.larger) <= set(BENCHMARKS) and len(preset.sets) >= 8
        assert preset.published is not None
        for row in read_published(preset.published):
            assert row.set in (*preset.sets, *preset.larger) and row.source
            assert row.metric == ("roc_auc" if BENCHMARKS[row.set].task == "binary" else "rmse")
            low, high = (0.5, 1) if row.metric == "roc_auc" else RMSE[row.set]
            assert low < row.value < high and (row.deviation is None or 0 < row.deviation < high / 10)
    assert {path.stem for path in PUBLISHED.glob("*.csv")} == {"moleculenet"}


def test_a_preset_goes_on_after_a_set_that_is_refused_and_one_that_ran_out_of_time(table, request_of, tmp_path):
    asked = []

    def study(one: str, folder: Path):
        asked.append(one)
        if one == "esol":
            raise MesomerError("Too few.", "Give more.")
        found = run_study(request_of(table, output=str(folder)), OPTIONS)
        facts = (folder / "study.json").read_text().replace("data.csv", f"{one}.csv")
        (folder / "study.json").write_text(facts)
        if one == "lipo":
            raise TimeUp("The time is up.")
        return found

    found = run_preset("moleculenet", ["freesolv", "esol"], str(tmp_path / "mn"), study)
    assert asked == ["freesolv", "esol"] and found["refused"] == {"esol": "Too few. Give more."}
    page = Path(found["report"]).read_text()
    assert found["studies"] == 1 and "freesolv" in page and "AttrMasking" in page
    with pytest.raises(TimeUp, match="lipo"):
        run_preset("moleculenet", ["lipo"], str(tmp_path / "late"), study)
    assert (tmp_path / "late" / "sets.html").exists()
    with pytest.raises(MesomerError, match="None of the 1 studies"):
        run_preset("moleculenet", ["esol"], str(tmp_path / "none"), study)
    shutil.copytree(tmp_path / "late" / "lipo", tmp_path / "mn" / "lipo")
    assert [path.name for path in study_folders(tmp_path / "mn")] == ["freesolv", "lipo"]
    page = again(tmp_path / "mn")
    text = Path(page["report"]).read_text()
    assert page["studies"] == 2 and "freesolv" in text and "AttrMasking" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"preset": "molnet"}, "no preset"),
        ({"preset": "moleculenet", "sets": ["bbpb"]}, "Did you mean bbbp"),
        ({"preset": "moleculenet", "grid": "sun2022"}, "one thing to study"),
        ({}, "one thing to study"),
        ({"data": "power"}, "one thing to study"),
        ({"data": "data.csv", "folder": "more"}, "one thing to study"),
        ({"data": "report"}, "needs the folder"),
        ({"data": "report", "folder": "f", "zone": 0.1}, "--zone has no effect on `mesomer study report`"),
        ({"data": "data.csv", "targets": ["activity"], "trials": 5}, "every arm has 4 settings"),
        ({"data": "data.csv", "targets": ["activity"], "minutes": -1.0}, "--minutes"),
        ({"data": "data.csv", "targets": ["activity"], "jobs": 0}, "--jobs"),
        ({"data": "data.csv", "sets": ["bbbp"]}, "--sets"),
        ({"data": "data.csv"}, "No target column is named"),
    ],
)
def test_commands_that_make_no_sense(words, said, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MesomerError) as caught:
        command(**words)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"grid": "sun2022-mini", "trials": 2}, "--trials has no effect with --grid"),
        ({"grid": "sun2022-mini", "model": "batmannet-2"}, "--model has no effect with --grid"),
        ({"preset": "moleculenet", "part": "1/2"}, "--part is for the study of one table"),
        ({"preset": "moleculenet", "units": ["mM"]}, "--units is for the study of one table"),
    ],
)
def test_options_without_effect_are_refused(given, said, tmp_path):
    with pytest.raises(MesomerError, match=said):
        command(**given, output=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("zone", 0.1, "Say `zone` under `study`"),
        ("repeat_error", 0.3, "Say `repeat_error` under `study`"),
        ("model", "batmannet-2", "say `networks`, `corpora` and `pretrainings`"),
        ("splits", ["random"], "Say `split` under `base`"),
        ("minutes", 5.0, "lower repeats, trials or epochs"),
    ],
)
def test_where_a_grid_says_it_instead(name, value, hint, tmp_path):
    with pytest.raises(MesomerError) as caught:
        command(grid="sun2022-mini", output=str(tmp_path / "run"), **{name: value})
    assert hint in caught.value.hint


def test_what_the_hint_of_a_grid_names_can_be_said_there():
    from mesomer.commands.study import _ELSEWHERE_IN_A_GRID, _SAID_BY_A_GRID
    from mesomer.studies.grid import STUDY_KEYS

    assert set(_SAID_BY_A_GRID) - set(_ELSEWHERE_IN_A_GRID) <= set(STUDY_KEYS)


def test_time_that_is_up_lets_the_next_study_run_and_a_signal_does_not(tmp_path, monkeypatch):
    from mesomer.run import Interrupted, TimeUp
    from mesomer.studies import campaign

    seen = []

    def ends(error):
        def run(place):
            seen.append(place.name)
            if error is not None:
                raise error
            return {}

        return run

    monkeypatch.setattr(campaign, "page_of", lambda *_: {})
    late = [campaign.Planned("a", ends(TimeUp("over"))), campaign.Planned("b", ends(None))]
    with pytest.raises(TimeUp, match="up for a"):
        campaign.run_all(late, tmp_path)
    assert seen == ["a", "b"]
    seen.clear()
    with pytest.raises(Interrupted) as stopped:
        campaign.run_all([campaign.Planned("a", ends(Interrupted())), late[1]], tmp_path)
    assert seen == ["a"] and not isinstance(stopped.value, TimeUp)
