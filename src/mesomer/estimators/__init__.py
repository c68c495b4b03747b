"""Models as scikit-learn estimators: molecules in, vectors or predictions out.

`MolEmbedder` is a transformer for pipelines of any other estimator. `MolRegressor` and `MolClassifier` train by the
code of `mesomer finetune`: the same data, options and seed give the same model. torch is loaded by the first `fit`.
"""

from mesomer.estimators.classifier import MolClassifier
from mesomer.estimators.embedder import MolEmbedder
from mesomer.estimators.regressor import MolRegressor

__all__ = ["MolClassifier", "MolEmbedder", "MolRegressor"]
