"""`mesomer study`: does pre-training help on these molecules, by how much, and could this study have seen it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesomer.studies.design import StudyOptions
    from mesomer.studies.run import Request


def study(
    data: str | None = None,
    folder: str | None = None,
    *,
    preset: str | None = None,
    grid: str | None = None,
    sets: list[str] | None = None,
    output: str = "runs/study",
    targets: list[str] | None = None,
    units: list[str] | None = None,
    model: str | None = None,
    task: Literal["regression", "binary", "multiclass"] | None = None,
    splits: list[str] | None = None,
    repeats: int | None = None,
    folds: int = 5,
    trials: int = 4,
    epochs: int = 30,
    batch_size: int = 32,
    patience: int = 8,
    label_shares: list[float] | None = None,
    arms: list[str] | None = None,
    descriptors: list[str] | None = None,
    corpus: str | None = None,
    zone: float | None = None,
    repeat_error: float | None = None,
    minutes: float = 60.0,
    jobs: int | None = None,
    part: str | None = None,
    smiles_column: str | None = None,
    max_atoms: int = 500,
    decimal: Literal[".", ","] | None = None,
    precision: Literal["auto", "32", "bf16"] = "32",
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Say with an interval whether pre-training helps on your data, beside twins and baselines on the same splits.

    Two words in the place of DATA do less: `mesomer study power DATA …` (or `power --preset`, `power --grid`) only
    plans (what could be seen, what it costs), and `mesomer study report FOLDER` makes tables and report of a study
    again, joins its parts, or makes one page on all studies below a folder. The same command goes on with an
    interrupted study.

    Args:
        data: Table with SMILES and labels (CSV, TSV, SDF, Parquet; .gz and .zst), or the name of a benchmark set.
        folder: After the word report: the folder of a study. After the word power: the table.
        preset: Instead of DATA: run a collection of public sets (moleculenet), --minutes for each, and write a page
            on all of them with published scores beside ours.
        grid: Instead of DATA: pre-train and study all points of a grid file, or of a grid of the package (sun2022-mini,
            sun2022, hu2020).
        sets: Of a preset or a grid only these sets.
        output: Run folder.
        targets: Columns that hold the labels; several are judged by their mean. A benchmark set knows its own.
        units: Units of the targets, in their order, for the report; a header such as solubility (mg/L) says its own.
        model: Pre-trained encoder to judge: a model folder, a run folder, a bundled or a hub name; the bundled one if
            not given.
        task: What the targets are; inferred for each if not given.
        splits: Kinds of split, each analysed apart: scaffold, random, stratified (all cross-validation), or names of
            published rules such as balanced; scaffold and random if not given.
        repeats: How often to divide; 5, or 3 above 5,000 molecules, if not given.
        folds: Parts of a cross-validation; each is held out once.
        trials: Settings that each arm may try on the inner validation part.
        epochs: Most passes over the training part, for all networks.
        batch_size: Molecules in a training step.
        patience: Stop a training after so many epochs without a better validation score.
        label_shares: Points of the learning curve as shares of the training part, such as 0.1,0.3 (the default); 1 for
            no curve.
        arms: Which methods to compare, such as pretrained,random,ecfp_forest; the usual ones if not given.
        descriptors: Numeric columns of the table that all arms get as features.
        corpus: What the model was pre-trained on (a prepared corpus or a table), to look for the molecules in it; not
            needed for a model that carries the keys of its corpus, as the bundled ones do.
        zone: Smallest difference that matters, in the unit of the metric.
        repeat_error: Repeat error of the assay; a tenth of it is the zone.
        minutes: Plan the largest design that fits into so many minutes, and say what was cut; 0 for no limit.
        jobs: Processes that work side by side, one thread each; as many as there are cores if not given.
        part: Run one of several parts, such as 2/8 (nothing is cut then); join them with mesomer study report.
        smiles_column: Column that holds the SMILES; found by its name if not given.
        max_atoms: Molecules with more atoms are rejected.
        decimal: What labels and descriptors have before their decimals; a point if not given.
        precision: Of the training of networks; bf16 is faster on processors that multiply in bfloat16, auto takes it
            there. A grid file may say its own.
        accelerator: Where to train; auto takes a GPU where there is one.
        seed: Start of all random numbers.
        overwrite: Replace another run in the output folder.
    """
    given = locals()
    if data == "report":
        _require_no_options(given)
        return _again(folder)
    _require_one_subject(given)
    from mesomer.studies.design import DEFAULT_SPLITS, LABEL_SHARES, StudyOptions, read_part

    shares = tuple(label_shares) if label_shares is not None else LABEL_SHARES
    options = StudyOptions(
        splits=tuple(splits or DEFAULT_SPLITS), repeats=repeats, folds=folds, trials=trials, epochs=epochs,
        batch_size=batch_size, patience=patience, label_shares=tuple(share for share in shares if share != 1),
        arms=tuple(arms or ()), seed=seed, minutes=minutes or None, precision=precision, zone=zone,
        repeat_error=repeat_error,
    )  # fmt: skip

    def request_for(
        table: str, place: str, encoder: str | None, these: StudyOptions, columns: Mapping[str, Any] | None = None
    ) -> Request:
        named = {"targets": targets, "smiles_column": smiles_column} | dict(columns or {})
        return _request(
            table, these, output=place, units=units, model=encoder, task=task, descriptors=descriptors, corpus=corpus,
            jobs=jobs, part=None if part is None else read_part(part), max_atoms=max_atoms, decimal=decimal,
            accelerator=accelerator, **named,
        )  # fmt: skip

    from dataclasses import replace
    from pathlib import Path

    from mesomer.studies.run import power_of, run_study

    if data == "power" and preset is not None:
        from mesomer.studies.forecast import forecast_preset

        found = forecast_preset(
            preset, sets or (), lambda one: power_of(request_for(one, output, model, options), options)
        )
        return {"text": _forecast_text(found), **found}
    if preset is not None:
        from mesomer.studies.presets import run_preset

        found = run_preset(
            preset, sets or (), output,
            lambda one, place: run_study(request_for(one, str(place), model, options), options, overwrite),
        )  # fmt: skip
        return {"text": _page_text(found), **found}
    if grid is not None:
        from mesomer.studies.grid import narrowed, read_grid
        from mesomer.studies.grid_run import run_grid
        from mesomer.studies.prepare import SharedReading, prepare

        chosen, read = narrowed(read_grid(grid), sets or ()), SharedReading()

        def asked_for(one: str, encoder: Path, place: Path, these: StudyOptions) -> Request:
            return request_for(one, str(place), str(encoder), these, chosen.columns.get(one))

        if data == "power":
            from mesomer.studies.forecast import forecast_grid

            def plan_point(one: str, encoder: Path, these: StudyOptions, with_pilot: bool) -> dict[str, Any]:
                return power_of(asked_for(one, encoder, Path(output), these), these, with_pilot)

            found = forecast_grid(chosen, accelerator, plan_point, precision)
            return {"text": _forecast_text(found), **found}

        def check_point(one: str, encoder: Path, place: Path, these: StudyOptions) -> None:
            prepare(asked_for(one, encoder, place, these), these, read)

        def study_point(
            one: str, encoder: Path, place: Path, these: StudyOptions, label: str, siblings: tuple[Path, ...]
        ) -> dict[str, Any]:
            asked = replace(asked_for(one, encoder, place, these), label=label, siblings=siblings)
            return run_study(asked, these, overwrite)

        found = run_grid(chosen, output, accelerator, study_point, check_point, precision)
        return {"text": _page_text(found), **found}
    if data == "power":
        found = power_of(request_for(str(folder), output, model, options), options)
        return {"text": _plan_text(found), **found}
    found = run_study(request_for(str(data), output, model, options), options, overwrite)
    return {"text": _text(found), **found}


