"""Killed with -9 at random moments: the complete checkpoint is there, whole, and the run ends as it would have."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mesomer.training.loop import LAST
from mesomer.training.state import read_state

TESTS = Path(__file__).resolve().parent.parent
WORKER = TESTS / "distributed" / "worker.py"
SETTINGS = ["max_steps=100", "rows=2000", "dropout=0.2", "resume=true", "save_minutes=0.0"]


def start(output: Path) -> subprocess.Popen[bytes]:
    output.mkdir(exist_ok=True)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(output), *SETTINGS],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_kill_at_random_moments_loses_no_checkpoint(tmp_path: Path) -> None:
    assert start(tmp_path / "straight").wait(timeout=240) == 0
    halted, steps, dice = tmp_path / "halted", [0], random.Random(0)
    last = halted / "checkpoints" / LAST
    for _ in range(2):
        process = start(halted)
        limit = time.monotonic() + 200
        while time.monotonic() < limit and process.poll() is None:
            if last.exists() and read_state(last)[0].step > steps[-1] + 5:
                break
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        steps.append(read_state(last)[0].step)  # raises if the file is not whole
        assert steps[-1] > steps[-2]
    assert start(halted).wait(timeout=240) == 0
    wanted = load_file(tmp_path / "straight" / "weights-0.safetensors")
    got = load_file(halted / "weights-0.safetensors")
    assert all(torch.equal(x, got[name]) for name, x in wanted.items())
    assert sorted(entry.name for entry in last.parent.iterdir()) == ["best.safetensors", "last.safetensors"]
