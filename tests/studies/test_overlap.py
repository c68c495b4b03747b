"""Who is in the corpus: real molecules, in other spellings, as mirror images, and by their scaffold only."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from small_corpora import demo_smiles, make_small, write_table
from small_models import write_table as labelled_table

from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.data.corpus_keys import CorpusKeys
from mesomer.data.prepare import prepare
from mesomer.errors import MesomerError
from mesomer.studies import skeletons
from mesomer.studies.design import StudyOptions
from mesomer.studies.molecules import read_molecules
from mesomer.studies.overlap import corpus_of, find_overlap, look_up, overlap_checks
from mesomer.studies.run import power_of, run_study
from mesomer.training.checkpoint import load_model, save_model
from mesomer.training.model_keys import FILE, carried

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


@pytest.fixture
def keyed(model, tmp_path, monkeypatch):
    """A model, and the corpus whose keys it carries, and the SMILES of that corpus."""
    make_small(monkeypatch)
    smiles = [*CORPUS, "CCN.Cl", "*c1ccccc1", "F/C=C/Cl", *demo_smiles(150)[20:]]
    table = str(write_table(tmp_path / "corpus.csv", smiles))
    corpus = prepare(table, tmp_path / "corpus", workers=1, add="inchikeys", quiet=True)
    found = carried(CorpusKeys.of(corpus))
    base = load_model(model)
    config = {
        "encoder": base.config["encoder"],
        "training": {"corpus_fingerprint": corpus.fingerprint, "corpus_keys": found.entry, "init": "runs/before"},
    }
    path = save_model(tmp_path / "keyed", "encoder", config, base.state, "# test\n", files={FILE: found.content})
    return path, corpus, smiles


def test_keys_find_what_the_corpus_has(keyed, tmp_path, request_of):
    path, corpus, smiles = keyed
    more = ["CCN", "CCN.Cl", "*c1ccccc1", "*c1ccccc1C", "F/C=C\\Cl", "CC(=O)[O-].[Na+]", "CCCCCCC"]
    table = [*STUDY, *more, *demo_smiles(200)[::4]]
    rows = {"smiles": table, "activity": range(len(table))}
    study = read_molecules(request_of(labelled_table(tmp_path / "s.csv", rows)).source)
    folder = load_model(path)
    found = look_up(study, None, str(path), folder)
    searched = look_up(study, str(corpus.path), str(path), folder)
    expected = by_hand(study, smiles)
    for kind in expected:
        assert 0 < len(expected[kind]) < len(study.keys)
        assert found[kind] == searched[kind] == expected[kind]
    assert {8, 9} <= set(found["exact"]) and not {2, 7, 10, 11, 12, 13} & set(found["exact"])
    assert 11 in found["skeleton"] and 7 not in found["skeleton"]
    assert found["corpus"] is None and found["is_of_the_model"] and found["molecules"] == searched["molecules"]
    # the keys say that nothing before was trained on elsewhere
    assert found["init"] is None and searched["init"] is None and searched["corpus"] == str(corpus.path)
    notes = overlap_checks(study, found, folder)
    assert [note.check for note in notes][:3] == ["overlap: exact", "overlap: skeleton", "overlap: scaffold"]
    assert f"the corpus of the pre-training ({found['molecules']} molecules)" in notes[0].sentence
    (source,) = notes[3:]
    assert source.check == "overlap: source" and "the keys of the corpus that the model carries" in source.sentence


def test_a_study_uses_the_keys_and_says_so(keyed, tmp_path, request_of):
    path, _, smiles = keyed
    table = demo_smiles(60)
    rows = {"smiles": table, "activity": [len(text) for text in table]}
    request = request_of(labelled_table(tmp_path / "s.csv", rows))
    source = replace(request.source, model=str(path), weights_sha256=load_model(path).sha256)
    options = StudyOptions(arms=("ecfp_forest", "mean"), splits=("random",), repeats=1, folds=2, trials=1,
                           label_shares=(), minutes=None)  # fmt: skip
    planned = power_of(replace(request, source=source), options)
    run_study(replace(request, source=source), options)
    found = json.loads((source.folder / "overlap.json").read_text())
    known = [row for row in range(1, 61) if row > 20]  # of the corpus the molecules from the 21st on
    assert found["exact"] == known and found["source"] == "the keys of the corpus that the model carries"
    sentence = f"40 of 60 molecules are in the corpus of the pre-training ({len(smiles)} molecules)."
    assert sentence in [check["sentence"] for check in planned["checks"]]
    report = (source.folder / "report.md").read_text()
    assert sentence in report and "the keys of the corpus that the model carries" in report
    with open(source.folder / "results.csv", newline="") as handle:
        novel = [int(row["n_novel"]) for row in csv.DictReader(handle) if row["arm"] == "mean"]
    assert novel and all(count < 30 for count in novel)


def test_a_named_corpus_wins_over_damaged_keys(keyed, study):
    path, corpus, _ = keyed
    (path / FILE).write_bytes((path / FILE).read_bytes()[:-1])
    folder = load_model(path)
    with pytest.raises(MesomerError, match="cut short or changed"):
        look_up(study, None, str(path), folder)
    assert look_up(study, str(corpus.path), str(path), folder)["is_of_the_model"]


def test_most_molecules_known_is_a_caution(study, model, tmp_path):
    path = write_table(tmp_path / "corpus.csv", [*STUDY, *demo_smiles(30)])
    found = find_overlap(study, str(path), load_model(model))
    assert len(found["exact"]) == 36
    notes = {note.check: note for note in overlap_checks(study, found, load_model(model))}
    assert notes["overlap: skeleton"].severity == "caution" and notes["overlap: exact"].severity == "info"


def test_no_corpus_is_said(study, model):
    assert corpus_of(str(model), load_model(model)) is None
    assert look_up(study, None, str(model), load_model(model)) is None
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
