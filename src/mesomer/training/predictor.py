"""A fine-tuned model: its members, the scales of its targets, and what a prediction needs besides; saved and loaded.

One folder holds every member (repeats times ensemble). Members that keep the pre-trained encoder frozen share it on
disk and in work. Beside the weights lie the fingerprints of the training molecules (packed bits), from which
predictions tell how near a molecule is to what the model has seen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.base import Encoder, build_encoder
from mesomer.errors import MesomerError
from mesomer.heads import ProbeModel, PropertyModel
from mesomer.outputs import Output, final_outputs
from mesomer.training.checkpoint import ModelFolder, load_model, load_state, save_model
from mesomer.training.scaling import Scaling

NETWORKS: dict[str, type[PropertyModel] | type[ProbeModel]] = {"property": PropertyModel, "probe": ProbeModel}
FINGERPRINTS = "training_fingerprints"
RDKIT_DESCRIPTORS = "rdkit_2d_normalized"


@dataclass(frozen=True)
class Target:
    """A target as the model knows it."""

    name: str
    type: str
    """regression, binary or multiclass"""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers; of a binary target (negative, positive)."""

    @property
    def output(self) -> Output:
        """Its output columns."""
        return Output(self.type, len(self.classes) if self.type == "multiclass" else 1)


@dataclass
class Predictor:
    """All members of a fine-tuned model, on one device."""

    targets: list[Target]
    network: str
    network_config: dict[str, Any]
    members: list[PropertyModel | ProbeModel]
    scalings: list[Scaling]
    shared_encoder: bool
    descriptors: list[str] = field(default_factory=list)
    """Names of the extra features, in order: columns of the table, and the word for the 200 RDKit descriptors."""
    descriptor_scalings: list[Scaling] = field(default_factory=list)
    half_widths: list[float | None] = field(default_factory=list)
    """Half-width of the 90 % interval for each target; None where there is none."""
    fingerprints: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 256), np.uint8))
    max_atoms: int = 500
    trained_on: dict[str, Any] = field(default_factory=dict)
    folder: ModelFolder | None = None

    @property
    def outputs(self) -> list[Output]:
        """Output columns of each target."""
        return [target.output for target in self.targets]

    def to(self, device: torch.device | str) -> Predictor:
        """Moves all members, in evaluation mode."""
        for member in self.members:
            member.to(device).eval()
        return self

    @torch.inference_mode()
    def predict(self, batch: GraphBatch, descriptors: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Every member's final outputs on the original scale: [members, M, T'] (probabilities of class columns).

        descriptors: the raw extra features [M, columns], NaN where missing.
        """
        found = []
        encoded = self.members[0].encode(batch) if self.shared_encoder else None
        for number, member in enumerate(self.members):
            extra = self._descriptors(number, descriptors, batch)
            raw = member.from_encoded(encoded or member.encode(batch), batch, extra)
            columns = final_outputs(raw, self.outputs).cpu().double().numpy()
            found.append(self.scalings[number].undo(columns, self.outputs))
        return np.stack(found)

    @torch.inference_mode()
    def molecule_vectors(self, batch: GraphBatch) -> Tensor:
        """The first member's molecule vectors [M, width]: members do not share a space, so they are not mixed."""
        return self.members[0].molecule_vectors(batch)

    def _descriptors(self, member: int, raw: NDArray[np.floating] | None, batch: GraphBatch) -> Tensor | None:
        if raw is None:
            return None
        return scaled_descriptors(raw, self.descriptor_scalings[member]).to(batch.atom_codes.device)

    def save(
        self,
        path: str | os.PathLike[str],
        card: str,
        extra: Mapping[str, Any] | None = None,
        overwrite: bool = True,
    ) -> None:
        """Writes the model folder, whole or not at all."""
        encoder = self.members[0].encoder
        stored = {
            "targets": [
                {"name": target.name, "type": target.type, "classes": list(target.classes)} for target in self.targets
            ],
            "network": self.network,
            "network_config": self.network_config,
            "members": len(self.members),
            "shared_encoder": self.shared_encoder,
            "scalings": [scaling.to_json() for scaling in self.scalings],
            "descriptors": self.descriptors,
            "descriptor_scalings": [scaling.to_json() for scaling in self.descriptor_scalings],
            "half_widths": self.half_widths,
            "max_atoms": self.max_atoms,
            "trained_on": self.trained_on,
        }
        config = {"encoder": {"name": encoder.name, "config": encoder.config()}, "predictor": stored}
        save_model(path, "predictor", config, self._state(), card, dict(extra or {}), overwrite=overwrite)

    def _state(self) -> dict[str, Tensor]:
        state = {FINGERPRINTS: torch.from_numpy(self.fingerprints)}
        if self.shared_encoder:
            state |= {f"encoder.{name}": value for name, value in self.members[0].encoder.state_dict().items()}
        for number, member in enumerate(self.members):
            for name, value in member.state_dict().items():
                if not (self.shared_encoder and name.startswith("encoder.")):
                    state[f"members.{number}.{name}"] = value
        return state


