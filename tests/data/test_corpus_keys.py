"""Keys of a corpus: an added column, a small sorted file, and what is found by it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from rdkit import Chem
from small_corpora import demo_smiles, make_small, write_table

from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.chem.scaffolds import scaffold
from mesomer.commands.prepare import prepare as prepare_command
from mesomer.data.additions import ADDITIONS
from mesomer.data.corpus import Corpus
from mesomer.data.corpus_keys import BITS, KINDS, CorpusKeys, hashes, molecule_keys
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.errors import MesomerError

ODD = [
    "C[C@H](N)C(=O)O",  # stereo
    "F/C=C/Cl",
    "CCN.Cl",  # a salt
    "CC(=O)[O-].[Na+]",
    "CCCCCC",  # no ring
    "*c1ccccc1",  # InChI has no name for it
    "[2H]C(Cl)Cl",
]


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Some 300 molecules in several shards and both parts."""
    make_small(monkeypatch)
    table = write_table(tmp_path / "corpus.csv", [*ODD, *demo_smiles(300)])
    return prepare_corpus(str(table), tmp_path / "corpus", add="inchikeys", workers=1, quiet=True).corpus


def smiles_of(corpus):
    """All SMILES of a corpus, both parts."""
    return [text for part in ("train", "held_out") for text in corpus.smiles(part, range(corpus.count(part)))]


def named(smiles):
    """InChIKeys, skeletons and scaffolds, by their kind."""
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    exact = inchi_keys(mols, [Chem.MolToSmiles(mol) for mol in mols])
    return {
        "exact": exact, "skeleton": [skeleton(key) for key in exact], "scaffold": [scaffold(mol, False) for mol in mols]
    }  # fmt: skip


def test_a_key_is_the_first_bits_of_the_hash():
    (first, second) = hashes(["QNAYBMKLOCPYGJ", ""])
    assert int(first) == int(hashlib.sha256(b"QNAYBMKLOCPYGJ").hexdigest()[:16], 16) and second == 0


def test_rows_are_of_key_skeleton_and_scaffold():
    mols = [Chem.MolFromSmiles(text) for text in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "Cc1ccccc1", "*CC")]
    rows = molecule_keys(mols)
    assert rows.shape == (4, 3) and rows.dtype == np.uint64
    assert rows[0, 0] != rows[1, 0] and rows[0, 1] == rows[1, 1]
    assert [bool(x) for x in rows[:, 2]] == [False, False, True, False] and rows[2, 2] == hashes(["c1ccccc1"])[0]
    assert rows[3, 0] == rows[3, 1] == hashes(["SMILES *CC"])[0] and all(rows[:3, 0] != rows[:3, 1])


def test_every_molecule_of_a_corpus_is_found_and_no_other(corpus):
    assert corpus.count("held_out") > 0 and len(corpus.shards("train")) > 1
    keys, own = CorpusKeys.of(corpus), named(smiles_of(corpus))
    assert keys.corpora == {corpus.fingerprint: len(own["exact"])} and keys.molecules == len(own["exact"])
    other = named([text for text in demo_smiles(900)[300:] if text])
    for kind in KINDS:
        assert keys.contains(kind, own[kind]).tolist() == [bool(text) for text in own[kind]]
        known = set(own[kind]) - {""}
        assert keys.contains(kind, other[kind]).tolist() == [text in known for text in other[kind]]
        assert len(keys.keys[kind]) == len(known) and int(keys.keys[kind].max()) < 1 << BITS
    assert not keys.contains("exact", named(["C[C@@H](N)C(=O)O"])["exact"])[0]
    assert keys.contains("skeleton", named(["C[C@@H](N)C(=O)O"])["skeleton"])[0]


def test_what_has_no_key_is_counted_and_said(corpus, tmp_path, monkeypatch):
    entry = corpus.card["additions"]["inchikeys"]
    assert list(entry["counts"].values()) == [1]
    make_small(monkeypatch)
    told = prepare_command([str(tmp_path / "corpus.csv")], output=str(tmp_path / "two"), workers=1, add=["inchikeys"])
    total = f"{corpus.card['molecules']:,}"
    assert f"inchikeys: 1 of {total} molecules have no InChIKey and are told apart by their SMILES" in told["text"]


