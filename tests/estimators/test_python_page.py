"""The page on Python is run as it stands, on a few molecules and a small encoder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas
import pytest
from small_models import heteroatoms, molecules, save_encoder

from mesomer import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
SHORT = {"epochs=20": "epochs=1", "repeats=5": "repeats=2"}
RINGS = ("c1ccccc1", "c1ccncc1", "C1CC1", "C1CCC1", "C1CCCC1", "C1CCCCC1", "c1ccoc1", "c1ccsc1", "C1CCNC1", "C1CCOC1")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Stands in a folder with the files that the page names, with a small encoder as the bundled one."""
    from mesomer.training import checkpoint

    smiles = [f"{ring}{text}" for at, text in enumerate(molecules(70)) for ring in [RINGS[at % len(RINGS)]]]
    values = [heteroatoms(text) for text in smiles]
    pandas.DataFrame({
        "smiles": smiles,
        "logS": [None if at == 11 else value + 0.25 for at, value in enumerate(values)],
        "logD": [None if at % 7 == 0 else value / 2 - 1.1 for at, value in enumerate(values)],
        "active": ["yes" if value > 3 else "no" for value in values],
        "pH": [7.4 - at % 3 for at in range(len(values))],
    }).to_csv(tmp_path / "data.csv", index=False)  # fmt: skip
    (tmp_path / "new.csv").write_text("smiles\nCCO\nno molecule\n")
    save_encoder(tmp_path / "bundled" / "batmannet-1")
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning")  # small data: few labels, unreadable rows on purpose
def test_every_example_of_the_page_works(reader, capsys):
    scope: dict = {}
    for number, block in enumerate(blocks("python")):
        for word, short in SHORT.items():
            block = block.replace(word, short)
        exec(compile(block, f"python.md, block {number + 1}", "exec"), scope)
    assert scope["vectors"].shape[0] == 3 and scope["both"].predict(["CCO"]).shape == (1, 2)
    assert scope["classifier"].classes_.tolist() == ["no", "yes"] and len(scope["few"].rejects_) == 1
    for block in blocks("sh"):
        for line in block.splitlines():
            assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert (reader / "pred-sol.csv").exists()


def test_the_page_names_every_shortened_setting():
    text = "".join(blocks("python"))
    assert all(word in text for word in SHORT)
