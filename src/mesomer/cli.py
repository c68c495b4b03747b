"""The command line: a table of commands, and what every command has in common.

A command is a plain typed function; its docstring is the help. It returns a dict whose "text" goes to stdout, or with
--json the whole of it. Exit codes: 0 done; 2 a user's error (one sentence and a hint on stderr); 130 interrupted; 1 a
fault of Mesomer's own, which asks for a report. --debug shows the traceback of any of them.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from types import FrameType
from typing import Any

from mesomer.errors import MesomerError, unknown_name

COMMANDS = {
    "quickstart": "mesomer.commands.quickstart:quickstart",
    "check": "mesomer.commands.check:check",
    "prepare": "mesomer.commands.prepare:prepare",
    "pretrain": "mesomer.commands.pretrain:pretrain",
    "finetune": "mesomer.commands.finetune:finetune",
    "study": "mesomer.commands.study:study",
    "predict": "mesomer.commands.predict:predict",
    "embed": "mesomer.commands.embed:embed",
    "import": "mesomer.commands.import_weights:import_weights",
    "models": "mesomer.commands.models:models",
    "info": "mesomer.commands.info:info",
}
RESUMABLE = ("prepare", "pretrain", "finetune", "study")
DONE, FAULT, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


class Terminated(BaseException):
    """SIGTERM outside the loops that save their state; a BaseException so that open files are still tidied up."""


def load_command(name: str) -> Callable[..., dict[str, Any] | None]:
    """The function of a command."""
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    module, _, function = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(module), function)


@contextmanager
def _terminable() -> Iterator[None]:
    """While a command runs, SIGTERM ends it in order, as control-C does."""
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)  # a forked worker dies as usual
        os.kill(os.getpid(), number)

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # Python allows handlers in the main thread alone
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:  # the reader has seen enough, as in `mesomer models | head -1`; the work itself is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json_text(result: dict[str, Any]) -> str:
    """One JSON object; numbers that JSON does not know (NaN, infinity) become null."""
    import json

    from mesomer.settings import json_ready, plain

    return json.dumps(json_ready(plain(result)), ensure_ascii=False)


def _tell(result: dict[str, Any] | None, as_json: bool) -> None:
    from mesomer.progress import process_rank

    if process_rank() != 0:
        return
    if as_json:
        _print(_json_text({key: value for key, value in (result or {}).items() if key != "text"}))
    elif result and result.get("text"):
        _print(result["text"])


def _run(name: str, words: Sequence[str]) -> int:
    from mesomer import arguments
    from mesomer.signature import options_of

    function = load_command(name)
    matched = arguments.match_words(name, options_of(function), words)
    if "help" in matched.flags:
        from mesomer.usage import command_help

        _print(command_help(name, function))
        return DONE
    if "print_config" in matched.flags:
        _print(arguments.config_text(name, function, matched), end="")
        return DONE
    settings = arguments.resolve(name, function, matched)
    as_json = "json" in matched.flags
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = function(**settings)
    _tell(result, as_json)
    return DONE


def _overview() -> str:
    """The text of `mesomer --help`: the first line of each command's docstring."""
    lines = ["usage: mesomer COMMAND [options]", ""]
    lines += ["Molecular representations from unlabelled molecules; property predictions from few labels.", ""]
    for name in COMMANDS:
        first, _, _ = (load_command(name).__doc__ or "").partition("\n")
        lines.append(f"  {name:<12}{first}")
    lines += ["", "mesomer COMMAND --help tells all about one command; mesomer --version prints the version."]
    return "\n".join(lines)


def _top(words: Sequence[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        if len(words) > 1 and words[0] == "help":
            return _run(words[1], ["--help"])
        _print(_overview())
        return DONE
    if words[0] == "--version":
        from mesomer import __version__

        _print(f"mesomer {__version__}")
        return DONE
    if words[0].startswith("-"):
        raise MesomerError(f"There is no option {words[0]} before a command.", "See `mesomer --help`.")
    return _run(words[0], words[1:])


def _complain(message: str, hint: str, as_json: bool) -> None:
    from mesomer.progress import process_rank

    rank = process_rank()
    who = "mesomer" if rank == 0 else f"mesomer (process {rank})"
    print(f"{who}: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
    if as_json and rank == 0:
        _print(_json_text({"error": message, "hint": hint}))


def _explain(error: BaseException, command: str = "") -> tuple[int, str, str]:
    """Exit code, sentence and hint for whatever ended a command."""
    from mesomer.run import Interrupted

    if isinstance(error, MesomerError):
        return USER_ERROR, error.message, error.hint
    if isinstance(error, Interrupted):
        return INTERRUPTED, str(error) or "Interrupted; the state is saved.", "The same command goes on from there."
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        kept = "What was saved before is kept; the same command goes on from there."
        return INTERRUPTED, "Interrupted.", kept if command in RESUMABLE else ""
    if isinstance(error, MemoryError):
        return USER_ERROR, "There is not enough memory.", "Give less at a time (fewer workers, smaller batches)."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return USER_ERROR, f"{error.filename}: {error.strerror}.", "Check the path."
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return FAULT, f"A fault in Mesomer, not in your input: {text}.", "Please report it with what --debug shows."


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command line (by default this process's own); returns the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    # Arrow's own allocator keeps what it was given beside what the C library keeps: peaks grew with the table
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        with _terminable():
            return _top(words)
    except (Exception, KeyboardInterrupt, Terminated) as error:
        if "--debug" in words:
            import traceback

            traceback.print_exc()
        code, message, hint = _explain(error, next(iter(words), ""))
        _complain(message, hint, "--json" in words)
        return code
