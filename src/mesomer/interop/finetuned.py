"""Fine-tuned checkpoints of the GROVER family: readout and two heads -> our `PropertyModel`; and what adapters share.

GROVER, KERMT and BatmanNet save the same heads under the same names (grover.md 6.2, batmannet.md 8.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from mesomer.encoders.base import Encoder
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.interop.gtransformer import Link
from mesomer.outputs import Output

_FIRST_HEAD = "mol_atom_from_atom_ffn."


def property_model(tensors: Mapping[str, Tensor], encoder: Encoder, arguments: Mapping[str, Any]) -> PropertyModel:
    """The model whose widths the tensors tell, around an encoder.

    Raises `MesomerError` if the arguments do not say whether it classifies or regresses.
    """
    attention = "readout.attn.w1" in tensors
    linears = sorted(
        int(name.split(".")[1]) for name, x in tensors.items() if name.startswith(_FIRST_HEAD) and x.dim() == 2
    )
    first = tensors[f"{_FIRST_HEAD}{linears[0]}.weight"]
    attn_hidden, attn_out = (
        (tensors["readout.attn.w1"].shape[0], tensors["readout.attn.w2"].shape[0]) if attention else (4, 1)
    )
    tasks = tensors[f"{_FIRST_HEAD}{linears[-1]}.weight"].shape[0]
    kind = {"classification": "binary", "regression": "regression"}.get(str(arguments.get("dataset_type")))
    if kind is None:
        raise MesomerError(
            f"The fine-tuned checkpoint says of its task {arguments.get('dataset_type')!r}, "
            "neither classification nor regression.",
            'Give --architecture a JSON file with "dataset_type".',
        )
    return PropertyModel(
        encoder,
        [Output(kind)] * tasks,
        readout="attention" if attention else "mean",
        attn_hidden=attn_hidden,
        attn_out=attn_out,
        descriptors_dim=first.shape[1] - encoder.width * attn_out,
        ffn_hidden=first.shape[0] if len(linears) > 1 else 0,
        ffn_layers=len(linears),
        dropout=share(arguments, "dropout"),
        activation=text(arguments, "activation"),
        disagreement=number(arguments, "dist_coff"),
    )


def head_links(views: Sequence[str], layers: int) -> Iterator[Link]:
    """Links of the readout and of the heads, ours as a `PropertyModel`."""
    for name in ("w1", "w2"):
        yield Link(f"readout.attn.{name}", f"readout.{name}.weight")
    for i, view in enumerate(views):
        for layer in range(layers):
            for kind in ("weight", "bias"):
                yield Link(f"mol_{view}_ffn.{1 + 3 * layer}.{kind}", f"heads.{i}.linears.{layer}.{kind}")
        # the published state dict repeats one slope under every activation position
        for layer in range(layers - 1):
            yield Link(f"mol_{view}_ffn.{2 + 3 * layer}.weight", f"heads.{i}.activation.slope")


def count_parts(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered parts lie below a prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _refused(arguments: Mapping[str, Any], name: str, wanted: str) -> MesomerError:
    return MesomerError(
        f"The argument {name} is {arguments.get(name)!r}, and {wanted} is expected.",
        "Correct it, or give --architecture a JSON file with the right one.",
    )


def number(arguments: Mapping[str, Any], name: str) -> float:
    """An argument that is a number; raises `MesomerError` if it is none."""
    value = arguments.get(name)
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise _refused(arguments, name, "a number")
    return float(value)


def whole(arguments: Mapping[str, Any], name: str) -> int:
    """An argument that is a whole number."""
    value = number(arguments, name) if isinstance(arguments.get(name), Real) else math.nan
    if not value.is_integer():
        raise _refused(arguments, name, "a whole number")
    return int(value)


def share(arguments: Mapping[str, Any], name: str) -> float:
    """An argument that is a number from 0 to below 1."""
    value = number(arguments, name)
    if not 0 <= value < 1:
        raise _refused(arguments, name, "a number from 0 to below 1")
    return value


def text(arguments: Mapping[str, Any], name: str) -> str:
    """An argument that is text."""
    if not isinstance(arguments.get(name), str):
        raise _refused(arguments, name, "text")
    return str(arguments[name])


def texts(arguments: Mapping[str, Any], name: str) -> list[str]:
    """An argument that is a list of names; empty if it is not given."""
    value = arguments.get(name) or []
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, (str, int, float)) for part in value):
        raise _refused(arguments, name, "a list of names")
    return [str(part) for part in value]


def flag(arguments: Mapping[str, Any], name: str) -> bool:
    """An argument that is true or false."""
    if not isinstance(arguments.get(name), (bool, np.bool_)) and arguments.get(name) not in (0, 1):
        raise _refused(arguments, name, "true or false")
    return bool(arguments[name])


def assume(arguments: dict[str, Any], defaults: Mapping[str, Any], assumed: list[str]) -> None:
    """Fill in the published defaults of arguments that the file does not give, and say so."""
    for name, value in defaults.items():
        if arguments.get(name) is None:
            arguments[name] = value
            assumed.append(f"{name} = {value} (published default)")


def activation_of(arguments: dict[str, Any], sloped: bool, assumed: list[str]) -> str:
    """The activation: as given, else PReLU if the tensors have its slopes.

    Raises `MesomerError` if nothing tells, or tensors and arguments disagree.
    """
    if "activation" not in arguments:
        if not sloped:
            raise MesomerError(
                "The tensors do not tell the activation (any but PReLU).",
                "Give --architecture a JSON file with official argument names.",
            )
        arguments["activation"] = "PReLU"
        assumed.append("activation = PReLU (its slopes are in the file)")
    activation = text(arguments, "activation")
    if (activation == "PReLU") != sloped:
        raise MesomerError(
            f"The activation {activation} does not fit the tensors, "
            f"which {'have' if sloped else 'lack'} PReLU's slopes."
        )
    return activation


def told_by_tensors(given: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """The given arguments with those that the tensors tell; raises `MesomerError` where the two contradict."""
    for name, value in told.items():
        if given.get(name, value) != value:
            raise MesomerError(
                f"The argument {name} is {given[name]}, but the tensors are those of {value}.",
                "Is the --architecture file of another checkpoint?",
            )
    return {**given, **told}
