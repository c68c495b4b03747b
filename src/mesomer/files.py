"""Writing files so that a reader sees the whole file or none.

A file is written under a temporary name in its own folder, flushed to the disk and renamed; a folder likewise. Whatever
interrupts the work (an error, a signal, a full disk) leaves the old state; what a killed process left behind is removed
by the next write to the same path. Errors of the system while writing become one sentence that names the path
(`writing`); errors about other files, for example an input that vanished, pass through unchanged.
"""

from __future__ import annotations

import errno
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mesomer.errors import MesomerError

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another place."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or choose another place."),
    errno.EFBIG: ("the file grew past the size limit", "See `ulimit -f`, or choose another place."),
    errno.EACCES: ("permission denied", "Choose a place that you may write to."),
    errno.EPERM: ("permission denied", "Choose a place that you may write to."),
    errno.EROFS: ("the file system is read-only", "Choose a place that you may write to."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another path."),
    errno.EISDIR: ("the path is a folder", "Choose the path of a file."),
    errno.EEXIST: ("a part of the path exists already and is no folder", "Choose another path."),
    errno.ENOENT: ("the folder does not exist", "Was it removed meanwhile?"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter path."),
    errno.EIO: ("the disk reported an error", "Check the disk or choose another place."),
    errno.ENODEV: ("the device is not there", "Choose another place."),
}
# Arrow, safetensors (Rust) and NumPy tell the system's error only in words.
_ERRNO_TEXT = re.compile(r"(?:\[errno |\(os error )(\d+)", re.IGNORECASE)
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written|PytorchStreamWriter failed writing")
_MARKERS = ("manifest.json", "config.json", "corpus.json")


def _errno_of(error: BaseException) -> int | None:
    """The system's error number inside `error`, also where a library wrapped it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _ERRNO_TEXT.search(str(error))
    if match:
        return int(match.group(1))
    return errno.ENOSPC if _SHORT_WRITE.search(str(error)) else None


def _concerns(error: BaseException, path: Path) -> bool:
    """False if the error names a file elsewhere: then it is not the writing that failed."""
    named = getattr(error, "filename", None)
    if not isinstance(named, str):
        return True
    other = Path(os.path.abspath(named))
    ours = (Path(os.path.abspath(path)), Path(os.path.realpath(path)))
    inside = any(target.is_relative_to(other) or other.is_relative_to(target) for target in ours)
    return inside or any(part.startswith(".tmp-") for part in other.parts)


class WriteError(MesomerError):
    """A failed write to `path` with the system's error `number`."""

    path: str
    number: int


def write_error(path: str | os.PathLike[str], number: int) -> WriteError:
    """The user's error for a failed write to `path` with the system's error `number`."""
    cause, hint = _CAUSES.get(number, (os.strerror(number), "Choose another place."))
    error = WriteError(f"Cannot write {path}: {cause}.", hint)
    error.path, error.number = os.fspath(path), number
    return error


@contextmanager
def writing_inside(folder: Path) -> Iterator[None]:
    """Lets failed writes of files inside `folder` name the folder, which the user knows, not what we keep in it."""
    try:
        yield
    except WriteError as error:
        if folder not in Path(error.path).parents:
            raise
        raise write_error(folder, error.number) from error


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the system's errors while `path` is written into a `MesomerError` that names it."""
    try:
        yield
    except MesomerError:
        raise
    except Exception as error:
        number = _errno_of(error)
        if number is None or not _concerns(error, Path(path)):
            raise
        raise write_error(path, number) from error


def _temporary(path: Path) -> Path:
    # host and process are in the name so that leftovers can be told from files being written right now.
    return path.with_name(f".tmp-{platform.node()}-{os.getpid()}-{os.urandom(3).hex()}-{path.name}")


def is_temporary(path: Path) -> bool:
    """Whether `path` is a name that `atomic_write` or `atomic_folder` uses while it works."""
    return path.name.startswith(".tmp-")


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_leftovers(path: Path) -> None:
    """Removes what killed processes of this machine left while they wrote `path`."""
    pattern = re.compile(rf"\.tmp-{re.escape(platform.node())}-(\d+)-[0-9a-f]{{6}}-{re.escape(path.name)}")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match and not _alive(int(match.group(1))):
            remove(entry)


def _flush_folder(folder: Path) -> None:
    # Some network file systems cannot flush a folder; the rename itself has been done by then.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path` (its name ends like the wanted one); renamed on success, else removed."""
    wanted = Path(path)
    with writing(path):
        final = wanted.resolve() if wanted.is_symlink() else wanted
        if final.exists() and not final.is_file():
            raise MesomerError(f"Cannot write {path}: it exists and is not a file.", "Choose another path.")
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final)
        temporary = _temporary(final)
        try:
            with open(temporary, "xb"):
                mode = (final if final.exists() else temporary).stat().st_mode & 0o777
            yield temporary
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            temporary.chmod(mode)  # some writers replace the file by one that only its owner can read
            os.replace(temporary, final)
            _flush_folder(final.parent)
        finally:
            temporary.unlink(missing_ok=True)


