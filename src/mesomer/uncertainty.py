"""How sure a prediction is: split-conformal intervals, calibration figures, similarity to the training molecules.

Decided: the interval of a regression target is the prediction plus or minus one half-width, the conformal quantile of
absolute out-of-fold residuals. A molecule may be out of fold in several repeats; its residuals then share the weight of
one molecule, and the finite-sample correction counts molecules, not residuals. With too few molecules for the coverage
asked there is no finite interval: the half-width is infinite and predictions leave the interval empty.
The guarantee holds for new molecules drawn like the data; molecules far from it (see the similarity) get no promise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.9


def conformal_half_width(
    residuals: NDArray[np.floating], molecules: NDArray[np.integer] | None = None, coverage: float = COVERAGE
) -> float:
    """The smallest half-width that the corrected share of out-of-fold residuals does not exceed.

    residuals [n] (sign ignored), molecules [n]: which molecule each residual belongs to (default: all different).
    """
    size = np.abs(np.asarray(residuals, dtype=np.float64))
    if len(size) == 0:
        return math.inf
    owner = np.arange(len(size)) if molecules is None else np.asarray(molecules)
    _, inverse, counts = np.unique(owner, return_inverse=True, return_counts=True)
    count = len(counts)
    if math.ceil((count + 1) * coverage) > count:
        return math.inf
    order = np.argsort(size, kind="stable")
    weight = np.cumsum(1.0 / counts[inverse][order])
    # The tolerance keeps sums such as 1/3 + 1/3 + 1/3 from missing a whole number by rounding.
    place = int(np.searchsorted(weight, math.ceil((count + 1) * coverage) - 1e-9))
    return float(size[order][place])


def nearest_similarity(
    queries: NDArray[np.uint8], training: NDArray[np.uint8], block: int = 4096
) -> NDArray[np.float32]:
    """Largest Tanimoto similarity of each query to any training molecule; packed bits [n, bytes] each.

    Intersections are one matrix product over the unpacked bits (exact in float32), block by block: constant memory.
    """
    best = np.zeros(len(queries), dtype=np.float32)
    asked = np.unpackbits(queries, axis=1).astype(np.float32)
    asked_size = asked.sum(1)
    for start in range(0, len(training), block):
        known = np.unpackbits(training[start : start + block], axis=1).astype(np.float32)
        common = asked @ known.T
        union = asked_size[:, None] + known.sum(1)[None, :] - common
        np.divide(common, union, out=common, where=union > 0)
        np.maximum(best, common.max(1, initial=0.0), out=best)
    return best
