"""What new models read does not depend on how a SMILES was written or how atoms are numbered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chem_oracle import MOLECULES, real_smiles, respelt
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

from mesomer.chem.featurize import featurize, featurize_many, graph_from_smiles
from mesomer.chem.graph import MolGraph
from mesomer.chem.records import split_records
from mesomer.chem.schema import ATOM_FIELDS, BOND_FIELDS, SPELLING_DEPENDENT, atom_field, bond_field

STEREO = [smiles for smiles in MOLECULES if any(mark in smiles for mark in "@/\\")]


def differing(graph: MolGraph, other: MolGraph, order: np.ndarray) -> set[str]:
    """Fields in which `other`, whose atom i is `graph`'s atom order[i], says something else."""
    fields = set()
    for name in ATOM_FIELDS.keys() - SPELLING_DEPENDENT["atom"]:
        if not np.array_equal(atom_field(other.atoms, name), atom_field(graph.atoms, name)[order]):
            fields.add(name)
    bonds = {tuple(pair): row for pair, row in zip(graph.ends.tolist(), graph.bonds, strict=True)}
    rows = [bonds[tuple(sorted(order[pair].tolist()))] for pair in other.ends.astype(int)]
    for name in BOND_FIELDS.keys() - SPELLING_DEPENDENT["bond"]:
        if rows and not np.array_equal(bond_field(other.bonds, name), bond_field(np.array(rows), name)):
            fields.add(f"bond {name}")
    return fields


