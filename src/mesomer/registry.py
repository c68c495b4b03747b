"""Classes known by name, whose files are imported when they are asked for: a new class is one file and one line."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Generic, TypeVar

from mesomer.errors import unknown_name

Base = TypeVar("Base")
Class = TypeVar("Class", bound=type)


class Registry(Generic[Base]):
    """`kind` is what errors call its members; `modules` says which module registers which name."""

    def __init__(self, kind: str, modules: Mapping[str, str]) -> None:
        self.kind, self._modules = kind, dict(modules)
        self._classes: dict[str, type[Base]] = {}

    def register(self, cls: Class) -> Class:
        """Class decorator: makes a class known by its `name`."""
        self._classes[cls.name] = cls  # type: ignore[attr-defined]
        return cls

    def names(self) -> list[str]:
        """The names of the classes that come with the package."""
        return sorted(self._modules)

    def __getitem__(self, name: str) -> type[Base]:
        """The class of that name; its module is imported now."""
        if name not in self._classes:
            if name not in self._modules:
                raise unknown_name(self.kind, name, self._modules)
            importlib.import_module(self._modules[name])
        return self._classes[name]
