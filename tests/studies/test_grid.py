"""Grids: what a file means, which models its points share, and a whole small one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_corpora import demo_rows
from small_models import write_table

from mesomer.commands.study import study
from mesomer.errors import MesomerError
from mesomer.objectives.base import OBJECTIVES
from mesomer.studies.grid import GRIDS, grid_of, missing_files, narrowed, read_grid, shortened
from mesomer.studies.grid_models import GridModels
from mesomer.studies.grid_run import options_of, run_grid
from mesomer.training.finetune_plan import FinetuneOptions
from mesomer.training.pretrain import PretrainOptions

CONTENT = {
    "name": "small",
    "sets": ["a.csv", "b.csv"],
    "base": {"network": "tiny", "corpus": "some", "pretraining": "masked", "split": "random"},
    "vary": {"pretraining": ["infomax"], "features": ["rich"], "finetuning": ["gentle"]},
    "study": {"repeats": 1, "folds": 2, "trials": 1, "epochs": 1, "label_shares": []},
    "networks": {"tiny": {"method": "gin", "hidden_size": 8, "depth": 1}},
    "corpora": {"some": {"table": "corpus.csv", "molecules": 150}},
    "pretrainings": {
        "masked": [{"objective": "masked_attributes", "max_steps": 1, "probe_molecules": 0}],
        "infomax": [{"objective": "infomax", "max_steps": 1, "probe_molecules": 0}],
        "both": [
            {"objective": "masked_attributes", "max_steps": 1, "probe_molecules": 0},
            {"labels": "labels.csv", "targets": "all", "epochs": 1},
        ],
    },
    "finetunings": {"gentle": {"epochs": 2, "settings": [{"max_lr": 0.0001, "dropout": 0.5}]}},
}


@pytest.mark.parametrize("name", sorted(path.stem for path in GRIDS.glob("*.yaml")))
def test_shipped_grids_are_whole(name):
    grid = read_grid(name)
    points = grid.points()
    assert points[0].name == "base" and len({point.name for point in points}) == len(points)
    alone = points[: len(points) - len(grid.also)]
    assert all(sum(point[f] != grid.base[f] for f in grid.base) <= 1 for point in alone)
    for point in points:
        assert options_of(grid, point).minutes is None
        for stage in grid.pretrainings[point["pretraining"]]:
            rest = {key: value for key, value in stage.items() if key not in ("labels", "targets", "options")}
            if "objective" in stage:
                assert stage["objective"] in OBJECTIVES.names()
                PretrainOptions(**rest)
            else:
                FinetuneOptions(**rest)
    assert {"sun2022-mini": [], "sun2022": ["zinc15_2m.csv", "savi.csv", "chembl_labels.csv"],
            "hu2020": ["zinc15_2m.csv", "chembl_labels.csv"]}[name] == missing_files(grid)  # fmt: skip


def test_one_factor_at_a_time_or_the_product():
    grid = grid_of(CONTENT, "here")
    names = [point.name for point in grid.points()]
    assert names == ["base", "features=rich", "pretraining=infomax", "finetuning=gentle"]
    more = grid_of(CONTENT | {"also": [{"pretraining": "both", "features": "rich"}]}, "here").points()
    assert [point.name for point in more] == [*names, "features=rich+pretraining=both"]
    product = grid_of(CONTENT | {"product": True}, "here").points()
    assert len(product) == 8 and product[0].name == "base"
    assert "features=rich+pretraining=infomax+finetuning=gentle" in {point.name for point in product}


def test_points_share_the_models_that_do_not_differ():
    grid = grid_of(CONTENT, "here")
    keys = {point.name: grid.model_key(point) for point in grid.points()}
    assert keys["base"] == keys["finetuning=gentle"]
    assert len(set(keys.values())) == 3
    assert keys["base"] == grid_of(CONTENT, "elsewhere").model_key(grid.points()[0])


def test_how_studies_of_a_point_are_run():
    grid = grid_of(CONTENT, "here")
    base, rich, _, gentle = (options_of(grid, point) for point in grid.points())
    assert (base.epochs, gentle.epochs) == (1, 2)
    assert gentle.settings == ({"max_lr": 0.0001, "dropout": 0.5},) and base.settings == ()
    assert base.splits == ("random",) and "pretrained_descriptors" in rich.arms
    zoned = grid_of(CONTENT | {"study": {"zone": 0.1, "repeat_error": 0.3}}, "here")
    there = options_of(zoned, zoned.points()[0])
    assert (there.zone, there.repeat_error) == (0.1, 0.3)
    assert narrowed(grid, ["b.csv"]).sets == ("b.csv",) and narrowed(grid, []) == grid
    few = shortened(grid, 60, 3, ("a.csv",))
    assert few.corpora["some"]["molecules"] == 60 and few.pretrainings["both"][0]["max_steps"] == 3
    assert few.pretrainings["both"][1] == {"labels": "labels.csv", "targets": "all", "epochs": 1, "molecules": 60}
    named = replace(
        grid, study={**grid.study, "precision": 32}, finetunings={"default": {}, "gentle": {"precision": "bf16"}}
    )
    assert [options_of(grid, point, "auto").precision for point in grid.points()] == ["auto"] * 4
    assert [options_of(named, point, "auto").precision for point in named.points()] == ["32", "32", "32", "bf16"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"set": ["a"]}, "no setting in the grid here named 'set'"),
        ({"sets": []}, "does not say sets"),
        ({"sets": [{"tabel": "a.csv"}]}, "Did you mean table"),
        ({"sets": [{"targets": ["x"]}]}, "A set of the grid here is {'targets'"),
        ({"sets": ["one/a.csv", "two/a.csv.gz"]}, "Two sets of the grid here are called a"),
        ({"also": [{"pretraining": "infomax"}]}, "has the point pretraining=infomax twice"),
        ({"also": [{"depth": "3"}]}, "factor"),
        ({"base": {"network": "tiny"}}, "does not say corpus, pretraining, split"),
        ({"vary": {"depth": [1]}}, "factor"),
        ({"vary": {"network": ["tinny"]}}, "network in the grid here"),
        ({"vary": {"features": ["poor"]}}, "features"),
        ({"study": {"minutes": 3}}, "setting of the studies"),
        ({"corpora": {"some": {"file": "x"}}}, "corpus some"),
        (
            {"pretrainings": {"masked": [{"epochs": 1}], "infomax": [{"labels": "x"}]}},
            "neither an objective nor labels",
        ),
    ],
)
def test_a_wrong_grid_is_named(change, said):
    with pytest.raises(MesomerError, match=said):
        grid_of(CONTENT | change, "here")


def test_a_grid_that_is_not_there(tmp_path):
    with pytest.raises(MesomerError, match="no grid file"):
        read_grid(str(tmp_path / "none.yaml"))
    with pytest.raises(MesomerError, match="Did you mean sun2022"):
        read_grid("sun2023")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(MesomerError, match="cannot be read"):
        read_grid(str(tmp_path / "broken.yaml"))
    with pytest.raises(MesomerError, match=r"neither files nor benchmark sets: zinc15_2m\.csv"):
        run_grid(read_grid("hu2020"), str(tmp_path / "out"), "cpu", _never, _never)


def _never(*_):
    pytest.fail("it ran")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the tables of the small grid."""
    rows = demo_rows(300)
    for name, part in (("a.csv", rows[:60]), ("b.csv", rows[60:120])):
        write_table(tmp_path / name, {key: [row[key] for row in part] for key in ("smiles", "activity")})
    write_table(tmp_path / "corpus.csv", {"smiles": [row["smiles"] for row in rows[120:]]})
    labelled = rows[50:150]
    write_table(
        tmp_path / "labels.csv",
        {"smiles": [row["smiles"] for row in labelled], "x": range(100), "y": [at % 2 for at in range(100)]},
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_labels_of_the_molecules_of_a_set_do_not_leak(place):
    models = GridModels(grid_of(CONTENT, "here"), place / "out", "cpu")
    table, targets = models._labels({"labels": "labels.csv", "targets": "all"})
    with open(table, newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert targets == ["x", "y"]
    assert [row["x"] for row in rows] == [str(at) for at in range(70, 100)]  # the others are in a.csv and b.csv
    short, _ = models._labels({"labels": "labels.csv", "targets": ["x"], "molecules": 5})
    assert len(short.read_text().splitlines()) == 6 and short != table


def test_a_whole_small_grid(place, monkeypatch):
    from mesomer.studies import run as running

    (place / "grid.yaml").write_text(
        json.dumps(CONTENT | {"vary": {"pretraining": ["both"]}, "sets": ["a.csv"],
                              "study": CONTENT["study"] | {"arms": ["pretrained", "random", "mean"]}})
    )  # fmt: skip
    ran = []
    whole = running.run_cell
    monkeypatch.setattr(running, "run_cell", lambda task: ran.append((task.folder, task.cell.arm)) or whole(task))
    found = study(grid="grid.yaml", output="out", targets=["activity"], jobs=1, accelerator="cpu")
    assert found["studies"] == 2 and Path(found["report"]).exists() and found["refused"] == {}
    by_point = [{arm for folder, arm in ran if point in str(folder)} for point in ("/base/", "pretraining=both")]
    assert by_point == [{"pretrained", "random", "mean"}, {"pretrained"}]  # twins and baselines are taken over
    facts = json.loads((place / "out/studies/pretraining=both/a/study.json").read_text())
    assert facts["cells"] == {"planned": 6, "finished": 6}
    assert facts["model"]["name"] == "pretraining=both" and facts["model"]["path"].endswith("stage-2")
    with open(place / "out/contrasts.csv", newline="") as handle:
        (contrast, pair) = csv.DictReader(handle)
    assert (contrast["first"], contrast["second"]) == ("pretraining=both", "base") and contrast["folds"] == "2"
    assert pair["family"].startswith("all pairs") and float(pair["gain"]) == pytest.approx(-float(contrast["gain"]))
    assert "of 1 comparison of a point with the base" in found["sentences"][0]
    ran.clear()
    again = study(grid="grid.yaml", output="out", targets=["activity"], jobs=1, accelerator="cpu")
    assert ran == [] and again["sentences"] == found["sentences"]


def test_a_grid_whose_sets_cannot_be_studied_trains_nothing(place, monkeypatch):
    monkeypatch.setattr("mesomer.studies.grid_models.pretrain", _never)
    (place / "grid.yaml").write_text(json.dumps(CONTENT))
    with pytest.raises(
        MesomerError, match=r"No set of the grid small can be studied; a\.csv: No target column"
    ) as caught:
        study(grid="grid.yaml", output="out", accelerator="cpu")
    assert "{table: FILE, targets: [COLUMN]}" in caught.value.hint
    assert not (place / "out").exists()
    many = CONTENT | {"study": CONTENT["study"] | {"folds": 20}}
    (place / "grid.yaml").write_text(json.dumps(many))
    with pytest.raises(MesomerError, match="too few for 20 folds"):
        study(grid="grid.yaml", output="out", targets=["activity"], accelerator="cpu")


def test_the_check_reads_each_set_once_for_all_points(place, monkeypatch):
    from mesomer.studies import grid_run
    from mesomer.studies import prepare as preparing

    read, whole = [], preparing.read_molecules
    monkeypatch.setattr(preparing, "read_molecules", lambda *given: read.append(given[0].data) or whole(*given))
    monkeypatch.setattr(grid_run, "run_all", lambda studies, *_, **more: {"studies": len(studies), **more})
    monkeypatch.setattr("mesomer.commands.study._page_text", lambda _: "")
    content = CONTENT | {
        "networks": {**CONTENT["networks"], "wide": {"method": "gin", "hidden_size": 16, "depth": 1}},
        "vary": {"network": ["wide"], "split": ["scaffold"], "finetuning": ["gentle"]},
    }
    (place / "grid.yaml").write_text(json.dumps(content))
    found = study(grid="grid.yaml", output="out", targets=["activity"], accelerator="cpu")
    assert [Path(name).name for name in read] == ["a.csv", "b.csv"] and found["studies"] == 8


def test_sets_name_their_columns_and_one_that_is_refused_is_said_first(place, capsys, monkeypatch):
    from mesomer.studies import grid_models

    text = (place / "b.csv").read_text().splitlines()
    (place / "b.csv").write_text("\n".join(["noted,logX", *(f"{row}" for row in text[1:])]) + "\n")
    sets = ["a.csv", {"table": "b.csv", "targets": "logX", "smiles_column": "noted"}]
    content = CONTENT | {
        "vary": {},
        "sets": sets,
        "study": CONTENT["study"] | {"arms": ["pretrained", "random", "mean"]},
    }
    content["base"] = content["base"] | {"pretraining": "both"}
    (place / "grid.yaml").write_text(json.dumps(content | {"sets": sets[::-1]}))
    whole, said = grid_models.pretrain, []
    monkeypatch.setattr(grid_models, "pretrain", lambda *given: said.append(capsys.readouterr().err) or whole(*given))
    (place / "a.csv").write_text("\n".join((place / "a.csv").read_text().splitlines()[:9]) + "\n")
    found = study(grid="grid.yaml", output="out", targets=["activity"], jobs=1, accelerator="cpu")
    assert "The set a.csv is left out: 8 different molecules are too few for a study." in said[0]
    assert found["studies"] == 1 and list(found["refused"]) == ["studies/base/a"]
    facts = json.loads((place / "out/studies/base/b/study.json").read_text())
    assert [target["name"] for target in facts["data"]["targets"]] == ["logX"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sun2022-mini", "sun2022", "hu2020"])
def test_shipped_grids_run_shortened(name, place, monkeypatch):
    grid = shortened(read_grid(name), 150, 2, ("a.csv",))
    local = {corpus: {**content, "table": "corpus.csv"} for corpus, content in grid.corpora.items()}
    tiny = {one: {**content, "hidden_size": 8, "depth": 1} for one, content in grid.networks.items()}

    def here(stage):
        return {**stage, "labels": "labels.csv", "targets": "all"} if "labels" in stage else stage

    runs = {run: tuple(here(stage) for stage in stages) for run, stages in grid.pretrainings.items()}
    short = replace(
        grid, corpora=local, networks=tiny, pretrainings=runs, finetunings={key: {} for key in grid.finetunings},
        study=grid.study | {"arms": ["pretrained", "random"], "repeats": 2},
    )  # fmt: skip
    monkeypatch.setattr("mesomer.studies.grid.read_grid", lambda _: short)
    found = study(grid=name, output="out", targets=["activity"], jobs=1, accelerator="cpu")
    assert found["studies"] == len(grid.points()) and found["refused"] == {}
    page = Path(found["report"]).read_text()
    assert all(point.name in page for point in grid.points())


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("finetunings", {"gentle": {"epoch": 2}}),
        ("pretrainings", {**CONTENT["pretrainings"], "masked": [{"objective": "masked_attributes", "max_step": 1}]}),
        ("pretrainings", {**CONTENT["pretrainings"], "both": [{"labels": "l.csv", "epoch": 1}]}),
        ("pretrainings", {**CONTENT["pretrainings"], "masked": [{"objective": "infomax", "seed": 3}]}),
    ],
)
def test_a_misspelt_setting_is_refused_before_anything_runs(part, content):
    with pytest.raises(MesomerError, match="There is no setting of the"):
        grid_of({**CONTENT, part: content}, "small.yaml")
