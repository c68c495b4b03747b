"""The three commands from end to end: outputs, interruptions, hostile input, places that cannot be written."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_models import heteroatoms, molecules, read_table, save_encoder, write_table

from mesomer import cli

QUICK = ("--epochs", "2", "--ffn_hidden", "16", "--split", "random", "--accelerator", "cpu", "--precision", "32")
SMILES = molecules(80, seed=5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_encoder(tmp_path_factory.mktemp("encoder") / "small"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    columns = {"smiles": SMILES, "n": [heteroatoms(text) + 0.5 for text in SMILES]}
    return str(write_table(tmp_path_factory.mktemp("data") / "data.csv", columns))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, encoder, table):
    """A finished fine-tuning."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["finetune", table, "--targets", "n", "--model", encoder, "--output", str(folder), "--repeats", "2", *QUICK]
    assert cli.main(words) == 0
    return str(folder)


def process(*words):
    """A command line in a process of its own, on one core."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mesomer", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def user_error(outcome, *words):
    """Exit code 2, one sentence that holds the words, no traceback."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err and "fault in Mesomer" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    return True


def test_the_journey(mesomer, encoder, table, run_folder, tmp_path):
    again = mesomer(
        "finetune", table, "--targets", "n", "--model", encoder, "--output", run_folder, "--repeats", "2", *QUICK
    )
    assert again.code == 0 and "finished before" in again.out and "mesomer predict" in again.out
    got = mesomer("predict", table, "--model", run_folder, "--output", "p.csv", "--json")
    assert got.code == 0 and json.loads(got.out)["rows"] == len(SMILES)
    assert [row["smiles"] for row in read_table(tmp_path / "p.csv")] == SMILES
    for level in ("molecule", "atom", "bond"):
        got = mesomer("embed", table, "--model", encoder, "--output", f"{level}.parquet", "--level", level)
        assert got.code == 0 and f"{len(SMILES)} rows" in got.out
        assert pq.read_table(tmp_path / f"{level}.parquet").num_rows == len(SMILES)
    got = mesomer("embed", table, "--model", run_folder, "--output", "tuned.npy")
    assert got.code == 0 and "2 members" in got.out and np.load(tmp_path / "tuned.npy").shape == (len(SMILES), 32)


def test_config_file_of_the_run_repeats_it(mesomer, run_folder):
    got = mesomer("finetune", "--config", f"{run_folder}/config.yaml", "--output", "again")
    assert got.code == 0, got.err
    for name in ("metrics.csv", "predictions.csv", "splits.csv"):
        assert Path("again", name).read_bytes() == Path(run_folder, name).read_bytes()


