"""`mesomer check`: reads a table to its end and says what every other command would meet in it.

It fails (exit code 2) where no other command could go on: nothing readable, or a target that holds no labels. It
writes nothing unless --output asks for the report as JSON; then rejected rows are beside it in `<output>.rejects.csv`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mesomer.data.labels import Labelled
    from mesomer.data.rejects import Rejects
    from mesomer.data.review import Structures
    from mesomer.data.tables import Table

_SHOWN = 20
_LISTED = 10_000
_CORPUS_ROWS = 20_000


def check(
    data: str,
    *,
    smiles_column: str | None = None,
    targets: list[str] | None = None,
    task: Literal["regression", "binary", "multiclass"] | None = None,
    split_column: str | None = None,
    max_atoms: int = 500,
    decimal: Literal[".", ","] | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Look at a table before work starts: unreadable rows, duplicates, salts, conflicting or odd labels.

    Ends with the command to run next. Nothing is written unless --output is given.

    Args:
        data: Table of molecules (CSV, TSV, SMI, SDF, Parquet; .gz and .zst), a pattern such as 'parts/*.csv', or
            the name of a benchmark set.
        smiles_column: Column that holds the SMILES; found by its name if not given.
        targets: Columns that hold the labels.
        task: What the targets are; inferred for each if not given.
        split_column: Column that says train, valid or test.
        max_atoms: Molecules with more atoms are rejected.
        decimal: What numbers have before their decimals; a point if not given.
        output: Where to write the report as JSON; rejected rows go to the same name with .rejects.csv.
        overwrite: Replace an existing report.
    """
    from mesomer.data.labels import read_labels
    from mesomer.data.rejects import Rejects
    from mesomer.data.repeats import SplitColumn
    from mesomer.data.review import Columns, Structures
    from mesomer.data.tables import Chunk, open_table, refuse_frame
    from mesomer.files import check_writable
    from mesomer.progress import Progress

    refuse_frame(data, "check")

    rejects_path = None if output is None else f"{output}.rejects.csv"
    if output is not None and rejects_path is not None:
        check_writable(output, overwrite)
        check_writable(rejects_path, overwrite)
    table = open_table(data, smiles_column, max_atoms, decimal=decimal)
    named = table.named_columns(targets or [])
    kept = table.named_columns([split_column] if split_column else [])
    structures, columns = Structures(), Columns(table, [*named, *kept])
    parts: dict[str, int] = {}
    labelled = None
    with (
        Rejects(rejects_path, len(table.files) > 1, keep=_LISTED, with_cells=bool(named)) as rejects,
        Progress(table.estimated_rows, "rows", "reading") as progress,
    ):

        def watch(chunk: Chunk) -> None:
            structures.watch(chunk)
            columns.watch(chunk)
            for name in kept:
                for cell in chunk.cells[name]:
                    parts[str(cell).strip()] = parts.get(str(cell).strip(), 0) + 1
            progress.advance(len(chunk))

        if named:
            deciding = SplitColumn(kept[0], strict=False) if kept else None
            labelled = read_labels(table, named, task, rejects=rejects, watch=watch, split_column=deciding)
        else:
            for chunk in table.chunks(parse=True):
                rejects.add_chunk(chunk)
                watch(chunk)
    facts = _facts(table, structures, rejects, labelled)
    facts["possible_targets"] = columns.possible_targets
    facts["warnings"] += columns.comma_warnings
    if kept:
        facts["split"] = {"column": kept[0], "parts": parts}
    facts["next"] = _next(
        facts,
        {
            "data": data,
            "smiles_column": smiles_column,
            "task": task,
            "split_column": split_column,
            "decimal": decimal,
        },
    )
    facts["next_note"] = _next_note(facts)
    text = _text(facts, rejects_path)
    if output is not None:
        _write(output, facts)
        text += f"\nWritten: {output}" + (f", {rejects_path}" if rejects.total else "")
    return {"text": text, **facts}


