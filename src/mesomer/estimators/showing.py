"""What a notebook shows of a fitted estimator: a card with its figures, and the molecules that it got most wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mesomer.errors import MesomerError
from mesomer.report.notebook import Drawn, MoleculeGrid, card

if TYPE_CHECKING:
    from mesomer.estimators.base import MolEstimator


def fitted_card(estimator: MolEstimator) -> str:
    """Data, model and figures of a fitted estimator as HTML."""
    predictor = estimator.predictor_
    trained = predictor.trained_on
    facts: dict[str, Any] = {
        "Trained on": f"{trained['molecules']:,} molecules" if trained else None,
        "Left out": f"{len(estimator.rejects_):,} of the rows given (rejects_)" if estimator.rejects_ else None,
        "Starts from": trained.get("model"),
        "Inside splits": trained.get("split"),
        "Members": len(predictor.members),
    }
    for target in predictor.targets[:10]:
        facts[f"Held-out {target.name}"] = _figures(estimator.held_out_scores_.get(target.name, {}))
    return card(f"{type(estimator).__name__}, fitted", facts)


def _figures(table: dict[str, dict[str, Any]]) -> str | None:
    parts = []
    for name in ("rmse", "mae", "r2", "roc_auc", "average_precision", "accuracy"):
        mean, deviation = (table.get(name, {}).get(key) for key in ("mean", "sd"))
        if mean is not None and np.isfinite(mean):
            spread = f" ± {deviation:.2g}" if deviation is not None and np.isfinite(deviation) else ""
            parts.append(f"{name} {mean:.3g}{spread}")
    return ", ".join(parts) or None


def worst(estimator: MolEstimator, count: int) -> MoleculeGrid:
    """The held-out molecules with the largest errors of any target, each once."""
    from mesomer.training.predictor import class_columns

    held = estimator.held_out_
    if held is None:
        raise MesomerError("A loaded estimator does not know its held-out molecules.", "Ask right after fit.")
    found: list[tuple[float, int, str]] = []
    for at, (target, place) in enumerate(class_columns(estimator.predictor_.targets)):
        truth, predicted = held.truth[:, at], held.predicted[:, place]
        present = np.flatnonzero(~np.isnan(truth))
        if target.type == "regression":
            spread = max(float(truth[present].std()), 1e-12) if len(present) else 1.0
            for row in present:
                error = predicted[row, 0] - truth[row]
                line = f"{target.name} {truth[row]:.3g}, predicted {predicted[row, 0]:.3g} ({error:+.2g})"
                found.append((abs(error) / spread, int(row), line))
            continue
        for row in present:
            own = int(truth[row])
            share = predicted[row, own] if target.type == "multiclass" else abs(1 - own - predicted[row, 0])
            line = f"{target.name}: {target.classes[own]}, given {share:.0%}"
            found.append((1 - share, int(row), line))
    shown: dict[int, Drawn] = {}
    for _, at, line in sorted(found, reverse=True):
        molecule = int(held.row[at])
        if molecule not in shown:
            lines = (f"row {molecule}", line, f"similarity {held.similarity[at]:.2f}")
            shown[molecule] = Drawn(held.smiles[at], lines)
        if len(shown) == count:
            break
    return MoleculeGrid(list(shown.values()), "Held-out molecules with the largest errors")
