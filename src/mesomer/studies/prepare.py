"""Everything before the first training: the molecules, the arms that can run, the divisions, what to say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mesomer.chem.descriptors import descriptor_names
from mesomer.data.geometry import geometry_warnings
from mesomer.data.splits import Split, find_rule
from mesomer.encoders.base import ENCODERS
from mesomer.errors import MesomerError
from mesomer.studies.arms import Arm, choose
from mesomer.studies.checks import Check, check_columns, check_splits, data_checks, require_molecules, require_scaffolds
from mesomer.studies.design import StudyOptions, rule_of
from mesomer.studies.molecules import Source, StudyData, draw, read_molecules
from mesomer.studies.scoring import Labels, zone_of
from mesomer.studies.units import units_of
from mesomer.training.checkpoint import CONFIG, load_model

if TYPE_CHECKING:
    from mesomer.studies.run import Request


@dataclass
class Prepared:
    """A study that could begin."""

    study: StudyData
    arms: list[Arm]
    drawn: dict[str, list[Split]]
    checks: list[Check]
    labels: Labels
    coordinates: bool
    units: list[str]
    """Of each target, empty where none is known."""


class SharedReading:
    """Reads molecules as `read_molecules` does, but those of the last call once: the points of a grid read alike."""

    def __init__(self) -> None:
        self._known: tuple[tuple[object, ...], StudyData] | None = None

    def __call__(self, source: Source, coordinates: bool) -> StudyData:
        """The molecules of a source, without splits."""
        alike = (
            source.data, source.targets, source.task, source.smiles_column, source.max_atoms, source.decimal,
            source.descriptors, coordinates,
        )  # fmt: skip
        if self._known is None or self._known[0] != alike:
            self._known = (alike, read_molecules(source, coordinates))
        known = self._known[1]
        return StudyData(source, known.labelled, known.data, known.keys)


def prepare(
    request: Request, options: StudyOptions, read: Callable[[Source, bool], StudyData] = read_molecules
) -> Prepared:
    """Reads, chooses, divides and checks; writes nothing."""
    arms, notes = _arms(options.arms)
    model = load_model(request.source.model)
    described = model.config.get("encoder")
    if not isinstance(described, dict) or "name" not in described:
        raise MesomerError(f"{model.path / CONFIG} describes no encoder.", "Copy the folder again.")
    coordinates = ENCODERS[described["name"]].needs_coordinates
    study = read(request.source, coordinates)
    labels = Labels(study.data.targets, study.data.y)
    repeats = options.repeats_for(len(study.keys))
    units = units_of(study.data.targets, request.units)
    require_molecules(study, options, repeats)
    zone_of(labels, options.zone, options.repeat_error)
    check_columns(study)
    require_scaffolds(study, options.splits)
    drawn = {split: _drawn(study, split, repeats, options.folds, request.canonical) for split in options.splits}
    for split, found in drawn.items():
        notes += check_splits(study, split, found, repeats, options.folds)
    if coordinates:
        notes += [
            Check("coordinates", "caution", text) for text in geometry_warnings(study.data.graphs, study.labelled.mols)
        ]
    return Prepared(study, arms, drawn, [*data_checks(study), *notes], labels, coordinates, units)


def _drawn(study: StudyData, split: str, repeats: int, folds: int, canonical: bool) -> list[Split]:
    """All divisions of one kind; where there are too few groups for the folds, the way out is another design."""
    try:
        return draw(study, split, repeats, folds, canonical)
    except MesomerError as error:
        if not find_rule(rule_of(split)).folded:
            raise
        other = "" if rule_of(split) == "cv" else "--splits random or "
        raise MesomerError(error.message, f"Use {other}fewer --folds than {folds}.") from error


def _arms(names: Sequence[str]) -> tuple[list[Arm], list[Check]]:
    """The arms, without those whose package is not installed, unless they are named."""
    arms = choose(names)
    wanting = [arm for arm in arms if arm.needs_descriptors]
    if not wanting:
        return arms, []
    try:
        descriptor_names()
    except MesomerError as error:
        if names:
            raise
        left_out = ", ".join(arm.name for arm in wanting)
        note = Check("left out", "caution", f"Not run: {left_out}. {error.message} {error.hint}")
        return [arm for arm in arms if not arm.needs_descriptors], [note]
    return arms, []
