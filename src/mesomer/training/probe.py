"""The linear probe: ridge or logistic regression on the vectors of a frozen encoder.

Vectors (and descriptors) are standardised on the training part; the strength of the penalty is the one of a fixed grid
that does best on the validation part. Fast, and the safer choice with few labels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mesomer.data.splits import Split
from mesomer.encoders.base import Encoder
from mesomer.heads import ProbeModel
from mesomer.metrics import log_loss, rmse
from mesomer.training.finetune_plan import PropertyData
from mesomer.training.predictor import class_columns, scaled_descriptors
from mesomer.training.scaling import Scaling

PENALTIES = np.logspace(-2, 5, 15)
Matrix = NDArray[np.float64]
Linear = tuple[Matrix, Matrix]


def fit_probe(
    encoder: Encoder,
    vectors: NDArray[np.float32],
    data: PropertyData,
    split: Split,
    scaling: Scaling,
    extra: Scaling | None,
) -> ProbeModel:
    """A linear model for every target; `vectors` [M, width] are those of the encoder."""
    descriptors = 0 if data.descriptors is None else data.descriptors.shape[1]
    model = ProbeModel(encoder, data.outputs, vector_width=vectors.shape[1], descriptors_dim=descriptors)
    features = vectors.astype(np.float64)
    if data.descriptors is not None and extra is not None:
        features = np.concatenate([features, scaled_descriptors(data.descriptors, extra).numpy()], 1)
    standard = Scaling.fit(features[split.train])
    inputs = standard.apply(features)
    truth = scaling.apply(data.y)
    weights = np.zeros((model.linear.out_features, inputs.shape[1]))
    offsets = np.zeros(model.linear.out_features)
    for at, (target, columns) in enumerate(class_columns(data.targets)):
        train = split.train[~np.isnan(truth[split.train, at])]
        valid = split.valid[~np.isnan(truth[split.valid, at])]
        if len(train) == 0:
            continue
        fitted = _regression if target.type == "regression" else _classification
        weights[columns], offsets[columns] = fitted(
            inputs[train], truth[train, at], inputs[valid], truth[valid, at], target.output.width
        )
    with torch.no_grad():
        model.center.copy_(torch.from_numpy(standard.mean))
        model.scale.copy_(torch.from_numpy(standard.deviation))
        model.linear.weight.copy_(torch.from_numpy(weights))
        model.linear.bias.copy_(torch.from_numpy(offsets))
    return model


def _regression(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    x_valid: NDArray[np.float64],
    y_valid: NDArray[np.float64],
    width: int,
) -> Linear:
    """Ridge regression for every penalty from one decomposition."""
    center, offset = x.mean(0), y.mean()
    left, singular, right = np.linalg.svd(x - center, full_matrices=False)
    projected = left.T @ (y - offset)
    found = []
    for penalty in PENALTIES:
        weights = right.T @ (singular * projected / (singular**2 + penalty))
        constant = offset - center @ weights
        error = rmse(y_valid, x_valid @ weights + constant) if len(y_valid) else 0.0
        found.append((error, weights, constant))
    _, weights, constant = min(found, key=lambda entry: entry[0])
    return weights[None, :], np.array([constant])


def _classification(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    x_valid: NDArray[np.float64],
    y_valid: NDArray[np.float64],
    width: int,
) -> Linear:
    """Logistic regression; classes that the training part lacks keep a very low logit."""
    from sklearn.linear_model import LogisticRegression

    names = np.unique(y).astype(int)
    rows = max(width, 2)
    best: tuple[float, Linear] | None = None
    for penalty in PENALTIES:
        weights, offsets = np.zeros((rows, x.shape[1])), np.full(rows, -30.0)
        if len(names) == 1:
            offsets[names[0]] = 0.0
        else:
            model = LogisticRegression(C=1 / penalty, max_iter=500).fit(x, y)
            if len(names) == 2:
                weights[names[1]], offsets[names] = model.coef_[0], [0.0, model.intercept_[0]]
            else:
                weights[names], offsets[names] = model.coef_, model.intercept_
        logits = x_valid @ weights.T + offsets
        logits -= logits.max(1, keepdims=True)
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        error = log_loss(y_valid, shares) if len(y_valid) else 0.0
        if best is None or error < best[0]:
            best = error, (weights, offsets)
        if len(names) == 1:
            break
    assert best is not None
    weights, offsets = best[1]
    if width == 1:  # one column: the logit of class 1 against class 0
        return weights[1:2] - weights[0:1], offsets[1:2] - offsets[0:1]
    return weights, offsets
