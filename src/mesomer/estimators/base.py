"""What `MolRegressor` and `MolClassifier` share: arguments, fitting, predicting, saving, showing themselves.

Decided: the arguments are the options of `mesomer finetune` under their names and with their defaults, but
for `seed`, which scikit-learn calls `random_state`. The constructor checks nothing and loads nothing. A fitted
estimator holds the predictor alone, not what it was trained on, and may be pickled, also from a GPU to a machine
without one.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_html_repr

from mesomer.calls import checked, named_in_errors
from mesomer.errors import MesomerError
from mesomer.estimators.labels import Labels, check_given
from mesomer.estimators.settings import estimator_words
from mesomer.inference.threads import limited_threads
from mesomer.inference.warn import Unusable, check_on_error

if TYPE_CHECKING:
    from mesomer.estimators.training import HeldOut
    from mesomer.report.notebook import MoleculeGrid
    from mesomer.training.predictor import Predictor


class UnfittedError(MesomerError, NotFittedError):
    """An estimator asked for what it has after `fit`: one sentence for people, and scikit-learn's own error."""


class MolEstimator(BaseEstimator):
    """The common part; see `MolRegressor` and `MolClassifier`.

    Args:
        model: Pre-trained model (folder, run, bundled or hub name, or a loaded one); the bundled encoder if None.
        split: How molecules are divided inside `fit`: the validation part chooses the epoch, the test part gives
            intervals and `held_out_scores_`. Groups given to `fit` divide them instead.
        folds: Folds of cv, scaffold_cv and stratified_cv.
        repeats: How often to split and train anew, with the next seeds; all networks predict together.
        ensemble: Networks trained on each split.
        probe: Train only a linear model on the frozen molecule vectors (takes seconds; try it beside, with few labels
            above all).
        scratch: Start from random weights instead of the pre-trained ones.
        epochs: Passes over the training part.
        batch_size: Molecules in a training step.
        max_lr: Highest learning rate; training starts and ends at a tenth of it (inverse_sqrt starts from 0).
        warmup_epochs: Epochs in which the rate rises.
        schedule: How the rate falls afterwards: exponential, cosine, constant or inverse_sqrt.
        encoder_lr_scale: Factor on the rate of the encoder.
        weight_decay: L2 penalty of the optimiser.
        clip: Largest norm of the gradient.
        patience: Stop after so many epochs without a better validation figure; never if None.
        select: Keep the epoch with the best validation metric or the lowest validation loss, or the last one.
        freeze: Never train the encoder (encoder), or train all (none).
        unfreeze_after: Train the encoder only after so many epochs.
        descriptors: Extra features: rdkit_2d_normalized, or names of numeric columns if molecules come as a frame.
        readout: How atoms and bonds become one vector: mean, mean_sum, sum, max, gate, set2set2 or attention.
        attn_hidden: Hidden width of the attention readout.
        attn_out: Weighted means of the attention readout.
        ffn_hidden: Width of the heads.
        ffn_layers: Layers of the heads.
        dropout: Dropout in the heads.
        activation: Activation in the heads.
        disagreement: Weight of the squared difference between the two heads in the loss; there is but one head, and no
            effect, with an encoder that has a summary.
        standardize: Give the heads standardised vectors.
        head_start: Heads start from `random` weights, or as `linear` models fitted to the encoder's vectors.
        max_atoms: Molecules with more atoms are not used.
        precision: Of the training: 32, bf16 or auto.
        accelerator: auto, cpu, cuda or mps.
        threads: Processor cores for the network; as torch is set if None.
        random_state: Start of all random numbers; the same number gives the same model.
        on_error: Rows that are no molecules are left out of `fit` and predicted as NaN, with a warning (nan), or are
            an error (raise).
        verbose: Show the progress of work that takes over two seconds.
    """

    @named_in_errors
    def __init__(
        self,
        model: Any = None,
        *,
        split: str = "scaffold",
        folds: int | None = None,
        repeats: int = 3,
        ensemble: int = 1,
        probe: bool = False,
        scratch: bool = False,
        epochs: int = 40,
        batch_size: int = 32,
        max_lr: float = 3e-4,
        warmup_epochs: float = 2.0,
        schedule: str = "exponential",
        encoder_lr_scale: float = 1.0,
        weight_decay: float = 0.0,
        clip: float | None = 1.0,
        patience: int | None = None,
        select: str = "metric",
        freeze: str = "none",
        unfreeze_after: int | None = None,
        descriptors: Sequence[str] | None = None,
        readout: str = "mean",
        attn_hidden: int = 128,
        attn_out: int = 4,
        ffn_hidden: int = 200,
        ffn_layers: int = 2,
        dropout: float = 0.1,
        activation: str = "ReLU",
        disagreement: float = 0.1,
        standardize: bool = True,
        head_start: str = "random",
        max_atoms: int = 500,
        precision: Literal["auto", "32", "bf16"] = "32",
        accelerator: str = "auto",
        threads: int | None = None,
        random_state: Any = 0,
        on_error: str = "nan",
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.split = split
        self.folds = folds
        self.repeats = repeats
        self.ensemble = ensemble
        self.probe = probe
        self.scratch = scratch
        self.epochs = epochs
        self.batch_size = batch_size
        self.max_lr = max_lr
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.encoder_lr_scale = encoder_lr_scale
        self.weight_decay = weight_decay
        self.clip = clip
        self.patience = patience
        self.select = select
        self.freeze = freeze
        self.unfreeze_after = unfreeze_after
        self.descriptors = descriptors
        self.readout = readout
        self.attn_hidden = attn_hidden
        self.attn_out = attn_out
        self.ffn_hidden = ffn_hidden
        self.ffn_layers = ffn_layers
        self.dropout = dropout
        self.activation = activation
        self.disagreement = disagreement
        self.standardize = standardize
        self.head_start = head_start
        self.max_atoms = max_atoms
        self.precision = precision
        self.accelerator = accelerator
        self.threads = threads
        self.random_state = random_state
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Trains on molecules and their labels.

        Args:
            X: SMILES or RDKit molecules, or a mix, as a list, an array, a column of a frame, or a frame.
            y: Labels, one for each molecule, or a column for each of several targets; missing ones are NaN or None.
            groups: Molecules with the same value stay in one part of the splits inside.
        """
        from mesomer.estimators.training import train
        from mesomer.inference.molecules import molecules_of
        from mesomer.report.notebook import Rows

        with estimator_words():
            arguments = checked(type(self).__init__, self.get_params(deep=False))
        with estimator_words(), limited_threads(self.threads):
            check_on_error(self.on_error)
            check_given(y)
            molecules, columns = molecules_of(X)
            labels = self._labels(y, len(molecules))
            found = train(arguments, molecules, columns, labels, groups, type(self).__name__)
        self.predictor_ = found.predictor
        self.rejects_ = Rows(found.rejects)
        self.held_out_: HeldOut | None = found.held_out
        self.held_out_scores_ = found.scores
        self.seconds_: float | None = found.seconds
        self._card = found.card
        self._flat = labels.flat
        self.n_features_in_ = 1
        self._fitted(labels)
        return self

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Writes a model folder, which `load`, `mesomer.load` and `mesomer predict --model` read."""
        from mesomer.estimators.saving import save

        require_fitted(self)
        with estimator_words():
            save(self, path, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **arguments: Any) -> Self:
        """Reads what `save` or `mesomer finetune` wrote; `arguments` (accelerator, threads, …) replace those saved."""
        from mesomer.estimators.saving import load

        with estimator_words():
            return load(cls, path, arguments)

    def worst_predictions(self, count: int = 12) -> MoleculeGrid:
        """The held-out molecules with the largest errors, drawn in a notebook."""
        from mesomer.estimators.showing import worst

        require_fitted(self)
        return worst(self, count)

    @property
    def targets_(self) -> list[str]:
        """Names of the targets."""
        require_fitted(self)
        return [target.name for target in self.predictor_.targets]

    def __sklearn_is_fitted__(self) -> bool:
        return "predictor_" in vars(self)

    def _labels(self, y: Any, count: int) -> Labels:
        """The labels as the training takes them."""
        raise TypeError(f"{type(self).__name__} reads no labels")

    def _fitted(self, labels: Labels) -> None:
        """What a kind of estimator keeps of the labels."""

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Every member's outputs [members, n, T'], NaN where a row is no molecule, which is said once."""
        from mesomer.inference.api import molecules_in_chunks, shown
        from mesomer.inference.predict import TablePredictor

        require_fitted(self)
        with estimator_words(), limited_threads(self.threads):
            check_on_error(self.on_error)
            runner = TablePredictor(self.predictor_, self.accelerator)
            table = molecules_in_chunks(X, self.predictor_.max_atoms, runner.runner.device.type)
            runner.check(table)
            wanted = runner.wanted._replace(fingerprints=False)
            parts, unusable = [], Unusable()
            for chunk, rows in shown(table, wanted, "predicting", not self.verbose):
                found, reasons = runner.chunk_outputs(chunk, rows)
                parts.append(found)
                unusable.add(reasons, chunk.smiles)
            unusable.tell("their predictions are NaN", self.on_error)
        if parts:
            return np.concatenate(parts, axis=1)
        width = sum(output.width for output in self.predictor_.outputs)
        return np.zeros((len(self.predictor_.members), 0, width))

    def _shaped(self, values: NDArray[Any]) -> NDArray[Any]:
        """[n, targets] in the shape of the labels that were given."""
        return values[:, 0] if self._flat else values

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "predictor_" in state:
            state = state | {"predictor_": _on_cpu(state["predictor_"])}
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    @property
    def _repr_html_(self) -> Any:
        return self._shown_html

    def _shown_html(self) -> str:
        from mesomer.estimators.showing import fitted_card

        diagram = estimator_html_repr(self)
        return f"<div>{diagram}{fitted_card(self)}</div>" if self.__sklearn_is_fitted__() else diagram

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._shown_html()}


def require_fitted(estimator: MolEstimator) -> None:
    """Stops at an estimator that has neither been fitted nor loaded."""
    if not estimator.__sklearn_is_fitted__():
        name = type(estimator).__name__
        raise UnfittedError(
            f"This {name} instance is not fitted yet.",
            f"Call fit with molecules and labels first, or read a saved one with {name}.load.",
        )


def _on_cpu(predictor: Predictor) -> Predictor:
    """A copy without the folder that it came from, which a pickle would hold twice; on the CPU."""
    kept = copy.copy(predictor)
    kept.folder = None
    device = next(kept.members[0].parameters()).device
    if device.type != "cpu":
        kept.members = copy.deepcopy(kept.members)
        kept.to("cpu")
    return kept


def documented(kind: type) -> type:
    """Puts the common arguments into the docstring of a kind of estimator, for those who ask for its help."""
    common = MolEstimator.__doc__ or ""
    kind.__doc__ = f"{kind.__doc__}\n\n    {common[common.index('Args:') :]}"
    return kind


def one_kind(predictor: Predictor, kinds: Sequence[str], owner: str, other: str) -> None:
    """Stops if a saved model predicts something else than an estimator stands for."""
    for target in predictor.targets:
        if target.type not in kinds:
            raise MesomerError(
                f"The model predicts {target.name!r} as {target.type}, and {owner} is for {' and '.join(kinds)}.",
                f"Take {other}, or mesomer.load, which predicts any target.",
            )
