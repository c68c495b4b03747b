"""Run folders: new, resumed, finished or refused; metrics that survive a kill; signals that ask to stop."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer.errors import MesomerError
from mesomer.run import Interrupted, RunFolder, stop_signals

CONFIG = {"corpus": "corpora/mine", "seed": 3, "loop": {"epochs": 5, "max_lr": 1e-4}, "overwrite": False}
INPUTS = {"corpus": "ab" * 32}


def start(path, config=CONFIG, inputs=INPUTS, command="pretrain", **more) -> RunFolder:
    return RunFolder.open(path, command, config, inputs, **more)


def test_new_folder_tells_everything_needed_to_repeat(tmp_path):
    with start(tmp_path / "run") as run:
        assert run.state == "new"
        run.log("hello")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"] == CONFIG and manifest["inputs"] == INPUTS and manifest["seed"] == 3
    assert manifest["status"] == "running" and manifest["command"] == "pretrain"
    (session,) = manifest["sessions"]
    assert session["versions"].keys() >= {"python", "mesomer", "torch", "rdkit", "numpy"}
    assert session["machine"]["cores"] >= 1 and session["machine"]["processor"]
    assert session["command_line"] and session["started"] >= manifest["started"]
    assert (tmp_path / "run" / "log.txt").read_text().endswith(" hello\n")
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored == {key: value for key, value in CONFIG.items() if key != "overwrite"}


def test_same_command_resumes_then_is_finished(tmp_path, capsys):
    with pytest.raises(Interrupted), start(tmp_path / "run"):
        raise Interrupted("saved")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    (tmp_path / "run" / "checkpoint").write_text("kept")
    with start(tmp_path / "run", CONFIG | {"overwrite": False, "workers": 8}) as run:
        assert run.state == "resumed" and "Resuming" in capsys.readouterr().err
        assert (tmp_path / "run" / "checkpoint").exists()
        run.finish({"text": "done", "rmse": 0.5})
    with start(tmp_path / "run") as run:
        assert run.state == "finished" and run.summary == {"text": "done", "rmse": 0.5}
    assert len(json.loads((tmp_path / "run" / "manifest.json").read_text())["sessions"]) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": CONFIG | {"seed": 4}}, "seed was 3, now 4"),
        ({"config": CONFIG | {"loop": {"epochs": 6, "max_lr": 1e-4}}}, "loop.epochs was 5, now 6"),
        ({"inputs": {"corpus": "cd" * 32}}, "content of corpus has changed"),
        ({"command": "finetune"}, "command was 'pretrain'"),
    ],
)
def test_another_run_is_refused_by_name_and_replaced_on_request(tmp_path, change, said):
    with start(tmp_path / "run") as run:
        run.metric({"step": 1})
        run.finish({})
    with pytest.raises(MesomerError, match=said) as caught:
        start(tmp_path / "run", **change)
    assert "--overwrite" in caught.value.hint
    assert (tmp_path / "run" / "metrics.csv").exists()
    with start(tmp_path / "run", **change, overwrite=True) as run:
        assert run.state == "new" and not (tmp_path / "run" / "metrics.csv").exists()


def test_a_foreign_folder_is_never_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(MesomerError, match="not made by Mesomer") as caught:
            start(tmp_path, overwrite=overwrite)
        assert "--overwrite" in caught.value.hint
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(MesomerError, match="Cannot write"):
            start(place)


def test_a_manifest_that_cannot_be_read(tmp_path):
    (tmp_path / "manifest.json").write_text('{"mesomer_run": 1,')
    with pytest.raises(MesomerError, match=r"manifest\.json cannot be read"):
        start(tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = "import sys; from mesomer.run import RunFolder; r = RunFolder.open(sys.argv[1], 'x', {}, {}); print(r.state)"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with start(tmp_path / "run", {}, {}, command="x"):
        held = subprocess.run(command, capture_output=True, text=True)
    assert held.returncode != 0 and "Another process is at work" in held.stderr
    freed = subprocess.run(command, capture_output=True, text=True)
    assert freed.stdout == "resumed\n"


def test_only_the_first_rank_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with start(tmp_path / "run") as run:
        run.log("not heard")
        run.metric({"step": 1})
        run.finish({})
    assert not (tmp_path / "run").exists() and capsys.readouterr().err == ""


def test_metrics_grow_columns_and_keep_their_rows(tmp_path):
    with start(tmp_path / "run") as run:
        run.metric({"step": 1, "loss": 0.1 + 0.2})
        run.metric({"step": 2, "loss": 0.25, "note": 'a, "quoted"\nvalue'})
        run.metric({"loss": None, "step": 3})
        assert run.metrics() == [
            {"step": "1", "loss": "0.30000000000000004", "note": ""},
            {"step": "2", "loss": "0.25", "note": 'a, "quoted"\nvalue'},
            {"step": "3", "loss": "", "note": ""},
        ]


def test_a_torn_last_line_is_dropped_on_resume(tmp_path):
    with start(tmp_path / "run") as run:
        for step in range(5):
            run.metric({"step": step, "loss": step / 7})
    target = tmp_path / "run" / "metrics.csv"
    target.write_bytes(target.read_bytes()[:-4])
    with start(tmp_path / "run") as run:
        run.metric({"step": 4, "loss": 1.0})
        assert [row["step"] for row in run.metrics()] == ["0", "1", "2", "3", "4"]


def test_rewind_drops_what_came_after_the_checkpoint(tmp_path):
    with start(tmp_path / "run") as run:
        for step in range(10):
            run.metric({"step": step})
        run.metric({"epoch": 1})
    with start(tmp_path / "run") as run:
        run.rewind("step", 4)
        run.metric({"step": 5, "epoch": 1})
        assert [row["step"] for row in run.metrics()] == ["0", "1", "2", "3", "4", "", "5"]


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(), min_size=1), min_size=1, max_size=8))
def test_metrics_hold_any_rows(tmp_path_factory, rows):
    with start(tmp_path_factory.mktemp("runs") / "run") as run:
        for row in rows:
            run.metric(row)
        stored = run.metrics()
    assert [{key: int(value) for key, value in row.items() if value} for row in stored] == rows


KILLED = """
import itertools, sys
from mesomer.run import RunFolder
run = RunFolder.open(sys.argv[1], "x", {}, {})
for step in itertools.count():
    run.metric({"step": step, f"loss{step // 500}": step / 7})
    if step == 700: print("ready", flush=True)