def _require_no_options(given: Mapping[str, Any]) -> None:
    """Stops at options that making a report again would not look at."""
    from inspect import signature

    from mesomer.errors import MesomerError

    usual = {name: parameter.default for name, parameter in signature(study).parameters.items()}
    for name, value in given.items():
        if name not in ("data", "folder") and value != usual[name]:
            raise MesomerError(
                f"--{name} has no effect on `mesomer study report`, which reads what the study stored.", "Leave it out."
            )


def _again(folder: str | None) -> dict[str, Any]:
    """Tables and report of a study again."""
    from mesomer.errors import MesomerError
    from mesomer.studies.run import again

    if folder is None:
        raise MesomerError("`mesomer study report` needs the folder of a study.", "Give what was its --output.")
    found = again(folder)
    return {"text": _page_text(found) if "sentences" in found else _text(found), **found}


_SAID_BY_A_GRID = (
    "model", "splits", "repeats", "folds", "trials", "epochs", "batch_size", "patience", "label_shares", "arms", "zone",
    "repeat_error", "minutes", "seed",
)  # fmt: skip
_ELSEWHERE_IN_A_GRID = {
    "model": "A grid pre-trains its own models: say `networks`, `corpora` and `pretrainings` in a copy of the file.",
    "splits": "Say `split` under `base`, and further ones under `vary`, in a copy of the file.",
    "minutes": "The studies of a grid are not cut, so that its points can be compared: lower repeats, trials or epochs "
    "under `study` in a copy of the file.",
}
_OF_ONE_TABLE = ("part", "units", "decimal")


