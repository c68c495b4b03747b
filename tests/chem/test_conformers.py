"""Conformers: the same for every spelling, in the order of the atoms, and what happens where there is none."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem import conformers as module
from mesomer.chem.conformers import (
    DRAWN,
    EMBEDDED,
    LATE,
    OUTCOMES,
    RELAXED,
    conformer,
    conformers,
    counted_conformers,
    crowded,
    drawn,
    graph_marks,
)
from mesomer.chem.featurize import featurize

SMILES = ["CCO", "C[C@H](N)C(=O)O", "c1ccccc1/C=C/F", "[Na+].CC(=O)[O-]", "[2H]OC", "O=C=O"]
IMPOSSIBLE = "C1C[C@@H]2CC[C@@H]1C2"  # norbornane whose bridge would pass through the ring


def distances(coordinates):
    apart = coordinates[:, None].astype(np.float64) - coordinates[None]
    return np.sqrt(np.square(apart).sum(2))


@given(st.sampled_from(SMILES), st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_a_molecule_has_one_conformer_whatever_its_spelling(smiles, seed):
    mol = Chem.MolFromSmiles(smiles)
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms())
    first, second = conformer(mol), conformer(Chem.RenumberAtoms(mol, order.tolist()))
    # atoms that are alike may change places, and nothing else may
    ranks = np.array(list(Chem.CanonicalRankAtoms(mol, breakTies=False)))
    found = [
        sorted(zip(where.tolist(), one.round(4).tolist(), strict=True))
        for one, where in ((first.coordinates, ranks), (second.coordinates, ranks[order]))
    ]
    assert found[0] == found[1] and first.how == second.how


@pytest.mark.parametrize("smiles", SMILES)
def test_coordinates_are_those_of_the_atoms(smiles):
    mol = Chem.MolFromSmiles(smiles)
    found = conformer(mol)
    assert found.how == RELAXED and found.coordinates.dtype == np.float32
    apart = distances(found.coordinates)
    lengths = [apart[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] for bond in mol.GetBonds()]
    assert min(lengths) > 0.9 and max(lengths) < 1.7
    assert not drawn(found.coordinates, np.array([mol.GetNumAtoms()])).any()
    assert mol.GetNumConformers() == 0


def test_seeds_are_other_conformers():
    mol = Chem.MolFromSmiles("CCCCCCCC")
    assert np.array_equal(conformer(mol).coordinates, conformer(mol).coordinates)
    assert not np.allclose(distances(conformer(mol, seed=5).coordinates), distances(conformer(mol).coordinates), 0.1)


def test_what_cannot_be_embedded_is_drawn_within_the_time_limit(monkeypatch):
    mol = Chem.MolFromSmiles(IMPOSSIBLE)
    monkeypatch.setattr(module, "ATTEMPTS", 10**6)
    monkeypatch.setattr(module, "stereo_is_impossible", lambda *_: False)  # as where no mark is to blame
    start = time.monotonic()
    found = conformer(mol, time_limit=1)
    assert time.monotonic() - start < 20
    assert found.late and found.words == (OUTCOMES[DRAWN], LATE)
    assert found.how == DRAWN and (found.coordinates[:, 2] == 0).all()
    assert drawn(found.coordinates, np.array([7])).tolist() == [True]
    assert distances(found.coordinates)[np.triu_indices(7, 1)].min() > 0.5


def test_long_chains_get_a_structure_from_random_places():
    mol = Chem.MolFromSmiles("C" * 60)
    assert not module._embed(Chem.AddHs(mol), 3, 3, 30, anywhere=False)
    found = conformer(mol)
    assert found.how != DRAWN and found.coordinates[:, 2].any()


def test_no_time_left_is_no_relaxing():
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    assert module._embed(mol, 1, 100, 10, anywhere=False)
    assert module._relax(mol, time.thread_time() - 1) is None


def test_a_busy_machine_changes_nothing(monkeypatch):
    """The wall clock runs ahead by an hour at each look."""
    mol = Chem.MolFromSmiles("CCOC(=O)c1ccccc1")
    alone = conformer(mol, time_limit=5)
    monkeypatch.setattr(module.time, "monotonic", iter(range(0, 10**9, 3600)).__next__)
    monkeypatch.setattr(module, "_LARGE", 10)  # the clock is looked at between the steps
    stepwise = conformer(mol, time_limit=5)
    monkeypatch.undo()
    assert stepwise.how == alone.how == RELAXED and not stepwise.late and not alone.late
    assert np.allclose(distances(stepwise.coordinates), distances(alone.coordinates), atol=0.5)


def test_time_that_ran_out_is_told_and_time_that_did_not_is_not(monkeypatch):
    mol = Chem.MolFromSmiles("CCO")
    clock = iter(range(0, 10**9, 20))  # seconds of CPU time
    monkeypatch.setattr(module.time, "thread_time", clock.__next__)
    found = conformer(mol, time_limit=30)
    monkeypatch.undo()
    assert found.how == EMBEDDED and found.late
    assert not conformer(mol).late
    monkeypatch.setattr(module, "ATTEMPTS", 20)
    coordinates, counts = counted_conformers([mol, Chem.MolFromSmiles(IMPOSSIBLE), Chem.MolFromSmiles("[Fe+3]")])
    assert len(coordinates) == 11
    assert counts == {OUTCOMES[RELAXED]: 1, OUTCOMES[EMBEDDED]: 1, OUTCOMES[DRAWN]: 1, LATE: 0}


@pytest.mark.parametrize(("attempts", "seconds", "slices", "outcome"), [
    (3, 30, [(7, 3)], False),
    (100, 30, [(7, 4), (7, 100)], False),
    (250, 30, [(7, 4), (7, 100), (8, 100), (9, 50)], False),
    (250, 11.5, [(7, 4), (7, 100), (8, 15)], None),
    (100, 0.3, [(7, 4)], None),
])  # fmt: skip
def test_attempts_come_in_slices_that_fit_into_the_cpu_time(monkeypatch, attempts, seconds, slices, outcome):
    made = []

    def attempt(_, seed, count, wall, anywhere):
        made.append((seed, count))
        return False, 0.1 * count

    monkeypatch.setattr(module, "_attempt", attempt)
    assert module._embed(Chem.MolFromSmiles("C"), 7, attempts, seconds, anywhere=False) is outcome
    assert made == slices


def test_slices_find_what_one_call_finds():
    """Of the first hundred attempts the one that succeeds is the same, also where it is not among the first."""
    mol = Chem.AddHs(Chem.MolFromSmiles("C" * 30))
    sliced, whole = Chem.Mol(mol), Chem.Mol(mol)
    assert not module._attempt(mol, 3141, module._TRIAL, 60, anywhere=False)[0]
    assert module._embed(sliced, 3141, 100, 30, anywhere=False)
    assert module._attempt(whole, 3141, 100, 60, anywhere=False)[0]
    assert np.array_equal(sliced.GetConformer().GetPositions(), whole.GetConformer().GetPositions())


def test_a_large_molecule_is_relaxed_step_by_step_while_there_is_time(monkeypatch):
    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1CCN"))
    assert module._embed(mol, 1, 100, 10, anywhere=False)
    at_once, stepwise, late = Chem.Mol(mol), Chem.Mol(mol), Chem.Mol(mol)
    assert module._relax(at_once, time.thread_time() + 60)
    monkeypatch.setattr(module, "_LARGE", 10)
    assert module._relax(stepwise, time.thread_time() + 60)
    assert not module._relax(late, time.thread_time() - 1)

    def energy(one):
        return module.rdForceFieldHelpers.UFFGetMoleculeForceField(one).CalcEnergy()

    assert energy(stepwise) < energy(late) and energy(stepwise) == pytest.approx(energy(at_once), rel=0.2)


@pytest.mark.parametrize("smiles", ["[Fe+3]", "F[S](F)(F)(F)(F)F", "*CC", "[NH3]->[Fe+2]"])
def test_without_parameters_of_the_force_field_the_embedding_is_kept(smiles):
    mol = Chem.MolFromSmiles(smiles)
    found = conformer(mol)
    assert found.how == EMBEDDED and np.isfinite(found.coordinates).all()
    assert found.coordinates.shape == (mol.GetNumAtoms(), 3)


def test_odd_bonds_stop_nothing():
    mol = Chem.MolFromSmiles("CC.[Fe]")
    editable = Chem.RWMol(mol)
    editable.AddBond(1, 2, Chem.BondType.ZERO)
    mol = editable.GetMol()
    Chem.SanitizeMol(mol)
    assert np.isfinite(conformer(mol).coordinates).all()


def test_ions_on_top_of_each_other_are_told():
    mols = [Chem.MolFromSmiles(text) for text in ("[Na+].[Cl-]", "CCO", "C", IMPOSSIBLE)]
    found = [*np.split(conformers(mols[:3]), [2, 5]), conformer(mols[3], time_limit=1).coordinates]
    flat, crowding = marks_of(mols, found)
    assert crowding == [True, False, False, False] and flat == [False, False, False, True]


@pytest.mark.parametrize(
    "text", ["CCN.Cl", "CC(=O)[O-].[Na+]", "c1ccncc1.OS(=O)(=O)O", "CN(C)CCOC(c1ccccc1)c1ccccc1.Cl"]
)
def test_fragments_within_each_other_are_told(text):
    """No two of their atoms lie at one place, but none of these salts is what was computed; moved apart, it may be."""
    mol = Chem.MolFromSmiles(text)
    found = conformer(mol).coordinates
    apart = np.sort(distances(found)[np.triu_indices(len(found), 1)])
    assert apart[0] > module.CROWDED
    assert marks_of([mol], [found]) == [[False], [True]]
    last = list(Chem.GetMolFrags(mol)[1])
    found[last] += [30, 0, 0]
    assert marks_of([mol], [found]) == [[False], [False]]


def test_coordinates_of_any_size_are_looked_at():
    mol = Chem.MolFromSmiles("CCO")
    assert marks_of([mol], [np.diag([1e30, 2e30, 3e30]).astype(np.float32)]) == [[False], [False]]


def marks_of(mols, coordinates):
    graphs = [featurize(mol)._replace(coordinates=found) for mol, found in zip(mols, coordinates, strict=True)]
    return [marks.tolist() for marks in graph_marks([graphs[0]._replace(coordinates=None), *graphs]).values()]


def test_a_line_is_a_drawing_only_where_it_is_one(monkeypatch):
    mol, count = Chem.MolFromSmiles("C#C"), np.array([2])
    assert not drawn(conformer(mol).coordinates, count).any()
    assert not drawn(np.array([[0, 0, 0], [1.2, 0, 0]], np.float32), count).any()  # as structure files have it
    monkeypatch.setattr(module, "_in_space", lambda *_: (None, DRAWN, False))
    found = conformer(mol)
    assert found.how == DRAWN and drawn(found.coordinates, count).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_crowding_is_the_smallest_distance(sizes, seed):
    counts = np.array(sizes)
    points = np.random.default_rng(seed).uniform(-2, 2, (counts.sum(), 3)).astype(np.float32)
    fragment = np.arange(counts.sum()) // 4  # of several molecules, too: only atoms of one are compared
    expected = []
    for part, numbers in zip(*(np.split(x, np.cumsum(counts)[:-1]) for x in (points, fragment)), strict=True):
        least = np.where(numbers[:, None] == numbers, module.CROWDED, module.CROWDED_FRAGMENTS)
        expected.append(bool((distances(part) < least)[np.triu_indices(len(part), 1)].any()))
    assert crowded(points, counts, fragment).tolist() == expected


def test_many_pairs_are_taken_by_turns(monkeypatch):
    monkeypatch.setattr(module, "_PAIRS_AT_A_TIME", 4)
    points = np.zeros((9, 3), np.float32)
    points[:, 2] = [0, 1, 2, 0, 0.1, 3, 0, 5, 9]
    assert crowded(points, np.array([3, 3, 3]), np.zeros(9)).tolist() == [False, True, False]
    none = np.zeros(0, np.int64)
    assert crowded(np.zeros((0, 3), np.float32), none, none).tolist() == []
    assert [marks.tolist() for marks in graph_marks([]).values()] == [[], []]
