"""Running a grid: the model of each point, a study for each set, and one page on all of them.

Decided: every set is read, divided and checked as its studies will do it before anything is pre-trained, with a network
of random weights in the place of the model; what is refused then is said at once and left out. The checks of a set
follow each other, so that its molecules are read once for all points (`SharedReading`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.progress import say
from mesomer.run import read_manifest
from mesomer.studies.campaign import Planned, run_all
from mesomer.studies.design import StudyOptions
from mesomer.studies.grid import Grid, Point, missing_files, set_folder
from mesomer.studies.grid_models import GridModels

ARMS = ("pretrained", "random", "ecfp_forest", "mean")
RICH_ARMS = ("pretrained_descriptors", "random_descriptors", "ecfp_forest", "mean")
"""Rich features are those of the atoms, and the 200 descriptors at the head of both networks."""
Study = Callable[[str, Path, Path, StudyOptions, str, tuple[Path, ...]], dict[str, Any]]
"""Runs one study: set, model, folder, options, what to call the model, folders to take cells over from."""
Check = Callable[[str, Path, Path, StudyOptions], object]
"""Does what a study does before its first training: set, model, folder, options."""


def run_grid(
    grid: Grid, output: str, accelerator: str, study: Study, check: Check, precision: str = "32"
) -> dict[str, Any]:
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
    refused = _refused(grid, folder, accelerator, check, precision)
    models = GridModels(grid, folder, accelerator)
    points = grid.points()

    def planned(point: Point, one: str) -> Planned:
        options = options_of(grid, point, precision)
        siblings = tuple(folder / _place(other, one) for other in points if other is not point)
        return Planned(
            _place(point, one),
            lambda place: study(one, models.model(point), place, options, point.name, siblings),
        )

    studies = [planned(point, one) for point in points for one in grid.sets if _place(point, one) not in refused]
    return run_all(studies, output, left_out=refused)


def _refused(grid: Grid, folder: Path, accelerator: str, check: Check, precision: str) -> dict[str, str]:
    """The studies that data or design refuse, each with the reason; raises `MesomerError` if that is all of them."""
    points = grid.points()
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        untrained = GridModels(grid, Path(place), accelerator)
        for one in grid.sets:
            found: dict[tuple[Any, ...], str | None] = {}
            for point in points:
                if read_manifest(folder / _place(point, one)) is not None:
                    continue
                options = options_of(grid, point, precision)
                alike = (
                    point["network"], point["features"], options.splits, options.folds, options.repeats, options.seed,
                    options.arms, options.zone, options.repeat_error, options.precision,
                )  # fmt: skip
                if alike not in found:
                    found[alike] = _why_not(check, one, untrained.fresh(point), Path(place) / "study", options)
                if (why := found[alike]) is not None:
                    refused[_place(point, one)] = why
            _tell(one, points, refused)
    if len(refused) == len(points) * len(grid.sets):
        first = next(iter(refused.values()))
        raise MesomerError(
            f"No set of the grid {grid.name} can be studied; {grid.sets[0]}: {first}",
            "Mend what it says. A set may name its columns in the grid file: {table: FILE, targets: [COLUMN]}.",
        )
    return refused


def _why_not(check: Check, one: str, model: Path, place: Path, options: StudyOptions) -> str | None:
    try:
        check(one, model, place, options)
    except MesomerError as error:
        return str(error)
    return None


def _tell(one: str, points: list[Point], refused: dict[str, str]) -> None:
    """Says of a set what is left out: the set as a whole, where it is refused everywhere for one reason."""
    whys = [refused.get(_place(point, one)) for point in points]
    if len(set(whys)) == 1 and whys[0] is not None:
        say(f"The set {one} is left out: {whys[0]}")
        return
    for point, why in zip(points, whys, strict=True):
        if why is not None:
            say(f"{_place(point, one)} is left out: {why}")


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


def _place(point: Point, one: str) -> str:
    """The folder of a study below that of the grid."""
    return f"studies/{point.name}/{set_folder(one)}"
