"""The mean, or the class shares, of the training labels: what knowing nothing of a molecule is worth."""

from __future__ import annotations

import numpy as np

from mesomer.baselines import BASELINES
from mesomer.studies.arms.base import Arm, Job, Predicted, Setting, fit_baseline


class TrainingMean(Arm):
    """Looks at labels only; also stands in where every trial of an arm diverged."""

    name, label, kind = "mean", "Mean of the training labels", "mean"

    def fit(self, job: Job, setting: Setting, trial: int) -> Predicted:
        """Takes the mean."""
        return fit_baseline("mean", BASELINES["mean"], np.zeros((len(job.study.data.y), 1), np.float32), job)


MEAN = TrainingMean()
