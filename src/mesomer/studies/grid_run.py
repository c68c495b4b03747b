"""Running a grid: the model of each point, a study for each set, and one page on all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.studies.campaign import Planned, run_all
from mesomer.studies.design import StudyOptions
from mesomer.studies.grid import Grid, Point, missing_files
from mesomer.studies.grid_models import GridModels

ARMS = ("pretrained", "random", "ecfp_forest", "mean")
RICH_ARMS = ("pretrained_descriptors", "random_descriptors", "ecfp_forest", "mean")
"""Rich features are those of the atoms, and the 200 descriptors at the head of both networks."""
Study = Callable[[str, Path, Path, StudyOptions, str, tuple[Path, ...]], dict[str, Any]]
"""Runs one study: set, model, folder, options, what to call the model, folders to take cells over from."""


def run_grid(grid: Grid, output: str, accelerator: str, study: Study, precision: str = "32") -> dict[str, Any]:
    """Runs or goes on with a grid; every point has a folder with a study for each set.

    `precision` is that of the studies' networks where the grid names none.
    """
    absent = missing_files(grid)
    if absent:
        raise MesomerError(
            f"The grid {grid.name} needs tables that are neither files nor benchmark sets: {', '.join(absent)}.",
            "Put them there, or name others in a copy of the grid file.",
        )
    folder = Path(output)
    models = GridModels(grid, folder, accelerator)
    points = grid.points()

    def planned(point: Point, one: str) -> Planned:
        options = options_of(grid, point, precision)
        siblings = tuple(folder / "studies" / other.name / _short(one) for other in points if other is not point)
        return Planned(
            f"studies/{point.name}/{_short(one)}",
            lambda place: study(one, models.model(point), place, options, point.name, siblings),
        )

    return run_all([planned(point, one) for point in points for one in grid.sets], output)


def options_of(grid: Grid, point: Point, precision: str = "32") -> StudyOptions:
    """How the studies of a point are run: the grid's settings, those of its fine-tuning over them."""
    settings: dict[str, Any] = {"precision": precision, **grid.study, **grid.finetunings[point["finetuning"]]}
    settings["precision"] = str(settings["precision"])  # a plain 32 is a number in YAML
    for name in ("label_shares", "arms", "settings"):
        if name in settings:
            settings[name] = tuple(settings[name])
    default = RICH_ARMS if point["features"] == "rich" else ARMS
    options = StudyOptions(splits=(point["split"],), minutes=None, **settings)
    return replace(options, arms=options.arms or default)


def _short(one: str) -> str:
    """The name of a set's folder."""
    return Path(one).name.split(".")[0]
