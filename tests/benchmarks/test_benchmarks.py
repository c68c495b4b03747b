"""Each benchmark runs at tiny size and prints its figures."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_corpora import demo_smiles, write_table
from small_models import save_encoder

from mesomer.data.prepare import prepare

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
NUMBER = r"[\d,]+(?:\.\d+)?"


def said(script: str, *arguments: object, statuses: tuple[int, ...] = (0,)) -> str:
    """What a benchmark prints; it ends with one of these statuses."""
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode in statuses, done.stderr
    assert re.search(r"cores, \d+ threads; mesomer .*torch .*(seed 0|in their order)", done.stdout), done.stdout
    return done.stdout


def test_featurizing_prints_shares_of_the_parse_rate(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(60))
    prepare(table, tmp_path / "corpus", workers=1, quiet=True)
    text = said("featurizing.py", "--molecules", 30, "--rounds", 1, "--corpus", tmp_path / "corpus")
    names = ["parse", "featurize", "batches", "batches, masks and targets"]
    for name in names:
        assert re.search(rf"^{name}: {NUMBER} molecules/s on one core, {NUMBER} of RDKit", text, re.M), text
    assert "parse: " in text and ", 1.00 of RDKit's parsing" in text


def test_batmannet_prints_rates_shares_of_the_peak_and_the_cosine() -> None:
    text = said("batmannet.py", "--size", "small", "--threads", 1, "--batches", 2, "--count", 1, "--rounds", 1)
    for task in ("pretrain", "finetune", "embed"):
        for precision in ("float32", "bfloat16"):
            line = rf"{task}, batch 2, {precision}: {NUMBER} molecules/s, \d+% of {NUMBER} GFLOP/s"
            assert re.search(line, text), text
    cosines = re.findall(r"vectors, (this network|batmannet-\d): smallest (\d\.\d+)", text)
    assert len(cosines) == 2 and all(float(cosine) > 0.99 for _, cosine in cosines)


def test_grover_prints_rates_shares_of_the_peak_the_cosine_and_collation() -> None:
    arguments = ["--widths", 8, "--depth", 3, "--threads", 1, "--batch", 4, "--count", 2, "--rounds", 1]
    text = said("grover.py", *arguments)
    for task in ("pretrain", "embed"):
        for precision in ("float32", "bfloat16"):
            line = rf"{task}, width 8, batch 4, {precision}: ({NUMBER}) molecules/s, \d+% of {NUMBER} GFLOP/s"
            found = re.search(line + rf", ({NUMBER}) hours for 10 million", text)
            assert found is not None, text
            rate, hours = (float(figure.replace(",", "")) for figure in found.groups())
            assert hours == pytest.approx(1e7 / 3600 / rate, rel=0.1, abs=0.06)
    cosine = re.search(r"smallest (\d\.\d+)", text)
    assert cosine is not None and float(cosine[1]) > 0.99
    assert "compiled" not in text
    assert re.search(rf"^collation with labels, batch 4, ours: {NUMBER} molecules/s$", text, re.M), text


def test_grover_compiles_once_for_batches_of_all_sizes() -> None:
    arguments = ["--widths", 8, "--depth", 3, "--threads", 1, "--batch", 4, "--count", 3, "--rounds", 1]
    text = said("grover.py", *arguments, "--tasks", "embed", "--compile", "aot_eager")
    for precision in ("float32", "bfloat16"):
        line = rf"^embed, width 8, {precision} compiled: .* each batch: (.*); 0 breaks in them$"
        graphs = re.search(line, text, re.M)
        assert graphs is not None and len(set(graphs[1].split())) == 1, text
        line = rf"^embed, width 8, batch 4, {precision} compiled: {NUMBER} molecules/s, \d+% of"
        assert re.search(line, text, re.M), text
    cosine = re.search(r"cosine of bfloat16 compiled vectors to float32: smallest (\d\.\d+)", text)
    assert cosine is not None and float(cosine[1]) > 0.99


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_grover_says_that_there_is_no_gpu() -> None:
    command = [sys.executable, str(FOLDER / "grover.py"), "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "--device cuda was asked for, and this torch sees no GPU." in done.stderr


def test_the_clock_is_read_when_the_gpu_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    measure = importlib.import_module("measure")
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("done"))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(len(events.append("clock") or events)))
    measure.by_turns({"one": lambda: events.append("run")}, 1, 0, torch.device("cuda"))
    assert events == ["done", "clock", "run", "done", "clock"]
    events.clear()
    measure.by_turns({"one": lambda: events.append("run")}, 1, 0)
    assert events == ["clock", "run", "clock"]


def test_grover_refuses_a_folder_without_the_published_code(tmp_path: Path) -> None:
    words = ["--published", str(tmp_path), "--widths", "--batch", "4", "--count", "1", "--rounds", "1"]
    command = [sys.executable, str(FOLDER / "grover.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 2 and f"The published code in {tmp_path} cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("method", "added", "encoder"),
    [
        ("grover", ["atom_contexts", "bond_contexts", "motifs"], '{"hidden_size": 8, "heads": 2, "depth": 3}'),
        ("batmannet", [], '{"hidden_size": 8, "heads": 2, "depth": 3, "blocks": 1}'),
    ],
)
def test_bf16_training_compares_with_the_range_of_the_float32_seeds(
    method: str, added: list[str], encoder: str, tmp_path: Path
) -> None:
    table = write_table(tmp_path / "table.csv", demo_smiles(60))
    prepare(table, tmp_path / "corpus", workers=1, quiet=True, add=added)
    words = ["--steps", 3, "--seeds", 2, "--atoms_per_batch", 300, "--threads", 1, "--encoder", encoder]
    text = said("bf16_training.py", tmp_path / "corpus", "--method", method, *words, statuses=(0, 1))
    assert f"{method} small {{" in text
    losses = re.findall(r"^(float32|bfloat16), seed (\d): ([\d.]+) in the last 1 steps, ([\d.]+) held out$", text, re.M)
    assert [row[:2] for row in losses] == [("float32", "0"), ("bfloat16", "0"), ("float32", "1")]
    for name, at in (("in the last steps", 2), ("held out", 3)):
        first, half, second = (float(row[at]) for row in losses)
        assert first != half and half == pytest.approx(first, rel=0.02)
        low, high = sorted((first, second))
        verdict = "above" if half > high else "below" if half < low else "within"
        assert f"{name}: bfloat16 {half:.5f} is {verdict} the float32 seeds' range" in text


def test_embed_memory_prints_the_peaks_and_their_ratio(tmp_path: Path) -> None:
    model = save_encoder(tmp_path / "model")
    text = said("embed_memory.py", "--rows", 5, 10, "--model", model, "--threads", 1)
    assert "10 of them differ" in text
    peaks = [float(peak.replace(",", "")) for peak in re.findall(rf"peak ({NUMBER}) MB", text)]
    assert len(peaks) == 2 and min(peaks) > 50  # an interpreter with torch alone takes more
    assert f"largest / smallest peak: {max(peaks) / min(peaks):.1f}" in text


def test_quickstart_prints_its_stages(tmp_path: Path) -> None:
    model = save_encoder(tmp_path / "model")
    text = said("quickstart_stages.py", "--molecules", 60, "--folds", 2, "--epochs", 1, "--model", model)
    stages = re.findall(
        r"(?:Starting, reading, splitting|Training both networks|Statistics and report): [\d.]+ s \((\d+)% of", text
    )
    assert len(stages) == 3 and 50 < sum(map(int, stages)) <= 101
    assert re.search(rf"whole: {NUMBER} s; float32 matrix products at {NUMBER} GFLOP/s", text)


@pytest.mark.slow
def test_rmat_prints_featurizing_rates_shares_of_the_peak_and_memory() -> None:
    text = said("rmat.py", "--size", "small", "--threads", 1, "--batch", 2, "--count", 1, "--rounds", 1)
    assert "The published code is not given (--published): every figure is of our code alone." in text
    for given in ("coordinates given", "coordinates given, with pair features"):
        assert re.search(rf"featurizing, ours, {given}: {NUMBER} molecules/s on one core", text), text
    assert re.search(rf"ours, from SMILES: {NUMBER} molecules/s on one core, {NUMBER} of RDKit's embedding", text), text
    for task in ("forward", "step"):
        for precision in ("float32", "bfloat16"):
            line = rf"{task}, batch 2, {precision}: {NUMBER} molecules/s, \d+% of {NUMBER} GFLOP/s"
            assert re.search(line, text), text
            assert re.search(rf"{task}, {precision}: peak memory {NUMBER} MB", text), text


def test_rmat_says_plainly_that_the_published_code_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "rmat.py"), "--published", str(tmp_path), "--batch", "1", "--count", "1"]
    done = subprocess.run([*command, "--size", "small"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"rmat.py: The published code is not in {tmp_path}" in done.stderr
