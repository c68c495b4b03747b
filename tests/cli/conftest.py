"""`mesomer(...)` runs a command line in this process, `started(...)` in one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from demo_commands import ADDED

from mesomer import cli


class Outcome(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def mesomer(monkeypatch, capsys, tmp_path):
    """Runs a command line in an empty folder; the demo commands are there as well."""
    monkeypatch.setattr(cli, "COMMANDS", cli.COMMANDS | ADDED)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Outcome:
        code = cli.main(list(words))
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def started(tmp_path):
    """Starts a command line as a process in an empty folder."""
    script = Path(__file__).with_name("demo_commands.py")

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return start
