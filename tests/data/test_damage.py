"""A corpus with one flipped byte: its readers name the file and a command, and that command mends that folder."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from small_corpora import contents, demo_smiles, make_small, write_table

from mesomer import cli
from mesomer.commands.info import info
from mesomer.commands.pretrain import pretrain
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.errors import MesomerError


@pytest.fixture
def corpus(tmp_path, monkeypatch) -> Path:
    """A copy of a corpus, in a folder whose name has a space, beside the original."""
    make_small(monkeypatch)
    table = write_table(tmp_path / "table.csv", demo_smiles(300))
    prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add=["motifs"])
    shutil.copytree(tmp_path / "corpus", tmp_path / "a copy")
    return tmp_path / "a copy"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def run_hint(error: MesomerError) -> int:
    """Runs the command that the hint names."""
    words = shlex.split(re.search(r"`(.*?)`", error.hint)[1])
    assert words[0] == "mesomer"
    return cli.main([*words[1:], "--workers", "1"])


@pytest.mark.parametrize("name", ["train-00001.arrow", "held_out-00000.arrow", "train-00000.motifs.arrow"])
def test_a_flipped_byte_is_named_and_mended_by_the_named_command(corpus, tmp_path, capsys, name):
    good, times = contents(corpus), {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}
    flip(corpus / name)
    Corpus.open(corpus)  # sizes are right
    with pytest.raises(MesomerError, match="is damaged: its SHA-256") as caught:
        Corpus.open(corpus).verify()
    assert str(corpus / name) in caught.value.message
    with pytest.raises(MesomerError, match=re.escape(name)):
        info(str(corpus))
    assert run_hint(caught.value) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert f"Making {name} again." in told.err and "was finished already" not in told.out
    assert contents(corpus) == good
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}
    assert "files have the SHA-256" in info(str(corpus))["checked"]


def test_pretrain_reads_all_before_it_starts(corpus, tmp_path):
    flip(corpus / "train-00001.arrow")
    settings = {"encoder": {"hidden_size": 8, "blocks": 1, "depth": 2}, "max_steps": 1, "accelerator": "cpu"}
    settings |= {"threads": 1, "probe_molecules": 0, "precision": "32", "atoms_per_batch": 300}
    with pytest.raises(MesomerError, match=r"train-00001.arrow is damaged"):
        pretrain(str(corpus), output=str(tmp_path / "run"), **settings)
    assert not (tmp_path / "run").exists()


def test_pretrain_reads_only_the_columns_that_it_needs(corpus, tmp_path):
    flip(corpus / "train-00001.motifs.arrow")
    Corpus.open(corpus, extras=()).verify()
    with pytest.raises(MesomerError, match=r"train-00001.motifs.arrow"):
        Corpus.open(corpus, extras=["motifs"]).verify()


def test_shares_cover_all_files(corpus):
    opened = Corpus.open(corpus)
    for record in opened.files():
        flip(corpus / record["file"])
    found = [name for share in range(3) for name, _ in opened.damage(share, 3)]
    assert sorted(found) == sorted(record["file"] for record in opened.files()) and len(found) > 3


def test_a_damaged_shard_is_mended_though_its_record_is_still_there(corpus, tmp_path, monkeypatch):
    """As after a kill between the card and the end of the run."""
    monkeypatch.setattr("mesomer.data.prepare.remove", lambda path: None)
    table = tmp_path / "table.csv"
    made = prepare_corpus(table, tmp_path / "other", workers=1, quiet=True).corpus
    assert (made.path / "staging" / "shards").is_dir()
    flip(made.path / "train-00000.arrow")
    assert prepare_corpus(table, made.path, workers=1, quiet=True).state == "repaired"
    Corpus.open(made.path).verify()


def test_adding_to_a_corpus_mends_columns_and_refuses_damaged_shards(corpus):
    good = contents(corpus)
    flip(corpus / "train-00000.motifs.arrow")
    assert add_to_corpus(corpus, [], workers=1, quiet=True).added == ["motifs"]
    assert contents(corpus) == good
    flip(corpus / "train-00000.arrow")
    with pytest.raises(MesomerError, match=r"train-00000.arrow is damaged"):
        add_to_corpus(corpus, [], workers=1, quiet=True)


def test_every_hint_names_the_folder_itself(corpus):
    card = (corpus / "corpus.json").read_text()
    (corpus / "corpus.json").write_text(card.replace('"schema_version": 1', '"schema_version": 0'))
    with pytest.raises(MesomerError, match="schema version 0") as caught:
        Corpus.open(corpus)
    assert f"--output '{corpus}' --overwrite`" in caught.value.hint
    (corpus / "corpus.json").unlink()
    (corpus / "staging").mkdir()
    with pytest.raises(MesomerError, match="unfinished") as caught:
        Corpus.open(corpus)
    assert f"--output '{corpus}'`" in caught.value.hint
