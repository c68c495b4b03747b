"""The run folder: what was run, with what, on what, and what came out, so that anybody can repeat or resume it.

A folder holds `config.yaml` (give it to `--config` to run again), `manifest.json` (versions, command line, settings,
SHA-256 of the inputs, seed, machine, times, status), `log.txt` and `metrics.csv`, beside what the command itself
writes. The same command on its own unfinished folder resumes it; on a finished one it says so; anything else there is
an error that names --overwrite. In a distributed run the first process alone writes. A lock keeps two commands of
one machine out of the same folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from mesomer.errors import MesomerError
from mesomer.files import atomic_write, check_writable, remove, writing
from mesomer.machine import machine, versions
from mesomer.progress import process_rank, say
from mesomer.settings import plain

MANIFEST_FORMAT = 1
# Settings that change where or how fast a result comes, never the result: a resumed run may differ in them.
FREE_SETTINGS = (
    "output", "overwrite", "workers", "jobs", "threads", "quiet", "minutes", "max_minutes", "save_minutes",
)  # fmt: skip


class Interrupted(Exception):
    """The work was stopped by a signal after its state was saved; exit code 130."""


class TimeUp(Interrupted):
    """The time that the work was given is over, and its state saved; exit code 130."""


class StopRequest:
    """Whether a signal has asked the work to save its state and stop."""

    requested = False
    signal_name = ""


@contextmanager
def stop_signals(at_once: bool = False) -> Iterator[StopRequest]:
    """Turns SIGTERM, SIGUSR1 and the first SIGINT into `.requested`; a second SIGINT raises KeyboardInterrupt.

    With `at_once` the first one raises `Interrupted`, for work of which nothing is to be saved. Outside the main thread
    Python allows no handlers, and the request stays false.
    """
    request = StopRequest()
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker dies of its signal as if we had never been here
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if at_once:
            raise Interrupted("Interrupted.")
        if request.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.requested = True
        request.signal_name = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    names = [name for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.signal(getattr(signal, name), handle) for name in names}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """The settings in which two configurations differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if old == new else [f"{name} was {old!r}, now {new!r}"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lock(folder: Path) -> TextIO | None:
    """A lock that lives as long as this process; two processes in one folder would spoil each other's work."""
    try:
        import fcntl
    except ImportError:  # not on this system
        return None
    handle = open(folder / ".lock", "w")  # noqa: SIM115 (open as long as the run)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        handle.close()
        raise MesomerError(
            f"Another process is at work in {folder}.", "Wait for it or choose another --output."
        ) from None
    except OSError:  # a file system without locks, as some cluster disks are
        handle.close()
        return None
    return handle


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest of a run folder, or None where there is none of Mesomer's."""
    try:
        manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise MesomerError(f"{folder}/manifest.json cannot be read: {error}.", "Choose another folder.") from error
    return manifest if isinstance(manifest, dict) and "mesomer_run" in manifest else None


class RunFolder:
    """One run's folder; make it with `RunFolder.open` and use it as a context manager."""

    def __init__(self, path: Path, state: str, manifest: dict[str, Any], writes: bool) -> None:
        self.path, self.state, self.manifest = path, state, manifest
        self._writes = writes
        self._columns: list[str] | None = None
        self._guard: TextIO | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        command: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        overwrite: bool = False,
    ) -> RunFolder:
        """Starts, resumes or recognises a run; `inputs` maps the name of each input to its SHA-256."""
        folder, settings, sums = Path(path), plain(config), dict(inputs)
        writes = process_rank() == 0
        old = read_manifest(folder)
        if old is not None and not overwrite:
            cls._check_same(folder, old, command, settings, sums)
            state = "finished" if old["status"] == "finished" else "resumed"
        else:
            if writes:
                check_writable(folder, overwrite, folder=True)
            state, old = "new", None
        manifest = old or {
            "mesomer_run": MANIFEST_FORMAT,
            "command": command,
            "config": settings,
            "inputs": sums,
            "seed": settings.get("seed"),
            "started": _now(),
            "sessions": [],
        }
        run = cls(folder, state, manifest, writes)
        if writes and state != "finished":
            run._begin()
        return run

    @staticmethod
    def _check_same(folder: Path, old: dict[str, Any], command: str, settings: Any, sums: dict[str, str]) -> None:
        def result_settings(config: Any) -> Any:
            return {key: value for key, value in config.items() if key not in FREE_SETTINGS}

        found: list[str] = []
        if old["command"] != command:
            found.append(f"the command was {old['command']!r}, now {command!r}")
        found += _differences(result_settings(old["config"]), result_settings(settings))
        for name in sorted(old["inputs"].keys() | sums.keys()):
            if old["inputs"].get(name) != sums.get(name):
                found.append(f"the content of {name} has changed")
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise MesomerError(
                f"{folder} holds another run: {'; '.join(found[:3])}{more}.",
                "Choose another --output, or give --overwrite to replace the run.",
            )

    def _begin(self) -> None:
        created = not self.path.exists()
        try:
            self._fill()
        except BaseException:
            if created:
                with suppress(OSError):
                    self._remove_if_vacant()
            self._release()
            raise

    def _remove_if_vacant(self) -> None:
        """A folder that got nothing but its lock would only be in the way."""
        if [entry.name for entry in self.path.iterdir()] in ([], [".lock"]):
            remove(self.path)

    def _release(self) -> None:
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def _fill(self) -> None:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._guard = _lock(self.path)
            if self.state == "new":
                for entry in self.path.iterdir():
                    if entry.name != ".lock":
                        remove(entry)
        session = {
            "started": _now(),
            "command_line": shlex.join(sys.argv),
            "versions": versions(),
            "machine": machine(),
        }
        self.manifest["sessions"].append(session)
        self._save(status="running", ended=None)
        self._write_config()
        if self.state == "resumed":
            self.log(f"Resuming the unfinished run in {self.path}.")

    def _write_config(self) -> None:
        import yaml

        # --overwrite is left out: running the file again must not delete what it produced.
        settings = {key: value for key, value in self.manifest["config"].items() if key != "overwrite"}
        with atomic_write(self.path / "config.yaml") as temporary:
            text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
            temporary.write_text(f"# mesomer {self.manifest['command']} --config config.yaml\n{text}", encoding="utf-8")

    def _save(self, **changes: Any) -> None:
        self.manifest.update(changes)
        if self._writes:
            with atomic_write(self.path / "manifest.json") as temporary:
                temporary.write_text(json.dumps(plain(self.manifest), indent=1) + "\n", encoding="utf-8")

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` stored; empty while the run is unfinished."""
        return self.manifest.get("summary", {})

    def log(self, text: str) -> None:
        """A line for people: to stderr, and with the time to `log.txt`."""
        if not self._writes:
            return
        say(text)
        target = self.path / "log.txt"
        with writing(target), open(target, "a", encoding="utf-8") as handle:
            handle.write(f"{_now()} {text}\n")

    def metric(self, row: Mapping[str, Any]) -> None:
        """Appends a row to `metrics.csv`; a new column is added behind the known ones, older rows stay empty there."""
        if not self._writes:
            return
        row = plain(row)
        target = self.path / "metrics.csv"
        columns = self._known_columns(target)
        added = [name for name in row if name not in columns]
        if added:
            columns = columns + added
            self._rewrite(target, columns, self.metrics())
        with writing(target), open(target, "a", encoding="utf-8", newline="") as handle:
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow(["" if (v := row.get(c)) is None else v for c in columns])
            handle.write(line.getvalue())  # one write: a killed process leaves at most one torn last line
        self._columns = columns

    def metrics(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv` as text; a line that a killed process left torn is left out."""
        target = self.path / "metrics.csv"
        if not target.exists():
            return []
        whole, _, _ = target.read_text(encoding="utf-8").rpartition("\n")
        return list(csv.DictReader(io.StringIO(whole)))

    def rewind(self, column: str, last: float) -> None:
        """Drops the rows past `last` in `column`: what was measured after the checkpoint that a run resumes from."""
        if self._writes and (rows := self.metrics()):
            kept = [row for row in rows if not row.get(column) or float(row[column]) <= last]
            self._rewrite(self.path / "metrics.csv", self._known_columns(self.path / "metrics.csv"), kept)

    def _known_columns(self, target: Path) -> list[str]:
        if self._columns is None:
            if rows := self.metrics():
                self._columns = list(rows[0])
                self._rewrite(target, self._columns, rows)  # without a torn last line
            else:
                remove(target)
                self._columns = []
        return self._columns

    def _rewrite(self, target: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
        with atomic_write(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Marks the run finished; `summary` is what the command tells at the end, now and when it is asked again."""
        self._close("finished", summary=plain(summary))
        self.state = "finished"

    def _close(self, status: str, **more: Any) -> None:
        now = _now()
        if self.manifest["sessions"]:
            self.manifest["sessions"][-1]["ended"] = now
        self._save(status=status, ended=now, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.state != "finished":
            stopped = isinstance(error, Interrupted) or not isinstance(error, Exception)
            with suppress(MesomerError):  # if even this cannot be written, the first error tells why
                self._close("interrupted" if stopped else "failed", error="" if stopped else str(error))
        self._release()
