"""Settings as plain data, the form in which they are stored and compared."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def plain(value: Any) -> Any:
    """Settings as JSON and YAML know them: dataclasses become dicts, paths strings, tuples lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return value.item()
    raise TypeError(f"a setting of type {type(value).__name__} cannot be stored")


def options_from(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """The options of a dataclass out of the arguments of a command, which has one of the same name for each."""
    return kind(**{field.name: given[field.name] for field in dataclasses.fields(kind)})


def json_ready(value: Any) -> Any:
    """Plain data as JSON knows it: a number that is none, or infinite, becomes null."""
    if isinstance(value, Mapping):
        return {name: json_ready(item) for name, item in value.items()}
    if isinstance(value, list):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
