"""What the heads of a network know before its training: the scales of their inputs, and a linear model.

A head with random weights pulls the encoder about before it says anything of use, which spoils pre-trained vectors;
one that starts as the best linear model on the vectors as they are gives the encoder a gradient worth following from
the first step (Kumar et al., "Fine-tuning can distort pretrained features", ICLR 2022). Each head has a linear
model of its own, fitted as the linear probe is: to the training part, its penalty chosen on the validation part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mesomer.data.splits import Split
from mesomer.heads import PropertyModel
from mesomer.training.finetune_network import VALIDATION_ATOMS, PropertyBatches, atom_parts
from mesomer.training.predictor import Target
from mesomer.training.probe import fit_linear


@torch.no_grad()
def head_inputs(
    model: PropertyModel, batches: PropertyBatches, positions: NDArray[np.integer], device: torch.device
) -> list[Tensor]:
    """What the heads of the network as it is are given, not standardised: [positions, width] for each head."""
    model.to(device).eval()
    found: list[Tensor] = []
    sizes = np.array([len(batches.data.graphs[at].atoms) for at in positions])
    for part in atom_parts(sizes, VALIDATION_ATOMS):
        batch = batches.batch(positions[part]).to(device)
        inputs = model.head_inputs(model.encode(batch), batch, batch.extras.get("descriptors"))
        if not found:
            found = [torch.zeros(len(positions), rows.shape[1], device=device) for rows in inputs]
        for kept, rows in zip(found, inputs, strict=True):
            kept[torch.from_numpy(part).to(device)] = rows.float()
    return found


def standardize_inputs(
    model: PropertyModel, batches: PropertyBatches, train: NDArray[np.integer], device: torch.device
) -> None:
    """Fixes what the heads subtract and divide by, from the training part as the untrained network sees it."""
    model.set_standard(head_inputs(model, batches, train, device))


def start_linear(
    model: PropertyModel, batches: PropertyBatches, targets: Sequence[Target], split: Split, device: torch.device
) -> None:
    """Makes each head the linear model of its inputs. The inputs have to be standardised already."""
    known = np.concatenate([split.train, split.valid])
    inputs = model.standardized(head_inputs(model, batches, known, device))
    both = np.arange(len(known))
    own = replace(split, train=both[: len(split.train)], valid=both[len(split.train) :], test=both[:0])
    truth = batches.labels[torch.from_numpy(known)].double().numpy()
    for at, rows in enumerate(inputs):
        weight, bias = fit_linear(rows.double().cpu().numpy(), truth, targets, own)
        model.set_linear(at, torch.from_numpy(weight), torch.from_numpy(bias))
