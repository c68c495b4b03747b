"""Corpus and shards: molecules in any order and number, views and copies alike, damage told in one sentence."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import demo_smiles, make_small, write_table

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.data.corpus import Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.data.shards import Column, Molecules, join
from mesomer.errors import MesomerError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        table = write_table(folder / "table.csv", [*demo_smiles(400), "[Na+]", "[Cl-].[Na+]"])
        return prepare_corpus(table, folder / "corpus", workers=1, quiet=True, add=["motifs"]).corpus


def same(one: Molecules, other: Molecules) -> bool:
    names = ("atoms", "bonds", "ends", "atom_offsets", "bond_offsets", "number")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names) and all(
        np.array_equal(stored, other.extras[name][1]) for name, (_, stored) in one.extras.items()
    )


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_molecules_in_any_order(corpus, data):
    places = data.draw(st.lists(st.integers(0, corpus.num_train - 1), min_size=1, max_size=40))
    batch = corpus.batch("train", places)
    expected = collate([graph_from_smiles(text)[0] for text in corpus.smiles("train", places)], keys=batch.key.numpy())
    for name in ("atom_codes", "bond_codes", "source", "target", "atom_offsets", "bond_offsets", "incoming"):
        assert (getattr(batch, name) == getattr(expected, name)).all(), name
    assert batch.num_molecules == len(places)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_slices_and_joins_are_what_take_gives(corpus, data):
    shard = corpus.open_shard("train", 0).molecules
    cuts = sorted({0, len(shard), *data.draw(st.lists(st.integers(0, len(shard)), max_size=5))})
    pieces = [shard.slice(start, stop) for start, stop in itertools.pairwise(cuts)]
    assert same(join(pieces), shard.take(np.arange(len(shard))))
    for start, piece in zip(cuts, pieces, strict=False):
        if len(piece):
            assert same(piece.take(np.arange(len(piece))), shard.take(np.arange(start, start + len(piece))))


def test_sizes_are_the_atoms(corpus):
    for part in ("train", "held_out"):
        batch = corpus.batch(part, np.arange(corpus.count(part)))
        assert np.array_equal(corpus.sizes(part), np.diff(batch.atom_offsets.numpy()))
        assert corpus.sizes(part).dtype == np.uint16


def test_keys_are_unique_over_both_parts(corpus):
    keys = [corpus.batch(part, np.arange(corpus.count(part))).key.numpy() for part in ("train", "held_out")]
    assert sorted(np.concatenate(keys)) == list(range(corpus.card["molecules"]))


def test_batches_own_their_memory(corpus):
    batch = corpus.batch("train", [0, 1])
    batch.atom_codes.zero_()
    assert corpus.batch("train", [0, 1]).atom_codes.any()


def test_atoms_without_bonds(corpus):
    ions = [at for at, text in enumerate(corpus.smiles("train", range(corpus.num_train))) if text == "[Na+]"]
    batch = corpus.batch("train", [*ions, *ions])
    assert (batch.num_atoms, batch.num_bonds) == (2 * len(ions), 0)


def test_a_pickled_corpus_opens_again(corpus):
    copy = pickle.loads(pickle.dumps(corpus))
    assert copy.smiles("train", [7]) == corpus.smiles("train", [7])


def test_wrong_positions(corpus):
    for places in ([-1], [corpus.num_train]):
        with pytest.raises(IndexError):
            corpus.batch("train", places)
    with pytest.raises(ValueError, match="at least one"):
        corpus.batch("train", [])
    with pytest.raises(MesomerError, match="Did you mean train"):
        corpus.batch("trian", [0])


@pytest.mark.parametrize("level", ["molecule", "atom"])
@pytest.mark.parametrize(("dtype", "width"), [("bits", 85), ("bits", 8), ("float32", 3), ("int16", 1), ("float16", 7)])
def test_columns_keep_their_numbers(level, dtype, width):
    column = Column(level, dtype, width)
    values = np.random.default_rng(0).integers(0, 2, (11, width)).astype("uint8" if dtype == "bits" else dtype)
    stored = column.encode(values)
    assert stored.shape == (11, column.row_bytes) and stored.dtype == np.uint8
    assert np.array_equal(column.decode(stored), values)
    with pytest.raises(ValueError, match="rows of"):
        column.encode(values[:, :-1])


def damaged(corpus, tmp_path, change) -> str:
    folder = tmp_path / "copy"
    shutil.copytree(corpus.path, folder)
    change(folder)
    with pytest.raises(MesomerError) as caught:
        Corpus.open(folder).batch("train", [0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit_card(**changes):
    def change(folder):
        card = json.loads((folder / "corpus.json").read_text())
        (folder / "corpus.json").write_text(json.dumps(card | changes))

    return change


def test_damage_is_told_in_one_sentence(corpus, tmp_path):
    cases = {
        "lacks its part train-00000.arrow": lambda folder: (folder / "train-00000.arrow").unlink(),
        "prepared with schema version 0": edit_card(schema_version=0),
        "newer version of Mesomer": edit_card(mesomer_corpus=99),
        "cannot be read": lambda folder: (folder / "corpus.json").write_text("{"),
        "not the card of a corpus": lambda folder: (folder / "corpus.json").write_text("[]"),
        "has no corpus.json": lambda folder: (folder / "corpus.json").unlink(),
    }
    for number, (words, change) in enumerate(cases.items()):
        text = damaged(corpus, tmp_path / str(number), change)
        assert words in text and ("prepare" in text.lower() or "Update" in text), text


def test_a_shard_of_the_right_size_but_wrong_content(corpus, tmp_path):
    def scramble(folder):
        path = folder / "train-00000.arrow"
        path.write_bytes(bytes(path.stat().st_size))

    assert "train-00000.arrow is truncated or damaged" in damaged(corpus, tmp_path, scramble)


def test_absent_and_unfinished_corpora(tmp_path):
    with pytest.raises(MesomerError, match="There is no corpus"):
        Corpus.open(tmp_path / "nowhere")
    (tmp_path / "staging").mkdir()
    with pytest.raises(MesomerError, match=r"unfinished.*goes on where it stopped"):
        Corpus.open(tmp_path)


def test_absent_columns_name_the_command(corpus):
    with pytest.raises(MesomerError, match=r"no added column 'descriptors' \(it has motifs\).*--add descriptors"):
        Corpus.open(corpus.path, extras=["descriptors"])


def test_the_same_molecules_have_the_same_fingerprint(corpus, tmp_path):
    smiles = [*demo_smiles(400), "[Na+]", "[Cl-].[Na+]"]
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        again = prepare_corpus(write_table(tmp_path / "t.csv", smiles), tmp_path / "c", workers=1, quiet=True).corpus
        fewer = prepare_corpus(
            write_table(tmp_path / "u.csv", smiles[1:]), tmp_path / "d", workers=1, quiet=True
        ).corpus
    assert again.fingerprint == corpus.fingerprint != fewer.fingerprint
