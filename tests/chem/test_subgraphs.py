"""Distances in a batch against RDKit's, and parts of a batch against the batch of the parts."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem.featurize import featurize
from mesomer.chem.graph import MolGraph, collate
from mesomer.chem.masking import hide
from mesomer.chem.subgraphs import distances, induced

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "C1CC1(C)C(=O)N1CCN(CC1)c1ncccn1", "[Na+].[Cl-]", "F/C=C/Cl"]
MOLS = [Chem.MolFromSmiles(text) for text in SMILES]
GRAPHS = [featurize(mol) for mol in MOLS]


@given(st.lists(st.integers(0, 10**6), min_size=len(MOLS), max_size=len(MOLS)), st.integers(0, 6))
@settings(max_examples=20, deadline=None)
def test_distances_are_rdkits(drawn, limit):
    batch = collate(GRAPHS)
    roots = [number % mol.GetNumAtoms() for number, mol in zip(drawn, MOLS, strict=True)]
    found = distances(batch, batch.atom_offsets[:-1] + torch.tensor(roots), limit)
    expected = [Chem.GetDistanceMatrix(mol)[root] for mol, root in zip(MOLS, roots, strict=True)]
    assert found.tolist() == np.minimum(np.concatenate(expected), limit + 1).astype(int).tolist()


def part_of(graph: MolGraph, kept: np.ndarray, bonds: np.ndarray) -> MolGraph:
    """The graph of some atoms and bonds, bond by bond."""
    number = np.cumsum(kept) - 1
    inside = [at for at, (a, b) in enumerate(graph.ends) if kept[a] and kept[b] and bonds[at]]
    return MolGraph(graph.atoms[kept], graph.bonds[inside], number[graph.ends[inside]].astype(np.uint16).reshape(-1, 2))


def assert_same(found, expected):
    for field in fields(found):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "extras":
            assert ours == theirs == {}
        elif theirs is None:
            assert ours is None
        else:
            assert torch.equal(ours, theirs), field.name


@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.6, 0.9, 1.0]))
@settings(max_examples=30, deadline=None)
def test_a_part_of_a_batch_is_the_batch_of_the_parts(seed, share):
    rng = np.random.default_rng(seed)
    kept = [rng.random(len(graph.atoms)) < share for graph in GRAPHS]
    kept[0][0] = True
    bonds = [rng.random(len(graph.bonds)) < share for graph in GRAPHS]
    every = [np.ones(len(graph.bonds), dtype=bool) for graph in GRAPHS]
    keys = np.arange(len(GRAPHS)) + 7
    left = [at for at, atoms in enumerate(kept) if atoms.any()]
    labelled = replace(collate(GRAPHS, keys), extras={"label": torch.zeros(len(GRAPHS))})
    atoms = torch.from_numpy(np.concatenate(kept))
    for some, chosen in ((every, None), (bonds, torch.from_numpy(np.concatenate(bonds)))):
        expected = collate([part_of(GRAPHS[at], kept[at], some[at]) for at in left], keys[left])
        assert_same(induced(labelled, atoms, chosen), expected)


def test_hiding_changes_codes_alone():
    batch = collate(GRAPHS)
    atoms = torch.arange(batch.num_atoms) % 3 == 0
    hidden = hide(batch, atoms)
    assert torch.equal(hidden.atom_codes[~atoms], batch.atom_codes[~atoms])
    assert len(torch.unique(hidden.atom_codes[atoms], dim=0)) == 1 and hidden.bond_codes is batch.bond_codes
    assert_same(replace(hidden, atom_codes=batch.atom_codes), batch)


def test_computed_coordinates_stay_with_their_atoms():
    import dataclasses

    import torch
    from rdkit.Chem import MolFromSmiles

    from mesomer.chem.conformers import CONFORMERS
    from mesomer.chem.featurize import featurize
    from mesomer.chem.graph import collate

    batch = collate([featurize(MolFromSmiles(text)) for text in ("CCO", "c1ccccc1")])
    places = torch.arange(27.0).view(9, 3)
    batch = dataclasses.replace(batch, extras={CONFORMERS: places, "descriptors": torch.zeros(2, 5)})
    kept = torch.tensor([True, False, True, *[True] * 6])
    part = induced(batch, kept, torch.ones(len(batch.bond_codes), dtype=torch.bool))
    assert list(part.extras) == [CONFORMERS] and torch.equal(part.extras[CONFORMERS], places[kept])
