"""Benchmark sets by name, read and featurised, for the scripts beside this file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mesomer.data.benchmarks import find_benchmark, load_benchmark, target_columns
from mesomer.data.labels import Labelled, read_labels
from mesomer.data.tables import open_table
from mesomer.metrics import mean_over_targets, metric_for
from mesomer.training.finetune_plan import PropertyData, property_data
from mesomer.training.predictor import class_columns


def read_set(name: str) -> tuple[Labelled, PropertyData]:
    """The labelled molecules of a set and their graphs; rows of one molecule are merged as `mesomer finetune` does."""
    entry = find_benchmark(name)
    path = load_benchmark(name)
    labelled = read_labels(open_table(str(path)), target_columns(entry, path), entry.task or None)
    return labelled, property_data(labelled)


def part_score(
    data: PropertyData, positions: NDArray[np.integer], predicted: NDArray[np.float64], metric: str
) -> float:
    """The metric of output columns [positions, T'], mean over the targets that have it; NaN where none has."""
    figures = {}
    for at, (target, columns) in enumerate(class_columns(data.targets)):
        truth = data.y[positions, at]
        present = ~np.isnan(truth)
        value = metric_for(target.type, metric)[1].compute(truth[present], predicted[present, columns.start])
        figures[target.name] = {metric: value}
    return mean_over_targets(figures, metric)