def test_the_column_is_the_same_after_an_interruption_and_in_a_batch(corpus, tmp_path, monkeypatch):
    make_small(monkeypatch)
    monkeypatch.setattr("mesomer.data.additions.BLOCK_MOLECULES", 32)
    again = prepare_corpus(str(tmp_path / "corpus.csv"), tmp_path / "again", workers=1, quiet=True).corpus
    calls, compute = [], ADDITIONS["inchikeys"].compute

    def broken(mols, numbers):
        calls.append(len(mols))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return compute(mols, numbers)

    with monkeypatch.context() as patched:
        patched.setitem(ADDITIONS, "inchikeys", ADDITIONS["inchikeys"].__class__(**{
            **ADDITIONS["inchikeys"].__dict__, "compute": broken}))  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            add_to_corpus(again.path, "inchikeys", workers=1, quiet=True)
        before = len(calls)
        add_to_corpus(again.path, "inchikeys", workers=1, quiet=True)
    blocks = sum(-(-shard["molecules"] // 32) for shard in again.card["shards"])
    assert before == 4 and len(calls) - 4 == blocks - 3
    assert CorpusKeys.of(Corpus.open(again.path)).to_bytes() == CorpusKeys.of(corpus).to_bytes()
    batch = Corpus.open(again.path).batch("train", [3, 5])
    mols = [Chem.MolFromSmiles(text) for text in again.smiles("train", [3, 5])]
    assert np.array_equal(batch.extras["inchikeys"].numpy(), molecule_keys(mols))


@pytest.mark.parametrize("count", [0, 1, 300, 70_000])
def test_files_give_back_the_keys(count):
    rng = np.random.default_rng(count)
    drawn = {kind: np.unique(rng.integers(0, 1 << BITS, count, dtype=np.uint64)) for kind in KINDS}
    if count:
        drawn["scaffold"][-1] = (1 << BITS) - 1
    keys = CorpusKeys(drawn, {"f": count}, ("x",))
    content = keys.to_bytes()
    found = CorpusKeys.from_bytes(content)
    assert found.corpora == keys.corpora and found.unknown == ("x",)
    assert all(np.array_equal(found.keys[kind], drawn[kind]) for kind in KINDS)
    assert found.to_bytes() == content
    assert count < 1000 or len(content) < 3 * 4.1 * count


def test_the_union_of_two(corpus):
    keys = CorpusKeys.of(corpus)
    small = {kind: np.array([1, 2], np.uint64) for kind in KINDS}
    both = keys.union(CorpusKeys(small, {"other": 2}, ("runs/old",)))
    assert both.corpora == keys.corpora | {"other": 2} and both.unknown == ("runs/old",)
    assert all(len(both.keys[kind]) == len(keys.keys[kind]) + 2 for kind in KINDS)
    assert keys.union(keys).to_bytes() == keys.to_bytes()


def test_files_of_others_and_damaged_ones(corpus):
    from safetensors.numpy import save

    content = CorpusKeys.of(corpus).to_bytes()
    about = {"format": 1, "bits": 40, "corpora": {"f": 1}, "unknown": []}
    zeros, whole = np.zeros(1, np.uint8), {}
    for kind in KINDS:
        whole |= {f"{kind}.counts": np.array([2], np.uint8), f"{kind}.rest": np.zeros((2, 5), np.uint8)}
    wrong = [
        content[:-10],
        b"",
        b"no safetensors at all",
        save({"weight": zeros}),
        save({"weight": zeros}, {"mesomer_corpus_keys": json.dumps(about)}),
        save({"weight": zeros}, {"mesomer_corpus_keys": json.dumps(about | {"format": 2})}),
        save(whole, {"mesomer_corpus_keys": json.dumps(about)}),  # two equal keys
        save(whole | {"exact.rest": np.zeros((1, 5), np.uint8)}, {"mesomer_corpus_keys": json.dumps(about)}),
    ]
    for data in wrong:
        with pytest.raises(ValueError):
            CorpusKeys.from_bytes(data)


def test_a_damaged_column_is_said(corpus):
    (file, *_) = corpus.path.glob("train-*.inchikeys.arrow")
    data = bytearray(file.read_bytes())
    data[-600] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(MesomerError, match="is damaged"):
        CorpusKeys.of(corpus)
