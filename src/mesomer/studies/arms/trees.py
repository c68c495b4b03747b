"""Settings that forests and boosted trees try, and how one is set up: shared by the arms on fragments, descriptors and
vectors.

Decided: the first setting is that of `mesomer.baselines`; a shorter list of trials is the beginning of this one.
"""

from __future__ import annotations

import time
from abc import abstractmethod

from numpy.typing import NDArray

from mesomer.baselines import BASELINES, Baseline
from mesomer.studies.arms.base import Arm, Job, Predicted, Setting, fit_baseline

FOREST: tuple[Setting, ...] = (
    {},
    {"min_samples_leaf": 3},
    {"max_features": 0.1},
    {"max_features": 0.1, "min_samples_leaf": 3},
)
BOOSTING: tuple[Setting, ...] = (
    {},
    {"learning_rate": 0.1},
    {"max_leaf_nodes": 31},
    {"learning_rate": 0.1, "max_leaf_nodes": 31},
)
_TIMED_TREES = 20
_TREES = {"forest": "n_estimators", "boosting": "max_iter"}
_SETTINGS = {"forest": FOREST, "boosting": BOOSTING}


class Trees(Arm):
    """Trees on some features; `method` is forest or boosting."""

    method: str

    def __init__(self, name: str, label: str, method: str) -> None:
        self.name, self.label, self.method = name, label, method
        self.settings = _SETTINGS[method]

    @abstractmethod
    def features(self, job: Job) -> NDArray:
        """The rows that the trees learn from, for all molecules."""

    def fit(self, job: Job, setting: Setting, trial: int) -> Predicted:
        """Grows the trees."""

        def make(classes: int, seed: int, workers: int) -> Baseline:
            made = BASELINES[self.method](classes, seed, workers)
            made.model.set_params(**setting)  # type: ignore[attr-defined]
            return made

        return fit_baseline(self.method, make, self.features(job), job)

    def prepare(self, job: Job) -> None:
        """Computes the features."""
        self.features(job)

    def seconds(self, job: Job) -> float:
        """A few trees, scaled to all of them."""
        self.prepare(job)
        name = _TREES[self.method]
        all_trees = BASELINES[self.method](0, 0, 1).model.get_params()[name]  # type: ignore[attr-defined]
        started = time.perf_counter()
        self.features(job)  # those of a network with random weights belong to the fold
        features = time.perf_counter() - started
        self.fit(job, {name: 1}, 0)  # the first fit of a process also loads the library
        started = time.perf_counter()
        self.fit(job, {name: _TIMED_TREES}, 0)
        return features + (time.perf_counter() - started) * all_trees / _TIMED_TREES
