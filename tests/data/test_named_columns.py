"""Contexts as added columns: one vocabulary for the corpus, its numbers in every batch, whole after any damage."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem
from small_corpora import contents, demo_smiles, make_small, write_table

from mesomer.chem.contexts import Vocabulary, atom_contexts, bond_contexts, numbered
from mesomer.chem.featurize import featurize_many
from mesomer.data import additions, named_columns
from mesomer.data.corpus import Corpus
from mesomer.data.named_columns import vocabulary_name
from mesomer.data.prepare import add_to_corpus, prepare
from mesomer.errors import MesomerError

NAMES = {"atom_contexts": atom_contexts, "bond_contexts": bond_contexts}


@pytest.fixture
def corpus(tmp_path, monkeypatch) -> Corpus:
    make_small(monkeypatch)
    monkeypatch.setattr(additions, "BLOCK_MOLECULES", 20)
    table = write_table(tmp_path / "table.csv", demo_smiles(250))
    return prepare(table, tmp_path / "corpus", workers=1, quiet=True)


def add(corpus, names=tuple(NAMES)):
    return add_to_corpus(corpus.path, list(names), workers=1, quiet=True)


def graph_of(corpus, part, places=None):
    places = np.arange(corpus.count(part)) if places is None else places
    return featurize_many([Chem.MolFromSmiles(text) for text in corpus.smiles(part, places)])


def test_the_vocabulary_is_that_of_all_molecules(corpus):
    done = add(corpus)
    assert done.added == list(NAMES)
    for name, contexts in NAMES.items():
        total = Counter()
        for part in ("train", "held_out"):
            total.update(contexts(graph_of(corpus, part)).counts())
        vocabulary = done.corpus.vocabulary(name)
        assert vocabulary == Vocabulary.of(total) and len(vocabulary) > 20
        for part, places in (("train", np.array([200, 3, 121])), ("held_out", np.array([1, 0]))):
            batch = done.corpus.batch(part, places)
            expected = numbered(contexts(graph_of(corpus, part, places)), vocabulary)
            found = batch.extras[name]
            assert len(found) == (batch.num_atoms if name.startswith("atom") else batch.num_bonds // 2)
            assert np.array_equal(found[:, 0].long(), expected)
            assert (expected > 1).all()


def test_it_does_not_depend_on_blocks_workers_or_when_it_is_added(corpus, tmp_path, monkeypatch):
    add(corpus)
    monkeypatch.setattr(additions, "BLOCK_MOLECULES", 7)
    prepare(tmp_path / "table.csv", tmp_path / "other", workers=2, add=list(NAMES), quiet=True)
    assert contents(corpus.path) == contents(tmp_path / "other")


@pytest.mark.parametrize("lost", ["train-00001.atom_contexts.arrow", vocabulary_name("atom_contexts")])
def test_what_is_damaged_is_made_again(corpus, lost):
    add(corpus)
    before = contents(corpus.path)
    for damage in ("absent", "changed"):
        path = corpus.path / lost
        if damage == "absent":
            path.unlink()
            with pytest.raises(MesomerError, match=lost):
                Corpus.open(corpus.path)
        else:
            path.write_bytes(path.read_bytes()[:-9] + b"123456789")
        assert add(corpus, ["bond_contexts"]).added == ["atom_contexts"]
        assert contents(corpus.path) == before
        Corpus.open(corpus.path).verify(quiet=True)


def test_an_interrupted_run_goes_on(corpus, monkeypatch):
    add(corpus)
    before = contents(corpus.path)
    (corpus.path / "corpus.json").write_text(json.dumps({**corpus.card, "additions": {}}))
    plain = Corpus.open(corpus.path)
    tasks = list(additions.shard_tasks(plain, "atom_contexts", [("train", 0)]))
    for task in tasks:
        assert not additions.is_computed(task)
        additions.compute_block(task)
        assert additions.is_computed(task)
    tasks[0].path.write_bytes(tasks[0].path.read_bytes()[:100])
    assert not additions.is_computed(tasks[0])
    add(plain)
    assert contents(corpus.path) == before


def test_a_full_vocabulary_leaves_out_the_rarest(corpus, monkeypatch):
    monkeypatch.setattr(named_columns, "LARGEST", 5)
    done = add(corpus, ["atom_contexts"])
    vocabulary = done.corpus.vocabulary("atom_contexts")
    assert len(vocabulary) == 7 and list(vocabulary.counts[2:]) == sorted(vocabulary.counts[2:], reverse=True)
    found = done.corpus.batch("train", np.arange(50)).extras["atom_contexts"].long()
    assert found.max() == 6 and (found == 1).any() and found.min() == 1


def test_a_column_without_a_vocabulary_says_so(corpus):
    add_to_corpus(corpus.path, ["motifs"], workers=1, quiet=True)
    with pytest.raises(MesomerError, match="vocabulary"):
        Corpus.open(corpus.path).vocabulary("motifs")
    with pytest.raises(MesomerError, match="atom_contexts"):
        Corpus.open(corpus.path).vocabulary("atom_contexts")