def _require_one_subject(given: Mapping[str, Any]) -> None:
    """Stops where it is not clear what to study, or where an option would have no effect."""
    from inspect import signature

    from mesomer.errors import MesomerError

    data, preset, grid = given["data"], given["preset"], given["grid"]
    table = given["folder"] if data == "power" else data
    if sum(one is not None for one in (table, preset, grid)) != 1 or (data != "power" and given["folder"] is not None):
        raise MesomerError(
            "`mesomer study` needs one thing to study.",
            "Write mesomer study DATA, mesomer study power DATA, mesomer study report FOLDER, or mesomer study (power) "
            "with --preset or --grid.",
        )
    if given["sets"] and table is not None:
        raise MesomerError("--sets chooses among the sets of --preset or --grid.", "Leave it out.")
    if given["minutes"] < 0:
        raise MesomerError(f"--minutes is {given['minutes']:g}, and must not be negative.", "0 means no limit.")
    usual = {name: parameter.default for name, parameter in signature(study).parameters.items()}
    useless = [name for name in _OF_ONE_TABLE if table is None and given[name] != usual[name]]
    if useless:
        raise MesomerError(f"--{useless[0]} is for the study of one table.", "Leave it out, or name a table.")
    said = [name for name in _SAID_BY_A_GRID if grid is not None and given[name] != usual[name]]
    if said:
        raise MesomerError(
            f"--{said[0]} has no effect with --grid: the grid file says how its studies are run.",
            _ELSEWHERE_IN_A_GRID.get(
                said[0], f"Say `{said[0]}` under `study` in a copy of the file, and give that to --grid."
            ),
        )
    if given["part"] is not None and given["precision"] == "auto":
        raise MesomerError(
            "With --part, --precision auto may mean another precision on another machine.", "Give 32 or bf16."
        )


def _request(
    data: str,
    options: StudyOptions,
    *,
    output: str,
    targets: list[str] | None,
    units: list[str] | None,
    model: str | None,
    task: str | None,
    descriptors: list[str] | None,
    corpus: str | None,
    jobs: int | None,
    part: tuple[int, int] | None,
    smiles_column: str | None,
    max_atoms: int,
    decimal: str | None,
    accelerator: str,
) -> Request:
    """What is asked for, with names resolved: the table, its targets, the model, the device."""
    from dataclasses import asdict
    from pathlib import Path

    from mesomer.data.benchmarks import labelled_table, uses_canonical_scaffolds
    from mesomer.data.tables import find_files, refuse_frame
    from mesomer.errors import MesomerError
    from mesomer.files import sha256_of
    from mesomer.machine import cores
    from mesomer.studies.molecules import Source
    from mesomer.studies.run import Request
    from mesomer.training.checkpoint import default_model, load_model
    from mesomer.training.context import Context

    refuse_frame(data, "study")
    if jobs is not None and jobs < 1:
        raise MesomerError(f"--jobs is {jobs}, and must be 1 or more.")
    model = model or default_model()
    path, targets = labelled_table(data, targets, smiles_column)
    context = Context.start(accelerator, options.precision)
    device = context.device.type
    weights = load_model(model).sha256
    config = {
        "data": data, "output": output, "targets": targets, "units": units, "model": model, "task": task,
        **asdict(options), "descriptors": descriptors, "corpus": corpus, "jobs": jobs, "smiles_column": smiles_column,
        "max_atoms": max_atoms, "decimal": decimal, "accelerator": accelerator,
    }  # fmt: skip
    config |= {"splits": list(options.splits), "arms": list(options.arms) or None, "minutes": options.minutes or 0}
    config["label_shares"] = list(options.label_shares) or [1]
    source = Source(
        path, tuple(targets), task, smiles_column, max_atoms, tuple(descriptors or ()), model, weights, Path(output),
        options.seed, device, context.precision, decimal,
    )  # fmt: skip
    inputs = {data if str(file) == path else str(file): sha256_of(file) for file in find_files(path)}
    # one process feeds a GPU
    processes = jobs or (cores() if device == "cpu" else 1)
    return Request(
        source, data, inputs | {f"model {model}": weights}, config, corpus, processes, part,
        uses_canonical_scaffolds(data), units=None if units is None else tuple(units),
    )  # fmt: skip


