"""From an estimator's arguments to what training and embedding take: the model folder, the options, the seed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from mesomer.calls import python_words
from mesomer.errors import MesomerError

if TYPE_CHECKING:
    from mesomer.training.checkpoint import ModelFolder
    from mesomer.training.finetune_plan import FinetuneOptions

OTHER_NAMES = {"seed": "random_state"}
"""What estimators call options of the command."""

_WHY = "mesomer.load().reasons(X) says which molecules cannot be used, and why."

OWN_NAMES = frozenset({"seed", "save_minutes"})
"""Fields of the training options that no argument has: `random_state` gives the first; nothing is saved on the way."""


@contextmanager
def estimator_words() -> Iterator[None]:
    """Errors name arguments of an estimator instead of the options of a command, and send nobody to a file."""
    with python_words(OTHER_NAMES):
        try:
            yield
        except MesomerError as error:
            error.hint = _WHY if "mesomer check" in error.hint else error.hint
            raise


def model_folder(model: Any) -> ModelFolder:
    """The model that an argument means: a name, a path, a loaded model, or None for the bundled one."""
    from mesomer.inference.api import folder_of

    return folder_of(model)


def model_name(model: Any) -> str:
    """What to call it in records."""
    from mesomer.inference.api import Model
    from mesomer.training.checkpoint import default_model

    return str(model.folder.path) if isinstance(model, Model) else str(default_model() if model is None else model)


def weights_of(model: Any) -> str | None:
    """SHA-256 of what lies under a name or in a folder now; None for a loaded model, which holds its weights itself.

    None too for what is not here, such as a model of a hub: nothing is fetched for it.
    """
    from mesomer.training.checkpoint import CONFIG, WEIGHTS, bundled_models, default_model, resolve_model

    if not (model is None or isinstance(model, str | os.PathLike)):
        return None
    try:
        name = default_model() if model is None else model
        if os.fspath(name) not in bundled_models() and not os.path.isdir(name):
            return None
        folder = resolve_model(name)
        return _sha256(folder / CONFIG) + _sha256(folder / WEIGHTS)
    except (MesomerError, OSError):
        return None  # whoever needs the model will hear what is wrong with it


def _sha256(path: Path) -> str:
    found = path.stat()
    return _sha256_of_state(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of_state(path: Path, *state: int) -> str:
    """The hash of a file, computed anew only where its state has changed."""
    from mesomer.files import sha256_of

    return sha256_of(path)


def seed_of(random_state: Any) -> int:
    """The seed of a fit: the number itself, or one drawn from a generator (None: another one each time)."""
    if isinstance(random_state, Integral):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise MesomerError(
            f"random_state is {random_state!r}, which cannot be used to seed a fit.",
            "Give a whole number, one of NumPy's generators, or None for another seed each time.",
        ) from None


def finetune_options(arguments: Mapping[str, Any]) -> FinetuneOptions:
    """The options of the training among an estimator's arguments."""
    from mesomer.training.finetune_plan import FinetuneOptions

    names = [option.name for option in fields(FinetuneOptions) if option.name not in OWN_NAMES]
    chosen = {name: arguments[name] for name in names}
    chosen["descriptors"] = tuple(chosen["descriptors"] or ())
    return FinetuneOptions(**chosen, seed=seed_of(arguments["random_state"]))
