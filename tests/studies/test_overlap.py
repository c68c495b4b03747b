"""Who is in the corpus: real molecules, in other spellings, as mirror images, and by their scaffold only."""

from __future__ import annotations

import numpy as np
import pytest
from small_corpora import demo_smiles, make_small, write_table
from small_models import write_table as labelled_table

from mesomer.data.prepare import prepare
from mesomer.studies import skeletons
from mesomer.studies.molecules import inchi_keys, read_molecules, skeleton
from mesomer.studies.overlap import corpus_of, find_overlap, overlap_checks
from mesomer.training.checkpoint import load_model

STUDY = [
    "C[C@H](N)C(=O)O",  # 1: in the corpus in another spelling
    "N[C@@H](Cc1ccccc1)C(=O)O",  # 2: its mirror image is
    "Cc1c[nH]cn1",  # 3: another tautomer is
    "CCc1ccc2ccccc2c1",  # 4: its scaffold is
    "CCCCCCCCCCCC",  # 5: no ring, not in it
    "O=C1CCCCN1CC",  # 6: nothing is
]
CORPUS = ["OC(=O)[C@H](C)N", "N[C@H](Cc1ccccc1)C(=O)O", "Cc1cnc[nH]1", "Oc1ccc2ccccc2c1", "CCCO", "C1CCCCN1"]


@pytest.fixture
def study(tmp_path, request_of):
    """The molecules above, and 30 others."""
    smiles = [*STUDY, *demo_smiles(30)]
    return read_molecules(
        request_of(labelled_table(tmp_path / "s.csv", {"smiles": smiles, "activity": range(36)})).source
    )


def by_hand(study, corpus):
    """The rows that an exhaustive comparison finds."""
    from rdkit import Chem

    mols = [Chem.MolFromSmiles(text) for text in corpus]
    keys = set(inchi_keys(mols, corpus))
    frames = {text for mol in mols if (text := scaffold_of(mol))}
    own = [scaffold_of(mol) for mol in study.labelled.mols]
    return {
        "exact": [at + 1 for at, key in enumerate(study.keys) if key in keys],
        "skeleton": [at + 1 for at, key in enumerate(study.keys) if skeleton(key) in {skeleton(k) for k in keys}],
        "scaffold": [at + 1 for at, text in enumerate(own) if text in frames],
    }


def scaffold_of(mol):
    """Its Murcko scaffold without stereo."""
    from mesomer.chem.scaffolds import scaffold

    return scaffold(mol, False)


def test_a_table_as_the_corpus(study, model, tmp_path):
    corpus = [*CORPUS, *demo_smiles(80)[20:]]
    found = find_overlap(study, str(write_table(tmp_path / "corpus.csv", corpus)), load_model(model))
    expected = by_hand(study, corpus)
    assert {kind: found[kind] for kind in expected} == expected
    assert set(found["exact"]) >= {1, 3} and 2 not in found["exact"] and 5 not in found["skeleton"]
    assert {1, 2, 3} <= set(found["skeleton"]) and {4} <= set(found["scaffold"]) and 6 not in found["scaffold"]
    assert found["is_of_the_model"] is None and found["molecules"] == len(corpus)


def test_a_prepared_corpus(study, model, tmp_path, monkeypatch):
    make_small(monkeypatch)
    corpus = [*CORPUS, *demo_smiles(150)[20:]]
    prepare(str(write_table(tmp_path / "corpus.csv", corpus)), tmp_path / "corpus", workers=1)
    found = find_overlap(study, str(tmp_path / "corpus"), load_model(model))
    expected = by_hand(study, corpus)
    assert {kind: found[kind] for kind in expected} == expected
    assert found["is_of_the_model"] is False
    notes = overlap_checks(study, found, load_model(model))
    assert [note.check for note in notes] == [
        "overlap: exact",
        "overlap: skeleton",
        "overlap: scaffold",
        "another corpus",
    ]
    assert f"{len(found['exact'])} of 36 molecules are in" in notes[0].sentence


def test_most_molecules_known_is_a_caution(study, model, tmp_path):
    path = write_table(tmp_path / "corpus.csv", [*STUDY, *demo_smiles(30)])
    found = find_overlap(study, str(path), load_model(model))
    assert len(found["exact"]) == 36
    notes = {note.check: note for note in overlap_checks(study, found, load_model(model))}
    assert notes["overlap: skeleton"].severity == "caution" and notes["overlap: exact"].severity == "info"


def test_no_corpus_is_said(study, model):
    assert corpus_of(str(model), load_model(model)) is None
    (note,) = overlap_checks(study, None, load_model(model))
    assert note.severity == "caution" and "--corpus" in note.sentence


def test_the_hash_does_not_know_the_order_of_atoms(study):
    from rdkit import Chem

    from mesomer.chem.featurize import featurize_many

    def hashes(mols):
        found = featurize_many(mols)
        graph = skeletons.arrays(found.atoms, found.ends, found.atom_counts, found.bond_counts)
        return skeletons.whole(graph), skeletons.cores(graph)

    rng = np.random.default_rng(0)
    mols = study.labelled.mols
    turned = [Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist()) for mol in mols]
    for first, second in zip(hashes(mols), hashes(turned), strict=True):
        assert np.array_equal(first, second)
    whole, cores = hashes(mols)
    assert len(set(whole.tolist())) == len({skeleton(key) for key in study.keys})
    assert [bool(core) for core in cores] == [bool(scaffold_of(mol)) for mol in mols]
