"""Fixtures that every test shares: where the real data and the reference outputs are, or why they are not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers of pytest-xdist share the cores already

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in a shell's background, which its children would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


def _named_folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return None if value is None else Path(value)


def find_data() -> Path | None:
    """The folder of real data: MESOMER_DATA, `data` in the reference folder, or `shared/data` beside the repository."""
    named, reference = _named_folder("MESOMER_DATA"), _named_folder("MESOMER_REFERENCE")
    folder = named or (reference / "data" if reference else REPOSITORY.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def find_reference() -> Path | None:
    """The folder with `parity/` and `data/`: MESOMER_REFERENCE, `shared` beside the repository, or our small copies.

    MESOMER_REFERENCE may name `parity/` itself. Called while tests are collected too, where nothing may be skipped: a
    folder that is named but absent gives None; one that holds no references would silently test nothing, and is an
    error.
    """
    named = _named_folder("MESOMER_REFERENCE")
    if named is not None:
        if not named.is_dir():
            return None
        named = named.parent if named.name == "parity" else named
        if not (named / "parity").is_dir():
            raise pytest.UsageError(f"MESOMER_REFERENCE names {named}, which has no folder parity.")
        return named
    for folder in (REPOSITORY.parent / "shared", REPOSITORY / "tests" / "reference"):
        if (folder / "parity").is_dir():
            return folder
    return None


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data (molecules/, corpus/, hostile/ …)."""
    folder = find_data()
    if folder is None:
        named = os.environ.get("MESOMER_DATA") or os.environ.get("MESOMER_REFERENCE")
        pytest.skip(f"the real data is not here ({named or 'MESOMER_DATA names no folder'})")
    return folder


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """The folder with the reference outputs in `parity/` (and, if it is a whole set, `data/`)."""
    folder = find_reference()
    if folder is None:
        named = os.environ.get("MESOMER_REFERENCE")
        pytest.skip(f"the reference outputs are not here (MESOMER_REFERENCE names {named or 'no folder'})")
    return folder


@pytest.fixture(scope="session")
def parity(reference_folder: Path):
    """Gives the folder of one reference set by its name, or skips where that set is absent."""

    def folder(name: str) -> Path:
        found = reference_folder / "parity" / name
        if not (found / "config.json").is_file() and not (found / "info.json").is_file():
            pytest.skip(f"the reference set {name} is not in {reference_folder / 'parity'}")
        return found

    return folder
