"""Linear models on fixed vectors: ridge for numbers, penalised logistic regression for classes.

Inputs are standardised and bounded by the caller (`linear_inputs`); the strength of the penalty is, target by target,
the one of a fixed grid that does best on the validation part. All class targets are solved together, from strong to
weak penalties, so that 617 targets cost little more than one. The linear probe is such a model on the vectors of a
frozen encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mesomer.data.splits import Split
from mesomer.encoders.base import Encoder
from mesomer.heads import INPUT_BOUND, ProbeModel, bounded
from mesomer.metrics import log_loss, rmse
from mesomer.outputs import Output, property_loss
from mesomer.training.finetune_plan import PropertyData
from mesomer.training.predictor import Target, class_columns, scaled_descriptors
from mesomer.training.scaling import Scaling

RIDGE_PENALTIES = np.logspace(-2, 5, 15)
CLASS_PENALTIES = np.logspace(4, -2, 7)
Matrix = NDArray[np.float64]
_STEPS = 100


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
    model = ProbeModel(
        encoder, data.outputs, vector_width=vectors.shape[1], descriptors_dim=descriptors, bound=INPUT_BOUND
    )
    features = vectors.astype(np.float64)
    if data.descriptors is not None and extra is not None:
        features = np.concatenate([features, scaled_descriptors(data.descriptors, extra).numpy()], 1)
    standard = Scaling.fit(features[split.train])
    weights, offsets = fit_linear(linear_inputs(standard, features), scaling.apply(data.y), data.targets, split)
    with torch.no_grad():
        model.center.copy_(torch.from_numpy(standard.mean))
        model.scale.copy_(torch.from_numpy(standard.deviation))
        model.linear.weight.copy_(torch.from_numpy(weights))
        model.linear.bias.copy_(torch.from_numpy(offsets))
    return model


def linear_inputs(standard: Scaling, features: NDArray[np.floating]) -> Matrix:
    """Features [M, columns] as linear models see them: standardised and bounded; NaN stays."""
    return bounded(torch.from_numpy(standard.apply(features)), INPUT_BOUND).numpy()


def fit_linear(inputs: Matrix, truth: Matrix, targets: Sequence[Target], split: Split) -> tuple[Matrix, Matrix]:
    """Weights [T', columns] and offsets [T'] of all targets, from inputs [M, columns].

    truth [M, T]: scaled values and class numbers, NaN where missing. A target without a label in the training part
    keeps zeros.
    """
    columns = class_columns(targets)
    weights = np.zeros((columns[-1][1].stop, inputs.shape[1]))
    offsets = np.zeros(len(weights))
    for at, (target, place) in enumerate(columns):
        if target.type == "regression":
            weights[place], offsets[place] = _ridge(inputs, truth[:, at], split)
    classes = [at for at, target in enumerate(targets) if target.type != "regression"]
    if classes:
        found = _logistic(inputs, truth[:, classes], [targets[at].output for at in classes], split)
        start = 0
        for at in classes:
            place = columns[at][1]
            width = place.stop - place.start
            weights[place], offsets[place] = found[0][start : start + width], found[1][start : start + width]
            start += width
    return weights, offsets


def _ridge(inputs: Matrix, truth: Matrix, split: Split) -> tuple[Matrix, float]:
    """Ridge regression of one target: every penalty from one decomposition."""
    train, valid = (part[~np.isnan(truth[part])] for part in (split.train, split.valid))
    if len(train) == 0:
        return np.zeros(inputs.shape[1]), 0.0
    x, y = inputs[train], truth[train]
    center, offset = x.mean(0), y.mean()
    left, singular, right = np.linalg.svd(x - center, full_matrices=False)
    projected = left.T @ (y - offset)
    found = []
    for penalty in RIDGE_PENALTIES:
        weights = right.T @ (singular * projected / (singular**2 + penalty))
        constant = offset - center @ weights
        error = rmse(truth[valid], inputs[valid] @ weights + constant) if len(valid) else 0.0
        found.append((error, weights, float(constant)))
    _, weights, constant = min(found, key=lambda entry: entry[0])
    return weights, constant


def _logistic(inputs: Matrix, truth: Matrix, outputs: Sequence[Output], split: Split) -> tuple[Matrix, Matrix]:
    """Logistic regression of all class targets at once, each with its own best penalty."""
    x, labels = torch.from_numpy(inputs[split.train]), torch.from_numpy(truth[split.train])
    width = sum(output.width for output in outputs)
    weights = torch.zeros(width, x.shape[1], dtype=x.dtype)
    offsets = torch.zeros(width, dtype=x.dtype)
    best = [np.inf] * len(outputs)
    chosen, constants = np.zeros((width, x.shape[1])), np.zeros(width)
    for penalty in CLASS_PENALTIES:
        weights, offsets = _minimise(x, labels, outputs, float(penalty), weights, offsets)
        logits = inputs[split.valid] @ weights.numpy().T + offsets.numpy()
        start = 0
        for at, output in enumerate(outputs):
            place = slice(start, start + output.width)
            start += output.width
            error = _log_loss(truth[split.valid, at], logits[:, place])
            if error < best[at]:
                best[at] = error
                chosen[place], constants[place] = weights[place].numpy(), offsets[place].numpy()
    return chosen, constants


def _minimise(
    x: Tensor, labels: Tensor, outputs: Sequence[Output], penalty: float, weights: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of the log losses of the present labels plus half the penalty on the squared weights, from a start."""
    weights, offsets = weights.clone().requires_grad_(True), offsets.clone().requires_grad_(True)
    solver = torch.optim.LBFGS(
        [weights, offsets], max_iter=_STEPS, tolerance_grad=1e-6, history_size=20, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        solver.zero_grad()
        loss, _ = property_loss([x @ weights.T + offsets], labels, outputs)
        loss = loss + penalty / 2 * weights.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    return weights.detach(), offsets.detach()


def _log_loss(truth: Matrix, logits: Matrix) -> float:
    """Log loss over the present labels; 0 where there is none, so that the strongest penalty stays."""
    present = ~np.isnan(truth)
    if not present.any():
        return 0.0
    logits = logits[present]
    if logits.shape[1] == 1:
        return log_loss(truth[present], 1 / (1 + np.exp(-logits[:, 0])))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return log_loss(truth[present], shares / shares.sum(1, keepdims=True))
