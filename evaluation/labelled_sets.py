"""Benchmark sets by name, read and featurised, for the scripts beside this file."""

from __future__ import annotations

from mesomer.data.benchmarks import find_benchmark, load_benchmark, target_columns
from mesomer.data.labels import Labelled, read_labels
from mesomer.data.tables import open_table
from mesomer.training.finetune_plan import PropertyData, property_data


def read_set(name: str) -> tuple[Labelled, PropertyData]:
    """The labelled molecules of a set and their graphs; rows of one molecule are merged as `mesomer finetune` does."""
    entry = find_benchmark(name)
    path = load_benchmark(name)
    labelled = read_labels(open_table(str(path)), target_columns(entry, path), entry.task or None)
    return labelled, property_data(labelled)
