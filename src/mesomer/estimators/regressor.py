"""`MolRegressor`: numbers from molecules, with spread and intervals."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from mesomer.errors import InputError, MesomerError
from mesomer.estimators.base import MolEstimator, documented, one_kind, require_fitted
from mesomer.estimators.labels import Labels, regression_labels, row_weights
from mesomer.inference.warn import warn

if TYPE_CHECKING:
    from mesomer.training.predictor import Predictor


@documented
class MolRegressor(RegressorMixin, MolEstimator):
    """Numbers from molecules: a fine-tuned encoder, as `mesomer finetune` trains it."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Values [n], or [n, targets]; with `return_std` also their standard deviation over the members."""
        found = self._outputs(X)
        mean = self._shaped(found.mean(0))
        if not return_std:
            return mean
        if len(found) == 1:
            warn("The model has one member and no spread; repeats=3 or ensemble=3 gives it several.")
        spread = found.std(0) if len(found) > 1 else np.full(found[0].shape, np.nan)
        return mean, self._shaped(spread)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends of intervals that hold this share of new molecules like the training data.

        Split-conformal, from the errors on held-out molecules; molecules far from the data get no promise. Too few
        held-out molecules for the coverage give NaN.
        """
        widths = self.half_widths(coverage)
        if np.isnan(widths).any():
            count = len(np.unique(self.held_out_.row)) if self.held_out_ is not None else 0
            warn(
                f"There are too few held-out molecules ({count}) for intervals at {coverage:.0%}, which are NaN; "
                "more repeats or split='cv' give more."
            )
        mean = self._outputs(X).mean(0)
        return self._shaped(mean - widths), self._shaped(mean + widths)

    def half_widths(self, coverage: float = 0.9) -> NDArray[np.float64]:
        """Half the width of the interval of each target; NaN where there are too few held-out molecules."""
        from mesomer.uncertainty import COVERAGE, conformal_half_width

        require_fitted(self)
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise MesomerError(f"The coverage is {coverage!r}, and must lie between 0 and 1.")
        if coverage == COVERAGE:
            return np.array([np.nan if width is None else width for width in self.predictor_.half_widths])
        held = self.held_out_
        if held is None:
            raise MesomerError(
                "A saved model keeps the intervals at 0.9 only, not the errors behind them.",
                "Take coverage=0.9, or ask before saving.",
            )
        widths = []
        for at in range(len(self.targets_)):
            residuals = held.truth[:, at] - held.predicted[:, at]
            present = ~np.isnan(residuals)
            widths.append(conformal_half_width(residuals[present], held.row[present], coverage))
        return np.where(np.isfinite(widths), widths, np.nan)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R², the mean over targets; rows without a label or without a readable molecule do not count."""
        mean = self._outputs(X).mean(0)
        labels = regression_labels(y, len(mean))
        truth = np.array(list(labels.cells.values())).T
        if truth.shape != mean.shape:
            raise InputError(f"The model predicts {mean.shape[1]} targets, and y has {truth.shape[1]}.")
        weight = row_weights(sample_weight, len(mean))
        scores = []
        for at in range(mean.shape[1]):
            kept = ~np.isnan(truth[:, at]) & ~np.isnan(mean[:, at])
            found = r2_score(truth[kept, at], mean[kept, at], sample_weight=weight[kept]) if kept.any() else np.nan
            scores.append(found)
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")

    def _labels(self, y: Any, count: int) -> Labels:
        return regression_labels(y, count)

    def _restored(self, predictor: Predictor, stored: dict[str, Any]) -> None:
        one_kind(predictor, ["regression"], "MolRegressor", "MolClassifier")

    def _stored(self) -> dict[str, Any]:
        return {}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags
