"""The text of `mesomer COMMAND --help`, written from the command's signature and docstring."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from typing import Any

from mesomer.settings import plain
from mesomer.signature import Option, details_of, literals, members, options_of, summary_of

COMMON = (
    ("--config FILE", "Takes settings from a YAML file; options behind it override."),
    ("--print_config", "Prints all settings as YAML, to be given to --config, and stops."),
    ("--json", "Writes one JSON object to stdout and nothing else."),
    ("--debug", "Shows where in the program an error arose."),
    ("--help", "Shows this text."),
)


def _value_word(option: Option) -> str:
    if option.is_switch:
        return ""
    kinds, allowed = members(option.annotation), literals(option.annotation)
    if allowed:
        choices = "|".join(["N"] * (int in kinds) + allowed)
        return choices if len(choices) < 40 else "NAME"
    for kind, word in ((float, "NUMBER"), (int, "N")):
        if kind in kinds:
            return word
    if option.list_item is not None:
        return "A,B,…"
    return "VALUE"


def _left(option: Option) -> str:
    if option.positional:
        return option.spelled
    if option.is_dict:
        return f"{option.spelled}.KEY VALUE"
    return f"{option.spelled} {_value_word(option)}".rstrip()


def _right(option: Option) -> str:
    default = None if option.required else plain(option.default)
    parts = [option.help]
    if option.required and not option.positional:
        parts.append("(required)")
    elif default not in (None, "", [], {}) and default is not False:
        shown = ",".join(str(item) for item in default) if isinstance(default, list) else default
        parts.append(f"(default: {shown})")
    return " ".join(part for part in parts if part)


def _paragraphs(text: str, width: int) -> list[str]:
    """Text wrapped to the width; indented blocks are examples and stay as they are."""
    lines = []
    for block in text.split("\n\n"):
        indented = any(line.startswith(" ") for line in block.splitlines())
        lines += ["", *(block.splitlines() if indented else textwrap.wrap(" ".join(block.split()), width))]
    return lines


def _table(rows: list[tuple[str, str]], width: int) -> list[str]:
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, width - 28) or [""]
        if len(left) > 24:
            lines.append(f"  {left}")
            lines += [f"{'':28}{line}" for line in wrapped]
        else:
            lines.append(f"  {left:<26}{wrapped[0]}".rstrip())
            lines += [f"{'':28}{line}" for line in wrapped[1:]]
    return lines


def command_help(name: str, function: Callable[..., Any]) -> str:
    """The whole help text of one command."""
    width = min(shutil.get_terminal_size().columns, 110)
    options = options_of(function)
    given = " ".join(o.spelled if o.required else f"[{o.spelled}]" for o in options if o.positional)
    parts = [" ".join(f"usage: mesomer {name} {given} [options]".split()), "", summary_of(function)]
    if details := details_of(function):
        parts += _paragraphs(details, width)
    parts.append("")
    parts += _table([(_left(o), _right(o)) for o in options if o.positional], width)
    parts += _table([(_left(o), _right(o)) for o in options if not o.positional], width)
    parts += ["", "common:", *_table(list(COMMON), width)]
    return "\n".join(parts)
