"""Splits: who trains, who chooses the epoch, who judges.

`split` and `splits_for` draw by name (`registry.py`), `write_splits` and `read_splits` store the result. Rules live in
one file per family: published ones, folds, given by a column, clusters.
"""

from mesomer.data.splits.base import FRACTIONS, PARTS, Molecules, Split
from mesomer.data.splits.registry import ALIASES, DEFAULT_FOLDS, RULES, Rule, find_rule, split, splits_for
from mesomer.data.splits.stored import StoredSplits, read_splits, write_splits

__all__ = [
    "ALIASES", "DEFAULT_FOLDS", "FRACTIONS", "PARTS", "RULES", "Molecules", "Rule", "Split", "StoredSplits",
    "find_rule", "read_splits", "split", "splits_for", "write_splits",
]  # fmt: skip
