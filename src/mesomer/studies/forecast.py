"""Planning of several studies, those of a preset or of a grid: what each could see and would cost, and the sum.

Decided: nothing is trained beyond the pilots. The models of a grid do not exist yet: a network of random weights stands
in the place of each, and one pilot for each set, at the first point, stands for all of them. Twins and baselines that
several points share are counted once, as they are run once; pre-training is not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.progress import say
from mesomer.studies.arms import ARMS
from mesomer.studies.design import StudyOptions
from mesomer.studies.grid import Grid, missing_files
from mesomer.studies.grid_models import GridModels
from mesomer.studies.grid_run import options_of
from mesomer.studies.presets import sets_of

Power = Callable[[str, Path, StudyOptions, bool], dict[str, Any]]
"""Plans the study of a set: set, model, options, whether with a pilot."""


def forecast_preset(name: str, sets: Sequence[str], power: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The plans of a preset's sets (those named, or the usual ones), and their sum.

    Raises `MesomerError` if no set can be studied.
    """
    chosen = sets_of(name, sets)
    plans: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for number, one in enumerate(chosen, 1):
        say(f"Set {number} of {len(chosen)}: {one}")
        try:
            plans[one] = power(one)
        except MesomerError as error:
            refused[one] = str(error)
    return _joined(f"the preset {name}", plans, refused)


def forecast_grid(grid: Grid, accelerator: str, power: Power, precision: str = "32") -> dict[str, Any]:
    """The plan of each set of a grid over all points, and their sum; `points`, `models` to pre-train, `missing` tables.

    Raises `MesomerError` if no set can be studied.
    """
    plans: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        models = GridModels(grid, Path(place), accelerator)
        for number, one in enumerate(grid.sets, 1):
            say(f"Set {number} of {len(grid.sets)}: {one}")
            try:
                plans[one] = _over_points(grid, one, models, power, precision)
            except MesomerError as error:
                refused[one] = str(error)
    points = grid.points()
    return _joined(f"the grid {grid.name}", plans, refused) | {
        "points": len(points),
        "models": len({grid.model_key(point) for point in points}),
        "missing": [table for table in missing_files(grid) if table not in grid.sets],
    }


def _over_points(grid: Grid, one: str, models: GridModels, power: Power, precision: str) -> dict[str, Any]:
    """The plan of the first point that can be studied on a set, with the minutes of all and who is refused."""
    plans: dict[tuple[str, str], dict[str, Any] | str] = {}
    first: dict[str, Any] | None = None
    refused: dict[str, str] = {}
    minutes, run = 0.0, set[tuple[str, ...]]()
    for point in grid.points():
        options, network = options_of(grid, point, precision), models.fresh(point)
        alike = (str(network), repr(options))
        if alike not in plans:
            try:
                plans[alike] = power(one, network, options, first is None)
            except MesomerError as error:
                plans[alike] = str(error)
        plan = plans[alike]
        if isinstance(plan, str):
            refused[point.name] = plan
            continue
        first = first or plan
        minutes += plan["minutes"]
        for arm, alone in plan["arm_minutes"].items():
            key = _shared(arm, str(network), options)
            if key in run:
                minutes -= alone
            elif key is not None:
                run.add(key)
    if first is None:
        raise MesomerError(next(iter(refused.values())))
    return {**first, "minutes": minutes, "points": len(grid.points()) - len(refused), "refused": refused}


def _shared(arm: str, network: str, options: StudyOptions) -> tuple[str, ...] | None:
    """What the cells of an arm depend on if they do not depend on pre-trained weights: `reuse.py` takes them over."""
    alike = repr(replace(options, arms=()))
    if ARMS[arm].kind in ("classical", "mean"):
        return arm, alike
    return (arm, alike, network) if ARMS[arm].twin_of is not None else None


def _joined(what: str, plans: dict[str, dict[str, Any]], refused: dict[str, str]) -> dict[str, Any]:
    if not plans:
        one, why = next(iter(refused.items()))
        raise MesomerError(f"No set of {what} can be studied; {one}: {why}", "Mend what it says.")
    return {"sets": plans, "refused": refused, "minutes": sum(plan["minutes"] for plan in plans.values())}
