"""Molecules divided by groups inside a fit: they stay together, and repeats draw different ones where there are any."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer.data.splits.folds import draw_groups, hold_out
from mesomer.errors import MesomerError
from mesomer.estimators import MolRegressor


def as_groups(sizes: list[int]) -> list[list[int]]:
    ends = np.cumsum(sizes)
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def test_groups_stay_together(probe, smiles, counts):
    groups = np.arange(60) // 5
    regressor = MolRegressor(**probe).fit([*smiles, smiles[0]], [*counts, counts[0]], groups=[*groups, 11])
    held = regressor.held_out_
    for split in range(3):
        inside = set(held.row[held.split == split])
        for group in range(1, 11):
            assert len(inside & set(np.flatnonzero(groups == group))) in (0, 5)
        assert (0 in inside) == (59 in inside)  # the first molecule is in the groups 0 and 11
    with pytest.raises(MesomerError, match="2 groups"):
        MolRegressor(**probe).fit(smiles, counts, groups=np.arange(60) % 2)
    with pytest.raises(MesomerError, match="shape"):
        MolRegressor(**probe).fit(smiles, counts, groups=[1, 2])


@pytest.mark.parametrize("sizes", [[13, 12, 12, 11, 5], [20, 20, 20], [50, 5, 5]])
def test_repeats_draw_different_groups(probe, smiles, counts, sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    count = len(groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor = MolRegressor(**probe, repeats=5).fit(smiles[:count], counts[:count], groups=groups)
    held = regressor.held_out_
    assert len({tuple(sorted(set(groups[held.row[held.split == split]]))) for split in range(5)}) > 1
    assert regressor.held_out_scores_["y"]["rmse"]["sd"] > 0


def test_one_possible_test_part_is_said_and_has_no_spread(probe, smiles, counts):
    groups = np.repeat([0, 1, 2], [29, 28, 3])
    with pytest.warns(UserWarning, match="All 3 repeats drew the same test part: the spread"):
        regressor = MolRegressor(**probe, repeats=3).fit(smiles, counts, groups=groups)
    figures = regressor.held_out_scores_["y"]["rmse"]
    assert len(set(figures["values"])) == 1 and np.isnan(figures["sd"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=30), st.integers(0, 999))
def test_drawn_groups_are_whole_and_leave_enough(sizes, seed):
    groups = as_groups(sizes)
    count, room = sum(sizes), max(1, round(0.1 * sum(sizes)))
    kept, held = draw_groups(groups, 0.1, random.Random(seed), leave=2)
    assert sorted(kept + held) == list(range(count))
    assert all(len(set(group) & set(held)) in (0, len(group)) for group in groups)
    assert sum(not set(group) & set(held) for group in groups) >= 2
    assert len(held) <= max(2 * room, 0.25 * count, 1.25 * min(sizes)) + 1
    if sum(size for size in sizes if size <= room) > room:  # there is a choice: nothing but the plain rule
        assert (kept, held) == hold_out(groups, 0.1, random.Random(seed))
