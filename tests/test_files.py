"""Files are whole or absent: full disks, impossible paths, killed writers."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from mesomer.errors import MesomerError
from mesomer.files import atomic_folder, atomic_write, check_writable, is_vacant, sha256_of, writing


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_written_file_appears_whole_under_its_name(tmp_path):
    target = tmp_path / "deep" / "out.csv.gz"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".") and temporary.name.endswith("out.csv.gz")
        temporary.write_bytes(b"all of it")
        assert not target.exists()
    assert target.read_bytes() == b"all of it"
    assert names(target.parent) == ["out.csv.gz"]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.csv"]


def test_link_is_written_through_and_mode_is_kept(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_files_are_readable_by_others_whatever_the_library_does(tmp_path):
    """safetensors makes files that only the owner can read."""
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_write(tmp_path / "a.safetensors") as temporary:
        save_file({"a": np.zeros(3)}, temporary)
    with atomic_folder(tmp_path / "model") as folder:
        save_file({"a": np.zeros(3)}, folder / "b.safetensors")
    for made in (tmp_path / "a.safetensors", tmp_path / "model" / "b.safetensors"):
        assert made.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("below", ["file/out.csv", "file/a/b/out.csv"])
def test_path_below_a_regular_file(tmp_path, below, folder):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / below
    with pytest.raises(MesomerError, match=r"Cannot write .*out\.csv") as caught:
        check_writable(target, folder=folder)
    assert "file" in caught.value.message and caught.value.hint
    with pytest.raises(MesomerError, match="Cannot write"), atomic_write(target):
        pytest.fail("the block must not run")
    with pytest.raises(MesomerError, match="Cannot write"), atomic_folder(target):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["file"]


def test_existing_outputs_name_overwrite(tmp_path):
    target = tmp_path / "out.csv"
    check_writable(target)
    target.write_text("precious")
    with pytest.raises(MesomerError, match=r"exists already.*--overwrite"):
        check_writable(target)
    check_writable(target, overwrite=True)
    with pytest.raises(MesomerError, match="is a folder"):
        check_writable(tmp_path, overwrite=True)
    assert names(tmp_path) == ["out.csv"]


def test_remote_addresses_make_no_local_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MesomerError, match="remote address"):
        check_writable("s3://bucket/out.parquet")
    assert names(tmp_path) == []


def test_devices_are_never_replaced():
    with pytest.raises(MesomerError, match="not a file"), atomic_write("/dev/null"):
        pytest.fail("the block must not run")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MesomerError, match="permission denied"):
        check_writable(tmp_path / "out.csv")


def _arrow(path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("a", pa.float64())])) as out:
        out.write_table(pa.table({"a": np.random.rand(100_000)}))


WRITERS = {
    "text": lambda path: path.write_text("x" * 500_000),
    "numpy": lambda path: np.save(path.open("wb"), np.zeros(100_000)),
    "parquet": lambda path: pq.write_table(pa.table({"a": np.random.rand(100_000)}), path),
    "arrow": _arrow,
    "safetensors": lambda path: save_file({"a": np.zeros(100_000)}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, name):
    """RLIMIT_FSIZE stands for a full disk: the system refuses to let the file grow, and each library words it anew."""
    said = r"Cannot write .*out\.bin: (the disk is full|the file grew past)"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(MesomerError, match=said), atomic_write(tmp_path / "out.bin") as temporary:
            WRITERS[name](temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_errors_about_other_files_are_not_called_write_errors(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out.csv"):
        (tmp_path / "input.csv").read_text()
    with pytest.raises(ValueError, match="plain"), writing(tmp_path / "out.csv"):
        raise ValueError("plain")


KILLED = """
import os, signal, sys
from mesomer.files import atomic_folder, atomic_write
with atomic_write(sys.argv[1]) as file, atomic_folder(sys.argv[2]) as folder:
    file.write_text("half"); (folder / "config.json").write_text("half")
    print("ready", flush=True)
    signal.pause()
"""


def test_kill_9_leaves_no_output_and_the_next_write_tidies_up(tmp_path):
    file, folder = tmp_path / "out.csv", tmp_path / "model"
    command = [sys.executable, "-c", KILLED, str(file), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert not file.exists() and not folder.exists()
    assert len(names(tmp_path)) == 2 and all(name.startswith(".tmp-") for name in names(tmp_path))
    assert is_vacant(tmp_path)
    with atomic_write(file) as temporary:
        temporary.write_text("whole")
    with atomic_folder(folder) as built:
        (built / "config.json").write_text("whole")
    assert names(tmp_path) == ["model", "out.csv"]


def test_a_write_at_work_is_not_tidied_away(tmp_path):
    with atomic_write(tmp_path / "out.csv") as first, atomic_write(tmp_path / "out.csv") as second:
        assert first.exists() and second.exists() and first != second


def test_folder_is_replaced_only_if_ours_and_asked(tmp_path):
    target = tmp_path / "model"
    with atomic_folder(target) as built:
        (built / "config.json").write_text('{"mesomer_format": 1}')
    with pytest.raises(MesomerError, match="--overwrite"), atomic_folder(target):
        pytest.fail("the block must not run")
    with pytest.raises(ZeroDivisionError), atomic_folder(target, overwrite=True):
        raise ZeroDivisionError
    assert names(target) == ["config.json"]
    with atomic_folder(target, overwrite=True) as built:
        (built / "other.json").write_text("{}")
    assert names(target) == ["other.json"] and names(tmp_path) == ["model"]
    with pytest.raises(MesomerError, match="not made by Mesomer"), atomic_folder(target, overwrite=True):
        pytest.fail("the block must not run")
    assert names(target) == ["other.json"]


def test_sha256_of_file_and_folder(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    whole = sha256_of(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256_of(tmp_path) != whole
