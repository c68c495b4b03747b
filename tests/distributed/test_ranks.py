"""Two gloo processes: equal to one with the same global batch; errors, signals and resumes reach both."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from two_processes import run, start


def test_two_ranks_equal_one_process_with_accumulation(tmp_path: Path) -> None:
    """Every parameter, also of a head that one rank does not touch in a step, after ten float32 steps with dropout."""
    assert run(tmp_path / "two", 2, max_steps=10, dropout=0.2) == 0
    assert run(tmp_path / "one", 1, max_steps=10, accumulate=2, dropout=0.2) == 0
    one = load_file(tmp_path / "one" / "weights-0.safetensors")
    two, other = (load_file(tmp_path / "two" / f"weights-{rank}.safetensors") for rank in (0, 1))
    # threads of the exchange that outlive it can abort a process at its end
    assert all(json.loads((tmp_path / "two" / f"threads-{rank}.json").read_text()) == [] for rank in (0, 1))
    for name, x in one.items():
        assert torch.equal(two[name], other[name]), name
        torch.testing.assert_close(two[name], x, rtol=1e-5, atol=1e-6)
    rows = [json.loads((tmp_path / name / "result.json").read_text())["history"] for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        for column in ("loss", "common", "rare", "error", "gradient_norm"):
            if column in first:
                assert abs(first[column] - second[column]) <= 1e-5 * abs(first[column]), column


def test_a_rank_with_a_bad_molecule_stops_all(tmp_path: Path) -> None:
    assert run(tmp_path, 2, epochs=2, poison=17) != 0
    texts = [(tmp_path / f"error-{rank}.txt").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1] and "not a finite number at step" in texts[0] and " 17" in texts[0]


@pytest.mark.slow
def test_signal_saves_and_both_go_on(tmp_path: Path) -> None:
    """SIGTERM to the launcher in the middle of an epoch; then the run goes on and ends as if nothing had happened."""
    settings = {"max_steps": 100, "rows": 4000, "dropout": 0.2, "resume": True, "accumulate": 2}
    assert run(tmp_path / "straight", 2, **settings) == 0
    process = start(tmp_path / "halted", 2, **settings)
    marker = tmp_path / "halted" / "step"
    limit = time.monotonic() + 200
    while not marker.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert process.returncode != 0 and not (tmp_path / "halted" / "result.json").exists()
    assert run(tmp_path / "halted", 2, **settings) == 0
    told = json.loads((tmp_path / "halted" / "result.json").read_text())
    assert 0 < told["resumed_from"] < 100
    for rank in (0, 1):
        name = f"weights-{rank}.safetensors"
        wanted, got = load_file(tmp_path / "straight" / name), load_file(tmp_path / "halted" / name)
        assert all(torch.equal(x, got[key]) for key, x in wanted.items())
