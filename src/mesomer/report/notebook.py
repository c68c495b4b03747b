"""What a notebook shows of models and molecules: a short card, and a grid of drawn molecules with a few words each.

Plain HTML with its styles beside it, since notebooks strip style sheets and scripts; colours follow the notebook's own
where they can, and molecules lie on white, because RDKit draws in dark ink.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mesomer.report.figures import draw_molecule

_CARD = "border:1px solid #8884;border-radius:6px;padding:.6em 1em;margin:.3em 0;max-width:46em;font-size:90%"
_CELL = "text-align:left;padding:.1em 1em .1em 0;border:0;background:none;vertical-align:top"
_TILE = "display:inline-block;vertical-align:top;margin:.3em;width:200px;text-align:center;font-size:85%"
_PAPER = "background:#fff;border:1px solid #8884;border-radius:6px;height:150px"


class Drawn(NamedTuple):
    """A molecule of a grid."""

    smiles: str | None
    lines: tuple[str, ...] = ()
    """What is written under it."""
    reason: str | None = None
    """Why it cannot be drawn."""


class MoleculeGrid(Sequence[Drawn]):
    """Molecules side by side; a notebook draws them, anything else sees a list."""

    def __init__(self, items: Sequence[Drawn], title: str = "") -> None:
        self.items, self.title = list(items), title

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: Any) -> Any:
        return MoleculeGrid(self.items[at], self.title) if isinstance(at, slice) else self.items[at]

    def __repr__(self) -> str:
        rows = [
            f"  {' · '.join([item.smiles or '(none)', *item.lines, *filter(None, [item.reason])])}" for item in self
        ]
        return "\n".join([self.title or f"{len(self)} molecules", *rows])

    def _repr_html_(self) -> str:
        head = f"<div><b>{html.escape(self.title)}</b></div>" if self.title else ""
        return f"<div>{head}{''.join(_tile(item) for item in self)}</div>"


def _tile(item: Drawn) -> str:
    if item.reason is None and item.smiles is not None:
        picture = draw_molecule(item.smiles, 200, 150)
    else:
        shown = html.escape(item.smiles or "")
        words = f"{html.escape(item.reason or 'empty')}<br><code>{shown}</code>"
        picture = f'<div style="color:#555;padding:3em .5em;overflow:hidden">{words}</div>'
    lines = "<br>".join(html.escape(line) for line in item.lines)
    return f'<div style="{_TILE}"><div style="{_PAPER}">{picture}</div>{lines}</div>'


class Rows(list[Any]):
    """A list of named tuples that a notebook shows as a table (the first fifty)."""

    shown = 50

    def _repr_html_(self) -> str:
        if not self:
            return "<i>none</i>"
        head = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in self[0]._fields)
        body = "".join(
            "<tr>" + "".join(f'<td style="{_CELL}">{html.escape(str(value))}</td>' for value in row) + "</tr>"
            for row in self[: self.shown]
        )
        more = f"<div>… and {len(self) - self.shown:,} more</div>" if len(self) > self.shown else ""
        return f"<table><tr>{head}</tr>{body}</table>{more}"


def card(title: str, facts: Mapping[str, Any]) -> str:
    """A titled list of facts; those that are None are left out."""
    rows = "".join(
        f'<tr><th style="{_CELL}">{html.escape(name)}</th><td style="{_CELL}">{html.escape(str(value))}</td></tr>'
        for name, value in facts.items()
        if value is not None
    )
    return f'<div style="{_CARD}"><b>{html.escape(title)}</b><table style="border:0">{rows}</table></div>'


def plain_card(title: str, facts: Mapping[str, Any]) -> str:
    """The same as plain text."""
    return "\n".join([title, *(f"  {name}: {value}" for name, value in facts.items() if value is not None)])