def _facts(table: Table, structures: Structures, rejects: Rejects, labelled: Labelled | None) -> dict[str, Any]:
    """Everything found, as plain data."""
    listed = rejects.items
    facts: dict[str, Any] = {
        "files": table.files,
        "columns": list(table.columns),
        "smiles_column": table.smiles_column,
        "rows": structures.rows,
        "readable": structures.readable,
        "rejected": rejects.total,
        "reasons": dict(rejects.counts.most_common()),
        "rejects": [{**item._asdict(), "smiles": item.smiles and item.smiles[:200]} for item in listed],
        "duplicates": structures.duplicates,
        "salts_and_mixtures": structures.several_parts,
        "charged": structures.charged,
        "dummy_atoms": structures.dummy_atoms,
        "atom_maps": structures.atom_maps,
        "median_atoms": structures.median_size,
        "most_atoms": structures.largest,
        "elements": dict(structures.elements.most_common()),
        "notes": table.notes,
        "warnings": _structure_warnings(structures),
    }
    if labelled is not None:
        facts["targets"] = _targets(labelled)
        facts["labelled_molecules"] = len(labelled)
        facts["rows_without_label"] = labelled.unlabelled
        facts["warnings"] += [*labelled.warnings, *_count_warnings(labelled)]
    return facts


def _structure_warnings(structures: Structures) -> list[str]:
    warnings = []
    if structures.duplicates:
        many = "" if structures.duplicates_complete else "at least "
        repeats = "row repeats" if structures.duplicates == 1 else "rows repeat"
        warnings.append(f"{many}{structures.duplicates:,} {repeats} a molecule of an earlier row.")
    for count, text in (
        (structures.several_parts, "several parts (salts, solvates, mixtures); they are used whole."),
        (structures.dummy_atoms, "dummy atoms (*), which are read as atoms."),
        (structures.atom_maps, "atom map numbers, which models ignore."),
    ):
        if count:
            warnings.append(f"{count:,} molecule has {text}" if count == 1 else f"{count:,} molecules have {text}")
    return warnings


def _count_warnings(labelled: Labelled) -> list[str]:
    from mesomer.data.labels import MINIMUM, few_labels_warning

    if len(labelled) < MINIMUM:
        return [f"Only {len(labelled)} molecules have a usable label; mesomer finetune needs at least {MINIMUM}."]
    advice = few_labels_warning(labelled)
    return [advice] if advice else []


def _targets(labelled: Labelled) -> list[dict[str, Any]]:
    import numpy as np

    targets = []
    for at, task in enumerate(labelled.tasks):
        values = labelled.y[:, at]
        values = values[~np.isnan(values)]
        target: dict[str, Any] = {"name": task.name, "type": task.type, "labels": len(values)}
        target["conflicts"] = labelled.conflicts[task.name]
        if task.classes is None and len(values):
            target |= {"lowest": values.min(), "highest": values.max(), "mean": values.mean(), "sd": values.std()}
        elif task.classes is not None:
            target["classes"] = {word: int((values == code).sum()) for code, word in enumerate(task.classes)}
        targets.append(target)
    return targets


def _next(facts: dict[str, Any], options: dict[str, str | None]) -> str:
    """The command that makes sense now, with the options that this one was given."""
    import shlex

    from mesomer.data.labels import MINIMUM

    given = {name: value for name, value in options.items() if value is not None}
    data = given.pop("data")
    enough = facts.get("labelled_molecules", 0) >= MINIMUM
    if enough:
        targets = ",".join(target["name"] for target in facts["targets"])
        split = "column" if "split_column" in given else "scaffold"
        command, rest = "finetune", {"targets": targets, **given, "split": split, "output": "runs/first"}
    elif "targets" not in facts and facts["possible_targets"] and facts["rows"] < 10 * _CORPUS_ROWS:
        command, rest = "check", {"targets": ",".join(_advised(facts)), **given}
    elif facts["rows"] >= _CORPUS_ROWS:
        command, rest = "prepare", {"output": "corpora/first"}
    else:
        command, rest = "embed", {"output": "embeddings.parquet"}
    if "smiles_column" in given:
        rest["smiles_column"] = given["smiles_column"]
    words = ["mesomer", command, data, *(word for name, value in rest.items() for word in (f"--{name}", str(value)))]
    return shlex.join(words)


