"""The name of a benchmark set works like a path in every command that takes DATA."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path

import pytest
from small_models import molecules, save_encoder, write_table

from mesomer.data.benchmarks import BENCHMARKS
from mesomer.data.tables import open_table

ROWS = [["smiles", "p_np"], *([text, str(at % 2)] for at, text in enumerate(molecules(60, seed=3)))]


@pytest.fixture(autouse=True)
def bbbp(monkeypatch, tmp_path) -> Path:
    """A small stand-in for bbbp and for the corpus chembl_diverse in the offline folder."""
    for name in ("bbbp", "chembl_diverse"):
        path = tmp_path / "offline" / BENCHMARKS[name].file
        path.parent.mkdir(parents=True)
        with gzip.open(path, "wt", newline="") as handle:
            csv.writer(handle).writerows(ROWS if name == "bbbp" else [row[:1] for row in ROWS])
    monkeypatch.setenv("MESOMER_DATA", str(tmp_path / "offline"))
    monkeypatch.setenv("MESOMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "offline" / BENCHMARKS["bbbp"].file


def test_check_takes_a_name(mesomer, bbbp):
    got = mesomer("check", "bbbp", "--json")
    assert got.code == 0, got.err
    facts = json.loads(got.out)
    assert facts["files"] == [str(bbbp)] and facts["rows"] == 60
    assert facts["next"].startswith("mesomer check bbbp ")


def test_prepare_takes_names(mesomer, bbbp, tmp_path):
    for words, output in (("chembl_diverse", "one"), ("bbbp,bbbp", "two")):
        got = mesomer("prepare", words, "--output", output, "--workers", "1")
        assert got.code == 0, got.err
        assert "Written: " + output in got.out
    inputs = json.loads((tmp_path / "two" / "manifest.json").read_text())["inputs"]
    assert inputs == {str(bbbp): hashlib.sha256(bbbp.read_bytes()).hexdigest()}
    inputs = json.loads((tmp_path / "one" / "manifest.json").read_text())["inputs"]
    path = tmp_path / "offline" / BENCHMARKS["chembl_diverse"].file
    assert inputs == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    got = mesomer("prepare", "--config", "one/config.yaml")
    assert got.code == 0 and "was finished already" in got.out


def test_embed_and_predict_take_a_name(mesomer, tmp_path):
    encoder = str(save_encoder(tmp_path / "encoder"))
    got = mesomer("embed", "bbbp", "--model", encoder, "--output", "e.csv", "--accelerator", "cpu")
    assert got.code == 0 and got.out.count("60 rows"), got.err
    got = mesomer(
        "finetune", "bbbp", "--model", encoder, "--output", "run", "--epochs", "1", "--split", "stratified_cv",
        "--folds", "2", "--ffn_hidden", "8", "--accelerator", "cpu", "--precision", "32",
    )  # fmt: skip
    assert got.code == 0, got.err
    got = mesomer("predict", "bbbp", "--model", "run", "--output", "p.csv", "--accelerator", "cpu")
    assert got.code == 0 and "60 rows" in got.out, got.err


def test_a_path_of_that_name_wins(mesomer, tmp_path):
    write_table(tmp_path / "bbbp", {"smiles": ["CCO", "CCN"]})
    assert json.loads(mesomer("check", "bbbp", "--json").out)["files"] == ["bbbp"]


@pytest.mark.parametrize(
    "words", [("check",), ("prepare", "--output", "o"), ("embed", "--output", "o.csv")], ids=lambda words: words[0]
)
def test_what_is_neither(mesomer, words):
    got = mesomer(words[0], "bbbq", *words[1:])
    assert got.code == 2
    assert "There is no file or benchmark set named 'bbbq'.\nDid you mean bbbp?" in got.err
    got = mesomer(words[0], "data/bbbp", *words[1:])
    assert got.code == 2 and "There is no file data/bbbp" in got.err


def test_lists_are_molecules_still():
    assert next(iter(open_table(["bbbp", "CCO"]))).smiles == ["bbbp", "CCO"]
