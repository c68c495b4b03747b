"""Linear models and forests on the vectors of a frozen encoder, pre-trained or with random weights.

Decided: the encoder with random weights shows what the architecture alone gives as a set of random features. Its
weights are drawn anew for each fold, by the fold's seed.
"""

from __future__ import annotations

from numpy.typing import NDArray

from mesomer.studies.arms.base import Arm, Job, Predicted, Setting, fit_linear_model
from mesomer.studies.arms.trees import Trees


class FrozenLinear(Arm):
    """Ridge or logistic regression on vectors."""

    kind = "frozen"

    def __init__(self, name: str, label: str, scratch: bool, twin_of: str | None = None) -> None:
        self.name, self.label, self.scratch, self.twin_of = name, label, scratch, twin_of

    def fit(self, job: Job, setting: Setting, trial: int) -> Predicted:
        """Solves for the weights."""
        return fit_linear_model(vectors(job, self.scratch), job.study.data, job.split)

    def prepare(self, job: Job) -> None:
        """Computes the vectors of the pre-trained encoder; those of random ones differ from fold to fold."""
        if not self.scratch:
            vectors(job, False)


class FrozenForest(Trees):
    """A forest on vectors."""

    kind = "frozen"

    def __init__(self, name: str, label: str, scratch: bool, twin_of: str | None = None) -> None:
        super().__init__(name, label, "forest")
        self.scratch, self.twin_of = scratch, twin_of

    def features(self, job: Job) -> NDArray:
        """Vectors of all molecules."""
        return vectors(job, self.scratch)

    def prepare(self, job: Job) -> None:
        """As for the linear model."""
        if not self.scratch:
            vectors(job, False)


def vectors(job: Job, scratch: bool) -> NDArray:
    """The vectors that an arm sees on this fold."""
    return job.study.vectors(job.seed if scratch else None, job.split.train)


LINEAR = FrozenLinear("frozen_linear", "Frozen vectors + linear", False)
FOREST = FrozenForest("frozen_forest", "Frozen vectors + forest", False)
RANDOM_LINEAR = FrozenLinear("frozen_random_linear", "Random vectors + linear", True, "frozen_linear")
RANDOM_FOREST = FrozenForest("frozen_random_forest", "Random vectors + forest", True, "frozen_forest")
