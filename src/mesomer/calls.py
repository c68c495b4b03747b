"""Calls from Python instead of a shell: arguments are checked against their annotations, and errors name arguments.

Decided: a value that means the same is taken (NumPy's numbers, a path for a text, one name for a list of names, the
number 32 where "32" is one of the words); everything else stops at once with the sentence that a shell's user gets.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from mesomer.errors import MesomerError
from mesomer.signature import literals, members, type_words

_NO_WORDS: Mapping[str, str] = {}
Constructor = TypeVar("Constructor", bound=Callable[..., None])


class ArgumentError(MesomerError, TypeError):
    """Arguments that a function does not have: one sentence for people, and the TypeError that any function raises."""


def checked(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the annotations of `function` have them; those without an annotation stay as they are.

    Raises:
        MesomerError: An argument is of another type; the sentence names it as an option (see `python_words`).
    """
    hints = get_type_hints(function)
    return {name: _fitted(name, hints[name], value) if name in hints else value for name, value in given.items()}


@contextmanager
def python_words(other_names: Mapping[str, str] = _NO_WORDS) -> Iterator[None]:
    """Errors name arguments instead of the options of a command: `epochs` for `--epochs`."""
    try:
        yield
    except MesomerError as error:
        error.message, error.hint = in_python(error.message, other_names), in_python(error.hint, other_names)
        error.args = (error.message,)
        raise


def in_python(text: str, other_names: Mapping[str, str] = _NO_WORDS) -> str:
    """A sentence with the names of arguments in place of options, and the function in place of the command."""
    text = re.sub(r"\bmesomer check\b(?! FILE)", "mesomer.check", text)
    return re.sub(r"--([a-z]\w*)", lambda found: other_names.get(found[1], found[1]), text)


def callable_from_python(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command as a function for programs."""
    signature = inspect.signature(command)
    by_name = {
        name for name, parameter in signature.parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }

    @functools.wraps(command)
    def call(*args: Any, **kwargs: Any) -> Any:
        with python_words():
            check_call(command.__name__, signature, args, kwargs)
            named = checked(command, {name: value for name, value in kwargs.items() if name in by_name})
            return command(*args, **kwargs | named)

    return call


def named_in_errors(constructor: Constructor) -> Constructor:
    """A constructor, maybe one that classes share: what is wrong with its arguments is said of the class called."""
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        check_call(type(self).__name__, signature, (self, *args), kwargs)
        constructor(self, *args, **kwargs)

    return cast(Constructor, call)


def check_call(owner: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Stops at arguments that do not fit the signature of `owner`, with the nearest name that it has."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        known = [name for name in signature.parameters if name != "self"]
        unknown = [name for name in kwargs if name not in known]
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.6) if unknown else []
        hint = "Give them by name." if "positional" in str(error) else ""
        raise ArgumentError(f"{owner}: {error}.", f"Did you mean {near[0]}?" if near else hint) from None


class _Unfit(Exception):
    """A value is of none of the types of an annotation."""


def _fitted(name: str, annotation: Any, value: Any) -> Any:
    try:
        return _as(annotation, value)
    except _Unfit:
        near = difflib.get_close_matches(str(value), literals(annotation), n=1, cutoff=0.4)
        raise MesomerError(
            f"--{name} must be {type_words(annotation)}, not {value!r}.", f"Did you mean {near[0]}?" if near else ""
        ) from None


def _as(annotation: Any, value: Any) -> Any:
    if type(value).__module__ == "numpy" and not getattr(value, "shape", ()) and hasattr(value, "item"):
        value = value.item()
    for kind in members(annotation):
        try:
            return _as_kind(kind, value)
        except _Unfit:
            continue
    raise _Unfit


def _as_kind(kind: Any, value: Any) -> Any:
    origin = get_origin(kind) or kind
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if origin is Literal:
        word = str(value) if is_number else value
        return word if word in get_args(kind) else _refuse()
    if origin in (list, tuple, Sequence):
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) and not hasattr(items, "tolist"):
            _refuse()
        return [_as((get_args(kind) or (Any,))[0], item) for item in items]
    simple = {
        int: is_number and isinstance(value, int),
        float: is_number,
        bool: isinstance(value, bool),
        str: isinstance(value, str | os.PathLike),
        type(None): value is None,
    }
    return value if simple.get(origin, True) else _refuse()


def _refuse() -> Any:
    raise _Unfit
