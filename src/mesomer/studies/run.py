"""A study from its table to its report: read, check, divide, pilot, plan, run the cells, make tables and report.

Decided: what is planned is stored in `study.json` and kept by a resumed study, whatever the machine's speed is then.
Everything that is wrong with the data is said before the folder is made. A study that takes a quarter longer than its
minutes starts no further cell and makes a report of what is finished; the same command goes on.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.files import check_writable, remove, sha256_of
from mesomer.machine import machine, versions
from mesomer.progress import Progress, duration
from mesomer.report.study_text import target_words
from mesomer.run import RunFolder, TimeUp, read_manifest
from mesomer.studies.campaign import page_of, published_of, study_folders
from mesomer.studies.cells import WORK, Task, Training, cell_path, run_cell
from mesomer.studies.checks import Check, require_apart
from mesomer.studies.design import PRECISION_WORDS, Cell, Design, StudyOptions, cells_of, dealt
from mesomer.studies.molecules import Source, hold, store_splits, stored_splits, write_molecules
from mesomer.studies.overlap import look_up, overlap_checks
from mesomer.studies.pilot import run_pilot
from mesomer.studies.plan import Costs, fit_into, full_design, measure
from mesomer.studies.prepare import Prepared, prepare
from mesomer.studies.processes import in_processes
from mesomer.studies.promise import Plan, promise
from mesomer.studies.rehearsal import rehearsal_of, rehearsal_seconds
from mesomer.studies.results import FORMAT, read_facts, read_json, targets_json, write_json, write_tables
from mesomer.studies.reuse import take_over
from mesomer.studies.scoring import zone_of
from mesomer.studies.sofar import SoFar
from mesomer.training.checkpoint import ModelFolder, load_model
from mesomer.training.finetune import molecules_sentence

GRACE = 1.25
"""How much longer than planned a study may take before it starts no further cell."""


@dataclass(frozen=True)
class Request:
    """What a study is asked for besides its options."""

    source: Source
    """Where its data and model are; its folder is the study's."""
    data_name: str
    inputs: Mapping[str, str]
    config: Mapping[str, Any]
    corpus: str | None
    jobs: int
    part: tuple[int, int] | None = None
    canonical: bool = False
    label: str | None = None
    """What reports call the model; the name that it was given by if None."""
    siblings: tuple[Path, ...] = ()
    """Studies from which cells that do not depend on the pre-trained weights are taken over."""
    units: tuple[str, ...] | None = None
    """Of the targets, in their order; what their headers say if None."""

    @property
    def folder(self) -> Path:
        """The run folder: that of the study, or of the part."""
        if self.part is None:
            return self.source.folder
        return self.source.folder / f"part-{self.part[0]}-of-{self.part[1]}"


def run_study(request: Request, options: StudyOptions, overwrite: bool = False) -> dict[str, Any]:
    """Runs a study, or goes on with it; returns its summary."""
    try:
        return _run_study(request, options, overwrite)
    except _PlanRefused as refused:
        # a folder without a plan would only refuse the command that the hint proposes
        remove(request.folder)
        raise refused.error from None


class _PlanRefused(Exception):
    """What was asked for cannot be planned, and nothing but the preparations lies in the folder."""

    def __init__(self, error: MesomerError) -> None:
        super().__init__(str(error))
        self.error = error


def _run_study(request: Request, options: StudyOptions, overwrite: bool) -> dict[str, Any]:
    folder = request.folder
    request = replace(request, source=replace(request.source, folder=folder))
    if request.part is not None:
        options = replace(options, minutes=None)
    if request.part is None and not (folder / "manifest.json").exists() and any(folder.glob("part-*-of-*")):
        raise MesomerError(
            f"{folder} holds parts of a study.",
            "Run the missing ones with --part, then `mesomer study report` on it; or give another --output.",
        )
    model = load_model(request.source.model)
    fresh = read_manifest(folder) is None or overwrite
    if fresh:
        check_writable(folder, overwrite, folder=True)
    ready = prepare(request, options) if fresh else None
    with RunFolder.open(folder, "study", request.config, request.inputs, overwrite) as run:
        if run.state == "finished":
            return run.summary | {"state": "finished"}
        ready = ready or prepare(request, options)
        hold(ready.study)
        try:
            planned = _planned(run, request, options, ready, model)
        except MesomerError as error:
            if (folder / "study.json").exists():
                raise
            raise _PlanRefused(error) from error
        missing = _run_cells(run, request, options, planned)
        found = report_of(folder) if request.part is None else _part_summary(folder)
        if missing:
            raise TimeUp(
                f"The time is up: {found['cells']['finished']:,} of {found['cells']['planned']:,} cells are finished, "
                f"and the report in {folder} is about these."
            )
        found |= {"output": str(folder), "seconds": planned.seconds}
        run.finish(found)
    remove(folder / WORK)
    return found | {"state": "done"}