def _text(found: dict[str, Any]) -> str:
    """What the study says, and where the rest stands."""
    if found["report"] is None:
        cells = found["cells"]
        return (
            f"This part is finished: {cells['finished']:,} of the study's {cells['planned']:,} cells.\n"
            f"Next: when all parts lie in one folder, mesomer study report FOLDER"
        )
    head = ["This study was finished before; nothing was done.", ""] if found["state"] == "finished" else []
    return "\n".join([*head, *found["cut"], *found["lines"]])


def _page_text(found: dict[str, Any]) -> str:
    """What several studies say together."""
    left_out = [f"Left out: {name}: {why}" for name, why in found.get("refused", {}).items()]
    return "\n".join([*found["sentences"], *left_out, "", f"Page: {found['report']}"])


NOTHING_WRITTEN = "Nothing was written; the same command without the word power runs it."


def _plan_text(found: dict[str, Any]) -> str:
    """What the study would be."""
    lines = [f"{check['severity'].capitalize()}: {check['sentence']}" for check in found["checks"]]
    lines += [*found["cut"], f"Planned: {found['plan']}"]
    pilot = found["pilot"]
    if pilot is not None:
        lines += [pilot["sentence"], "", f"On {pilot['split']} splits:"]
        lines += ["repeats x folds   smallest detectable difference (best guess)   at most about"]
        lines += [
            f"{row['repeats']:>7} x {row['folds']:<7} {_range(row):>43}   {row['minutes']:>8.0f} min"
            for row in pilot["mde_by_design"]
        ]
    return "\n".join([*lines, "", NOTHING_WRITTEN])


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['mde_low']:.2g} to {row['mde_high']:.2g} ({row['mde']:.2g})"


def _forecast_text(found: dict[str, Any]) -> str:
    """What the studies of a preset or a grid would be, set by set, and their sum."""
    from mesomer.progress import duration

    lines, table = [], []
    for one, plan in found["sets"].items():
        lines += [f"{one}: {plan['plan']}", *(f"  {cut}" for cut in plan["cut"])]
        lines += [f"  Caution: {check['sentence']}" for check in plan["checks"] if check["severity"] == "caution"]
        lines += [f"  {point} is left out: {why}" for point, why in plan.get("refused", {}).items()]
        pilot = plan["pilot"]
        lines += [] if pilot is None else [f"  {pilot['sentence']}"]
        seen = "no pilot: nothing has a spread" if pilot is None else _range(pilot["splits"][pilot["split"]])
        metric = "" if pilot is None else f" {pilot['metric']} on {pilot['split']} splits"
        table.append(f"  {one:<20} {duration(60 * plan['minutes']):>12}   {seen}{metric}")
    lines += [f"Left out: {one}: {why}" for one, why in found["refused"].items()]
    over = f" at {found['points']} points" if "points" in found else ""
    lines += ["", f"Set, at most about{over}, smallest detectable difference (best guess):", *table]
    lines += [f"In all at most about {duration(60 * found['minutes'])}."]
    if "models" in found:
        lines += [
            f"Pre-training the {found['models']} models of the grid comes on top; the pilots took random weights in "
            "their place."
        ]
        if found["missing"]:
            lines += [f"Tables that are not there yet: {', '.join(found['missing'])}."]
    return "\n".join([*lines, "", NOTHING_WRITTEN])
