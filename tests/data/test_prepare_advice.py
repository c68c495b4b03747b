"""What `mesomer prepare` advises fits the corpus that it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesomer.commands.prepare import _method_for, prepare
from mesomer.data.duplicates import HELD_OUT_SHARE
from mesomer.encoders.base import build_encoder, sizes
from mesomer.errors import MesomerError
from mesomer.objectives.base import DEFAULT_OBJECTIVE, build_objective


def prepared(tmp_path: Path, count: int, first: int = 1) -> dict:
    table = tmp_path / f"{count}.smi"
    table.write_text("".join(f"{'C' * at}O\n" for at in range(first, first + count)))
    return prepare(str(table), output=str(tmp_path / f"corpus-{count}-{first}"), workers=1)


def test_a_corpus_with_both_parts_is_for_pretrain(tmp_path: Path):
    done = prepared(tmp_path, 200)
    assert done["train"] > 0 and done["held_out"] > 0
    assert "Next: mesomer pretrain" in done["text"]
    assert f"Only {done['held_out']} of the molecules are held out" in done["text"]


@pytest.mark.parametrize(
    ("columns", "method"),
    [
        ([], "batmannet"),
        (["motifs", "descriptors"], "batmannet"),
        (["conformers"], "mat"),
        (["atom_contexts", "conformers", "descriptors"], "rmat"),
        (["atom_contexts", "bond_contexts", "motifs"], "grover"),
    ],
)
def test_the_method_that_is_advised_finds_its_columns(columns, method):
    assert _method_for(columns) == method
    encoder = build_encoder(method, **next(iter(sizes(method).values())))
    objective = build_objective(DEFAULT_OBJECTIVE[method], encoder)
    wanted = {*objective.extras, *(["conformers"] if encoder.needs_coordinates else [])}
    assert wanted <= set(columns)


def test_the_advice_follows_the_columns_that_were_added_now(tmp_path: Path):
    folder = prepared(tmp_path, 60)["output"]
    told = prepare(folder, add=["atom_contexts", "bond_contexts", "motifs"], workers=1)
    assert f"Next: mesomer pretrain {folder} --method grover --output" in told["text"]


def test_enough_held_out_molecules_need_no_caution_and_odd_folders_are_quoted(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("mesomer.commands.prepare.FEW_HELD_OUT", 3)
    folder = tmp_path / "with blank"
    folder.mkdir()
    done = prepared(folder, 200)
    assert done["held_out"] >= 3 and "Only" not in done["text"]
    assert f"mesomer pretrain '{done['output']}'" in done["text"]


def test_without_held_out_molecules_a_larger_corpus_is_advised(tmp_path: Path):
    done = prepared(tmp_path, 2)
    assert done["held_out"] == 0
    assert "No molecule is held out" in done["text"]
    assert "Next: mesomer pretrain" not in done["text"] and "cannot use it" in done["text"]
    assert f"Next: mesomer prepare MORE_MOLECULES --output {done['output']} --overwrite" in done["text"]


def test_without_molecules_to_train_on_a_larger_corpus_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert HELD_OUT_SHARE == 0.05
    monkeypatch.setattr("mesomer.data.duplicates.HELD_OUT_SHARE", 1 - 1e-9)
    done = prepared(tmp_path, 2)
    assert done["train"] == 0
    assert "No molecule is left to train on" in done["text"] and "Next: mesomer prepare" in done["text"]


def test_no_workers_work_in_this_process_and_fewer_are_refused(tmp_path: Path):
    table = tmp_path / "few.smi"
    table.write_text("".join(f"{'C' * at}O\n" for at in range(1, 60)))
    assert prepare(str(table), output=str(tmp_path / "corpus"), workers=0)["molecules"] == 59
    with pytest.raises(MesomerError, match="--workers is -1, and must be 0 or more"):
        prepare(str(table), output=str(tmp_path / "other"), workers=-1)
