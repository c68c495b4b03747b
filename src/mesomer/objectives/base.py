"""What a pre-training objective is: an encoder with extra heads, random draws, and a loss made of named terms.

Each term is given as a sum with its count, so that the loop can divide by the count over all ranks and micro-batches.
Draws (masks and the like) are made before the forward pass, as a pure function of (seed, epoch, the molecule's number
in the corpus): resuming, the number of ranks and the composition of batches do not change them. A new objective is
one file with `@register` and one line in `OBJECTIVES`. Objectives joined by `+` are trained side by side; those of them
that hide nothing (`EncodedObjective`) share one pass of the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mesomer.chem.conformers import CONFORMERS
from mesomer.chem.graph import GraphBatch
from mesomer.data.corpus import Corpus
from mesomer.encoders.base import Encoder, EncoderOutput
from mesomer.errors import MesomerError, unknown_name
from mesomer.objectives.figures import Figures
from mesomer.registry import Registry


class Draw(Protocol):
    """The random part of one batch. `counts` holds how many values each term sums, known before the forward pass."""

    @property
    def counts(self) -> Mapping[str, float]: ...

    def to(self, device: torch.device | str) -> Draw: ...


class Objective(nn.Module):
    """Base of all objectives."""

    name: ClassVar[str]
    extras: tuple[str, ...] = ()
    encoder: Encoder
    trains_summary: bool = False
    """Whether the loss depends on the encoder's summary, if it has one."""

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term in the loss."""
        raise TypeError(f"{type(self).__name__} has no terms")

    def config(self) -> dict[str, Any]:
        """JSON-ready options besides the encoder."""
        raise TypeError(f"{type(self).__name__} does not say how it is configured")

    def batch_columns(self, corpus: Corpus) -> tuple[str, ...]:
        """The added columns that its batches carry: those that it reads, and coordinates for an encoder that needs them
        where not every molecule of the corpus brings its own.
        """
        if not self.encoder.needs_coordinates or corpus.card["with_coordinates"] == corpus.card["molecules"]:
            return self.extras
        return (*self.extras, CONFORMERS)

    def adapt(self, corpus: Corpus) -> None:
        """Takes what the objective needs to know of the corpus (scales of labels, sizes of heads) before a training
        starts. Weights that are made here come from random numbers of the objective's own making, and weights that the
        training starts from are loaded afterwards.
        """
        return

    def vocabularies(self) -> dict[str, str]:
        """The heads whose outputs are numbers in a vocabulary of the corpus, by their place in the state, with a
        fingerprint of the names: weights of such a head mean nothing for other names. Known after `adapt`.
        """
        return {}

    def draw(self, batch: GraphBatch, epoch: int, seed: int) -> Draw:
        raise TypeError(f"{type(self).__name__} draws nothing")

    def forward(self, batch: GraphBatch, draw: Draw) -> dict[str, Tensor]:
        """The sum of each term over the batch."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def figures(self, batch: GraphBatch, draw: Draw) -> dict[str, Figures]:
        """What the batch says of each term, against its trivial guess."""
        raise TypeError(f"{type(self).__name__} reports no figures")


class EncodedObjective(Objective):
    """Base of the objectives that hide nothing: all that they need of the encoder is what it says of the batch as it
    is, so that several of them can read one output.
    """

    def from_encoded(self, output: EncoderOutput, batch: GraphBatch, draw: Draw) -> dict[str, Tensor]:
        """The sum of each term over the batch that the encoder's `output` is of."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def figures_from_encoded(self, output: EncoderOutput, batch: GraphBatch, draw: Draw) -> dict[str, Figures]:
        """What the batch that `output` is of says of each term."""
        raise TypeError(f"{type(self).__name__} reports no figures")

    def forward(self, batch: GraphBatch, draw: Draw) -> dict[str, Tensor]:
        return self.from_encoded(self.encoder(batch), batch, draw)

    @torch.no_grad()
    def figures(self, batch: GraphBatch, draw: Draw) -> dict[str, Figures]:
        return self.figures_from_encoded(self.encoder(batch), batch, draw)


OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    {
        "context_prediction": "mesomer.objectives.context_prediction",
        "contextual": "mesomer.objectives.contextual",
        "contrastive": "mesomer.objectives.contrastive",
        "descriptors": "mesomer.objectives.descriptors",
        "edge_prediction": "mesomer.objectives.edge_prediction",
        "fingerprints": "mesomer.objectives.fingerprints",
        "infomax": "mesomer.objectives.infomax",
        "masked_attributes": "mesomer.objectives.masked_attributes",
        "masked_context": "mesomer.objectives.masked_context",
        "masked_graph": "mesomer.objectives.masked_graph",
        "motifs": "mesomer.objectives.motifs",
    },
)
register = OBJECTIVES.register
DEFAULT_OBJECTIVE = {
    "batmannet": "masked_graph",
    "gin": "masked_attributes",
    "grover": "contextual+motifs",
    "mat": "masked_attributes",
    "rmat": "masked_context",
}


def build_objective(name: str, encoder: Encoder, **config: Any) -> Objective:
    """A new objective around an encoder; names joined by `+` train side by side, with the options of each under its
    name.
    """
    names = name.split("+")
    if len(names) == 1:
        return _build(name, encoder, config)
    from mesomer.objectives.joint import Joint

    for option in config:
        if option not in names:
            raise unknown_name(f"part of the objective {name}", option, names)
    return Joint(encoder, [_build(part, encoder, config.get(part, {})) for part in names])


def _build(name: str, encoder: Encoder, config: Mapping[str, Any]) -> Objective:
    kind = OBJECTIVES[name]
    if not isinstance(config, Mapping):
        raise MesomerError(f"The options of the objective {name} are {config!r}, and have to be given by name.")
    try:
        return kind(encoder, **config)
    except TypeError as error:
        raise MesomerError(f"The objective {name} was given an option that it does not have: {error}.") from error


def uniform_draws(key: np.ndarray, item: np.ndarray, seed: int, epoch: int, stream: int) -> np.ndarray:
    """Uniform numbers in [0, 1) as a pure function of (seed, epoch, stream, key, item), all arrays [N].

    A counter-based generator (the splitmix64 finaliser over the mixed counters): it needs no state and no order.
    """
    with np.errstate(over="ignore"):
        state = _mix(np.full(1, seed, np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        for part in (
            np.full(1, epoch, np.uint64),
            np.full(1, stream, np.uint64),
            key.astype(np.uint64),
            item.astype(np.uint64),
        ):
            state = _mix(state ^ (part + np.uint64(0x9E3779B97F4A7C15) * np.uint64(1 + stream)))
    return (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def choose_fewest(score: np.ndarray, owner: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each owner the `wanted` items of lowest score: score [N], owner [N] ascending, offsets [M + 1], wanted [M]
    -> bool [N].
    """
    order = np.argsort(owner + score, kind="stable")
    rank = np.arange(len(order)) - offsets[owner[order]]
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order] = rank < wanted[owner[order]]
    return chosen
