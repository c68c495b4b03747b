"""From an estimator's arguments to what training and embedding take: the model folder, the options, the seed."""

from __future__ import annotations

import os
import re
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
from mesomer.inference.warn import warn

if TYPE_CHECKING:
    from mesomer.training.checkpoint import ModelFolder
    from mesomer.training.finetune_plan import FinetuneOptions

OTHER_NAMES = {"seed": "random_state"}
"""What estimators call options of the command."""

LARGEST_SEED = 2**32 - 1_000_001
"""Of a fit, whose repeats take the next seeds."""

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


@contextmanager
def rows_from_zero() -> Iterator[None]:
    """Errors count rows as a program does; tables count them from 1."""
    try:
        yield
    except MesomerError as error:
        counted = re.sub(r"\brow (\d+)\b", lambda found: f"row {int(found[1]) - 1}", error.message)
        if counted != error.message:
            error.message = f"{counted.removesuffix('.')} (rows counted from 0)."
            error.args = (error.message,)
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
        seed = int(random_state)
        if not 0 <= seed <= LARGEST_SEED:
            raise MesomerError(f"random_state is {seed}, and must lie between 0 and {LARGEST_SEED}.")
        return seed
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
    """The options of the training among an estimator's arguments.

    Those that `probe` has no use for are said and left at their defaults: a search over `probe` sets them for both.
    """
    from mesomer.training.finetune_plan import NETWORK_OPTIONS, FinetuneOptions, idle_in_probe

    names = [option.name for option in fields(FinetuneOptions) if option.name not in OWN_NAMES]
    chosen = {name: arguments[name] for name in names}
    if chosen["probe"]:
        if idle := idle_in_probe(chosen):
            verb = "have" if len(idle) > 1 else "has"
            warn(f"probe=True fits a linear model, on which {', '.join(idle)} {verb} no effect.")
        chosen = {name: value for name, value in chosen.items() if name not in NETWORK_OPTIONS}
    chosen["descriptors"] = tuple(chosen["descriptors"] or ())
    return FinetuneOptions(**chosen, seed=seed_of(arguments["random_state"]))