def _advised(facts: dict[str, Any]) -> list[str]:
    """The possible targets that the advised command names: the first few that --targets can hold."""
    possible: list[str] = facts["possible_targets"]
    # A comma separates names in --targets, so a name with one in it can only be given alone.
    return [name for name in possible if "," not in name][:_SHOWN] or possible[:1]


def _next_note(facts: dict[str, Any]) -> str | None:
    """What the advised command leaves out or takes for granted."""
    possible = facts["possible_targets"]
    if " --targets " not in facts["next"] or "targets" in facts or len(possible) < 2:
        return None
    named = len(_advised(facts))
    if named < len(possible):
        return f"These are {named} of {len(possible):,} columns that may be targets; name those that are."
    return f"These are all {named} columns that may be targets; leave out those that are none."


def _text(facts: dict[str, Any], rejects_path: str | None) -> str:
    """The report for people."""
    lines = [f"{', '.join(facts['files'])}: {facts['rows']:,} rows, {facts['readable']:,} readable molecules."]
    lines += facts["notes"]
    lines.append(
        f"Atoms: median {facts['median_atoms']}, most {facts['most_atoms']}. Duplicate rows: {facts['duplicates']:,}. "
        f"Salts and mixtures: {facts['salts_and_mixtures']:,}. Charged: {facts['charged']:,}."
    )
    if facts["rejected"]:
        lines += ["", f"Rejected rows: {facts['rejected']:,}"]
        lines += [f"  {count:,} {reason}" for reason, count in facts["reasons"].items()]
        lines += [_reject_line(item, len(facts["files"]) > 1) for item in facts["rejects"][:_SHOWN]]
        if facts["rejected"] > _SHOWN:
            where = f"see {rejects_path}" if rejects_path else "--output REPORT.json lists all of them"
            lines.append(f"  … and {facts['rejected'] - _SHOWN:,} more; {where}.")
    if "targets" in facts:
        lines += ["", "Targets:", *(_target_line(target) for target in facts["targets"])]
        if facts["rows_without_label"]:
            lines.append(f"  {facts['rows_without_label']:,} readable rows have no label.")
    elif facts["possible_targets"]:
        shown = facts["possible_targets"][:_SHOWN]
        more = f", … ({len(facts['possible_targets'])} in all)" if len(facts["possible_targets"]) > _SHOWN else ""
        lines += ["", f"Columns that may be targets: {', '.join(shown)}{more}"]
    if "split" in facts:
        found = facts["split"]["parts"]
        parts = ", ".join(f"{count:,} {part or '(empty)'}" for part, count in list(found.items())[:_SHOWN])
        parts += f", … ({len(found):,} different values)" if len(found) > _SHOWN else ""
        lines += ["", f"Split column {facts['split']['column']!r}: {parts}"]
    if facts["warnings"]:
        lines += ["", "Warnings:", *(f"  {warning}" for warning in facts["warnings"])]
    lines += ["", *filter(None, (f"Next: {facts['next']}", facts["next_note"]))]
    return "\n".join(lines)


def _reject_line(item: dict[str, Any], several_files: bool) -> str:
    line = f" (line {item['line']})" if item["line"] else ""
    file = f" of {item['file']}" if several_files else ""
    smiles = item["smiles"] or ""
    shown = smiles if len(smiles) <= 60 else smiles[:57] + "..."
    cell = f" ({item['cell']})" if item["cell"] else ""
    return f"  row {item['row']}{line}{file}: {item['reason']}{cell}" + (f": {shown!r}" if shown else "")


def _target_line(target: dict[str, Any]) -> str:
    if "classes" in target:
        figures = ", ".join(f"{count:,} {word}" for word, count in target["classes"].items())
    elif "mean" in target:
        figures = f"{target['lowest']:g} to {target['highest']:g}, mean {target['mean']:.3g}, sd {target['sd']:.3g}"
    else:
        figures = "none"
    return f"  {target['name']}: {target['type']}, {target['labels']:,} labels ({figures})"


def _write(output: str, facts: dict[str, Any]) -> None:
    import json

    from mesomer.files import atomic_write

    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
