"""Official R-MAT checkpoints -> our modules (rmat.md 3.8 and 4).

A file is a bare state dict, its configuration a flat JSON file of the same stem. Shapes tell most of the architecture;
what they cannot tell is taken from that file or from the published defaults. A file with a head is a predictor, which
gives the published raw output; one without is an encoder, as `rmat_4M` is. A head over the names of atoms is left out:
its vocabulary is in no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from mesomer.encoders.rmat import RMat
from mesomer.encoders.rmat_blocks import NodeEncoder
from mesomer.encoders.rmat_features import ATOM_WIDTH, BOND_CHANNELS, ORDERS
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.finetuned import activation_of, assume, count_parts, number, share, told_by_tensors, whole
from mesomer.interop.gtransformer import Link, fill
from mesomer.interop.imported import Imported
from mesomer.interop.recognised import looks_like, source_of
from mesomer.interop.rmat_outputs import largest_difference
from mesomer.outputs import Output

__all__ = ["ARCHITECTURES", "convert", "largest_difference"]

# What the published classes have for what the tensors do not tell (rmat.md 3.8).
SHARED_DEFAULTS: dict[str, Any] = {"activation": "LeakyReLU", "dropout": 0.0}
RADIAL_DEFAULTS: dict[str, Any] = {"envelope_cutoff": 20.0, "envelope_exponent": 5.0}
# Short names for --architecture.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "base": {
        "d_model": 768,
        "encoder_n_layers": 10,
        "encoder_n_attn_heads": 12,
        "envelope_num_radial": 32,
        "ffn_n_layers": 2,
        "ffn_d_hidden": 1536,
        "ffn_activation": "LeakyReLU",
        "dropout": 0.0,
    }
    | RADIAL_DEFAULTS
}
NOTES = (
    "Rules `code`: the relative terms use the query atom's key, as in the published code; `relative_u` and the bias of",
    "the key-side pair network have no effect there and are kept as they came.",
    "The file holds no geometry: give molecules with coordinates, or let them be computed with a fixed seed.",
)
_LAYER = "encoder.layers."
_HEAD = "generator."
_DESCRIPTORS = ["rdkit_2d_normalized"]
_ATTENTION_HIDDEN, _HOPS = 128, 4
_SUBLAYERS = ("attention_norm", "feed_forward_norm")


class Family(NamedTuple):
    """One of the two architectures that share this layout of names."""

    name: str
    leading: int
    """Node features before the 35 of an atom, which tell the two apart."""
    other: str
    """The source to name where a file is of the other one."""
    build: Callable[[Mapping[str, Tensor], dict[str, Any], list[str]], NodeEncoder]
    attention_links: Callable[[str, str], Iterator[Link]]
    notes: tuple[str, ...]


def convert(
    checkpoint: ForeignCheckpoint, architecture: Mapping[str, Any] | None = None, family: Family | None = None
) -> Imported:
    """Build our module and fill it.

    `architecture` gives official configuration names. Raises `MesomerError` if the file is not of this family or its
    architecture cannot be told.
    """
    family = family or RMAT
    path, tensors = str(checkpoint.path), checkpoint.tensors
    _check_family(checkpoint, family)
    assumed: list[str] = []
    arguments = _arguments(tensors, dict(architecture or {}), family, assumed)
    encoder = family.build(tensors, arguments, assumed)
    aggregation = _aggregation(tensors, arguments, encoder.width)
    links = list(encoder_links(encoder, "", family))
    kind = "encoder"
    module: nn.Module = encoder
    what = f"a file with {family.name}'s encoder"
    if aggregation == "contextual":
        what = "a file of the contextual pre-training: its encoder is imported"
    elif aggregation is not None:
        kind, what = "predictor", "a fine-tuned file"
        module = _property_model(tensors, encoder, aggregation, arguments, assumed)
        links = [*encoder_links(encoder, "encoder.", family), *head_links(tensors)]
    ours = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    used = fill(links, tensors, ours, path)
    module.load_state_dict(ours)
    module.eval()
    left_out = {
        name: "head over the names of atoms: their vocabulary is not in the file"
        if aggregation == "contextual" and name.startswith(_HEAD)
        else "unknown"
        for name in tensors
        if name not in used
    }
    return Imported(kind, module, encoder, used, left_out, assumed, arguments, family.notes, what)


def _check_family(checkpoint: ForeignCheckpoint, family: Family) -> None:
    tensors = checkpoint.tensors
    nodes = tensors.get("src_embed.lut.weight")
    width = None if nodes is None or nodes.dim() != 2 else nodes.shape[1]
    if width == family.leading + ATOM_WIDTH and f"{_LAYER}0.self_attn.linear_layers.0.weight" in tensors:
        return
    other = width is not None and f"{_LAYER}0.self_attn.linear_layers.0.weight" in tensors
    found = source_of(tensors)
    source = family.other if other else None if found in ("rmat", "mat") else found
    raise MesomerError(
        f"{checkpoint.path} is no {family.name} checkpoint: "
        + (f"its nodes have {width} features." if other else f"{looks_like(tensors)}."),
        "" if source is None else f"Import it with --from {source}.",
    )


def _arguments(
    tensors: Mapping[str, Tensor], given: dict[str, Any], family: Family, assumed: list[str]
) -> dict[str, Any]:
    """The architecture that both have: from the tensors where they tell, else as given, else as published."""
    hidden = tensors["src_embed.lut.weight"].shape[0]
    layers = count_parts(tensors, _LAYER)
    told = {
        "d_atom": family.leading + ATOM_WIDTH,
        "d_model": hidden,
        "encoder_n_layers": layers,
        "ffn_n_layers": count_parts(tensors, f"{_LAYER}0.feed_forward.linears."),
    }
    if given.get("ffn_n_layers") == 0:
        raise MesomerError("The configuration has ffn_n_layers 0, which the published code cannot use.")
    arguments = told_by_tensors(given, told)
    if "ffn_activation" in arguments:
        arguments["activation"] = arguments["ffn_activation"]
    sloped = f"{_LAYER}0.feed_forward.act_func.weight" in tensors
    if not sloped:
        assume(arguments, SHARED_DEFAULTS, assumed)
    activation_of(arguments, sloped, assumed)
    assume(arguments, SHARED_DEFAULTS, assumed)
    return arguments


def _build(tensors: Mapping[str, Tensor], arguments: dict[str, Any], assumed: list[str]) -> RMat:
    first = tensors.get(f"{_LAYER}0.self_attn.attention.relative_K.nn.0.weight")
    u = tensors.get(f"{_LAYER}0.self_attn.attention.relative_u")
    if first is None or u is None:
        raise MesomerError("The file has nodes as R-MAT has them, but no relative attention.")
    radial = first.shape[1] - BOND_CHANNELS - ORDERS
    told: dict[str, Any] = {
        "d_edge": first.shape[1],
        "envelope_num_radial": radial,
        "encoder_n_attn_heads": u.shape[1],
    }
    if arguments["ffn_n_layers"] > 1:
        told["ffn_d_hidden"] = tensors[f"{_LAYER}0.feed_forward.linears.0.weight"].shape[0]
    arguments.update(told_by_tensors(arguments, told))
    assume(arguments, RADIAL_DEFAULTS, assumed)
    return RMat(
        hidden_size=arguments["d_model"],
        heads=arguments["encoder_n_attn_heads"],
        blocks=arguments["encoder_n_layers"],
        ffn_hidden=whole(arguments, "ffn_d_hidden" if arguments.get("ffn_d_hidden") else "d_model"),
        ffn_layers=arguments["ffn_n_layers"],
        activation=arguments["activation"],
        dropout=share(arguments, "dropout"),
        radial_functions=radial,
        cutoff=number(arguments, "envelope_cutoff"),
        exponent=number(arguments, "envelope_exponent"),
    )


def _attention_links(theirs: str, ours: str) -> Iterator[Link]:
    yield Link(f"{theirs}.attention.relative_u", f"{ours}.u")
    yield Link(f"{theirs}.attention.relative_v", f"{ours}.v")
    for published, name in (("relative_K", "keys"), ("relative_V", "values")):
        for at, layer in ((0, "first"), (3, "second")):
            for kind in ("weight", "bias"):
                yield Link(f"{theirs}.attention.{published}.nn.{at}.{kind}", f"{ours}.{name}.{layer}.{kind}")


def encoder_links(encoder: NodeEncoder, ours: str, family: Family | None = None) -> Iterator[Link]:
    """Links of the encoder; `ours` stands before our names."""
    options = encoder.config()
    pairs = [("src_embed.lut", "embed"), ("encoder.norm", "norm")]
    for i in range(options["blocks"]):
        theirs, block = f"{_LAYER}{i}", f"{ours}blocks.{i}"
        for part in range(3):
            for kind in ("weight", "bias"):
                yield Link(f"{theirs}.self_attn.linear_layers.{part}.{kind}", f"{block}.attention.{kind}", part)
        yield from (family or RMAT).attention_links(f"{theirs}.self_attn", f"{block}.attention")
        yield Link(f"{theirs}.feed_forward.act_func.weight", f"{block}.feed_forward.activation.slope")
        pairs.append((f"{theirs}.self_attn.output_linear", f"blocks.{i}.attention.output"))
        pairs += [(f"{theirs}.sublayer.{at}.norm", f"blocks.{i}.{name}") for at, name in enumerate(_SUBLAYERS)]
        pairs += [
            (f"{theirs}.feed_forward.linears.{at}", f"blocks.{i}.feed_forward.linears.{at}")
            for at in range(options["ffn_layers"])
        ]
    for published, name in pairs:
        for kind in ("weight", "bias"):
            yield Link(f"{published}.{kind}", f"{ours}{name}.{kind}")


def head_links(tensors: Mapping[str, Tensor]) -> Iterator[Link]:
    """Links of readout and head, ours as a `PropertyModel`."""
    yield Link(f"{_HEAD}att_net.0.weight", "readout.w1.weight")
    yield Link(f"{_HEAD}att_net.2.weight", "readout.w2.weight")
    single = f"{_HEAD}proj.weight" in tensors
    plan = [("proj", "linears.0")] if single else [
        ("proj.0", "linears.0"), ("proj.2", "norms.0"), ("proj.4", "linears.1")
    ]  # fmt: skip
    for published, name in plan:
        for kind in ("weight", "bias"):
            yield Link(f"{_HEAD}{published}.{kind}", f"heads.0.{name}.{kind}")


def _aggregation(tensors: Mapping[str, Tensor], arguments: dict[str, Any], width: int) -> str | None:
    """How the head pools, or None without a head; raises `MesomerError` where tensors and configuration disagree."""
    first = tensors.get(f"{_HEAD}proj.weight", tensors.get(f"{_HEAD}proj.0.weight"))
    if first is None:
        return None
    said = arguments.get("generator_aggregation")
    attends = f"{_HEAD}att_net.0.weight" in tensors
    if said is None and not attends:
        raise MesomerError(
            "The file's head pools by the mean or not at all, which its tensors do not tell.",
            'Give --architecture a JSON file with "generator_aggregation" (mean or contextual).',
        )
    said = said or "grover"
    if said not in ("grover", "mean", "contextual") or (said == "grover") != attends:
        raise MesomerError(f"The file's head does not fit generator_aggregation {said!r}.")
    pooled = width * (_HOPS if attends else 1)
    extra = _features(arguments)
    if first.shape[1] != pooled + extra:
        raise MesomerError(
            f"The file's head takes {first.shape[1]} numbers; pooling gives {pooled}, and the configuration names "
            f"{extra} molecule features.",
            'Give --architecture a JSON file with "generator_d_generated_features".',
        )
    return said


def _features(arguments: Mapping[str, Any]) -> int:
    name = "generator_d_generated_features"
    return whole(arguments, name) if arguments.get(name) is not None else 0


def _property_model(
    tensors: Mapping[str, Tensor],
    encoder: NodeEncoder,
    aggregation: str,
    arguments: dict[str, Any],
    assumed: list[str],
) -> PropertyModel:
    single = f"{_HEAD}proj.weight" in tensors
    last = tensors[f"{_HEAD}proj.weight" if single else f"{_HEAD}proj.4.weight"]
    kind = {"classification": "binary", "regression": "regression"}.get(str(arguments.get("dataset_type")))
    if kind is None:
        kind = "regression"
        assumed.append("the head regresses (dataset_type tells; a classifier's outputs are then log-odds)")
    extra = _features(arguments)
    names = arguments.get("generator_features_generators") or []
    if extra:
        arguments["feature_names"] = names if names == _DESCRIPTORS else [f"feature_{i}" for i in range(extra)]
    return PropertyModel(
        encoder,
        [Output(kind)] * last.shape[0],
        readout="attention" if aggregation == "grover" else "mean",
        attn_hidden=_ATTENTION_HIDDEN,
        attn_out=_HOPS,
        descriptors_dim=extra,
        ffn_hidden=0 if single else last.shape[1],
        ffn_layers=1 if single else 2,
        dropout=share(arguments, "dropout"),
        activation="LeakyReLU",
        disagreement=0.0,
        head_norm=not single,
    )


RMAT = Family("R-MAT", 2, "mat", _build, _attention_links, NOTES)
