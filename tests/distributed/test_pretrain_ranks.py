"""`torchrun -m mesomer pretrain`: two gloo processes give what one process with accumulation gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_corpora import demo_smiles, write_table
from small_models import molecules

from mesomer.commands.pretrain import pretrain
from mesomer.data.prepare import prepare_corpus
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import load_model
from mesomer.training.pretrain import _check_alike


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "added", "encoder"),
    [
        ("batmannet", [], {"hidden_size": 16, "blocks": 1, "depth": 2, "dropout": 0.0}),
        (
            "grover",
            ["atom_contexts", "bond_contexts", "motifs"],
            # depths from 0 to 5 and dropout, both drawn anew for each batch
            {"hidden_size": 8, "heads": 2, "depth": 3, "dropout": 0.1, "random_depth": True},
        ),
        ("rmat", ["atom_contexts", "conformers"], {"hidden_size": 8, "heads": 2, "blocks": 1, "ffn_hidden": 8}),
    ],
    ids=["batmannet", "grover", "rmat"],
)
def test_two_processes_equal_one(method: str, added: list[str], encoder: dict, tmp_path: Path) -> None:
    smiles = molecules(300) if method == "rmat" else demo_smiles(300)  # small ones are soon placed in space
    table = write_table(tmp_path / "table.csv", smiles)
    corpus = str(prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add=added).corpus.path)
    settings = {"max_steps": 10, "atoms_per_batch": 300, "precision": "32", "accelerator": "cpu", "threads": 1}
    settings |= {"probe_molecules": 0, "method": method}
    one = pretrain(corpus, output=str(tmp_path / "one"), accumulate=2, encoder=encoder, **settings)
    words = [f"--{name}={value}" for name, value in settings.items()]
    words += [f"--encoder.{name}={json.dumps(value)}" for name, value in encoder.items()]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "mesomer"]
    command = [sys.executable, *launcher, "pretrain", corpus, "--output", str(tmp_path / "two"), *words, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    assert two["processes"] == 2 and two["steps"] == 10 and two["molecule_passes"] == one["molecule_passes"]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    for term, row in one["figures"].items():
        assert two["figures"][term] == pytest.approx(row, rel=1e-4)
    states = [load_model(tmp_path / name / "pretraining").state for name in ("one", "two")]
    for name, x in states[0].items():
        # the bias of a key shifts all scores of a softmax alike: its gradient is rounding alone, scaled up by Adam
        slack = 1e-4 if name.endswith("attention.key.bias") else 1e-6
        torch.testing.assert_close(states[1][name], x, rtol=1e-5, atol=slack)


@pytest.mark.slow
def test_damage_that_one_process_finds_stops_both(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(300))
    corpus = prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True).corpus
    path = corpus.path / corpus.files()[1]["file"]  # in the share of the second process
    data = bytearray(path.read_bytes())
    data[-500] ^= 1
    path.write_bytes(data)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "mesomer"]
    words = ["pretrain", str(corpus.path), "--output", str(tmp_path / "run"), "--accelerator", "cpu"]
    done = subprocess.run(
        [sys.executable, *launcher, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0 and f"{path} is damaged: its SHA-256" in done.stderr
    assert "Traceback" not in done.stderr.split("torch/distributed")[0]
    assert not (tmp_path / "run").exists()


def test_processes_that_differ_are_refused() -> None:
    class Two:
        def gather(self, value: dict) -> list[dict]:
            return [value, {**value, "corpus": "other"}]

    with pytest.raises(MesomerError, match="Process 1 has another corpus"):
        _check_alike(Two(), {"version": 1, "corpus": "this"})
