"""A pool of worker processes for long work that writes its own result files.

Decided here: processes are started afresh (spawn), so that they behave alike everywhere and inherit no threads; they do
not import the caller's main module, so that `mesomer.prepare(...)` works in a plain script without a main guard; at
most two tasks a worker are under way, so that memory stays constant however long the input is; a worker that dies
(killed by the system for memory, say) is an error that says so and never a hang; a worker whose parent died stops at
its next message.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from mesomer.errors import MesomerError

TASKS_AHEAD = 2
"""Tasks given to one worker at a time: one at work, one waiting."""


def available_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def run_tasks(function: Callable[[Any], Any], tasks: Iterable[Any], workers: int) -> Generator[Any, None, None]:
    """Results of `function(task)` as they come, in no fixed order.

    One worker, or one task, runs in this process; so does everything where this process is a worker itself.
    """
    queue = iter(tasks)
    first = [task for _, task in zip(range(2), queue, strict=False)]
    if workers <= 1 or len(first) < 2 or multiprocessing.current_process().daemon:
        for task in first:
            yield function(task)
        for task in queue:
            yield function(task)
        return
    with _Pool(function, workers) as pool:
        yield from pool.results(first, queue)


class _Pool:
    """Worker processes with one pipe each."""

    def __init__(self, function: Callable[[Any], Any], count: int) -> None:
        self._function, self._count = function, count
        self._processes: dict[Connection, BaseProcess] = {}
        self._under_way: dict[Connection, int] = {}

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in self._processes.items():
            pipe.close()
            if process.is_alive() and self._under_way[pipe]:
                process.terminate()
        for process in self._processes.values():
            process.join()

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
        with _no_main_module():
            process.start()
        theirs.close()
        self._processes[ours], self._under_way[ours] = process, 0
        return ours

    def _send(self, pipe: Connection, task: Any) -> None:
        try:
            pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(pipe) from None
        self._under_way[pipe] += 1

    def _death(self, pipe: Connection) -> MesomerError:
        process = self._processes[pipe]
        process.join(5)
        return MesomerError(
            f"A worker process died (exit code {process.exitcode}).",
            "If memory ran out, use fewer --workers; the same command goes on where this one stopped.",
        )

    def results(self, first: list[Any], queue: Iterator[Any]) -> Iterator[Any]:
        """Deals the tasks and gives what comes back."""
        waiting = list(first)
        more = True
        while True:
            while more:
                if not waiting:
                    task = next(queue, _END)
                    if task is _END:
                        more = False
                        break
                    waiting.append(task)
                if (pipe := self._free_pipe()) is None:
                    break
                self._send(pipe, waiting.pop(0))
            busy = [pipe for pipe, count in self._under_way.items() if count]
            if not busy:
                return
            for ready in wait(busy):
                assert isinstance(ready, Connection)
                try:
                    error, value = ready.recv()
                except (EOFError, ConnectionResetError):
                    raise self._death(ready) from None
                self._under_way[ready] -= 1
                if error is not None:
                    error.add_note(value)
                    raise error
                yield value

    def _free_pipe(self) -> Connection | None:
        """An idle worker, else a new one, else one with a task at work and none waiting."""
        pipe = min(self._under_way, key=self._under_way.__getitem__, default=None)
        if pipe is None or (self._under_way[pipe] and len(self._processes) < self._count):
            return self._start()
        return pipe if self._under_way[pipe] < TASKS_AHEAD else None


_END = object()


@contextmanager
def _no_main_module() -> Iterator[None]:
    # A spawned process imports what sys.modules calls __main__; an empty module has no file to import.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """A worker's life: a task in, its result or its error out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = (None, function(task))
        except Exception as error:
            answer = (_portable(error), traceback.format_exc())
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the pipe, else its text."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
