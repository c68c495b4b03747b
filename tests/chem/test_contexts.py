"""Contexts are exactly those of the published builder, and those that a plain reading of its rules gives."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest
from chem_oracle import MOLECULES, real_smiles
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from mesomer.chem.contexts import Vocabulary, atom_contexts, bond_contexts, numbered
from mesomer.chem.featurize import featurize_many
from mesomer.errors import MesomerError

SMILES = [
    "C",
    "CC(=O)Oc1ccccc1C(=O)O",
    "F/C=C/Cl",
    "F/C=C\\Cl",
    "C1CC1",
    "[NH3]->[Fe]",
    "*C#N",
    "[2H]C([2H])O",
    "F[P-](F)(F)(F)(F)F",
    "O=S(=O)(N)c1ccc(cc1)n1nc(cc1c1ccc(C)cc1)C(F)(F)F",
    "[Na+].[Cl-]",
    "C$C",
    "c1ccc2c(c1)[nH]c1ccccc12",
]


def plain_atom(atom) -> str:
    """The rule as grover.md words it, one atom at a time."""
    pairs = Counter(f"{bond.GetOtherAtom(atom).GetSymbol()}-{bond.GetBondType().name}" for bond in atom.GetBonds())
    return atom.GetSymbol() + "".join(f"_{pair}{pairs[pair]}" for pair in sorted(pairs))


def plain_name(bond) -> str:
    return f"({bond.GetBondType().name}-{bond.GetStereo().name}-{bond.GetBondDir().name})"


def plain_bond(bond) -> str:
    others = Counter(
        f"{end.GetSymbol()}-{plain_name(other)}"
        for end in (bond.GetBeginAtom(), bond.GetEndAtom())
        for other in end.GetBonds()
        if other.GetIdx() != bond.GetIdx()
    )
    return plain_name(bond) + "".join(f"_{key}{others[key]}" for key in sorted(others))


def spelt(contexts) -> list[str]:
    return [contexts.tokens[number] for number in contexts.of_row]


def assert_plain(smiles):
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    graph = featurize_many(mols)
    assert spelt(atom_contexts(graph)) == [plain_atom(atom) for mol in mols for atom in mol.GetAtoms()]
    assert spelt(bond_contexts(graph)) == [plain_bond(bond) for mol in mols for bond in mol.GetBonds()]


def test_examples_of_the_specification():
    graph = featurize_many([Chem.MolFromSmiles(text) for text in ("c1ccccc1", "CC(N)=O", "C", "Cc1ccccc1")])
    atoms, bonds = spelt(atom_contexts(graph)), spelt(bond_contexts(graph))
    assert atoms[0] == "C_C-AROMATIC2" and atoms[6] == "C_C-SINGLE1"
    assert atoms[7] == "C_C-SINGLE1_N-SINGLE1_O-DOUBLE1" and atoms[9] == "O_C-DOUBLE1" and atoms[10] == "C"
    aromatic, single = "(AROMATIC-STEREONONE-NONE)", "(SINGLE-STEREONONE-NONE)"
    assert f"{aromatic}_C-{aromatic}2_C-{single}1" in bonds


@given(st.lists(st.sampled_from([*SMILES, *MOLECULES]), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_any_batch_has_the_contexts_of_the_plain_rules(smiles):
    assert_plain(smiles)


def test_real_molecules_have_the_contexts_of_the_plain_rules(data_folder):
    for name in ("molecules/toxcast.csv.gz", "molecules/hiv.csv.gz"):
        with rdBase.BlockLogs():
            smiles = [text for text in real_smiles(data_folder, name, 37, 200) if Chem.MolFromSmiles(text) is not None]
        assert len(smiles) > 150
        assert_plain(smiles)


@pytest.fixture
def official(parity):
    return parity("grover")


def official_graph(folder):
    with open(folder / "smiles.csv", newline="") as file:
        return featurize_many([Chem.MolFromSmiles(row["smiles"]) for row in csv.DictReader(file)])


@pytest.mark.reference
@pytest.mark.parametrize(("level", "contexts"), [("atom", atom_contexts), ("bond", bond_contexts)])
def test_vocabularies_and_numbers_are_the_published_ones(official, level, contexts):
    stored = json.loads((official / f"{level}_vocab.json").read_text())
    found = contexts(official_graph(official))
    assert found.counts() == stored["freqs"]
    limit = len(stored["itos"]) - 2
    vocabulary = Vocabulary.of(found.counts(), max_size=limit)
    assert list(vocabulary.tokens) == stored["itos"]
    ids = np.load(official / "expected.npz")[f"vocab_{level}_ids"]
    np.testing.assert_array_equal(numbered(found, vocabulary), ids)
    # a cut vocabulary is the beginning of the whole one
    whole = Vocabulary.of(found.counts())
    numbers = numbered(found, whole)
    np.testing.assert_array_equal(np.where(numbers < limit + 2, numbers, 1), ids)


def test_vocabularies_by_count_then_name():
    counts = {"b": 2, "a": 2, "c": 5, "d": 1}
    vocabulary = Vocabulary.of(counts)
    assert vocabulary.tokens == ("<pad>", "<other>", "c", "a", "b", "d") and vocabulary.counts == (0, 0, 5, 2, 2, 1)
    assert Vocabulary.of(counts, min_count=2).tokens[2:] == ("c", "a", "b")
    assert Vocabulary.of(counts, max_size=1).tokens[2:] == ("c",)
    assert vocabulary.numbers(["a", "x", "c"]).tolist() == [3, 1, 2]
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


@pytest.mark.parametrize(
    "stored", [None, {}, {"tokens": ["a"], "counts": [1]}, {"tokens": ["<pad>", "<other>"], "counts": []}]
)
def test_what_is_no_vocabulary_is_refused(stored):
    with pytest.raises(MesomerError, match="vocabulary"):
        Vocabulary.from_json(stored)


def test_no_molecules_no_contexts():
    graph = featurize_many([])
    assert atom_contexts(graph).tokens == [] and bond_contexts(graph).of_row.shape == (0,)
