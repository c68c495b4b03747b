"""Worker processes: all results come, errors and deaths are told, plain scripts need no main guard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from mesomer.data.workers import run_tasks
from mesomer.errors import MesomerError


def square(task: int) -> int:
    return task * task


def refuse(task: int) -> int:
    if task == 5:
        raise MesomerError("five", "is refused")
    return task


def die(task: int) -> int:
    if task == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def process(task: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_gives_its_result(workers):
    assert sorted(run_tasks(square, range(40), workers)) == sorted(n * n for n in range(40))
    assert list(run_tasks(square, [], workers)) == []


def test_tasks_are_taken_as_they_are_needed():
    taken = []

    def tasks():
        for number in range(1000):
            taken.append(number)
            yield number

    results = run_tasks(square, tasks(), 2)
    next(results)
    assert len(taken) <= 8
    results.close()


def within(task: int) -> set[int]:
    return {os.getpid()} ^ set(run_tasks(process, range(4), 2))


def test_a_worker_has_no_workers_of_its_own():
    assert list(run_tasks(within, range(3), 2)) == [set()] * 3


def test_one_task_needs_no_process():
    assert list(run_tasks(process, [0], 4)) == [os.getpid()]
    assert os.getpid() not in set(run_tasks(process, range(4), 2))


def test_an_error_in_a_worker_keeps_its_hint():
    with pytest.raises(MesomerError) as caught:
        list(run_tasks(refuse, range(20), 2))
    assert (caught.value.message, caught.value.hint) == ("five", "is refused")
    assert "refuse" in caught.value.__notes__[0]


def test_a_dead_worker_is_told():
    with pytest.raises(MesomerError, match=r"worker process died.*--workers"):
        list(run_tasks(die, range(20), 2))


def test_no_thread_or_process_is_left():
    before = threading.active_count()
    results = run_tasks(square, range(100), 2)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_a_plain_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import operator\nfrom mesomer.data.workers import run_tasks\n"
                      "print(sorted(run_tasks(operator.neg, range(6), 2)))\n")  # fmt: skip
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[0] == "[-5, -4, -3, -2, -1, 0]", done.stderr