def descriptor_columns(names: Sequence[str]) -> list[str]:
    """The columns of the table among the wanted descriptors."""
    return [name for name in names if name != RDKIT_DESCRIPTORS]


def scaled_descriptors(raw: NDArray[np.floating], scaling: Scaling) -> Tensor:
    """Extra features [M, columns] as the network takes them: standardised, missing values at the mean."""
    return torch.from_numpy(np.nan_to_num(scaling.apply(raw), nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32))


def is_predictor(model: ModelFolder) -> bool:
    """Whether a loaded folder predicts properties (else it holds an encoder only)."""
    return model.kind == "predictor"


def load_predictor(name: str | os.PathLike[str]) -> Predictor:
    """The fine-tuned model of a model folder or a run folder, on the CPU in evaluation mode."""
    model = load_model(name)
    if not is_predictor(model):
        raise MesomerError(
            f"{model.path} holds an encoder, which predicts no property.",
            "Train one on your labels: `mesomer finetune DATA --model M --targets … --output RUN`.",
        )
    return predictor_of(model)


def predictor_of(model: ModelFolder) -> Predictor:
    """Builds the members of a loaded folder."""
    try:
        stored, encoder = model.config["predictor"], model.config["encoder"]
        predictor = Predictor(
            targets=[Target(t["name"], t["type"], tuple(t["classes"])) for t in stored["targets"]],
            network=stored["network"],
            network_config=stored["network_config"],
            members=[],
            scalings=[Scaling.from_json(scaling) for scaling in stored["scalings"]],
            shared_encoder=stored["shared_encoder"],
            descriptors=list(stored["descriptors"]),
            descriptor_scalings=[Scaling.from_json(scaling) for scaling in stored["descriptor_scalings"]],
            half_widths=list(stored["half_widths"]),
            fingerprints=model.state[FINGERPRINTS].numpy(),
            max_atoms=stored["max_atoms"],
            trained_on=stored["trained_on"],
            folder=model,
        )
        count = stored["members"]
        kind = NETWORKS[stored["network"]]
    except (KeyError, TypeError, ValueError) as error:
        raise MesomerError(
            f"{model.path} is no whole fine-tuned model: {error} is missing or unknown.", "Copy the folder again."
        ) from error
    shared = {name: value for name, value in model.state.items() if name.startswith("encoder.")}
    common = None
    with torch.random.fork_rng(devices=[]):  # building draws weights that are thrown away
        for number in range(count):
            own = common or build_encoder(encoder["name"], **encoder["config"])
            member = kind(own, **stored["network_config"])
            prefix = f"members.{number}."
            state = {name[len(prefix) :]: v for name, v in model.state.items() if name.startswith(prefix)}
            load_state(member, shared | state, model.path)
            common = own if predictor.shared_encoder else None
            predictor.members.append(member.eval())
    return predictor


def fresh_encoder(encoder: Encoder, seed: int) -> Encoder:
    """The same network from new random weights: the twin that shows what pre-training gave."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(encoder)(**encoder.config())


def trainable_parameters(module: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def class_columns(targets: Sequence[Target]) -> list[tuple[Target, slice]]:
    """Each target with its output columns."""
    start, found = 0, []
    for target in targets:
        width = target.output.width
        found.append((target, slice(start, start + width)))
        start += width
    return found
