"""Starts `distributed/worker.py` in one process or, by torchrun, in several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
WORKER = TESTS / "distributed" / "worker.py"
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


def environment() -> dict[str, str]:
    """Of a process that imports what the tests import, on one thread."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def start(output: Path, processes: int, **settings: object) -> subprocess.Popen[str]:
    """Starts the worker, by torchrun if there are several processes."""
    output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(WORKER)]
    if processes > 1:
        command = [*LAUNCHER, str(processes), str(WORKER)]
    return subprocess.Popen(
        [*command, str(output), *(f"{name}={json.dumps(value)}" for name, value in settings.items())],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(output: Path, processes: int, **settings: object) -> int:
    """Starts the worker and waits; its exit status."""
    process = start(output, processes, **settings)
    text = process.communicate(timeout=240)[0]
    if process.returncode and "error" not in str(list(output.iterdir())):
        print(text)
    return process.returncode
