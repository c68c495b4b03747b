"""Stereo marks that no ring system can have: found out soon, and never where a structure can be had."""

from __future__ import annotations

import time

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from mesomer.chem import conformers as module
from mesomer.chem.conformers import DRAWN, RELAXED, conformer
from mesomer.chem.impossible import marked_ring_systems, stereo_is_impossible

HOPELESS = [
    "C1C[C@@H]2CC[C@@H]1C2",  # bridgeheads that point against each other: norbornane, camphor, tropane
    "CC1(C)[C@@H]2CC[C@]1(C)C(=O)C2",
    "CN1[C@H]2CC[C@H]1CC2",
    "C1C/C=C/C=C/CC1",  # two trans double bonds in a ring of eight
    "C1C[C@@H]2CC[C@@H]1C2CCOC(=O)c1ccc(cc1)NC(=O)CCN1CCOCC1.[Na+]",
]
POSSIBLE = [
    "C1C[C@H]2CC[C@@H]1C2",
    "CC1(C)[C@H]2CC[C@]1(C)C(=O)C2",
    "CN1[C@@H]2CC[C@H]1CC2",
    "C1CCC/C=C/CC1",
    "C/C=C1/CC[C@@H](C)[C@H](C)C1",
    "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@@]43C)[C@@H]1CC[C@@H]2O",
    "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "O=C1CCC(=O)N1",
    "CC[C@H](C)[C@@H](C)O",
]


def embeds(mol, attempts=100):
    options = rdDistGeom.ETKDGv3()
    options.randomSeed, options.maxIterations, options.useRandomCoords = 1, attempts, True
    return rdDistGeom.EmbedMolecule(mol, options) == 0


@pytest.mark.parametrize("smiles", HOPELESS)
def test_what_cannot_be_is_drawn_soon(smiles, monkeypatch):
    """After the first hundred attempts; that is no matter of time, and nothing is said of time."""
    asked, embed = [], module._embed
    monkeypatch.setattr(module, "_embed", lambda mol, *rest, **more: asked.append(mol) or embed(mol, *rest, **more))
    found = conformer(Chem.MolFromSmiles(smiles))
    assert found.how == DRAWN and not found.late
    whole = Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()
    assert len(asked) == 3 and asked[0].GetNumAtoms() == whole and asked[1].GetNumAtoms() < 25


@pytest.mark.parametrize("smiles", POSSIBLE)
def test_what_can_be_is_not_given_up(smiles, monkeypatch):
    """Also if the first attempts were in vain; and then the coordinates are those of the attempts that follow."""
    whole, embed = Chem.AddHs(Chem.MolFromSmiles(smiles)), module._embed
    assert not stereo_is_impossible(whole, embeds, embeds)

    def unlucky(mol, seed, attempts, seconds, anywhere):
        return anywhere and embed(mol, seed, attempts, seconds, anywhere)

    monkeypatch.setattr(module, "_embed", unlucky)
    found = conformer(Chem.MolFromSmiles(smiles))
    monkeypatch.setattr(module, "_is_impossible", lambda *_: False)
    unasked = conformer(Chem.MolFromSmiles(smiles))
    assert found.how == unasked.how == RELAXED and np.array_equal(found.coordinates, unasked.coordinates)


def test_only_ring_systems_whose_marks_can_forbid_each_other_are_cut_out():
    def sizes(smiles):
        return [core.GetNumAtoms() for core in marked_ring_systems(Chem.AddHs(Chem.MolFromSmiles(smiles)))]

    assert sizes("C[C@H](F)C1CCCCC1") == sizes("C[C@H]1CCCCC1=O") == []
    assert sizes("O=C1C[C@@H]2CC[C@]1(C)C2(C)C") == [18]  # ten atoms of camphor's rings and what is bound to them
    assert sizes("C[C@@H]1CC[C@@H](CC1)C1CC[C@H](O)[C@@H](C1)c1ccccc1") == [18, 18]


def test_what_fails_without_marks_too_is_not_their_fault():
    whole = Chem.AddHs(Chem.MolFromSmiles(HOPELESS[0]))
    assert stereo_is_impossible(whole, lambda _: False, lambda _: True)
    assert not stereo_is_impossible(whole, lambda _: False, lambda _: False)
    assert not stereo_is_impossible(whole, lambda _: None, lambda _: True)  # time ran out, so nothing is known
    assert not stereo_is_impossible(whole, lambda _: False, lambda _: None)


def test_no_time_left_tells_nothing():
    whole = Chem.AddHs(Chem.MolFromSmiles(HOPELESS[0]))
    assert not module._is_impossible(whole, 1, time.thread_time() - 1)
    assert module._is_impossible(whole, 1, time.thread_time() + 60)
