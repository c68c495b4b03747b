"""Cross-validation rules: `cv`, `scaffold_cv`, `stratified_cv`.

Every molecule is in the test part of exactly one fold; a tenth of what remains is the validation part, drawn by the
same rule. Duplicates and stereoisomers (one canonical SMILES without stereo) stay in one fold. Sizes are as even as the
groups allow: groups go, in seeded order, into the currently smallest fold, in `scaffold_cv` those above half a fold
first. `stratified_cv` deals the rarest class first (iterative stratification, Sechidis et al. 2011); labels with many
values are cut into ten quantile bins.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from mesomer.data.splits.base import Draft, Groups, Request, group_rows, join_groups
from mesomer.errors import InputError, MesomerError

VALID_SHARE = 0.1
_WIDEST_SHARE = 0.25
_MAX_CLASSES = 20
_BINS = 10


def cv(request: Request) -> list[Draft]:
    """K folds of molecules."""
    return _group_folds(request, request.molecules.units, "molecule")


def scaffold_cv(request: Request) -> list[Draft]:
    """K folds of scaffolds without chirality."""
    scaffolds = group_rows(request.molecules.scaffolds(False))
    groups = join_groups(scaffolds, request.molecules.units, request.count)
    return _group_folds(request, groups, "scaffold group")


def stratified_cv(request: Request) -> list[Draft]:
    """K folds with the classes of every label spread evenly."""
    units = request.molecules.units
    _need_groups(len(units), request.folds, "molecule")
    per_row, names = class_indicators(request.labels, request.count)
    indicators = np.stack([per_row[unit].sum(axis=0) for unit in units])
    sizes = np.array([len(unit) for unit in units])
    order = _rng("stratified", request.seed)
    fold_of = stratify(indicators, sizes, np.full(request.folds, 1 / request.folds), order)
    short = [name for name, total in zip(names, per_row.sum(axis=0), strict=True) if total < request.folds]
    notes = (f"fewer molecules than folds have {_listed(short)}",) if short else ()
    drafts = []
    for fold in range(request.folds):
        inside = np.flatnonzero(fold_of != fold)
        if inside.size < 2 or inside.size == fold_of.size:
            raise _too_few(request.folds, "molecule", len(units))
        inner = stratify(
            indicators[inside],
            sizes[inside],
            np.array([1 - VALID_SHARE, VALID_SHARE]),
            _rng("inner", request.seed, fold),
        )
        if not inner.any():
            inner[-1] = 1
        drafts.append(
            Draft(
                _rows(units, inside[inner == 0]),
                _rows(units, inside[inner == 1]),
                _rows(units, np.flatnonzero(fold_of == fold)),
                notes,
            )
        )
    return drafts


def deal(groups: Groups, folds: int, seed: int, count: int) -> list[Groups]:
    """Shuffles the groups, takes those above half a fold first, puts each into the currently smallest fold."""
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    shuffled.sort(key=lambda group: len(group) <= count / (2 * folds))
    dealt: list[Groups] = [[] for _ in range(folds)]
    sizes = [0] * folds
    for group in shuffled:
        smallest = min(range(folds), key=sizes.__getitem__)
        dealt[smallest].append(group)
        sizes[smallest] += len(group)
    return dealt


def hold_out(groups: Groups, share: float, order: random.Random) -> tuple[list[int], list[int]]:
    """Rows that stay and rows held out: groups in random order, as long as they fit into `share` of the rows.

    Where no group fits, the smallest one is held out, unless that takes half of the rows or more: then none.
    """
    count = sum(map(len, groups))
    room = max(1, round(share * count))
    shuffled = list(groups)
    order.shuffle(shuffled)
    kept: list[int] = []
    held: list[int] = []
    for group in shuffled:
        (held if len(held) + len(group) <= room else kept).extend(group)
    if not held and shuffled:
        smallest = min(shuffled, key=len)
        if 2 * len(smallest) < count:
            held = list(smallest)
            kept = [at for group in shuffled if group is not smallest for at in group]
    return kept, held


def draw_groups(groups: Groups, share: float, order: random.Random, leave: int = 1) -> tuple[list[int], list[int]]:
    """As `hold_out`, but another draw where every order would hold out the same groups.

    That is so where the groups that fit into `share` of the rows all fit at once, or none does. Then any groups up to
    a quarter of the rows (or a quarter more than the smallest, where none is as small) are held out in random order
    while that brings the part nearer to its share: the first of them always, none of more than half of the rows. At
    least `leave` groups stay.
    """
    count = sum(map(len, groups))
    room = max(1, round(share * count))
    if sum(len(group) for group in groups if len(group) <= room) > room:
        return hold_out(groups, share, order)
    widest = max(round(_WIDEST_SHARE * count), round((1 + _WIDEST_SHARE) * min(map(len, groups))), room)
    shuffled = list(groups)
    order.shuffle(shuffled)
    kept: list[int] = []
    held: list[int] = []
    left = len(groups) - leave
    for group in shuffled:
        nearer = not held or abs(len(held) + len(group) - room) < abs(len(held) - room)
        taken = nearer and left > 0 and len(group) <= min(widest, count / 2)
        (held if taken else kept).extend(group)
        left -= taken
    return kept, held


def class_indicators(labels: Any, count: int) -> tuple[np.ndarray, list[str]]:
    """0/1 matrix [molecules, classes of all tasks] and the names of its columns; missing labels belong nowhere."""
    table = np.array(labels, dtype=object)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or table.shape[0] != count:
        raise ValueError(f"labels of shape {table.shape} for {count} molecules")
    columns, names = [], []
    for task in range(table.shape[1]):
        values = [None if _missing(value) else value for value in table[:, task]]
        for name, members in _classes(values):
            columns.append(members)
            names.append(f"class {name}" if table.shape[1] == 1 else f"class {name} of target {task + 1}")
    if not columns:
        raise InputError("No molecule has a label to stratify by.", "Choose --split cv.")
    return np.stack(columns, axis=1).astype(np.int64), names


def stratify(indicators: np.ndarray, sizes: np.ndarray, shares: np.ndarray, order: random.Random) -> np.ndarray:
    """The part of every unit: the rarest class is dealt first, each of its units to the part that lacks it most."""
    units = list(range(len(sizes)))
    order.shuffle(units)
    sequence = np.array(units, dtype=np.int64)
    part_of = np.full(len(sizes), -1, dtype=np.int64)
    wanted_rows = shares * sizes.sum()
    wanted = shares[:, None] * indicators.sum(axis=0)[None, :]
    remaining = indicators.sum(axis=0).astype(float)

    def assign(unit: int, lack: np.ndarray) -> None:
        best = np.flatnonzero(lack >= lack.max() - 1e-9)
        part = int(best[np.argmax(wanted_rows[best])])
        part_of[unit] = part
        wanted_rows[part] -= sizes[unit]
        wanted[part] -= indicators[unit]
        np.subtract(remaining, indicators[unit], out=remaining)

    while (remaining > 0).any():
        rarest = int(np.argmin(np.where(remaining > 0, remaining, np.inf)))
        for unit in sequence[(indicators[sequence, rarest] > 0) & (part_of[sequence] < 0)]:
            assign(int(unit), wanted[:, rarest])
    for unit in sequence[part_of[sequence] < 0]:
        assign(int(unit), wanted_rows)
    return part_of


def _group_folds(request: Request, groups: Groups, kind: str) -> list[Draft]:
    _need_groups(len(groups), request.folds, kind)
    dealt = deal(groups, request.folds, request.seed, request.count)
    notes = _size_notes([sum(map(len, fold)) for fold in dealt], max(map(len, groups)), kind)
    drafts = []
    for fold, inside in enumerate(dealt):
        rest = [group for other, content in enumerate(dealt) if other != fold for group in content]
        train, valid = hold_out(rest, VALID_SHARE, _rng("inner", request.seed, fold))
        drafts.append(Draft(train, valid, [at for group in inside for at in group], notes))
    return drafts


def _size_notes(sizes: list[int], largest: int, kind: str) -> tuple[str, ...]:
    count = sum(sizes)
    notes = []
    if max(sizes) > 1.1 * min(sizes) + 1:
        notes.append("fold sizes " + ", ".join(map(str, sizes)))
    if largest > count / (2 * len(sizes)):
        notes.append(f"the largest {kind} holds {largest} of {count} rows, more than half a fold")
    return tuple(notes)


def _need_groups(groups: int, folds: int, kind: str) -> None:
    if groups < max(folds, 3):
        raise _too_few(folds, kind, groups)


def _too_few(folds: int, kind: str, groups: int) -> MesomerError:
    return InputError(
        f"{groups} different {kind}s are too few for {folds} folds with a validation part.",
        f"Give --folds a number up to {groups}, or more molecules." if groups >= 3 else "More molecules are needed.",
    )


def _rng(*parts: str | int) -> random.Random:
    # Seeded by text, so that the draws for fold 1 of seed 2 and fold 2 of seed 1 have nothing in common.
    return random.Random(" ".join(map(str, parts)))


def _rows(units: Groups, chosen: np.ndarray) -> list[int]:
    return [at for unit in chosen for at in units[unit]]


def _missing(value: Any) -> bool:
    return value is None or value == "" or value != value


def _classes(values: Sequence[Any]) -> list[tuple[str, np.ndarray]]:
    """Name and membership of every class; numbers with many values become quantile bins."""
    distinct = sorted({value for value in values if value is not None}, key=lambda value: (str(type(value)), value))
    if len(distinct) <= _MAX_CLASSES or any(isinstance(value, str) for value in distinct):
        return [
            (
                f"{value:g}" if isinstance(value, float) else str(value),
                np.array([item is not None and item == value for item in values]),
            )
            for value in distinct
        ]
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, numbers, side="right")
    return [(f"in bin {at + 1}", (bins == at) & ~np.isnan(numbers)) for at in range(len(edges) + 1)]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
