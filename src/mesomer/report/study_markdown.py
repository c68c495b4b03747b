"""The page of a study as text in Markdown: the values of `study.html` in its order, without its figures.

Decided: tables are those of GitHub's Markdown, which most viewers know. Names come from the user's table, so whatever
Markdown or HTML would take for a sign of its own is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from mesomer.machine import versions

if TYPE_CHECKING:
    from mesomer.report.study_tables import Table

_SIGNS = re.compile(r"[\\`*\[\]<>|&$~]|(?<![^\W_])_|_(?![^\W_])")
"""Signs that mean something anywhere; an underscore inside a word does not."""
_TABLES = ("arms", "twin", "references", "own_twins", "targets", "zones", "others")
"""Of each kind of split, in the order of the page."""


def markdown_page(values: Mapping[str, Any]) -> str:
    """The page."""
    parts = [f"# {plain(values['title'])}", f"**{plain(values['sentence'])}**", *map(plain, values["below"])]
    if values["cautions"]:
        parts += ["## Read this with it", _items(values["cautions"])]
    for split in values["splits"]:
        parts += [f"## {plain(split['title'])}", *_tables(split[name] for name in _TABLES)]
        parts += map(plain, split["notes"])
    parts.append("## Learning curve")
    for curve in values["curves"]:
        parts += [f"### {plain(curve['title'])}", *_tables([curve["table"]])]
    if not values["curves"]:
        parts.append(values["no_curve"])
    parts += ["## Molecules that the pre-training had seen", *map(plain, values["overlap_lines"])]
    parts += [*_checks(values["overlap_checks"]), *_tables(values["overlap_tables"])]
    parts += ["## What is in the data", _facts(values["data"])]
    if values["checks"] is None:
        parts.append(values["no_checks"])
    else:
        parts += _checks(values["checks"]) or [values["nothing_found"]]
    parts += ["## Cost", _facts(values["costs"])]
    parts += ["## Planned beforehand", *map(plain, values["pilot_lines"]), *_tables([values["pilot"]])]
    parts += ["## Methods paragraph", plain(values["method"])]
    parts += ["## Where every number lies", _facts(values["files"]), *(f"    {line}" for line in values["next"])]
    parts.append(f"Written by Mesomer {plain(versions().get('mesomer', 'source'))} on {date.today().isoformat()}.")
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text in one line that Markdown shows as it is."""
    return _SIGNS.sub(lambda sign: "\\" + sign[0], " ".join(str(text).split()))


def markdown_table(table: Table) -> str:
    """The caption, and below it the table, numbers to the right."""
    head, rows = ([plain(cell) for cell in table.head], [[plain(cell) for cell in row] for row in table.rows])
    rule = [":--" if at < table.text else "--:" for at in range(len(head))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]
    return plain(table.caption) + "\n\n" + "\n".join(lines)


def _tables(tables: Iterable[Table | None]) -> list[str]:
    return [markdown_table(table) for table in tables if table]


def _items(lines: Sequence[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {plain(label)}: {plain(value)}" for label, value in pairs)


def _checks(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each note, and the rows and SMILES that the page draws."""
    said = []
    for check in checks:
        said.append(f"**{plain(check['heading'])}.** {plain(check['sentence'])}")
        drawn = [": ".join(molecule["lines"]) for molecule in check["molecules"]]
        if drawn:
            said.append(_items(drawn))
        if check["more"]:
            said.append(plain(check["more"]))
    return said
