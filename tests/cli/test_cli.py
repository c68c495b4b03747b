"""Exit codes, what goes to stdout and what to stderr, and how a command ends when it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import yaml

import mesomer as package
from mesomer import cli
from mesomer.run import read_manifest


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("user", 2, "mesomer: The table has no rows.\nGive another.\n"),
        (
            "interrupted",
            130,
            "mesomer: Stopped by SIGTERM; the state is saved.\nThe same command goes on from there.\n",
        ),
        ("control-c", 130, "mesomer: Interrupted.\n"),
        ("memory", 2, "mesomer: There is not enough memory.\n"),
        ("missing", 2, "mesomer: no/such/file.csv: No such file or directory.\n"),
        ("fault", 1, "mesomer: A fault in Mesomer, not in your input: ZeroDivisionError: division by zero.\n"),
    ],
)
def test_each_end_has_its_exit_code_and_sentence(mesomer, how, code, said):
    got = mesomer("fail", how)
    assert got.code == code and got.out == "" and got.err.startswith(said)
    assert "Traceback" not in got.err and len(got.err.splitlines()) <= 2


def test_debug_shows_the_traceback_with_the_same_exit_code(mesomer):
    got = mesomer("fail", "user", "--debug")
    assert got.code == 2 and "Traceback" in got.err and got.err.endswith("The table has no rows.\nGive another.\n")


def test_stdout_is_the_summary(mesomer):
    assert mesomer("fail", "none") == (0, "done\n", "")


def test_json_is_one_object_and_nothing_else(mesomer):
    got = mesomer("fail", "noise", "--json")
    assert json.loads(got.out) == {"value": None, "path": "a/b"}
    assert "a library prints" in got.err
    got = mesomer("fail", "user", "--json")
    assert got.code == 2 and json.loads(got.out) == {"error": "The table has no rows.", "hint": "Give another."}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["emebd"], "There is no command named 'emebd'.\nDid you mean embed?\n"),
        (["xyzzy"], "There is no command named 'xyzzy'.\nKnown: "),
        (["--verbose"], "There is no option --verbose before a command."),
        (["help", "infoo"], "There is no command named 'infoo'.\nDid you mean info?\n"),
    ],
)
def test_unknown_commands(mesomer, words, sentence):
    got = mesomer(*words)
    assert got.code == 2 and got.out == "" and sentence in got.err and len(got.err.splitlines()) == 2


def test_help_and_version(mesomer):
    overview = mesomer("--help")
    assert overview.code == 0 and overview.err == ""
    assert all(f"\n  {name} " in overview.out for name in cli.COMMANDS)
    assert mesomer() == overview == mesomer("-h")
    assert mesomer("--version").out == f"mesomer {package.__version__}\n"


def test_command_help_comes_from_signature_and_docstring(mesomer):
    got = mesomer("learn", "--help")
    assert got.code == 0 and mesomer("help", "learn") == got
    assert got.out.startswith("usage: mesomer learn CORPUS [options]\n\nLearn from a corpus.\n")
    assert "A longer description over two lines." in got.out
    squeezed = " ".join(got.out.split())
    assert "CORPUS Where the molecules are. " in squeezed
    assert "--training.epochs N Passes over the corpus. (default: 5)" in squeezed
    assert "--training.precision auto|32|bf16 Number format. (default: auto)" in squeezed
    assert "--workers N|auto (default: auto)" in squeezed
    assert "--targets A,B,… Columns to learn." in squeezed
    assert "--output VALUE The run folder. (required)" in squeezed


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_documents_every_option(mesomer, name):
    from mesomer.signature import options_of

    function = cli.load_command(name)
    silent = [option.name for option in options_of(function) if not option.help]
    assert function.__doc__ and silent == []
    assert mesomer(name, "--help").code == 0


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_prints_its_config(mesomer, name):
    got = mesomer(name, "--print_config")
    assert got.code == 0 and isinstance(yaml.safe_load(got.out) or {}, dict)
    assert mesomer(name, "--no_such_option").code == 2


def test_full_disk_and_impossible_output(started, tmp_path):
    with started("fail", "full") as process:
        out, err = process.communicate()
    assert process.returncode == 2 and out == ""
    assert err.startswith("mesomer: Cannot write out.csv: the file grew past the size limit.\n")
    (tmp_path / "file").write_text("")
    with started("fail", "full", "--output", "file/out.csv") as process:
        out, err = process.communicate()
    assert process.returncode == 2 and err.startswith("mesomer: Cannot write file/out.csv: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["prepare", "pretrain", "finetune"])
def test_a_stop_before_the_work_proper_says_that_the_same_command_goes_on(mesomer, monkeypatch, name):
    monkeypatch.setitem(cli.COMMANDS, name, cli.COMMANDS["fail"])
    for how in ("control-c", "terminated"):
        got = mesomer(name, how)
        assert got.code == 130 and got.out == ""
        assert got.err == (
            "mesomer: Interrupted.\nWhat was saved before is kept; the same command goes on from there.\n"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_tidies_up(started, tmp_path, number):
    with started("fail", "wait") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "mesomer: Interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_seen_enough(started):
    with started("fail", "long") as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0 and err == ""


def test_interrupted_run_goes_on_and_finishes(mesomer, started, tmp_path):
    with started("resumable", "slow", "--output", "run") as process:
        out, err = process.communicate()
    assert process.returncode == 130 and out == ""
    assert "Stopped by SIGTERM; the state is saved in run." in err
    assert read_manifest(tmp_path / "run")["status"] == "interrupted"
    got = mesomer("resumable", "quick", "--output", "run")
    assert got.code == 2 and "corpus was 'slow', now 'quick'" in got.err and "--overwrite" in got.err
    got = mesomer("resumable", "quick", "--output", "run", "--overwrite")
    assert got.out == "3 steps in run\n"
    again = mesomer("resumable", "--config", "run/config.yaml")
    assert again == (0, "run is finished: 3 steps\n", "")


def test_only_the_first_of_many_processes_prints_the_summary(mesomer, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert mesomer("fail", "none") == (0, "", "")
    got = mesomer("fail", "user")
    assert got.code == 2 and got.err.startswith("mesomer (process 1): The table has no rows.")


def test_python_m_mesomer():
    got = subprocess.run([sys.executable, "-m", "mesomer", "info"], capture_output=True, text=True)
    assert got.returncode == 2 and got.stderr.startswith("mesomer: `mesomer info` needs PATH.")
