"""Rules that a column of the table decides: `column` (a published or in-house split) and `time`.

`column` reads the part of every row: train, valid (validation, val, dev) or test, in any case. Without a validation
part, a tenth of the training part is drawn by the seed, duplicates and stereoisomers together.
`time` trains on the oldest rows and tests on the newest. Rows of one time stay together, so the cuts lie at the changes
of time that are nearest to 80 % and 90 % of the rows. Times are numbers (years) or ISO dates.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from mesomer.data.splits.base import Draft, Request, group_rows
from mesomer.data.splits.folds import VALID_SHARE, hold_out
from mesomer.errors import MesomerError

_WORDS = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_SHOWN = 3


def column(request: Request) -> list[Draft]:
    """The parts as the column gives them."""
    parts: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for at, part in enumerate(read_parts(_values(request), request.column_name, request.where)):
        parts[part].append(at)
    for part in ("train", "test"):
        if not parts[part]:
            raise MesomerError(
                f"Column {request.column_name!r} puts no molecule into {part}.",
                "It must hold both train and test; --split_column names another column.",
            )
    if parts["valid"]:
        return [Draft(parts["train"], parts["valid"], parts["test"], ("one split",))]
    inside = set(parts["train"])
    units = [kept for unit in request.molecules.units if (kept := [at for at in unit if at in inside])]
    train, valid = hold_out(units, VALID_SHARE, random.Random(f"column {request.seed}"))
    notes = ("one test part", f"validation: {len(valid)} of the {len(inside)} training molecules, drawn by the seed")
    return [Draft(train, valid, parts["test"], notes)]


def time(request: Request) -> list[Draft]:
    """The oldest rows train, the newest test."""
    values = _values(request)
    times = read_times(values, request.column_name, request.where)
    order = sorted(range(len(times)), key=times.__getitem__)
    groups = [[order[at] for at in group] for group in group_rows([times[at] for at in order])]
    if len(groups) < 3:
        raise MesomerError(
            f"Column {request.column_name!r} holds {len(groups)} different times; a time split needs three or more.",
            "Choose another column with --split_column, or --split column for ready-made parts.",
        )
    ends = [len(groups[0])]
    for group in groups[1:]:
        ends.append(ends[-1] + len(group))
    count = len(times)
    first = min(range(len(ends) - 2), key=lambda at: abs(ends[at] - request.fractions[0] * count))
    cut = (request.fractions[0] + request.fractions[1]) * count
    second = min(range(first + 1, len(ends) - 1), key=lambda at: abs(ends[at] - cut))
    newest, from_test = values[groups[first][0]], values[groups[second + 1][0]]
    note = f"train up to {newest}, test from {from_test}"
    train, valid, test = order[: ends[first]], order[ends[first] : ends[second]], order[ends[second] :]
    return [Draft(train, valid, test, ("one split", note))]


def read_parts(values: Sequence[Any], name: str, where: Callable[[int], str]) -> list[str]:
    """`train`, `valid` or `test` for every cell; other words are an error that shows the first of them."""
    parts = [_WORDS.get(str(value).strip().lower()) for value in values]
    unknown = [(at, value) for at, value in enumerate(values) if parts[at] is None]
    if unknown:
        shown = ", ".join(f"{_cell(value)} in {where(at)}" for at, value in unknown[:_SHOWN])
        raise MesomerError(
            f"Column {name!r} must say train, valid or test for every molecule; "
            f"{len(unknown)} of {len(values)} differ: {shown}.",
            "Mend the column or name another one with --split_column.",
        )
    return [part for part in parts if part is not None]


def read_times(values: Sequence[Any], name: str, where: Callable[[int], str]) -> list[float]:
    """Numbers or ISO dates as numbers that sort by time."""
    readers = (_number, _date)
    for reader in readers:
        times = [reader(value) for value in values]
        if all(time is not None for time in times):
            return [time for time in times if time is not None]
    counts = [sum(reader(value) is not None for value in values) for reader in readers]
    best = readers[counts.index(max(counts))]
    bad = [(at, value) for at, value in enumerate(values) if best(value) is None]
    shown = ", ".join(f"{_cell(value)} in {where(at)}" for at, value in bad[:_SHOWN])
    raise MesomerError(
        f"Column {name!r} must hold a number or an ISO date (2020-05-31) for every molecule; "
        f"{len(bad)} of {len(values)} do not: {shown}.",
        "Mend the column or name another one with --split_column.",
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _date(value: Any) -> float | None:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _values(request: Request) -> list[Any]:
    if request.column is None:
        raise MesomerError("This split needs a column of the table.", "Name it with --split_column.")
    if len(request.column) != request.count:
        raise ValueError(f"{len(request.column)} column values for {request.count} molecules")
    return list(request.column)


def _cell(value: Any) -> str:
    text = "" if value is None or value != value else str(value)
    return repr(text) if text.strip() else "nothing"
