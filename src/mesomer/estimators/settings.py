"""From an estimator's arguments to what training and embedding take: the model folder, the options, the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

from sklearn.utils import check_random_state

from mesomer.calls import python_words

if TYPE_CHECKING:
    from mesomer.training.checkpoint import ModelFolder
    from mesomer.training.finetune_plan import FinetuneOptions

OTHER_NAMES = {"seed": "random_state"}
"""What estimators call options of the command."""

estimator_words = partial(python_words, OTHER_NAMES)
"""Errors name arguments of an estimator instead of the options of a command."""

OWN_NAMES = frozenset({"seed", "save_minutes"})
"""Fields of the training options that no argument has: `random_state` gives the first; nothing is saved on the way."""


def model_folder(model: Any) -> ModelFolder:
    """The model that an argument means: a name, a path, a loaded model, or None for the bundled one."""
    from mesomer.inference.api import Model
    from mesomer.training.checkpoint import default_model, load_model

    return model.folder if isinstance(model, Model) else load_model(model or default_model())


def model_name(model: Any) -> str:
    """What to call it in records."""
    from mesomer.inference.api import Model
    from mesomer.training.checkpoint import default_model

    return str(model.folder.path) if isinstance(model, Model) else str(model or default_model())


def seed_of(random_state: Any) -> int:
    """The seed of a fit: the number itself, or one drawn from a generator (None: another one each time)."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def finetune_options(arguments: Mapping[str, Any]) -> FinetuneOptions:
    """The options of the training among an estimator's arguments."""
    from mesomer.training.finetune_plan import FinetuneOptions

    names = [option.name for option in fields(FinetuneOptions) if option.name not in OWN_NAMES]
    chosen = {name: arguments[name] for name in names}
    chosen["descriptors"] = tuple(chosen["descriptors"] or ())
    return FinetuneOptions(**chosen, seed=seed_of(arguments["random_state"]))


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Limits the processor cores that torch uses, and gives the caller back what was set before."""
    if threads is None:
        yield
        return
    import torch

    from mesomer.inference.batches import use_threads

    before = torch.get_num_threads()
    use_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