def report_of(folder: Path) -> dict[str, Any]:
    """Tables and report of what is finished, without training."""
    from mesomer.report.study import write_study_report

    facts = write_tables(folder)
    made = write_study_report(folder)
    return {
        "sentence": made.sentence, "lines": made.lines, "report": str(made.path), "cells": facts["cells"],
        "cut": facts["cut"],
    }  # fmt: skip


def _part_summary(folder: Path) -> dict[str, Any]:
    """A part has tables, but no report of its own."""
    facts = write_tables(folder)
    return {"sentence": "", "lines": [], "report": None, "cells": facts["cells"], "cut": facts["cut"]}


def power_of(request: Request, options: StudyOptions, with_pilot: bool = True) -> dict[str, Any]:
    """Only plans: the pilot, the design that fits, what was cut and what it costs; nothing is left on the disk."""
    with tempfile.TemporaryDirectory() as place:
        request = replace(request, part=None, source=replace(request.source, folder=Path(place)))
        ready = prepare(request, options)
        hold(ready.study)
        store_splits(ready.study, ready.drawn)
        plan = _plan(request, options, ready)
        pilot = _pilot(request, options, ready, plan) if with_pilot else None
        _, notes = _overlap(request, ready, load_model(request.source.model))
    return {
        "design": plan.design.to_json(), "cut": plan.cut, "pilot": pilot, "plan": plan.words,
        "minutes": plan.seconds / 60, "arm_minutes": plan.arm_minutes,
        "checks": [check.to_json() for check in [*ready.checks, *notes]],
    }  # fmt: skip


@dataclass
class Planned:
    """What is to be run."""

    ready: Prepared
    design: Design
    costs: Costs | None
    """Not measured again by a resumed study."""
    expected: Mapping[str, float]
    """Seconds of a trial of each arm, as planned."""
    seconds: float = 0.0


def _planned(run: RunFolder, request: Request, options: StudyOptions, ready: Prepared, model: ModelFolder) -> Planned:
    """The stored plan, or a new one, which is stored."""
    folder, known = run.path, read_json(run.path / "study.json")
    if known is not None:
        design = Design.from_json(known["design"])
        if design.precision != ready.study.source.precision:  # auto means another here than where the study began
            run.log(f"The networks go on in {PRECISION_WORDS[design.precision]}, as they began.")
            ready.study.source = replace(ready.study.source, precision=design.precision)
        stored_splits(ready.study, design.splits)
        for (split, _, _), found in ready.study.splits.items():
            require_apart(ready.study, split, found)
        return Planned(ready, design, None, known["design"]["budget"]["trial_seconds"])
    run.log(f"Molecules: {molecules_sentence(ready.study.labelled)}.")
    for target in targets_json(ready.labels, ready.units):
        run.log(f"Target: {target_words(target)}.")
    store_splits(ready.study, ready.drawn)
    write_molecules(folder / "molecules.csv", ready.study)
    overlap, notes = _overlap(request, ready, model)
    if overlap is not None:
        write_json(folder / "overlap.json", overlap)
    checks = [*ready.checks, *notes]
    for check in checks:
        run.log(f"{'Caution' if check.severity == 'caution' else 'Note'}: {check.sentence}")
    plan = _plan(request, options, ready)
    for sentence in plan.cut:
        run.log(sentence)
    run.log(f"Planned: {plan.words}")
    pilot = _pilot(request, options, ready, plan)
    if pilot is not None:
        run.log(pilot["sentence"])
        write_json(folder / "pilot.json", pilot)
    write_json(folder / "checks.json", [check.to_json() for check in checks])
    write_json(folder / "study.json", _facts(request, options, ready, model, plan))
    return Planned(ready, plan.design, plan.costs, plan.costs.trial)