"""


def test_kill_9_while_metrics_are_written(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run")], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    with start(tmp_path / "run", {}, {}, command="x") as run:
        assert run.state == "resumed"
        steps = [int(row["step"]) for row in run.metrics()]
        assert steps == list(range(len(steps))) and len(steps) > 700


def test_full_disk_is_a_sentence(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with start(tmp_path / "run") as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            with pytest.raises(MesomerError, match=r"Cannot write .*metrics\.csv: the file grew past"):
                for step in range(10_000):
                    run.metric({"step": step})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [int(row["step"]) for row in run.metrics()] == list(range(len(run.metrics())))


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_at_the_start_leaves_no_folder_of_ours(tmp_path, existing):
    run = tmp_path / "run"
    if existing:
        run.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(MesomerError, match=r"Cannot write .*: the file grew past"):
            start(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.exists() == existing
    with start(run) as again:  # the lock is free
        assert again.state == "new"


def test_the_first_error_is_told_even_if_the_manifest_cannot_be_written(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(MesomerError, match="the table is empty"), start(tmp_path / "run"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            raise MesomerError("the table is empty")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_ask_to_stop(number):
    before = signal.getsignal(number)
    with stop_signals() as request:
        assert not request.requested
        os.kill(os.getpid(), number)
        assert request.requested and request.signal_name == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_a_second_control_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), stop_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