def watch(running, sign, seconds=60):
    """Waits until `sign()` is true while the process runs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and running.poll() is None and not sign():
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_killed_and_stopped_goes_on_and_gives_the_same(encoder, table, tmp_path):
    """kill -9 in the first part, SIGTERM in the second, then to the end."""
    words = ["finetune", table, "--targets", "n", "--model", encoder, "--repeats", "2", "--save_minutes", "0", *QUICK]
    words[words.index("--epochs") + 1] = "5"
    whole = process(*words, "--output", str(tmp_path / "whole"))
    cells = tmp_path / "killed" / "cells"
    for part, how, code in ((0, signal.SIGKILL, -signal.SIGKILL), (1, signal.SIGTERM, 130)):
        running = process(*words, "--output", str(tmp_path / "killed"))
        watch(running, lambda part=part: (cells / f"split00{part}-member00" / "last.safetensors").exists())
        running.send_signal(how)
        _, said = running.communicate()
        assert running.returncode == code, said
    assert "Resuming" in said and not (tmp_path / "killed" / "model").exists()
    assert process(*words, "--output", str(tmp_path / "killed")).wait() == 0
    assert whole.wait() == 0
    for name in ("metrics.csv", "predictions.csv", "splits.csv", "model/model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not cells.exists()
    assert not [path for path in (tmp_path / "killed").rglob(".tmp-*")]


def test_a_set_of_the_registry_knows_its_targets(mesomer, data_folder, encoder, monkeypatch):
    monkeypatch.setenv("MESOMER_DATA", str(data_folder))
    words = ("--model", encoder, "--output", "run", "--probe", "--repeats", "1", "--split", "random")
    got = mesomer("finetune", "freesolv", *words)
    assert got.code == 0 and "rmse" in got.out
    assert user_error(mesomer("finetune", "freesolvv", *words), "freesolv")


def hostile_rows(data_folder):
    with open(data_folder / "hostile" / "rows.csv", newline="", encoding="utf-8") as handle:
        return [{**row, "smiles": row["smiles"].replace("\\x00", "\0")} for row in csv.DictReader(handle)]


def assert_verdicts(rows, errors):
    for row, error in zip(rows, errors, strict=True):
        said = f"{row['smiles'][:40]!r} ({row['why']}): {error}"
        if row["verdict"] == "ok":
            assert not error or error.startswith(("more than", "longer than")), said
        elif row["verdict"] == "empty":
            assert error == "empty", said
        elif row["verdict"] == "rejected":
            assert error and error != "empty", said


def test_hostile_rows(mesomer, data_folder, encoder, run_folder, tmp_path):
    rows = hostile_rows(data_folder)
    table = {"smiles": [row["smiles"] for row in rows], "y": [f"{at / 7:.3f}" for at in range(len(rows))]}
    path = str(write_table(tmp_path / "rows.csv", table))
    assert mesomer("embed", path, "--model", encoder, "--output", "e.parquet").code == 0
    embedded = pq.read_table(tmp_path / "e.parquet").to_pylist()
    assert_verdicts(rows, [row["mesomer_error"] for row in embedded])
    assert all((row["embedding"] is None) == (row["mesomer_error"] is not None) for row in embedded)
    assert mesomer("predict", path, "--model", run_folder, "--output", "p.csv").code == 0
    predicted = read_table(tmp_path / "p.csv")
    assert_verdicts(rows, [row["mesomer_error"] or None for row in predicted])
    assert all((row["n_pred"] == "") == (row["mesomer_error"] != "") for row in predicted)
    assert [row["y"] for row in predicted] == table["y"]
    got = mesomer("finetune", path, "--targets", "y", "--model", encoder, "--output", "run", "--repeats", "1", *QUICK)
    assert got.code == 0, got.err
    rejected = {int(row["row"]): row["reason"] for row in read_table(tmp_path / "run" / "rejects.csv")}
    assert_verdicts(rows, [rejected.get(at + 1) for at in range(len(rows))])


def hostile_files(data_folder, command):
    folder = data_folder / "hostile" / "files"
    return [
        row | {"path": str(folder / row["file"])}
        for row in read_table(folder / "FILES.csv")
        if row["commands"] == command
    ]


@pytest.mark.parametrize("command", ["embed", "predict"])
def test_hostile_files(mesomer, data_folder, encoder, run_folder, tmp_path, command):
    model = encoder if command == "embed" else run_folder
    for file in hostile_files(data_folder, "read") + hostile_files(data_folder, "label"):
        output = tmp_path / f"{file['file']}.csv"
        got = mesomer(command, file["path"], "--model", model, "--output", str(output))
        said = f"{file['file']}: {got}"
        outcome = file["outcome"] if file["commands"] == "read" else "ok"
        allowed = {0} if outcome in ("ok", "rejects", "warning") else {0, 2} if " or " in outcome else {2}
        assert got.code in allowed, said
        assert output.exists() == (got.code == 0), said
        if got.code == 2:
            assert user_error(got)
        else:
            bad = [row for row in read_table(output) if row["mesomer_error"]]
            assert bool(bad) == (outcome == "rejects") or outcome == "ok", said
    assert not list(tmp_path.glob(".tmp-*"))


def test_hostile_labels(mesomer, encoder, tmp_path):
    """The defects of the label files among enough good rows."""
    y = [str(heteroatoms(text) + 0.5) for text in SMILES]
    words = [str(heteroatoms(text) > 2) for text in SMILES]

    def run(values, *more, smiles=SMILES):
        path = write_table(tmp_path / "t.csv", {"smiles": smiles, "y": values})
        return mesomer(
            "finetune", str(path), "--targets", "y", "--model", encoder, "--output", "run", "--overwrite",
            "--repeats", "1", "--probe", "--split", "random", *more,
        )  # fmt: skip

    got = run([*y[:10], "high", "inf", *y[12:]])
    assert got.code == 0
    assert [(row["row"], row["reason"]) for row in read_table(tmp_path / "run" / "rejects.csv")] == [
        ("11", "bad label"), ("12", "bad label"),
    ]  # fmt: skip
    assert user_error(run(["a", "b", "c", *words[3:]], "--task", "binary"), "not binary")
    assert user_error(run(["1"] * 80, "--task", "binary"), "only the class")
    assert user_error(run([""] * 80), "no label")
    assert user_error(run(["text"] * 40 + ["more"] * 20 + y[60:], "--task", "regression"), "not numeric", "row 1")
    got = run(["3.5"] * 80)
    assert got.code == 2 or "nothing to learn" in got.err
    got = run([*y, "9.5", "1.5"], smiles=[*SMILES, SMILES[0], SMILES[0]])
    assert got.code == 0 and "different labels" in got.err and "mean" in got.err


def test_errors_are_one_sentence_and_leave_nothing(mesomer, encoder, table, run_folder, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    below = str(tmp_path / "file" / "out.parquet")
    assert user_error(mesomer("embed", table, "--model", encoder, "--output", below), "file")
    assert user_error(mesomer("predict", table, "--model", run_folder, "--output", below + ".csv"), "file")
    assert user_error(
        mesomer("finetune", table, "--targets", "n", "--model", encoder, "--output", str(tmp_path / "file" / "run")),
        "file",
    )
    (tmp_path / "there.csv").write_text("old")
    assert user_error(mesomer("embed", table, "--model", encoder, "--output", "there.csv"), "--overwrite")
    assert (tmp_path / "there.csv").read_text() == "old"
    assert user_error(mesomer("embed", table, "--model", encoder, "--output", "x.json"), "x.json")
    assert user_error(mesomer("embed", table, "--model", encoder, "--output", "x.npy", "--level", "bond"), "parquet")
    assert user_error(mesomer("embed", "absent.csv", "--model", encoder, "--output", "x.npy"), "absent.csv")
    assert user_error(mesomer("embed", table, "--model", "absent/model", "--output", "x.npy"), "absent/model")
    assert user_error(mesomer("predict", table, "--model", encoder, "--output", "x.csv"), "finetune")
    assert user_error(mesomer("predict", table, "--model", run_folder, "--output", "x.npy"), "x.npy")
    assert user_error(mesomer("embed", table, "--model", encoder, "--output", "x.npy", "--level", "atoms"), "atom")
    assert user_error(mesomer("finetune", table, "--model", encoder, "--output", "run"), "--targets", "n")
    assert user_error(
        mesomer("finetune", table, "--targets", "m", "--model", encoder, "--output", "run"), "'m'", "smiles, n"
    )
    other = ("--targets", "n", "--model", encoder, "--output", run_folder, "--repeats", "3", *QUICK)
    assert user_error(mesomer("finetune", table, *other), "repeats was 2, now 3", "--overwrite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there.csv"]


@pytest.mark.parametrize("limit", ["0", "-3"])
def test_a_limit_of_no_atoms_is_refused_by_every_command(mesomer, encoder, table, run_folder, tmp_path, limit):
    for words in (
        ("check", table),
        ("prepare", table, "--output", "out"),
        ("finetune", table, "--targets", "n", "--model", encoder, "--output", "out", *QUICK),
        ("predict", table, "--model", run_folder, "--output", "out.csv"),
        ("embed", table, "--model", encoder, "--output", "out.npy"),
    ):
        got = mesomer(*words, f"--max_atoms={limit}")
        assert user_error(got, f"--max_atoms is {limit}, and must be 1 or more."), words
    assert list(tmp_path.iterdir()) == []


def test_damaged_model_folders(mesomer, encoder, table, tmp_path):
    import shutil

    for damage in ("cut", "newer", "foreign", "empty"):
        copy = tmp_path / damage
        shutil.copytree(encoder, copy)
        config = json.loads((copy / "config.json").read_text())
        if damage == "cut":
            (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:1000])
        elif damage == "newer":
            (copy / "config.json").write_text(json.dumps(config | {"mesomer_format": 99}))
        elif damage == "foreign":
            (copy / "config.json").write_text('{"model_type": "bert"}')
        else:
            (copy / "model.safetensors").write_bytes(b"")
        assert user_error(mesomer("embed", table, "--model", str(copy), "--output", "e.npy"), str(copy))
    assert not (tmp_path / "e.npy").exists()


@contextmanager
def files_up_to(size):
    """Files that grow past the size meet the same error as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_output(mesomer, encoder, table, run_folder, tmp_path):
    big = str(write_table(tmp_path / "big.csv", {"smiles": SMILES * 10}))
    for words in (
        ("embed", big, "--model", encoder, "--output", "e.npy"),
        ("embed", big, "--model", encoder, "--output", "e.parquet"),
        ("predict", big, "--model", run_folder, "--output", "p.csv"),
    ):
        with files_up_to(5_000):
            got = mesomer(*words)
        assert user_error(got, "Cannot write", words[-1])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["big.csv"]
    words = ("finetune", table, "--targets", "n", "--model", encoder, "--output", "run", "--repeats", "1", *QUICK)
    with files_up_to(20_000):
        got = mesomer(*words)
    assert user_error(got, "Cannot write", "run") and not (tmp_path / "run" / "model").exists()
    assert not list((tmp_path / "run").rglob(".tmp-*"))
    assert mesomer(*words).code == 0  # the same command goes on once there is space


def test_help_names_every_option(mesomer):
    for command, words in (
        ("finetune", ("--targets", "--unfreeze_after", "--probe", "--scratch", "--descriptors", "--encoder_lr_scale")),
        ("predict", ("--suffix", "--on_error", "--model")),
        ("embed", ("--level", "--dtype", "--workers")),
    ):
        got = mesomer(command, "--help")
        assert got.code == 0 and all(word in got.out for word in words)
