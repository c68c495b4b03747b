"""--precision: networks alone are trained in it, it is stored, and trainings of two precisions never stand together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mesomer.commands.study import study as command
from mesomer.errors import MesomerError
from mesomer.studies.arms import ARMS, Job
from mesomer.studies.cells import cell_path, read_cell
from mesomer.studies.design import Cell, Design, StudyOptions, cells_of
from mesomer.studies.molecules import draw, read_molecules, store_splits
from mesomer.studies.reuse import take_over
from mesomer.studies.run import again, run_study

OPTIONS = StudyOptions(
    splits=("random",), repeats=1, folds=2, trials=1, epochs=1, batch_size=16, label_shares=(), minutes=None,
    arms=("pretrained", "random", "frozen_linear", "frozen_random_linear", "mean"),
)  # fmt: skip


def in_precision(request, precision):
    return replace(
        request,
        source=replace(request.source, precision=precision),
        config={**request.config, "precision": precision},
    )


def test_networks_alone_are_trained_in_bfloat16(table, request_of, monkeypatch):
    found = {}
    for precision in ("32", "bf16"):
        study = read_molecules(replace(request_of(table, output=precision).source, precision=precision))
        store_splits(study, {"random": draw(study, "random", 1, 2)})
        job = Job(study, study.split_of(Cell("random", 0, 0, "mean")), 1, 16, 5, None)
        seen = set()
        forward = type(study.base).forward

        def noting(self, *given, forward=forward, seen=seen):
            if torch.is_grad_enabled():
                seen.add(torch.is_autocast_enabled("cpu"))
            return forward(self, *given)

        monkeypatch.setattr(type(study.base), "forward", noting)
        names = ("pretrained", "random", "frozen_linear", "frozen_random_linear")
        found[precision] = {name: ARMS[name].fit(job, ARMS[name].settings[0], 0).test for name in names}
        monkeypatch.undo()
        assert seen == {precision == "bf16"}
    for name in ("frozen_linear", "frozen_random_linear"):
        np.testing.assert_array_equal(found["32"][name], found["bf16"][name])
    for name in ("pretrained", "random"):
        assert (found["32"][name] != found["bf16"][name]).any()
        np.testing.assert_allclose(found["32"][name], found["bf16"][name], atol=0.3)


@pytest.fixture
def in_bfloat16(table, request_of):
    """A finished study in bfloat16: its request."""
    request = in_precision(request_of(table, output="bf16"), "bf16")
    run_study(request, replace(OPTIONS, precision="bf16"))
    return request


def test_the_precision_is_stored_told_and_kept(in_bfloat16, table, request_of):
    folder = in_bfloat16.folder
    assert json.loads((folder / "study.json").read_text())["design"]["precision"] == "bf16"
    for name in ("report.html", "report.md"):
        assert "products in bfloat16" in (folder / name).read_text()
    with pytest.raises(MesomerError, match="precision was 'bf16', now '32'"):
        run_study(in_precision(request_of(table, output="bf16"), "32"), OPTIONS)

    # "auto" says another precision on the machine where the study goes on
    design = Design.from_json(json.loads((folder / "study.json").read_text())["design"])
    cell = next(one for one in cells_of(design, lambda _: 0.0) if one.arm == "pretrained")
    path = cell_path(folder, cell)
    before = read_cell(path)
    path.unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"status": "interrupted"}))
    elsewhere = replace(in_bfloat16, source=replace(in_bfloat16.source, precision="32"))
    run_study(elsewhere, replace(OPTIONS, precision="auto"))
    after = read_cell(path)
    assert after["predicted"] == before["predicted"]
    assert "go on in bfloat16" in (folder / "log.txt").read_text()


def test_cells_of_another_precision_are_not_taken_over(in_bfloat16, table, request_of):
    other = request_of(table, output="other")
    run_study(other, OPTIONS)
    design = Design.from_json(json.loads((other.folder / "study.json").read_text())["design"])
    cells = cells_of(design, lambda _: 0.0)
    networks = {arm: [cell for cell in cells if cell.arm == arm] for arm in design.arms}
    for cell in cells:
        cell_path(other.folder, cell).unlink()
    assert take_over(other.folder, [in_bfloat16.folder], cells) == 4
    there = {arm for arm, own in networks.items() if all(cell_path(other.folder, cell).exists() for cell in own)}
    assert there == {"mean", "frozen_random_linear"}


def test_parts_of_two_precisions_are_not_joined(table, request_of, tmp_path):
    for number, precision in ((1, "32"), (2, "bf16")):
        part = in_precision(request_of(table, output="parts", part=(number, 2)), precision)
        run_study(part, replace(OPTIONS, arms=("pretrained", "random", "mean")))
    with pytest.raises(MesomerError, match=r"they differ in precision"):
        again(tmp_path / "parts")


def test_a_design_without_a_precision_was_float32():
    stored = Design(
        splits=("random",), repeats=1, folds=2, trials=1, epochs=1, label_counts=(), arms=("mean",)
    ).to_json()
    assert stored.pop("precision") == "32" and Design.from_json(stored).precision == "32"


def test_the_command_refuses_what_would_mean_two_things(tmp_path):
    with pytest.raises(MesomerError, match="another precision on another machine"):
        command("data.csv", part="1/2", precision="auto", output=str(tmp_path / "run"))
    with pytest.raises(MesomerError, match="no precision named"):
        command("biogen_sol", precision="64", output=str(tmp_path / "run"))  # type: ignore[arg-type]
