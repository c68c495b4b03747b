"""Work in several processes with one thread each, or in this one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mesomer.data.workers import run_tasks

Given = TypeVar("Given")
Found = TypeVar("Found")
_THREADS = "OMP_NUM_THREADS"


def in_processes(function: Callable[[Given], Found], tasks: Iterable[Given], jobs: int) -> Iterator[Found]:
    """Results as they come; of several processes each gets one thread, a single job runs here."""
    with _one_thread(jobs > 1):
        yield from run_tasks(function, tasks, jobs)


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """Processes started meanwhile read it from the environment: their libraries know no other way."""
    before = os.environ.get(_THREADS)
    if wanted:
        os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if wanted and before is None:
            del os.environ[_THREADS]
        elif wanted and before is not None:
            os.environ[_THREADS] = before
