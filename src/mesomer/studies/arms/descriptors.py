"""A linear model, and boosted trees, on the 200 normalised RDKit descriptors."""

from __future__ import annotations

from numpy.typing import NDArray

from mesomer.studies.arms.base import Arm, Job, Predicted, Setting, fit_linear_model
from mesomer.studies.arms.trees import Trees


class DescriptorsLinear(Arm):
    """Ridge or logistic regression on descriptors."""

    name, label, kind = "descriptors_linear", "Descriptors + linear", "classical"
    reference = True
    needs_descriptors = True

    def fit(self, job: Job, setting: Setting, trial: int) -> Predicted:
        """Solves for the weights."""
        return fit_linear_model(job.study.descriptors, job.study.data, job.split)

    def prepare(self, job: Job) -> None:
        """Computes the descriptors."""
        _ = job.study.descriptors


class DescriptorsBoosting(Trees):
    """Boosted trees on descriptors."""

    kind = "classical"
    reference = True
    needs_descriptors = True

    def features(self, job: Job) -> NDArray:
        """Descriptors of all molecules."""
        return job.study.descriptors


LINEAR = DescriptorsLinear()
BOOSTING = DescriptorsBoosting("descriptors_boosting", "Descriptors + boosting", "boosting")
