"""Fixtures that every test shares: where the real data and the reference outputs are, or why they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers of pytest-xdist share the cores already

REPOSITORY = Path(__file__).resolve().parent.parent


def _named_folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if value is None:
        return None
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"{variable} names {folder}, which is not there")
    return folder


def find_data() -> Path | None:
    """The folder of real data: MESOMER_DATA, or `shared/data` beside the repository."""
    beside = REPOSITORY.parent / "shared" / "data"
    return _named_folder("MESOMER_DATA") or (beside if beside.is_dir() else None)


def find_reference() -> Path | None:
    """The folder with `parity/` and `data/`: MESOMER_REFERENCE, `shared` beside the repository, or our small copies."""
    named = _named_folder("MESOMER_REFERENCE")
    if named is not None:
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
        pytest.skip("the real data is not here: set MESOMER_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """The folder with the reference outputs in `parity/` (and, if it is a whole set, `data/`)."""
    folder = find_reference()
    if folder is None:
        pytest.skip("the reference outputs are not here: set MESOMER_REFERENCE to their folder")
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
