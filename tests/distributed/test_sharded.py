"""FSDP2 with two gloo processes: each keeps half, and everything else is as with whole weights."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_corpora import demo_smiles, write_table
from two_processes import LAUNCHER, TESTS, environment, run, start

from mesomer.commands.pretrain import pretrain
from mesomer.data.prepare import prepare_corpus
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import load_model
from mesomer.training.context import Context


def weights(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    return load_file(folder / f"weights-{rank}.safetensors")


def test_two_ranks_equal_one_process_with_accumulation(tmp_path: Path) -> None:
    """Every parameter, also of a head that one rank does not touch in a step, after ten float32 steps with dropout."""
    assert run(tmp_path / "two", 2, max_steps=10, strategy="fsdp", accumulate=2, dropout=0.2) == 0
    assert run(tmp_path / "one", 1, max_steps=10, accumulate=4, dropout=0.2) == 0
    one, two, other = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(tmp_path / "two", 1)
    for name, x in one.items():
        assert torch.equal(two[name], other[name]), name
        torch.testing.assert_close(two[name], x, rtol=1e-5, atol=1e-6)
    rows = [json.loads((tmp_path / name / "result.json").read_text())["history"] for name in ("one", "two")]
    for first, second in zip(*rows, strict=True):
        for column in ("loss", "error", "gradient_norm"):
            if column in first:
                assert abs(first[column] - second[column]) <= 1e-5 * abs(first[column]), column


def test_each_process_keeps_half_of_weights_and_states(tmp_path: Path) -> None:
    command = [*LAUNCHER, "2", str(TESTS / "distributed" / "sharded_worker.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    told = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0]["weights"] == told[1]["weights"]
    for one in told:
        assert one["sharded"] and one["shapes"] and one["stored"] == ["exp_avg", "exp_avg_sq", "step"]
        assert one["local"] == pytest.approx(one["whole"] / 2, rel=0.1)
        assert one["states"] == 2 * one["local"]
        assert len(one["moved"]) == len(one["weights"])
    assert told[0]["local"] + told[1]["local"] == told[0]["whole"]


@pytest.mark.slow
def test_signal_saves_and_both_go_on(tmp_path: Path) -> None:
    """SIGTERM in the middle of an epoch; the run goes on, bit for bit, and a single process reads its checkpoint."""
    settings = {"max_steps": 100, "rows": 4000, "dropout": 0.2, "resume": True, "accumulate": 2, "strategy": "fsdp"}
    assert run(tmp_path / "straight", 2, **settings) == 0
    process = start(tmp_path / "halted", 2, **settings)
    marker = tmp_path / "halted" / "step"
    limit = time.monotonic() + 200
    while not marker.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert process.returncode != 0 and not (tmp_path / "halted" / "result.json").exists()
    (tmp_path / "single").mkdir()
    (tmp_path / "halted" / "checkpoints").rename(tmp_path / "single" / "checkpoints")
    (tmp_path / "halted" / "checkpoints").mkdir()
    for file in (tmp_path / "single" / "checkpoints").iterdir():
        (tmp_path / "halted" / "checkpoints" / file.name).write_bytes(file.read_bytes())
    assert run(tmp_path / "halted", 2, **settings) == 0
    told = json.loads((tmp_path / "halted" / "result.json").read_text())
    assert 0 < told["resumed_from"] < 100
    for rank in (0, 1):
        wanted, got = weights(tmp_path / "straight", rank), weights(tmp_path / "halted", rank)
        assert all(torch.equal(x, got[key]) for key, x in wanted.items())
    assert run(tmp_path / "single", 1, **{**settings, "accumulate": 4, "strategy": "ddp"}) == 0
    assert json.loads((tmp_path / "single" / "result.json").read_text())["resumed_from"] == told["resumed_from"]


@pytest.mark.slow
def test_pretraining_in_shards_leaves_the_models_of_one_process(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(300))
    added = ["atom_contexts", "bond_contexts", "motifs"]
    corpus = str(prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add=added).corpus.path)
    settings = {"max_steps": 6, "atoms_per_batch": 300, "precision": "32", "accelerator": "cpu", "threads": 1}
    settings |= {"probe_molecules": 50, "method": "grover", "validate_molecules": 40}
    encoder = {"hidden_size": 8, "heads": 2, "depth": 3, "dropout": 0.1, "random_depth": True}
    one = pretrain(corpus, output=str(tmp_path / "one"), accumulate=2, encoder=encoder, **settings)
    words = [f"--{name}={value}" for name, value in settings.items()]
    words += [f"--encoder.{name}={json.dumps(value)}" for name, value in encoder.items()]
    words += ["--strategy", "fsdp", "--output", str(tmp_path / "two"), "--json"]
    command = [*LAUNCHER, "2", "-m", "mesomer", "pretrain", corpus, *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    assert two["processes"] == 2 and two["steps"] == 6
    for term, row in one["figures"].items():
        assert two["figures"][term] == pytest.approx(row, rel=1e-4)
    for kind in ("encoder", "pretraining"):
        whole, sharded = (load_model(tmp_path / name / kind).state for name in ("one", "two"))
        assert whole.keys() == sharded.keys()
        for name, x in whole.items():
            # the bias of a key shifts all scores of a softmax alike: its gradient is rounding alone, scaled up by Adam
            slack = 1e-4 if name.endswith("attention.key.bias") else 1e-6
            torch.testing.assert_close(sharded[name], x, rtol=1e-5, atol=slack)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(MesomerError, match="fdsp"):
        Context.start("cpu", "32", "fdsp")
