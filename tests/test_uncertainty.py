"""Conformal half-widths cover what they promise; similarity is RDKit's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer import uncertainty


@settings(max_examples=60, deadline=None)
@given(st.integers(9, 200), st.integers(0, 1000))
def test_half_width_is_the_corrected_order_statistic(count, seed):
    residuals = np.random.default_rng(seed).normal(size=count)
    place = math.ceil((count + 1) * 0.9) - 1
    assert uncertainty.conformal_half_width(residuals) == np.sort(np.abs(residuals))[place]


def test_new_molecules_are_covered_as_promised():
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(2000):
        sample = rng.standard_t(3, size=31)
        inside.append(abs(sample[-1]) <= uncertainty.conformal_half_width(sample[:-1]))
    # 28 of 31 places: 0.9032 expected, standard error 0.0066
    assert 0.88 < np.mean(inside) < 0.925


def test_too_few_molecules_have_no_finite_interval():
    assert uncertainty.conformal_half_width(np.ones(8)) == math.inf
    assert uncertainty.conformal_half_width(np.ones(9)) == 1.0
    assert uncertainty.conformal_half_width(np.zeros(0)) == math.inf


def test_repeats_of_one_molecule_count_as_one():
    residuals = np.arange(1.0, 13.0)
    once = uncertainty.conformal_half_width(residuals)
    thrice = uncertainty.conformal_half_width(np.repeat(residuals, 3), np.repeat(np.arange(12), 3))
    assert thrice == once
    # eight molecules stay too few, however often each was out of fold
    assert uncertainty.conformal_half_width(np.ones(80), np.repeat(np.arange(8), 10)) == math.inf


def test_similarity_equals_rdkit():
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    words = ["CCO", "CCN", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C", "CCCCCC"]
    vectors = [generator.GetFingerprint(Chem.MolFromSmiles(word)) for word in words]
    packed = np.stack([np.packbits(generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(word))) for word in words])
    expected = [max(DataStructs.BulkTanimotoSimilarity(query, vectors[:3])) for query in vectors]
    for block in (2, 4096):
        found = uncertainty.nearest_similarity(packed, packed[:3], block=block)
        assert found == pytest.approx(expected, abs=1e-6)
    assert uncertainty.nearest_similarity(packed, packed[:0]).tolist() == [0.0] * len(words)
