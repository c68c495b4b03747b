"""`MolEmbedder`: molecules to vectors, as a step of a scikit-learn pipeline.

Decided: it learns nothing, so `transform` works without `fit`; the weights are read on first use, and left out when the
estimator is pickled or hashed, which keeps it as small as its arguments (a loaded model as argument brings its own).
Their SHA-256 takes their place: where the model folder is replaced, a pipeline's `memory` serves no old vectors, and an
estimator in use reads the new weights. A row that is no molecule is a row of NaN and keeps its place: a pipeline has to
hand on as many rows as it got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from mesomer.calls import checked, named_in_errors
from mesomer.errors import MesomerError, unknown_name
from mesomer.estimators.settings import estimator_words, model_folder, weights_of
from mesomer.inference.threads import limited_threads
from mesomer.inference.warn import check_on_error

if TYPE_CHECKING:
    from mesomer.inference.embed import Embedder

DTYPES = ("float32", "float16", "float64")


class MolEmbedder(TransformerMixin, BaseEstimator):
    """Vectors of a pre-trained or fine-tuned encoder.

    Args:
        model: Model folder, run folder, bundled or hub name, or a loaded model; the bundled encoder if None.
        level: molecule, or atom or bond for an array of arrays (one row for each atom or bond in RDKit's order).
        dtype: Of the vectors: float32, float16 or float64, as a name or as NumPy's.
        on_error: A row that is no molecule becomes NaN with a warning (nan), or is an error (raise).
        accelerator: auto, cpu, cuda or mps.
        threads: Processor cores for the network; as torch is set if None.
        atoms_per_batch: Atoms computed at a time; a suitable number if None.
        precision: 32, or bf16, which is faster where the processor computes in it and rounds the vectors.
        verbose: Show the progress of work that takes over two seconds.
    """

    @named_in_errors
    def __init__(
        self,
        model: Any = None,
        *,
        level: str = "molecule",
        dtype: Any = "float32",
        on_error: str = "nan",
        accelerator: str = "auto",
        threads: int | None = None,
        atoms_per_batch: int | None = None,
        precision: Literal["32", "bf16"] = "32",
        verbose: bool = True,
    ) -> None:
        self.model = model
        self.level = level
        self.dtype = dtype
        self.on_error = on_error
        self.accelerator = accelerator
        self.threads = threads
        self.atoms_per_batch = atoms_per_batch
        self.precision = precision
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Checks the arguments and that `X` is a column of molecules; reads the weights."""
        from mesomer.inference.molecules import molecules_of

        with estimator_words():
            molecules_of(X)
            self._loaded()
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """The vectors [n, width]; for atoms and bonds an object array [n] of arrays (None for a bad molecule)."""
        from mesomer.inference.api import embed_rows

        with estimator_words():
            embedder = self._loaded()
        with estimator_words(), limited_threads(self.threads):
            vectors, unusable = embed_rows(embedder, X, quiet=not self.verbose)
            by_molecule = self.level == "molecule"
            unusable.tell(f"their vectors are {'NaN' if by_molecule else 'None'}", self.on_error)
        if by_molecule:
            return self._cast(vectors)
        found = np.empty(len(vectors), dtype=object)
        for at, part in enumerate(vectors):
            found[at] = None if part is None else self._cast(part)
        return found

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """`embedding_0`, `embedding_1`, …: the names of the columns that `mesomer embed` writes to CSV."""
        if self.level != "molecule":
            raise MesomerError("Atoms and bonds have no columns to name.", "Take level='molecule'.")
        with estimator_words():
            width = self._loaded().width
        return np.array([f"embedding_{at}" for at in range(width)], dtype=object)

    def _cast(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        if _dtype_name(self.dtype) == "float16" and np.nanmax(np.abs(vectors), initial=0.0) > np.finfo(np.float16).max:
            raise MesomerError("A vector holds numbers too large for float16.", "Take dtype='float32'.")
        return vectors.astype(_dtype_name(self.dtype), copy=False)

    def _loaded(self) -> Embedder:
        """The encoder; read again only if an argument or the model's files have changed."""
        from mesomer.inference.embed import Embedder

        check_on_error(self.on_error)
        if _dtype_name(self.dtype) not in DTYPES:
            raise unknown_name("dtype", str(self.dtype), DTYPES)
        given = checked(type(self).__init__, self.get_params(deep=False))
        how = tuple(given[name] for name in ("level", "accelerator", "atoms_per_batch", "precision"))
        wanted = (given["model"], weights_of(self.model), *how)
        if getattr(self, "_wanted", None) != wanted:
            self._embedder = Embedder(model_folder(self.model), *how)
            self._wanted = wanted
        return self._embedder

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        kept = {name: value for name, value in state.items() if name not in ("_embedder", "_wanted")}
        return kept | {"_weights": weights_of(self.model)}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _dtype_name(dtype: Any) -> str:
    """`float32` for "float32" and numpy.float32."""
    try:
        return str(dtype) if dtype is None or isinstance(dtype, str) else str(np.dtype(dtype).name)
    except TypeError:
        return str(dtype)
