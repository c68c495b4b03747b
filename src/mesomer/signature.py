"""What a command function's signature and docstring say of its options: names, kinds, words for types, help lines.

A parameter before the `*` is given by position, the others by name. A dataclass parameter gives one dotted option for
each of its fields, a dict parameter takes any `--name.key value`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

REQUIRED = inspect.Parameter.empty
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One setting of a command; `key` is the parameter, dotted for a field of a dataclass."""

    key: str
    annotation: Any
    default: Any
    help: str
    positional: bool = False

    @property
    def name(self) -> str:
        """The key without the underscores that keep parameters apart from Python's own words (`from_`)."""
        return ".".join(part.rstrip("_") for part in self.key.split("."))

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is REQUIRED

    @property
    def spelled(self) -> str:
        """How people write it: `INPUT` or `--output`."""
        return self.name.upper() if self.positional else f"--{self.name}"

    @property
    def is_switch(self) -> bool:
        """Whether the bare name means true."""
        return bool in members(self.annotation)

    @property
    def is_dict(self) -> bool:
        """Whether it takes `--name.key value` for any key."""
        return any(_origin(kind) in (dict, Mapping) for kind in members(self.annotation))

    @property
    def list_item(self) -> Any:
        """The type of its items if it is a list that may be written with commas, else None."""
        kinds = [kind for kind in members(self.annotation) if kind is not type(None)]
        if len(kinds) == 1 and _origin(kinds[0]) in (list, tuple, Sequence):
            return (get_args(kinds[0]) or (str,))[0]
        return None


def _origin(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union; of any other type, itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def literals(annotation: Any) -> list[str]:
    """The words that a Literal (alone or in a union) allows."""
    return [str(value) for kind in members(annotation) if get_origin(kind) is Literal for value in get_args(kind)]


def type_words(annotation: Any) -> str:
    """A type in words that a chemist reads: `a whole number or auto`."""
    words = []
    for kind in members(annotation):
        if kind in _WORDS:
            words.append(_WORDS[kind])
        elif get_origin(kind) is Literal:
            allowed = literals(kind)
            words.append(allowed[0] if len(allowed) == 1 else "one of " + ", ".join(allowed))
        elif _origin(kind) in (list, tuple, Sequence):
            items = [item for item in get_args(kind) if item is not Ellipsis]
            count = f"{len(items)} " if _origin(kind) is tuple and Ellipsis not in get_args(kind) else ""
            plural = {int: "whole numbers", float: "numbers"}.get(items[0] if items else str, "words")
            words.append(f"a list of {count}{plural}")
        elif _origin(kind) in (dict, Mapping):
            words.append("names with values")
        elif isinstance(kind, type) and hasattr(kind, "__fspath__"):
            words.append("a path")
        else:
            words.append(f"of type {getattr(kind, '__name__', kind)}")
    return " or ".join(words)


def described(owner: Any) -> dict[str, str]:
    """The help line of each parameter or field, from the Args or Attributes of a Google-style docstring."""
    lines: dict[str, str] = {}
    name, inside = "", False
    for line in (inspect.getdoc(owner) or "").splitlines():
        if line and not line.startswith(" "):
            inside = line in ("Args:", "Attributes:")
        elif inside and (entry := re.fullmatch(r"    (\w+)(?: \([^)]*\))?: ?(.*)", line)):
            name = entry.group(1)
            lines[name] = entry.group(2).strip()
        elif inside and name and line.strip():
            lines[name] = f"{lines[name]} {line.strip()}".strip()
    return lines


def details_of(owner: Any) -> str:
    """What the docstring says between its first line and its first section."""
    text = (inspect.getdoc(owner) or "").partition("\n")[2]
    return re.split(r"^[A-Z]\w+:$", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def _dataclass_of(annotation: Any) -> Any:
    return next(
        (kind for kind in members(annotation) if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None
    )


def _fields(owner: Any, prefix: str, instance: Any) -> Iterator[Option]:
    hints, lines = get_type_hints(owner), described(owner)
    for field in dataclasses.fields(owner):
        if not field.init:
            continue
        default: Any = REQUIRED
        if dataclasses.is_dataclass(instance):
            default = getattr(instance, field.name)
        elif field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield from _expand(f"{prefix}.{field.name}", hints[field.name], default, lines.get(field.name, ""))


def _expand(name: str, annotation: Any, default: Any, line: str, positional: bool = False) -> Iterator[Option]:
    nested = _dataclass_of(annotation)
    if nested is None:
        yield Option(name, annotation, default, line, positional)
    else:
        yield from _fields(nested, name, default)


def options_of(function: Callable[..., Any]) -> list[Option]:
    """All options of a command in the order of its signature."""
    hints, lines = get_type_hints(function), described(function)
    return [
        option
        for name, parameter in inspect.signature(function).parameters.items()
        for option in _expand(
            name,
            hints.get(name, str),
            parameter.default,
            lines.get(name, ""),
            positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
        )
    ]


def summary_of(function: Callable[..., Any]) -> str:
    """The first sentence of the docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def find(options: Iterable[Option], name: str) -> Option | None:
    """The option that `name` sets: its own name, or a key below a dict option."""
    for option in options:
        if name in (option.name, option.key) or (option.is_dict and name.startswith(f"{option.name}.")):
            return option
    return None
