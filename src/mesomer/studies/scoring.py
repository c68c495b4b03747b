"""Scores of predictions: for each target, and their mean over targets.

Decided: the mean over several regression targets takes errors in standard deviations of each target's labels, because
errors in different units cannot be averaged; of one target it is that target's own score. A score that the labels do
not define (one class only) is NaN and left out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.errors import MesomerError
from mesomer.metrics import METRICS, PRIMARY, mean_and_sd, score
from mesomer.statistics import default_zone
from mesomer.statistics.verdicts import AREA_ZONE, REPEAT_ERROR_SHARE, ZONE_SHARE
from mesomer.training.predictor import Target, class_columns

MEAN = "mean"
"""The name under which the mean over targets is stored."""
SCALED = ("rmse", "mae")
"""Metrics in the unit of the labels."""
Scores = dict[str, dict[str, float]]
"""Target -> metric -> value."""


class Labels(NamedTuple):
    """What scores need to know of the molecules."""

    targets: Sequence[Target]
    y: NDArray[np.float64]  # [M, T], NaN where missing

    @property
    def task(self) -> str:
        """The type that all targets have."""
        types = {target.type for target in self.targets}
        if len(types) > 1:
            raise MesomerError(
                f"The targets are of different types ({', '.join(sorted(types))}), and a study has one metric.",
                "Run a study for each type, or give --task.",
            )
        return types.pop()

    @property
    def metric(self) -> str:
        """The metric that the study is about."""
        return PRIMARY[self.task]

    @property
    def better(self) -> str:
        """ "max" or "min"."""
        return METRICS[self.task][self.metric].better

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviation of each target's labels."""
        return np.nanstd(self.y, axis=0)


def scores(labels: Labels, positions: NDArray[np.integer], predicted: NDArray[np.float64]) -> Scores:
    """All figures of predictions [positions, T'] for each target, and their mean."""
    found: Scores = {}
    for at, (target, columns) in enumerate(class_columns(labels.targets)):
        values = predicted[:, columns] if target.type == "multiclass" else predicted[:, columns][:, 0]
        figures = score(target.type, labels.y[positions, at], values)
        found[target.name] = {name: figures[name] for name in METRICS[target.type]}
    names = METRICS[labels.task]
    several = len(labels.targets) > 1
    units = dict(zip(found, labels.deviations if several else np.ones(1), strict=True))
    mean = {}
    for name in names:
        values_of = [found[target][name] / (units[target] if name in SCALED else 1.0) for target in found]
        mean[name] = mean_and_sd(values_of)[0]
    if MEAN in found:
        raise MesomerError(f"A target is called {MEAN!r}, which is the name of the mean over targets.", "Rename it.")
    return found | {MEAN: mean}


def headline(labels: Labels, positions: NDArray[np.integer], predicted: NDArray[np.float64]) -> float:
    """The study's metric, mean over targets."""
    return scores(labels, positions, predicted)[MEAN][labels.metric]


def can_judge(labels: Labels, positions: NDArray[np.integer]) -> bool:
    """Whether the study's metric is defined on these molecules: not where each target has one class only."""
    width = class_columns(labels.targets)[-1][1].stop
    return bool(np.isfinite(headline(labels, positions, np.full((len(positions), width), 0.5))))


def zone_of(labels: Labels, given: float | None, repeat_error: float | None) -> dict[str, object]:
    """The smallest difference that matters: `value`, `metric`, and where it comes from."""
    metric, several = labels.metric, len(labels.targets) > 1
    if given is not None:
        if not given > 0:
            raise MesomerError(f"--zone is {given}, and must be above 0.")
        return {"value": given, "metric": metric, "source": "given"}
    if metric not in SCALED:
        if repeat_error is not None:
            raise MesomerError(
                "--repeat_error is in the unit of the labels, and these are classes.", f"Give --zone in {metric}."
            )
        return {"value": AREA_ZONE, "metric": metric, "source": f"default: {AREA_ZONE:g}"}
    if repeat_error is not None and several:
        raise MesomerError(
            "--repeat_error is the error of one assay, and there are several targets.",
            "Give --zone in standard deviations of the labels.",
        )
    if repeat_error is not None:
        value = default_zone(metric, repeat_error=repeat_error)
        return {"value": value, "metric": metric, "source": f"{REPEAT_ERROR_SHARE:g} of the assay's repeat error"}
    deviation = 1.0 if several else float(labels.deviations[0])
    source = f"default: {ZONE_SHARE:g} standard deviations of the labels"
    return {"value": default_zone(metric, deviation), "metric": metric, "source": source}
