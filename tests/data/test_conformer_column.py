"""`mesomer prepare --add conformers`: coordinates beside a corpus, what is told of them, and the user's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import rdkit
import torch
from rdkit import Chem

from mesomer.chem import conformers
from mesomer.chem.conformers import CONFORMERS, conformer
from mesomer.commands.prepare import prepare as command
from mesomer.data import additions
from mesomer.data.card import corpus_readme
from mesomer.data.corpus import read_card
from mesomer.data.prepare import add_to_corpus, prepare_corpus
from mesomer.encoders.base import build_encoder
from mesomer.encoders.rmat_features import coordinates_of

SMILES = ["CCO", "CCN", "[Na+].[Cl-]", "c1ccccc1", "C", "CC(=O)O", "C1C[C@@H]2CC[C@@H]1C2", "CCCC"]


def test_the_column_is_named_as_the_encoders_read_it():
    assert CONFORMERS in additions.ADDITIONS


def test_conformers_beside_a_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(conformers, "ATTEMPTS", 20)  # one of them cannot be embedded
    monkeypatch.setattr(additions, "BLOCK_MOLECULES", 3)
    (tmp_path / "a.smi").write_text("\n".join(SMILES))
    result = command(str(tmp_path / "a.smi"), output=str(tmp_path / "corpus"), add="conformers", workers=1)
    assert "conformers: 1 of 8 molecules in two dimensions" in result["text"]
    assert "conformers: 1 of 8 molecules with atoms on top of each other" in result["text"]
    done = prepare_corpus(str(tmp_path / "a.smi"), tmp_path / "corpus", workers=1, quiet=True)
    entry = done.corpus.card["additions"]["conformers"]
    assert list(entry["counts"].values()) == [1, 1, 7, 0, 1, 0] and entry["rdkit"] == rdkit.__version__
    assert f"conformers: 7 of 8 molecules {conformers.OUTCOMES[conformers.RELAXED]}\n" in result["text"]
    page = (tmp_path / "corpus" / "README.md").read_text()
    assert f"- `conformers` (RDKit {rdkit.__version__}): coordinates" in page
    assert f"\n  - 1 molecules {conformers.OUTCOMES[conformers.DRAWN]}\n" in page and conformers.LATE not in page
    for part in ("train", "held_out"):
        if not (count := done.corpus.count(part)):
            continue
        batch = done.corpus.batch(part, range(count))
        mols = [Chem.MolFromSmiles(text) for text in done.corpus.smiles(part, range(count))]
        expected = np.concatenate([conformer(mol).coordinates for mol in mols])
        assert np.array_equal(batch.extras["conformers"].numpy(), expected)
        network = build_encoder("rmat", hidden_size=8, heads=2, blocks=1, ffn_hidden=8)
        assert torch.isfinite(network(batch).views["atom_from_atom"]).all()


def test_how_they_came_about_is_known_after_a_repair_and_unknown_of_older_files(tmp_path, monkeypatch):
    (tmp_path / "a.smi").write_text("\n".join([*SMILES, *("C" * at + "N" for at in range(3, 60))]))
    monkeypatch.setattr(additions, "BLOCK_MOLECULES", 16)
    monkeypatch.setattr(conformers, "ATTEMPTS", 20)
    folder = prepare_corpus(
        str(tmp_path / "a.smi"), tmp_path / "corpus", add="conformers", workers=1, quiet=True
    ).corpus.path
    counts = read_card(folder)["additions"]["conformers"]["counts"]
    assert sum(counts[conformers.OUTCOMES[how]] for how in conformers.OUTCOMES) == read_card(folder)["molecules"]
    lost = sorted(folder.glob("held_out*conformers*"))[0]
    lost.unlink()
    add_to_corpus(folder, [], 1, quiet=True)
    assert lost.exists() and read_card(folder)["additions"]["conformers"]["counts"] == counts
    lost.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(additions, "_conformers", None)
        older = replace(additions.ADDITIONS["conformers"], compute=lambda mols, _: conformers.conformers(mols))
        patch.setitem(additions.ADDITIONS, "conformers", older)
        add_to_corpus(folder, [], 1, quiet=True)
    assert list(read_card(folder)["additions"]["conformers"]["counts"]) == list(counts)[:2]


def test_the_page_for_people_follows_the_card(tmp_path):
    (tmp_path / "a.smi").write_text("\n".join(SMILES))
    folder = prepare_corpus(str(tmp_path / "a.smi"), tmp_path / "corpus", workers=1, quiet=True).corpus.path
    before = (folder / "README.md").read_text()
    assert "Added columns" not in before
    add_to_corpus(folder, "motifs,inchikeys", 1, quiet=True)
    after = (folder / "README.md").read_text()
    assert after == corpus_readme(read_card(folder)) and "- `motifs` (RDKit" in after and "- `inchikeys` (" in after


def test_given_coordinates_are_never_replaced(tmp_path):
    """A structure file with coordinates, one record without: computed ones fill the gap only."""
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for text in ("CCO", "CCN", "CC(=O)O"):
            mol = Chem.MolFromSmiles(text)
            if text != "CCN":
                shape = Chem.Conformer(mol.GetNumAtoms())
                for atom in range(mol.GetNumAtoms()):
                    shape.SetAtomPosition(atom, [1.5 * atom, 0.25, 7.125])
                shape.Set3D(True)
                mol.AddConformer(shape)
            writer.write(mol)
    corpus = prepare_corpus(
        str(tmp_path / "a.sdf"), tmp_path / "corpus", add="conformers", workers=1, quiet=True
    ).corpus
    assert corpus.card["with_coordinates"] == 2
    own_are_not_computed = [
        np.isnan(corpus.batch(part, [at]).extras["conformers"].numpy()).all()
        for part in ("train", "held_out")
        for at in range(corpus.count(part))
        if corpus.smiles(part, [at]) != ["CCN"]
    ]
    assert own_are_not_computed == [True, True]
    again = command(str(tmp_path / "a.sdf"), output=str(tmp_path / "corpus"), add="conformers", workers=1)
    assert "Own coordinates in space: 2 of 3 molecules.\n" in again["text"]
    assert not any(corpus.card["coordinates"].values())
    network = build_encoder("mat", hidden_size=8, heads=2, blocks=1)
    for part in ("train", "held_out"):
        for at in range(corpus.count(part)):
            batch = corpus.batch(part, [at])
            [text] = corpus.smiles(part, [at])
            own, computed = batch.coordinates, batch.extras["conformers"]
            used = coordinates_of(batch, "MAT")
            assert torch.equal(used, computed if text == "CCN" else own)
            assert text == "CCN" or (used[:, 2] == 7.125).all()
            assert torch.isfinite(network(batch).views["atom_from_atom"]).all()


def test_own_coordinates_are_looked_at_too(tmp_path):
    """Those of a drawing that the file calls a structure, and of ions at one place, are told before training."""
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for text in ("CCO", "[Na+].[Cl-]", "CCN"):
            mol = Chem.MolFromSmiles(text)
            shape = Chem.Conformer(mol.GetNumAtoms())
            for atom in range(mol.GetNumAtoms()):
                shape.SetAtomPosition(atom, [0.1 * atom if "." in text else 1.5 * atom, 1.0, float(text != "CCO")])
            shape.Set3D(True)
            mol.AddConformer(shape)
            writer.write(mol)
    told = command(str(tmp_path / "a.sdf"), output=str(tmp_path / "corpus"), workers=1)
    assert "Own coordinates in space: 3 of 3 molecules.\n  1 of 3 molecules in two dimensions" in told["text"]
    assert "\n  1 of 3 molecules with atoms on top of each other" in told["text"]