def made_by_mesomer(folder: Path) -> bool:
    """Whether a folder is a run, a model or a corpus of Mesomer's, so that --overwrite may replace it."""
    for name in _MARKERS:
        with suppress(OSError):
            if b"mesomer" in (folder / name).read_bytes():
                return True
    return False


def is_vacant(folder: Path) -> bool:
    """Whether nothing lies at `folder`, or a folder that holds nothing but leftovers of killed writes."""
    if not folder.is_dir():
        return not folder.exists()
    return all(is_temporary(entry) or entry.name == ".lock" for entry in folder.iterdir())


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Stops unless `folder` is vacant, or Mesomer's own and `overwrite` is given: nothing foreign is ever deleted."""
    if is_vacant(folder):
        return
    if not folder.is_dir():
        raise MesomerError(f"Cannot write the folder {folder}: a file has that name.", "Choose another path.")
    if not made_by_mesomer(folder):
        raise MesomerError(
            f"The folder {folder} is not empty and was not made by Mesomer.",
            "Choose another one: --overwrite replaces only what Mesomer wrote.",
        )
    if not overwrite:
        raise MesomerError(f"The folder {folder} exists already.", "Give --overwrite to replace it.")


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; renamed to `path` when the block succeeds, else removed."""
    final = Path(path)
    with writing(path):
        check_replaceable(final, overwrite)
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(final)
        temporary = _temporary(final)
        temporary.mkdir()
        try:
            yield temporary
            mode = temporary.stat().st_mode & 0o666  # some writers leave files that only their owner can read
            for entry in temporary.rglob("*"):
                if entry.is_file():
                    entry.chmod(mode)
                    with open(entry, "rb") as handle:
                        os.fsync(handle.fileno())
            old = None
            if final.exists():
                old = _temporary(final)
                os.replace(final, old)
            os.replace(temporary, final)
            _flush_folder(final.parent)
            if old is not None:
                remove(old)
        finally:
            remove(temporary)


def check_writable(path: str | os.PathLike[str], overwrite: bool = False, folder: bool = False) -> None:
    """Before work starts: stops if `path` could not be written, or exists and `overwrite` is not given."""
    wanted = Path(path)
    if re.match(r"[a-z0-9]+:/", str(path)):  # as a local path it would make folders named "s3:"
        raise MesomerError(f"{path} is a remote address, and outputs go to local folders.", "Choose a local path.")
    with writing(path):
        if folder:
            check_replaceable(wanted, overwrite)
        elif wanted.is_dir():
            raise write_error(path, errno.EISDIR)
        elif wanted.exists() and not wanted.is_file():
            raise MesomerError(f"Cannot write {path}: it exists and is not a file.", "Choose another path.")
        elif wanted.exists() and not overwrite:
            raise MesomerError(f"The file {path} exists already.", "Give --overwrite to replace it.")
        ancestor = Path(os.path.abspath(wanted)).parent
        while not ancestor.exists():
            ancestor = ancestor.parent
        if not ancestor.is_dir():
            raise write_error(path, errno.ENOTDIR)
        probe = _temporary(ancestor / "probe")
        try:
            with open(probe, "xb"):
                pass
        finally:
            probe.unlink(missing_ok=True)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; of a folder, over the names and sums of its files in order."""
    import hashlib

    if Path(path).is_dir():
        total = hashlib.sha256()
        for entry in sorted(p for p in Path(path).rglob("*") if p.is_file() and not is_temporary(p)):
            total.update(f"{entry.relative_to(path)}\n{sha256_of(entry)}\n".encode())
        return total.hexdigest()
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
