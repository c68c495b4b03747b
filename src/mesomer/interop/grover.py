"""Official GROVER checkpoints -> our modules (grover.md 6), and those of its descendants that keep its encoder.

Kinds, told by their keys: fine-tuned (with two heads: predicts at once), pre-training (with vocabulary and motif heads,
which are left out unless their vocabularies are given: those are not in the file), and the encoder alone. Shapes come
from the tensors, what shapes cannot tell (depth, `dense`, activation, dropout) from the stored arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mesomer.encoders.grover import VIEWS, Grover
from mesomer.errors import MesomerError
from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.finetuned import (
    activation_of,
    assume,
    count_parts,
    flag,
    head_links,
    number,
    property_model,
    share,
    texts,
    told_by_tensors,
    whole,
)
from mesomer.interop.grover_outputs import largest_difference
from mesomer.interop.gtransformer import Link, block_links, fill, output_links
from mesomer.interop.imported import Imported
from mesomer.interop.recognised import looks_like, source_of
from mesomer.objectives.base import Objective, build_objective
from mesomer.objectives.contextual import Contextual

__all__ = ["ARCHITECTURES", "TAKES_VOCABULARIES", "convert", "largest_difference"]

TAKES_VOCABULARIES = True

DEAD = re.compile(r"encoders\.(node|edge)_blocks\.[1-9]\d*\.(W_i|layernorm|act_func)\.")
BRANCHES = ("node_blocks", "edge_blocks")
# What the published models were made with, for files that store no arguments (grover.md 6.2, 6.3).
PUBLISHED_ARGUMENTS: dict[str, Any] = {"depth": 6, "dense": False, "dropout": 0.0}
# Short names for --architecture.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    name: {"hidden_size": hidden, "num_attn_head": 4, "num_mt_block": 1, "bias": False, "activation": "PReLU"}
    | PUBLISHED_ARGUMENTS
    for name, hidden in (("base", 800), ("large", 1200))
}
NOTES = (
    "Rules `published`: the padding row takes part in every sum, with table width max(4, the molecule's own largest",
    "in-degree), and chirality is the tag as spelt. `batchwise` restores the published mixing of batch mates.",
)

SCALED_FEATURES = (
    "Its extra features were standardised: a missing one counts as their mean here, and counted as 0 in its training."
)


# The generators and normalisations whose 200 descriptors are those that `--descriptors rdkit_2d_normalized` gives.
_SAME_GENERATORS = ("rdkit_2d_normalized", "rdkit_2d_normalized_onthefly")
_CUIK, _SAME_NORMALISATION = "rdkit_2d_normalized_cuik_molmaker", "descriptastorus"


class Source(NamedTuple):
    """Whose files are read: their name, which key recognitions are theirs, and notes for the card."""

    name: str
    recognised: tuple[str | None, ...]
    notes: tuple[str, ...] = NOTES


GROVER = Source("GROVER", ("grover", None))


def convert(
    checkpoint: ForeignCheckpoint,
    architecture: Mapping[str, Any] | None = None,
    source: Source = GROVER,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> Imported:
    """Build our module and fill it.

    `architecture` gives official argument names and comes before the stored arguments. Raises `MesomerError` if the
    file is not of this source or its architecture cannot be told. With `vocabularies` (the names of atoms and of bonds)
    the heads of a pre-training file are kept.
    """
    path = str(checkpoint.path)
    names = _plain_names(checkpoint)
    tensors = {plain: checkpoint.tensors[name] for plain, name in names.items()}
    found = source_of(checkpoint.tensors)
    if found not in source.recognised or "encoders.node_blocks.0.heads.0.mpn_q.W_h.weight" not in tensors:
        raise MesomerError(
            f"{path} is no {source.name} checkpoint: {looks_like(checkpoint.tensors)}.",
            f"Import it with --from {found}." if found not in source.recognised else "",
        )
    assumed: list[str] = []
    arguments = _arguments(tensors, dict(checkpoint.arguments or {}) | dict(architecture or {}), assumed)
    encoder = Grover(
        hidden_size=arguments["hidden_size"],
        depth=whole(arguments, "depth"),
        heads=arguments["num_attn_head"],
        blocks=arguments["num_mt_block"],
        activation=arguments["activation"],
        bias=arguments["bias"],
        dropout=share(arguments, "dropout"),
        update="paper" if flag(arguments, "dense") else "code",
        rules="published",
    )
    module: nn.Module = encoder
    kind, what = "encoder", "a file with GROVER's encoder"
    links = list(encoder_links(encoder, "encoder"))
    if any(name.startswith("av_task_") for name in tensors) or any(name.startswith("decoder.") for name in tensors):
        what = "a pre-training file: its encoder is imported"
    if any("_ffn_task_specific." in name for name in tensors):
        what = "a fine-tuned file with layers for single tasks: its encoder is imported"
    elif "mol_atom_from_atom_ffn.1.weight" in tensors:
        kind, what = "predictor", "a fine-tuned file"
        assume(arguments, {"dist_coff": 0.1}, assumed)
        model = property_model(tensors, encoder, arguments)
        module, links = model, [*links, *head_links(VIEWS[:2], int(model.config()["ffn_layers"]))]
    elif vocabularies is not None and tensors.keys() >= HEADS:
        kind, what = "pretraining", "a pre-training file with its vocabularies"
        assume(arguments, {"dist_coff": 0.1}, assumed)
        module = _objective(encoder, vocabularies, tensors, path, number(arguments, "dist_coff"))
        links = [*links, *pretraining_links()]
    if vocabularies is not None and kind != "pretraining":
        raise MesomerError(
            f"{path} has not all heads that vocabularies go with: it is {what}.", "Import it without --vocab."
        )
    if kind == "encoder":
        links = [link._replace(ours=link.ours.removeprefix("encoder.")) for link in links]
    ours = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    used = fill(links, tensors, ours, path)
    module.load_state_dict(ours)
    module.eval()
    notes = source.notes
    if kind == "predictor" and checkpoint.features_scaler is not None:
        notes = (*notes, SCALED_FEATURES)
    if kind == "predictor" and (features := _other_descriptors(arguments)) is not None:
        width = model.descriptors_dim
        arguments["feature_names"] = [f"feature_{i}" for i in range(width)]
        told = f"{width} features of {features}: give them in columns feature_0 … feature_{width - 1}."
        notes = (*notes, f"It was fine-tuned with {told}")
    single = kind != "predictor" and any("_ffn_task_specific." in name for name in tensors)
    left_out = {name: _why_left_out(plain, single) for plain, name in names.items() if plain not in used}
    left_out |= {name: "a second copy of the encoder" for name in checkpoint.tensors if name not in names.values()}
    extra = {"vocabularies": {level: list(given) for level, given in (vocabularies or {}).items()}}
    return Imported(
        kind, module, encoder, {names[plain] for plain in used}, left_out, assumed, arguments, notes, what,
        extra if vocabularies is not None else {},
    )  # fmt: skip


def pretraining_links() -> Iterator[Link]:
    """Links of the vocabulary and motif heads to those of our objectives, joined."""
    for kind in ("weight", "bias"):
        for branch in ("atom", "bond"):
            place = f"parts.contextual.heads.{{}}_from_{branch}"
            yield Link(f"av_task_{branch}.linear.{kind}", f"{place.format('atom')}.{kind}")
            yield Link(f"bv_task_{branch}.linear.{kind}", f"{place.format('bond')}.forth.{kind}")
            yield Link(f"bv_task_{branch}.linear_rev.{kind}", f"{place.format('bond')}.back.{kind}")
        for view in VIEWS:
            yield Link(f"fg_task_all.linear_{view}.{kind}", f"parts.motifs.heads.{view}.{kind}")


HEADS = frozenset(link.theirs for link in pretraining_links())


def _objective(
    encoder: Grover,
    vocabularies: Mapping[str, Sequence[str]],
    tensors: Mapping[str, Tensor],
    path: str,
    disagreement: float,
) -> Objective:
    """Our objectives with heads of the published make."""
    for level, head in (("atom", "av_task_atom"), ("bond", "bv_task_atom")):
        rows = len(tensors[f"{head}.linear.bias"])
        if rows != len(vocabularies[level]):
            raise MesomerError(
                f"{path} names {rows:,} contexts of {level}s, and the vocabulary has {len(vocabularies[level]):,}."
            )
    parts: dict[str, dict[str, Any]] = {
        "contextual": {"directions": "separate", "disagreement": disagreement}, "motifs": {"by_view": True},
    }  # fmt: skip
    objective = build_objective("+".join(parts), encoder, **parts)
    for part in objective.modules():
        if isinstance(part, Contextual):
            part.name_rows(vocabularies)
    return objective


def encoder_links(encoder: Grover, ours: str) -> Iterator[Link]:
    """Links of the encoder; ours are named from a module that holds it as `ours`."""
    options = encoder.config()
    for branch in BRANCHES:
        for i in range(options["blocks"]):
            yield from block_links(f"encoders.{branch}.{i}", f"{ours}.{branch}.{i}", options["heads"], i == 0)
    for view in VIEWS:
        yield from output_links("encoders", view, f"{ours}.outputs.{view}")


def _plain_names(checkpoint: ForeignCheckpoint) -> dict[str, str]:
    """Name of each tensor by its name without what the layers around the encoder put before it.

    A model that holds its encoder twice saves it twice. Raises `MesomerError` if the two copies differ.
    """
    names: dict[str, str] = {}
    for name, tensor in checkpoint.tensors.items():
        plain = name.removeprefix("module.")  # DataParallel's
        if ".encoders." in f".{plain}":
            plain = plain[plain.index("encoders.") :]
        plain = plain.removeprefix("vocab_module.")
        if plain in names and not torch.equal(checkpoint.tensors[names[plain]], tensor):
            raise MesomerError(f"{checkpoint.path} has two different tensors {plain}: {names[plain]} and {name}.")
        names.setdefault(plain, name)
    return names


def _arguments(tensors: Mapping[str, Tensor], given: dict[str, Any], assumed: list[str]) -> dict[str, Any]:
    """The architecture: from the tensors where they tell, else as given, else as published (and said)."""
    arguments = told_by_tensors(
        given,
        {
            "hidden_size": tensors["encoders.node_blocks.0.heads.0.mpn_q.W_h.weight"].shape[0],
            "num_attn_head": count_parts(tensors, "encoders.node_blocks.0.heads."),
            "num_mt_block": count_parts(tensors, "encoders.node_blocks."),
            "bias": "encoders.node_blocks.0.heads.0.mpn_q.W_h.bias" in tensors,
        },
    )
    if arguments.get("backbone") not in (None, "gtrans", "dualtrans"):
        raise MesomerError(f"The file's backbone is {arguments['backbone']!r}; GROVER's is gtrans, once dualtrans.")
    if arguments.get("undirected"):
        raise MesomerError("The file's arguments ask for undirected messages, which the published code cannot run.")
    activation_of(arguments, "encoders.node_blocks.0.act_func.weight" in tensors, assumed)
    assume(arguments, PUBLISHED_ARGUMENTS, assumed)
    return arguments


def _why_left_out(name: str, single_tasks: bool) -> str:
    if DEAD.match(name):
        return "dead in the published code: only the first block projects its input"
    if "act_func_node" in name or "act_func_edge" in name:
        return "never used by the published code"
    if name.endswith("cached_zero_vector"):
        return "always zero"
    if name.startswith(("av_task_", "bv_task_")):
        return "vocabulary head: its vocabulary is not in the file, but can be given by --vocab"
    if name.startswith("fg_task_all."):
        return "motif head of the pre-training"
    if single_tasks and name.startswith(("mol_atom_from_", "readout.")):
        return "head with layers for single tasks"
    if name.startswith(("decoder.", "latent_dist.")):
        return "decoder of the contrastive pre-training"
    return "unknown"


def _other_descriptors(arguments: Mapping[str, Any]) -> str | None:
    """What the extra features are, if they are not the 200 normalised descriptors that we compute."""
    alone = arguments.get("features_generator")
    for name in [alone] if isinstance(alone, str) else texts(arguments, "features_generator"):
        if name == _CUIK and arguments.get("rdkit2D_normalization_type", "fast") != _SAME_NORMALISATION:
            return f"{name}, normalised as {arguments.get('rdkit2D_normalization_type', 'fast')}"
        if name != _CUIK and name not in _SAME_GENERATORS:
            return name
    return None