def _plan(request: Request, options: StudyOptions, ready: Prepared) -> Plan:
    costs = measure(ready.study, ready.arms, options)

    def before(design: Design, minutes: float) -> float:
        return rehearsal_seconds(design, costs, minutes, request.jobs)

    asked = full_design(ready.study, ready.arms, options)
    design, cut = fit_into(asked, costs, options.minutes, request.jobs, before)
    return Plan(design, costs, rehearsal_of(design, costs, options.minutes, request.jobs), request.jobs, cut)


def _overlap(request: Request, ready: Prepared, model: ModelFolder) -> tuple[dict[str, Any] | None, list[Check]]:
    found = look_up(ready.study, request.corpus, request.source.model, model)
    return found, overlap_checks(ready.study, found, model)


def _pilot(request: Request, options: StudyOptions, ready: Prepared, plan: Plan) -> dict[str, Any] | None:
    """What `pilot.json` says; None where no kind of split has parts that differ."""
    started = time.monotonic()
    seen = run_pilot(ready.study, plan.design, options, plan.rehearsal, ready.coordinates, request.jobs)
    if not seen:
        return None
    zone = float(str(zone_of(ready.labels, options.zone, options.repeat_error)["value"]))
    return promise(seen, plan, zone, ready.labels.metric, time.monotonic() - started)


def _facts(request: Request, options: StudyOptions, ready: Prepared, model: ModelFolder, plan: Plan) -> dict[str, Any]:
    """What `study.json` says."""
    labelled, base, design, costs = ready.study.labelled, ready.study.base, plan.design, plan.costs
    return {
        "format": FORMAT,
        "data": {
            "file": request.data_name, "sha256": request.inputs.get(request.data_name, ""), "molecules": len(labelled),
            "rows": labelled.table_rows, "rejected": labelled.rejects.total,
            "targets": targets_json(ready.labels, ready.units), "descriptors": list(request.source.descriptors),
        },
        "model": {
            "name": request.label or request.source.model,
            "path": request.source.model, "sha256": model.sha256, "encoder": model.config["encoder"]["name"],
            "encoder_config": model.config["encoder"].get("config", {}),
            "parameters": sum(parameter.numel() for parameter in base.parameters()),
        },
        "design": {
            **design.to_json(), "batch_size": options.batch_size, "patience": options.patience, "seed": options.seed,
            "budget": {
                "minutes": options.minutes, "jobs": request.jobs, "trial_seconds": dict(costs.trial),
                "expected_seconds": costs.total(design, request.jobs),
            },
        },
        "cut": list(plan.cut),
        "zone": zone_of(ready.labels, options.zone, options.repeat_error),
        "arms": [
            {"name": arm.name, "label": arm.label, "kind": arm.kind, "reference": arm.reference, "parameters": None,
             "settings": len(arm.settings_of(design.settings)),
             **({} if arm.twin_of is None else {"twin_of": arm.twin_of})}
            for arm in ready.arms
        ],
        "metric": ready.labels.metric,
        "greater_is_better": ready.labels.better == "max",
        "versions": versions(),
        "machine": machine(),
        "command": shlex.join(sys.argv),
        "cells": {"planned": len(cells_of(design, lambda cell: 0.0)), "finished": 0},
    }  # fmt: skip