@given(st.sampled_from(MOLECULES), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_numbering_does_not_matter(smiles: str, random: object) -> None:
    mol = Chem.MolFromSmiles(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.shuffle(order)  # type: ignore[attr-defined]
    renumbered = Chem.RenumberAtoms(mol, order)
    assert not differing(featurize(mol), featurize(renumbered), np.array(order))


@pytest.mark.parametrize("smiles", MOLECULES)
def test_spelling_does_not_matter(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    graph = featurize(mol)
    for _ in range(6):
        found = respelt(mol)
        if found is not None:
            other, order = found
            assert not differing(graph, featurize(other), order), Chem.MolToSmiles(other, canonical=False)


def test_spelling_of_real_molecules_does_not_matter(data_folder: Path) -> None:
    violations = {}
    for smiles in real_smiles(data_folder, "corpus/chembl_diverse.csv.gz", 60, 1200):
        mol = Chem.MolFromSmiles(smiles)
        found = None if mol is None else respelt(mol)
        if mol is not None and found is not None:
            other, order = found
            fields = differing(featurize(mol), featurize(other), order)
            if fields:
                violations[smiles] = fields
    assert not violations


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"),
        ("F/C=C/Cl", "F/C=C\\Cl"),
        ("C[C@H]1CC[C@@H](C)CC1", "C[C@H]1CC[C@H](C)CC1"),
        ("C[C@H]1C[C@@H](C)C1", "C[C@H]1C[C@H](C)C1"),
        ("O[C@H]1C[C@@H](O)C[C@@H](O)C1", "O[C@H]1C[C@H](O)C[C@@H](O)C1"),
        ("C[C@H](O)[C@@H](O)[C@@H](C)O", "C[C@H](O)[C@H](O)[C@@H](C)O"),
        ("N[C@H]1C2CC3CC1C[C@](O)(C3)C2", "N[C@H]1C2CC3CC1C[C@@](O)(C3)C2"),
    ],
)
def test_stereoisomers_differ(one: str, other: str) -> None:
    def labels(smiles: str) -> tuple[list[int], list[int]]:
        graph = featurize(Chem.MolFromSmiles(smiles))
        return sorted(atom_field(graph.atoms, "cip").tolist()), sorted(bond_field(graph.bonds, "cip").tolist())

    assert Chem.CanonSmiles(one) != Chem.CanonSmiles(other)
    assert labels(one) != labels(other)


def test_two_spellings_of_one_label() -> None:
    for one, other in (("F/C=C/Cl", "F\\C=C\\Cl"), ("C[C@H](N)C(=O)O", "OC(=O)[C@@H](N)C")):
        values = [
            (
                sorted(atom_field(graph.atoms, "cip").tolist()),
                sorted(bond_field(graph.bonds, "cip").tolist()),
            )
            for graph in (featurize(Chem.MolFromSmiles(smiles)) for smiles in (one, other))
        ]
        assert values[0] == values[1] and any(values[0][0] + values[0][1])


@pytest.mark.parametrize("smiles", STEREO)
def test_labels_left_by_others_are_not_believed(smiles: str) -> None:
    """Another labeller, or none, may have been at the molecule before; cis and trans may have replaced E and Z."""
    expected = featurize(Chem.MolFromSmiles(smiles))
    labelled = Chem.MolFromSmiles(smiles)
    rdCIPLabeler.AssignCIPLabels(labelled)
    bare = Chem.MolFromSmiles(smiles)
    for atom in bare.GetAtoms():
        atom.ClearProp("_CIPCode")
    for mol in (labelled, bare):
        found = featurize(mol)
        assert np.array_equal(atom_field(found.atoms, "cip"), atom_field(expected.atoms, "cip"))
        assert np.array_equal(bond_field(found.bonds, "cip"), bond_field(expected.bonds, "cip"))


def test_labels_of_the_parser_are_the_recomputed_ones(data_folder: Path) -> None:
    texts = real_smiles(data_folder, "corpus/chembl_diverse.csv.gz", 97, 500)
    mols = [Chem.MolFromSmiles(smiles) for smiles in [*STEREO, *texts]]
    for ours, theirs in zip(featurize_many(mols, just_parsed=True), featurize_many(mols), strict=True):
        assert np.array_equal(ours, theirs)


def test_enantiomers_mirror_each_other() -> None:
    swap = np.array([0, 2, 1, 3, 4])
    for smiles in set(STEREO) - {"C[C@H](O)[C@@H](O)[C@@H](C)O"}:  # its middle is the same in both mirror images
        mol = Chem.MolFromSmiles(smiles)
        mirrored = Chem.MolFromSmiles(smiles.replace("@@", "?").replace("@", "@@").replace("?", "@"))
        ours, theirs = (atom_field(featurize(each).atoms, "cip") for each in (mol, mirrored))
        assert np.array_equal(swap[ours], theirs), smiles


@pytest.mark.parametrize("smiles", STEREO)
def test_rdkits_switch_of_stereo_perception_does_not_matter(smiles: str) -> None:
    """The switch is the process's and the user's; a molecule read under either gets the same labels, and it stays."""
    expected = featurize(Chem.MolFromSmiles(smiles))
    assert Chem.GetUseLegacyStereoPerception()
    Chem.SetUseLegacyStereoPerception(False)
    try:
        ours, _ = graph_from_smiles(smiles)
        theirs = featurize(Chem.MolFromSmiles(smiles))
        assert not Chem.GetUseLegacyStereoPerception()
    finally:
        Chem.SetUseLegacyStereoPerception(True)
    assert (
        ours is not None and np.array_equal(ours.atoms, expected.atoms) and np.array_equal(ours.bonds, expected.bonds)
    )
    assert np.array_equal(atom_field(theirs.atoms, "cip"), atom_field(expected.atoms, "cip"))
    assert np.array_equal(bond_field(theirs.bonds, "cip"), bond_field(expected.bonds, "cip"))


def test_rdkits_choice_of_pickled_properties_does_not_matter() -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    expected = [featurize(mol) for mol in mols]
    usually_fast = [split_records(mol) is not None for mol in mols]
    usual = Chem.GetDefaultPickleProperties()
    for chosen in (Chem.PropertyPickleOptions.AllProps, Chem.PropertyPickleOptions.NoProps):
        Chem.SetDefaultPickleProperties(chosen)
        try:
            found = [featurize(mol) for mol in mols]
            fast = [split_records(mol) is not None for mol in mols]
        finally:
            Chem.SetDefaultPickleProperties(usual)
        for ours, theirs in zip(found, expected, strict=True):
            assert all(np.array_equal(one, other) for one, other in zip(ours[:3], theirs[:3], strict=True))
        assert fast == usually_fast
