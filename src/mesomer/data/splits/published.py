"""The published rules, each as its authors' code behaves; names and comparison in docs/splits.md.

The three scaffold rules take groups of rows with one scaffold. Cut points such as 0.8 n stay unrounded, and 0.9 is
computed as 0.8 + 0.1: both decide where a molecule falls. Duplicate molecules are not kept together, since the
published rules do not; `split` counts and reports them.
"""

from __future__ import annotations

import random

import numpy as np

from mesomer.data.splits.base import Draft, Groups, Request, group_rows


def fill_deterministic(groups: Groups, count: int, fractions: tuple[float, float, float]) -> Draft:
    """Biggest group first (ties: the one seen last), each into train, else valid, else test, where it fits."""
    train_end = fractions[0] * count
    valid_end = (fractions[0] + fractions[1]) * count
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    for group in sorted(groups, key=lambda group: (len(group), group[0]), reverse=True):
        if len(train) + len(group) <= train_end:
            train += group
        elif len(train) + len(valid) + len(group) <= valid_end:
            valid += group
        else:
            test += group
    return Draft(train, valid, test)


def fill_random_scaffold(groups: Groups, count: int, fractions: tuple[float, float, float], seed: int) -> Draft:
    """Groups in random order, into valid, else test, where they fit, else train."""
    valid_size = int(np.floor(fractions[1] * count))
    test_size = int(np.floor(fractions[2] * count))
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    # The published code permutes the list of groups; permuting their numbers draws the same order.
    for at in np.random.RandomState(seed).permutation(len(groups)):
        group = groups[at]
        if len(valid) + len(group) <= valid_size:
            valid += group
        elif len(test) + len(group) <= test_size:
            test += group
        else:
            train += group
    return Draft(train, valid, test)


def fill_balanced(groups: Groups, count: int, fractions: tuple[float, float, float], seed: int) -> Draft:
    """Groups above half of valid or of test first, both kinds shuffled, into train, else valid, else test."""
    train_size, valid_size, test_size = (share * count for share in fractions)
    big = [group for group in groups if len(group) > valid_size / 2 or len(group) > test_size / 2]
    small = [group for group in groups if not (len(group) > valid_size / 2 or len(group) > test_size / 2)]
    order = random.Random(seed)
    order.shuffle(big)
    order.shuffle(small)
    train: list[int] = []
    valid: list[int] = []
    test: list[int] = []
    for group in big + small:
        if len(train) + len(group) <= train_size:
            train += group
        elif len(valid) + len(group) <= valid_size:
            valid += group
        else:
            test += group
    return Draft(train, valid, test)


def deterministic(request: Request) -> list[Draft]:
    """pretrain-gnns: chiral scaffolds, biggest first."""
    groups = group_rows(request.molecules.scaffolds(True, request.canonical))
    return [fill_deterministic(groups, request.count, request.fractions)]


def deterministic_achiral(request: Request) -> list[Draft]:
    """MolCLR and DeepChem: the same without chirality."""
    groups = group_rows(request.molecules.scaffolds(False))
    return [fill_deterministic(groups, request.count, request.fractions)]


def random_scaffold(request: Request) -> list[Draft]:
    """pretrain-gnns: chiral scaffolds in random order, validation and test filled first."""
    groups = group_rows(request.molecules.scaffolds(True, request.canonical))
    return [fill_random_scaffold(groups, request.count, request.fractions, request.seed)]


def balanced(request: Request) -> list[Draft]:
    """GROVER and chemprop 1: scaffolds without chirality, big groups into train."""
    groups = group_rows(request.molecules.scaffolds(False))
    return [fill_balanced(groups, request.count, request.fractions, request.seed)]


def random_molecules(request: Request) -> list[Draft]:
    """pretrain-gnns: shuffled molecules; sizes of train and valid rounded down, the rest is test."""
    order = _shuffled(request.count, request.seed)
    train_end = int(request.fractions[0] * request.count)
    valid_end = train_end + int(request.fractions[1] * request.count)
    return [Draft(order[:train_end], order[train_end:valid_end], order[valid_end:])]


def grover_random(request: Request) -> list[Draft]:
    """GROVER: the same shuffle, the second cut at (0.8 + 0.1) n."""
    order = _shuffled(request.count, request.seed)
    train_end = int(request.fractions[0] * request.count)
    valid_end = int((request.fractions[0] + request.fractions[1]) * request.count)
    return [Draft(order[:train_end], order[train_end:valid_end], order[valid_end:])]


def _shuffled(count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
