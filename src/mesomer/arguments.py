"""From the words of a command line to the typed arguments of a command function.

The words are first matched with the command's options (so that a wrong one gets one sentence and the nearest right
one), then jsonargparse converts them to the annotated types and merges the YAML file of `--config`. A bare boolean is a
switch (`--overwrite`, also `--overwrite false`), a list may be written with commas.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesomer.errors import MesomerError
from mesomer.signature import Option, find, literals, options_of, type_words

FLAGS = ("print_config", "json", "debug", "help")
_TRUTH = ("true", "false", "yes", "no")


@dataclass
class Words:
    """A command line after matching: values by key in their order, the config file, the common flags."""

    values: list[tuple[str, str]] = field(default_factory=list)
    config: str | None = None
    flags: set[str] = field(default_factory=set)


def _unknown_option(command: str, name: str, options: Sequence[Option]) -> MesomerError:
    known = [option.name for option in options if not option.positional] + [*FLAGS, "config"]
    plain = name.replace("-", "_")
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    # People forget the prefix of a dotted option: --epochs for --loop.epochs.
    near = [n for n in known if n.rpartition(".")[2] == plain] or [n for n in known if n.startswith(plain)] or near
    hint = f"Did you mean --{near[0]}?" if near else f"See `mesomer {command} --help`."
    return MesomerError(f"`mesomer {command}` has no option --{name}.", hint)


def _value(option: Option, text: str) -> str:
    """The text as jsonargparse reads it: a list with commas becomes a YAML list."""
    if option.list_item is None or text.startswith("[") or text == "null":
        return text
    items = [item.strip() for item in text.split(",")]
    return json.dumps(items, ensure_ascii=False) if option.list_item is str else f"[{', '.join(items)}]"


def match_words(command: str, options: Sequence[Option], words: Sequence[str]) -> Words:
    """Matches each word of the command line with the option that it belongs to."""
    matched = Words()
    waiting = [option for option in options if option.positional]
    upcoming = list(words)[::-1]
    while upcoming:
        word = upcoming.pop()
        if word in ("-h", "--help"):
            matched.flags.add("help")
        elif word.startswith("--") and len(word) > 2:
            name, equals, text = word[2:].partition("=")
            if name in FLAGS and not equals:
                matched.flags.add(name)
                continue
            option = find(options, name)
            if option is None and name != "config":
                raise _unknown_option(command, name, options)
            if not equals:
                if option is not None and option.is_switch:
                    text = upcoming.pop() if upcoming and upcoming[-1].lower() in _TRUTH else "true"
                elif not upcoming or upcoming[-1].startswith("--"):
                    raise MesomerError(f"--{name} needs a value.", f"See `mesomer {command} --help`.")
                else:
                    text = upcoming.pop()
            if option is None:
                matched.config = text
            else:
                key = option.key if name == option.name else name
                matched.values.append((key, _value(option, text)))
        elif word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            raise _unknown_option(command, word.lstrip("-"), options)
        elif waiting:
            option = waiting.pop(0)
            matched.values.append((option.key, word))
        else:
            raise MesomerError(
                f"`mesomer {command}` does not know what to do with {word!r}.",
                "Put a pattern such as 'big/*.parquet' in quotes, and a -- before each option's name.",
            )
    return matched


def _read_config(path: str) -> None:
    """Stops with a sentence if the file of --config is not a YAML mapping."""
    import yaml

    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MesomerError(f"The config file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise MesomerError(f"The config file {path} is not a text file.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise MesomerError(f"The config file {path} is not valid YAML{where}.") from error
    if not isinstance(settings, dict):
        raise MesomerError(f"The config file {path} holds no settings.", "Write one `name: value` a line.")


def _sentence(command: str, options: Sequence[Option], words: Words, problem: str) -> MesomerError:
    """One of jsonargparse's messages as a sentence about the option that it concerns."""
    missing = re.search(r"arguments are required: (\S+?),?(?:\s|$)", problem)
    if missing:
        option = find(options, missing.group(1))
        spelled = option.spelled if option else f"--{missing.group(1)}"
        return MesomerError(f"`mesomer {command}` needs {spelled}.", f"See `mesomer {command} --help`.")
    refused = re.search(r"Option '([^']+)' is not accepted|unrecognized arguments: --(\S+?)=", problem)
    if refused and words.config:
        name = refused.group(1) or refused.group(2)
        return MesomerError(
            f"The config file {words.config} has a setting {name!r} that `mesomer {command}` does not know.",
            _unknown_option(command, name, options).hint.replace("--", ""),
        )
    key = re.search(r'key "([^"]+)"', problem)
    if key is None:
        return MesomerError(f"`mesomer {command}`: {problem.splitlines()[0]}", f"See `mesomer {command} --help`.")
    name = key.group(1)
    given = [(n, text) for n, text in words.values if n == name or n.startswith(f"{name}.")]
    if given:
        name, text = given[-1]
        shown = repr(text)
    else:
        value = re.search(r"(?:Got|Given) value: (.*)", problem)
        shown = f"{value.group(1)!r} as {words.config} says" if value else "what is given"
    option = find(options, name)
    spelled = option.spelled if option and name == option.key else f"--{name}"
    if option is None:
        return MesomerError(f"{spelled} cannot be {shown}.", f"See `mesomer {command} --help`.")
    near = difflib.get_close_matches(text if given else "", literals(option.annotation), n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]}?" if near else f"See `mesomer {command} --help`."
    return MesomerError(f"{spelled} must be {type_words(option.annotation)}, not {shown}.", hint)


def _parser(function: Callable[..., Any]) -> Any:
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(function, as_group=False, fail_untyped=False)
    return parser


def resolve(command: str, function: Callable[..., Any], words: Words) -> dict[str, Any]:
    """The keyword arguments for `function`, typed and complete."""
    import jsonargparse

    parser, arguments = _parser(function), _joined(words)
    try:
        settings = parser.parse_args(arguments)
        settings.pop("config", None)
        return dict(vars(parser.instantiate(settings)))
    except jsonargparse.ArgumentError as error:
        raise _sentence(command, options_of(function), words, str(error)) from error


def config_text(command: str, function: Callable[..., Any], words: Words) -> str:
    """All settings as YAML; required ones that are not given yet stand there as null."""
    import jsonargparse

    caught = io.StringIO()
    try:
        with contextlib.redirect_stdout(caught), contextlib.suppress(SystemExit):
            _parser(function).parse_args([*_joined(words), "--print_config"])
    except jsonargparse.ArgumentError as error:
        raise _sentence(command, options_of(function), words, str(error)) from error
    return caught.getvalue()


def _joined(words: Words) -> list[str]:
    if words.config is None:
        return [f"--{name}={text}" for name, text in words.values]
    _read_config(words.config)
    return [f"--config={words.config}", *(f"--{name}={text}" for name, text in words.values)]
