"""Makes the hidden layers of finished pre-training heads the summary of the encoder, without any training.

    python recipes/graft_summary.py RUN MODEL [--heads descriptors fingerprints] [--overwrite]

The heads of `descriptors` and `fingerprints` have a hidden layer each, over the standardised pooled vector. Side by
side they are a summary (encoders/summary.py): the scales are those of the first head, and the weights of the others
are rewritten for these scales, which changes no output. MODEL is the folder that is written; the keys of the corpus go
with it. Pre-training an encoder with `--encoder.summary 1024` makes such a layer directly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.progress import say
from mesomer.training.checkpoint import ModelFolder, encoder_of, load_model, save_model
from mesomer.training.model_keys import FILE as KEYS_FILE

EPSILON = 1e-5
"""What RunningStandard adds to a variance."""


def grafted(model: ModelFolder, heads: Sequence[str]) -> Encoder:
    """The encoder of a `pretraining` folder with the hidden layers of these heads as its summary."""
    encoder = encoder_of(model)
    if encoder.summary is not None:
        raise MesomerError(f"The encoder in {model.path} has a summary already.")
    objective = model.config["objective"]["name"]
    layers = [_layer(model.state, head, objective == head, model.path) for head in heads]
    encoder = encoder.with_summary(sum(len(layer["1.weight"]) for layer in layers))
    assert encoder.summary is not None
    mean, scale = layers[0]["0.mean"], (layers[0]["0.variance"] + EPSILON).sqrt()
    weights, offsets = [], []
    for layer in layers:
        ratio = scale / (layer["0.variance"] + EPSILON).sqrt()
        shift = (mean - layer["0.mean"]) / (layer["0.variance"] + EPSILON).sqrt()
        weights.append(layer["1.weight"] * ratio)
        offsets.append(layer["1.bias"] + layer["1.weight"] @ shift)
    with torch.no_grad():
        encoder.summary.linear.weight.copy_(torch.cat(weights))
        encoder.summary.linear.bias.copy_(torch.cat(offsets))
        encoder.summary.standard.mean.copy_(mean)
        encoder.summary.standard.variance.copy_(layers[0]["0.variance"])
        encoder.summary.standard.hold()
    return encoder


def _layer(state: Mapping[str, Tensor], head: str, alone: bool, path: Path) -> dict[str, Tensor]:
    names = ("0.mean", "0.variance", "1.weight", "1.bias", "3.weight")
    prefix = "predict." if alone else f"parts.{head}.predict."
    found = {name: state[prefix + name].double() for name in names if prefix + name in state}
    if len(found) == len(names):
        return found
    raise MesomerError(f"{path} has no hidden layer of a head {head}.", "Give the folder of a run with that objective.")


def card_with_graft(card: str, encoder: Encoder, heads: Sequence[str]) -> str:
    """The card of the run, which says first what was made of it."""
    head, heading, rest = card.partition("\n# ")
    title, _, body = rest.partition("\n")
    said = (
        f"The hidden layers of this run's heads ({', '.join(heads)}) became its summary afterwards, without training: "
        f"{sum(part.numel() for part in encoder.parameters()):,} parameters in all, vectors of "
        f"{encoder.molecule_width:,} columns. What follows is about the run itself."
    )
    return f"{head}{heading}{title}\n\n{said}\n{body}" if heading else f"{said}\n\n{card}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder of a pre-training")
    parser.add_argument("output", type=Path, help="model folder to write")
    parser.add_argument("--heads", nargs="+", default=["descriptors", "fingerprints"], metavar="HEAD")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    given = parser.parse_args(arguments)
    model = load_model(given.model, ("pretraining",))
    encoder = grafted(model, given.heads)
    training = {
        **model.config["training"],
        "parameters": sum(part.numel() for part in encoder.parameters()),
        "summary_from_heads": list(given.heads),
    }
    config = {
        "encoder": {"name": encoder.name, "config": encoder.config()},
        "objective": model.config["objective"],
        "training": training,
    }
    card = card_with_graft((model.path / "README.md").read_text(encoding="utf-8"), encoder, given.heads)
    keys = model.path / KEYS_FILE
    files = {KEYS_FILE: keys.read_bytes()} if keys.exists() else {}
    save_model(given.output, "encoder", config, encoder.state_dict(), card, overwrite=given.overwrite, files=files)
    say(f"Wrote {given.output}: {training['parameters']:,} parameters.")


if __name__ == "__main__":
    try:
        main()
    except MesomerError as error:
        say(str(error))
        sys.exit(2)