def _run_cells(run: RunFolder, request: Request, options: StudyOptions, planned: Planned) -> list[Cell]:
    """Runs what is unfinished; returns the cells for which the time did not suffice."""
    design, ready = planned.design, planned.ready
    seconds = _expected(planned, options.epochs)
    cells = cells_of(design, seconds)
    mine = cells if request.part is None else dealt(cells, request.part)
    if (taken := take_over(run.path, request.siblings, mine)) > 0:
        run.log(f"{taken:,} cells that do not depend on the pre-trained weights are those of another study.")
    left = [cell for cell in mine if not cell_path(run.path, cell).exists()]
    training = Training(design.trials, design.epochs, options.batch_size, options.patience, design.settings)
    if len(left) < len(mine):
        run.log(f"{len(mine) - len(left):,} of {len(mine):,} cells are finished.")
    deadline = None if options.minutes is None else time.monotonic() + 60 * GRACE * options.minutes
    started, begun = time.monotonic(), set[Cell]()

    def tasks() -> Iterator[Task]:
        for cell in left:
            if deadline is not None and time.monotonic() > deadline:
                return
            begun.add(cell)
            yield Task(cell, ready.study.source, design.splits, ready.coordinates, training, run.path)

    so_far = SoFar(ready, design, run.path)
    whole = round(sum(seconds(cell) for cell in left))
    with Progress(max(1, whole), "s of work", "study") as bar:
        for count, found in enumerate(in_processes(run_cell, tasks(), request.jobs), 1):
            cell = Cell(found["split"], found["repeat"], found["fold"], found["arm"], found["labels"])
            if found["failed"]:
                run.log(f"{cell.name} failed: {found['failed']}")
            if (text := so_far.add(cell, found)) is not None:
                run.log(text)
            bar.note(f"{count:,} of {len(left):,} cells")
            bar.advance(round(seconds(cell)))
    planned.seconds = time.monotonic() - started
    run.log(f"{len(begun):,} cells in {duration(planned.seconds)}.")
    return [cell for cell in left if cell not in begun]


def _expected(planned: Planned, epochs: int) -> Callable[[Cell], float]:
    """What cells were expected to take, for their order and the progress; trials were timed for so many epochs."""
    split = next(iter(planned.ready.study.splits.values()))
    training = len(split.train) + len(split.valid)
    design = planned.design
    return Costs(planned.expected, epochs, training, design.folds).cell(design)


def join_parts(folder: Path) -> None:
    """Takes plan, molecules and checks from the first part, so that the parts' cells can be read together."""
    parts = sorted(folder.glob("part-*-of-*"))
    if not parts:
        raise MesomerError(
            f"{folder} is not a study folder: it has neither study.json nor parts of a study.",
            "Give the --output of mesomer study.",
        )
    facts = [read_facts(part) for part in parts]
    for part, other in zip(parts[1:], facts[1:], strict=True):
        for key in ("data", "model", "metric", "zone"):
            if other[key] != facts[0][key]:
                raise MesomerError(
                    f"{part} is a part of another study than {parts[0]}: they differ in {key}.", "Join parts of one."
                )
        first, own = ({k: v for k, v in one["design"].items() if k != "budget"} for one in (facts[0], other))
        if first != own:
            differing = ", ".join(key for key in first | own if first.get(key) != own.get(key))
            raise MesomerError(
                f"{part} was run in another design than {parts[0]}: they differ in {differing}.",
                "Join parts of one study.",
            )
    drawn = sorted(path.name for path in parts[0].glob("splits-*.csv"))
    for name in ("molecules.csv", *drawn):
        for part in parts[1:]:
            if not (part / name).exists() or sha256_of(part / name) != sha256_of(parts[0] / name):
                raise MesomerError(
                    f"{part / name} is another one than that of {parts[0]}: their cells are of other folds.",
                    "Run all parts with the same versions of Mesomer and RDKit.",
                )
    for name in ("study.json", "molecules.csv", "checks.json", "pilot.json", "overlap.json"):
        source = parts[0] / name
        if source.exists():
            _copy(source, folder / name)
    for source in parts[0].glob("splits-*.csv"):
        _copy(source, folder / source.name)


def _copy(source: Path, target: Path) -> None:
    from mesomer.files import atomic_write

    with atomic_write(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def again(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """`mesomer study report`: tables and report anew, from a study folder or from its parts."""
    path = Path(folder)
    if not path.is_dir():
        raise MesomerError(f"There is no folder {path}.", "Give the --output of mesomer study.")
    if not (path / "study.json").exists() and (several := study_folders(path)):
        for one in several:
            report_of(one)
        return page_of(several, path, published_of(path)) | {"state": "report"}
    if not (path / "study.json").exists() or sorted(path.glob("part-*-of-*")):
        join_parts(path)
    return report_of(path) | {"output": str(path), "state": "report"}
