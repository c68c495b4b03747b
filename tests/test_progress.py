"""What people see of long work."""

from __future__ import annotations

import io
import time

import pytest

from mesomer import progress
from mesomer.progress import Progress, duration, process_rank


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told to go on."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


def test_short_work_shows_nothing(clock, capsys):
    with Progress(10, "molecules", "embedding") as bar:
        for _ in range(10):
            clock.now += 0.1
            bar.advance()
    assert capsys.readouterr() == ("", "")


def test_plain_lines_every_30_seconds(clock, capsys):
    with Progress(1000, "molecules", "embedding") as bar:
        for _ in range(100):
            clock.now += 1
            bar.advance(10)
        bar.note("loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "embedding: 300 of 1,000 molecules (30%), 10 molecules/s, 1 min 10 s left",
        "embedding: 600 of 1,000 molecules (60%), 10 molecules/s, 40 s left",
        "embedding: 900 of 1,000 molecules (90%), 10 molecules/s, 10 s left",
        "embedding: 1,000 molecules in 1 min 40 s (10 molecules/s)",
    ]


def test_unknown_total_and_note(clock):
    bar = Progress(None, "rows", "reading")
    with bar:
        clock.now += 4
        bar.advance(2)
        bar.note("loss 0.5")
        assert bar.line() == "reading: 2 rows, 0.5 rows/s, loss 0.5"


def test_a_terminal_gets_a_live_line_after_two_seconds(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(100, "molecules", "embedding") as bar:
        clock.now += 1.9
        bar.advance(10)
        assert terminal.getvalue() == ""
        clock.now += 0.1
        bar.advance(10)
        line, give_up = "embedding: 20 of 100 molecules (20%)", time.monotonic() + 5
        while line not in terminal.getvalue() and time.monotonic() < give_up:
            time.sleep(0.05)  # rich draws from a thread of its own
        assert line in terminal.getvalue()


@pytest.mark.parametrize(
    "environment", [{"RANK": "1"}, {"LOCAL_RANK": "1"}, {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}]
)
def test_only_the_first_process_speaks(clock, capsys, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == 1
    with Progress(10, "molecules", "embedding") as bar:
        clock.now += 60
        bar.advance(10)
    assert capsys.readouterr().err == ""


def test_an_interactive_slurm_shell_is_no_distributed_run(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert process_rank() == 0


def test_a_closed_stderr_does_not_stop_the_work(clock, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    with Progress(10, "molecules", "embedding") as bar:
        clock.now += 60
        bar.advance(10)
    assert bar.done == 10


def test_durations():
    assert [duration(s) for s in (0.4, 59, 61, 7500)] == ["0 s", "59 s", "1 min 01 s", "2 h 05 min"]
