"""A table with target columns to labelled molecules: one row per example, NaN where a label is missing.

Rows that are no molecule or have a bad label in any target are rejected with the reason; rows without any label are
counted and left out. Rows of the same molecule (equal canonical SMILES) under the same conditions are one example and
are merged: regression takes the mean of their labels, classes the majority, and a tie leaves the example without that
label. Of merged rows the first that has a structure in space gives the example's, else the first gives its drawing or
graph. Rows are never merged across a column that decides the split (`repeats`). The small functions at the end say when
there are too few labels to go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mesomer.data.decimals import has_other_point, with_point
from mesomer.data.rejects import Rejects
from mesomer.data.repeats import SplitColumn, example_groups, outside_own_part
from mesomer.data.tables import Chunk, Table
from mesomer.data.tasks import BAD_LABEL, TargetColumn, TaskInfo, balance_warning, read_target, short
from mesomer.errors import InputError, MesomerError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MINIMUM = 10
RULES = {
    "regression": "their mean",
    "binary": "the majority, none for a tie",
    "multiclass": "the majority, none for a tie",
}


@dataclass
class Labelled:
    """Examples with labels, in the order of their first rows; one per molecule, or per molecule and conditions."""

    smiles: list[str]
    """As in the first row of each example."""
    canonical: list[str]
    mols: list[Mol]
    rows: list[int]
    """First row (from 1) of each example."""
    all_rows: list[list[int]]
    """Every row of each example."""
    y: np.ndarray
    """float64 [M, T], NaN where missing; class codes for classes."""
    tasks: list[TaskInfo]
    columns: dict[str, list[Any]]
    """Cells of the further columns asked for, from the first row of each example."""
    rejects: Rejects
    table_rows: int
    """Rows of the table."""
    unlabelled: int
    """Readable rows left out because they have no label."""
    merged: int
    """Rows that went into another row of the same example."""
    conflicts: dict[str, int]
    """Examples whose rows have different labels, for each target."""
    structures: int = 0
    """Examples whose rows bring different coordinates in space, of which the first are used."""
    left_out: int = 0
    """Usable rows left out because their molecule is used in another part, or at an earlier time."""
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.smiles)


@dataclass
class _Rows:
    """Readable rows as they are collected."""

    smiles: list[str] = field(default_factory=list)
    canonical: list[str] = field(default_factory=list)
    mols: list[Mol] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    cells: dict[str, list[Any]] = field(default_factory=dict)


def read_labels(
    table: Table,
    targets: Sequence[str],
    task: str | Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    rejects: Rejects | None = None,
    watch: Callable[[Chunk], None] | None = None,
    conditions: Sequence[str] = (),
    split_column: SplitColumn | None = None,
) -> Labelled:
    """Reads the labelled molecules of a table.

    Args:
        table: The table.
        targets: Names of the target columns.
        task: `regression`, `binary` or `multiclass` for all targets, or for each by its name; inferred if not given.
        keep: Further columns wanted, such as one that holds the split.
        rejects: Where bad rows go; kept in memory if not given.
        watch: Called with every parsed chunk, for those who want to see more of it in the same pass.
        conditions: Columns whose values tell examples of one molecule apart, such as the pH; kept like `keep`.
        split_column: The column that will decide the split; no label crosses it. Kept like `keep`.
    """
    if not targets:
        raise MesomerError("No target column is named.", f"Its columns are {', '.join(table.columns)}: give --targets.")
    targets, conditions = table.named_columns(targets), table.named_columns(conditions)
    deciding = table.named_columns([split_column.name] if split_column else [], "--split_column names another.")
    keep = list(dict.fromkeys([*table.named_columns(keep), *conditions, *deciding]))
    repeated = [name for name, count in Counter(targets).items() if count > 1]
    if repeated:
        raise MesomerError(f"The target {repeated[0]!r} is named twice.", "Name each target once.")
    if table.smiles_column in targets:
        raise MesomerError(f"The target {table.smiles_column!r} is the SMILES column.", "Name a column of labels.")
    rejects = Rejects(several_files=len(table.files) > 1, with_cells=True) if rejects is None else rejects
    unread = Rejects()
    rows, count = _collect(table, [*targets, *keep], unread, watch)
    if not rows.rows and unread.total:  # a list; a file without one readable molecule has stopped already
        raise table.nothing_readable(unread.counts)
    kinds = task if isinstance(task, Mapping) else dict.fromkeys(targets, task)
    targets_read = [read_target(name, rows.cells[name], rows.rows, kinds.get(name)) for name in targets]
    wrong = _wrong_cells(targets_read)
    bad = sorted(wrong)
    for at in bad:
        unread.add(rows.rows[at], rows.lines[at], rows.smiles[at], BAD_LABEL, rows.files[at], wrong[at])
    for reject in sorted(unread.items, key=lambda item: item.row):
        rejects.add(*reject)
    y = np.stack([column.values for column in targets_read], axis=1)
    usable = ~np.isnan(y).all(axis=1)
    usable[bad] = False
    unlabelled = len(rows.rows) - len(bad) - int(usable.sum())
    left_out, said = np.zeros(len(usable), dtype=bool), None
    if split_column is not None and usable.any():
        cells = rows.cells[deciding[0]]
        left_out, said = outside_own_part(rows.canonical, usable, cells, rows.rows, split_column)
    groups = example_groups(rows.canonical, usable & ~left_out, [rows.cells[name] for name in conditions])
    merged_y, conflicts = _merge(y, groups, [column.info for column in targets_read])
    kept = [at for at in range(len(groups)) if not np.isnan(merged_y[at]).all()]
    groups, merged_y = [groups[at] for at in kept], merged_y[kept]
    first = [group[0] for group in groups]
    placed = [_in_space(group, rows.mols) for group in groups]
    if not first:
        raise InputError(
            f"No row of {table.name} has both a readable molecule and a usable label.", "Run mesomer check on it."
        )
    warnings = [column.info.warning for column in targets_read if column.info.warning]
    warnings += [text for column in targets_read if (text := balance_warning(column))]
    warnings += [said] if said else []
    warnings += _duplicate_warnings(conflicts, [column.info for column in targets_read])
    if bad:
        examples = "; ".join(f"row {rows.rows[at]}: {wrong[at]}" for at in bad[:3])
        which = "1 row is" if len(bad) == 1 else f"{len(bad):,} rows are"
        commas = sum(column.commas for column in targets_read)
        why = f"; decimal commas: {commas:,}, write points instead" if commas else ""
        warnings.append(f"{which} not used for a label that is no finite number ({examples}){why}.")
    return Labelled(
        smiles=[rows.smiles[at] for at in first],
        canonical=[rows.canonical[at] for at in first],
        mols=[rows.mols[own[0] if own else at] for at, own in zip(first, placed, strict=True)],
        rows=[rows.rows[at] for at in first],
        all_rows=[[rows.rows[at] for at in group] for group in groups],
        y=merged_y,
        tasks=[column.info for column in targets_read],
        columns={name: [rows.cells[name][at] for at in first] for name in keep},
        rejects=rejects,
        table_rows=count,
        unlabelled=unlabelled,
        merged=sum(len(group) - 1 for group in groups),
        conflicts=conflicts,
        structures=sum(_differ([rows.mols[at] for at in own]) for own in placed),
        left_out=int(left_out.sum()),
        warnings=warnings,
    )


def _collect(
    table: Table, wanted: Sequence[str], rejects: Rejects, watch: Callable[[Chunk], None] | None
) -> tuple[_Rows, int]:
    from rdkit import Chem

    rows, count = _Rows(cells={name: [] for name in wanted}), 0
    for chunk in table.chunks(parse=True):
        count += len(chunk)
        rejects.add_chunk(chunk)
        if watch is not None:
            watch(chunk)
        assert chunk.mols is not None
        for at in chunk.good:
            mol = chunk.mols[at]
            assert mol is not None
            rows.smiles.append(str(chunk.smiles[at]).strip())
            rows.canonical.append(Chem.MolToSmiles(mol))
            rows.mols.append(mol)
            rows.rows.append(chunk.rows[at])
            rows.lines.append(chunk.lines[at])
            rows.files.append(chunk.file)
            for name in wanted:
                rows.cells[name].append(_cell(table, chunk, name, at))
    return rows, count


def _cell(table: Table, chunk: Chunk, name: str, at: int) -> Any:
    cell = chunk.cells[name][at]
    if has_other_point(cell, table.decimal):
        raise InputError(
            f"{name!r} has a decimal point in row {chunk.rows[at]} ({cell.strip()!r}), and --decimal , means commas.",
            "Write all numbers of the table in one way.",
        )
    return with_point(cell, table.decimal)


def _wrong_cells(columns: Sequence[TargetColumn]) -> dict[int, str]:
    """The rows with bad labels, and what stands there: `logS '-0,3'`, for several targets one after the other."""
    found: dict[int, list[str]] = {}
    for column in columns:
        for at in column.bad:
            found.setdefault(at, []).append(f"{column.info.name} {short(column.texts[at])}")
    return {at: ", ".join(cells) for at, cells in found.items()}


def _merge(y: np.ndarray, groups: list[list[int]], tasks: Sequence[TaskInfo]) -> tuple[np.ndarray, dict[str, int]]:
    """One row of labels per group, and how many groups disagree for each target."""
    merged = y[[group[0] for group in groups]]
    conflicts = {task.name: 0 for task in tasks}
    for number, group in enumerate(groups):
        if len(group) == 1:
            continue
        for at, task in enumerate(tasks):
            values = y[group, at]
            values = values[~np.isnan(values)]
            if len(values) == 0:
                continue
            conflicts[task.name] += bool((values != values[0]).any())
            merged[number, at] = values.mean() if task.type == "regression" else _majority(values)
    return merged, conflicts


def _in_space(group: list[int], mols: Sequence[Mol]) -> list[int]:
    """The rows of a group whose molecules bring coordinates in space."""
    from mesomer.chem.conformers import in_space

    return [at for at in group if in_space(mols[at])]


def _differ(mols: Sequence[Mol]) -> bool:
    """Whether not all of some molecules have the coordinates of the first."""
    positions = [mol.GetConformer().GetPositions() for mol in mols]
    return any(not np.array_equal(found, positions[0]) for found in positions[1:])


def _majority(values: np.ndarray) -> float:
    ranked = Counter(values.tolist()).most_common(2)
    return float("nan") if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _duplicate_warnings(conflicts: dict[str, int], tasks: Sequence[TaskInfo]) -> list[str]:
    return [
        f"{task.name}: {conflicts[task.name]} molecule{'s have' if conflicts[task.name] > 1 else ' has'} rows with "
        f"different labels; used: {RULES[task.type]}."
        for task in tasks
        if conflicts[task.name]
    ]


def require_enough(labelled: Labelled, minimum: int = MINIMUM) -> None:
    """Stops if there are too few labelled molecules for fine-tuning."""
    if len(labelled) < minimum:
        number = "1 molecule has" if len(labelled) == 1 else f"{len(labelled)} molecules have"
        others = f" Rows that are not used: {labelled.rejects.summary()}." if labelled.rejects.total else ""
        raise InputError(
            f"Only {number} a usable label; fine-tuning needs at least {minimum}.{others}",
            "mesomer check shows which rows are not used and why.",
        )


def few_labels_warning(labelled: Labelled, enough: int = 30) -> str | None:
    """Advice for tables with few labels: fine-tuning all weights would only learn the noise."""
    if len(labelled) >= enough:
        return None
    return f"Only {len(labelled)} labelled molecules: try --probe, a linear model on frozen vectors, beside it."
