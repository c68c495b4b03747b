"""What a pre-trained network has to beat: trees on counted fragments or on descriptors, and no model at all.

Decided: a baseline learns from the training part alone (it needs no validation part), gets the same molecules and
splits as the networks, and its settings are fixed beforehand, so that nothing is tuned on what judges it. Missing
labels are left out target by target. A new baseline is one file with one class, and one entry in `BASELINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.typing import NDArray

from mesomer.baselines.base import Baseline, BaselineResult, TargetLike, train_and_predict
from mesomer.baselines.boosting import DescriptorBoosting
from mesomer.baselines.forest import CountForest, fragment_counts
from mesomer.baselines.mean import TrainingMean
from mesomer.data.splits import Split
from mesomer.errors import unknown_name

__all__ = ["BASELINES", "Baseline", "BaselineResult", "TargetLike", "fragment_counts", "run_baseline"]

BASELINES: dict[str, type[Baseline]] = {
    "forest": CountForest,
    "boosting": DescriptorBoosting,
    "mean": TrainingMean,
}


def run_baseline(
    name: str,
    features: NDArray,
    y: NDArray,
    targets: Sequence[TargetLike],
    splits: Sequence[Split],
    workers: int = 1,
    on_split: Callable[[], None] | None = None,
) -> BaselineResult:
    """Trains a baseline on the training part of each split and predicts its test part.

    features: [M, columns], as `BASELINES[name].features` makes them; y: [M, T], NaN where missing.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    return train_and_predict(name, BASELINES[name], features, y, targets, splits, workers, on_split)
