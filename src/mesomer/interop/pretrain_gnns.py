"""Checkpoints of the strategies paper (snap-stanford/pretrain-gnns, chemistry) -> our GIN, GCN, GraphSAGE or GAT
(study.md 2.3).

The files are bare state dicts of an encoder. GIN and GAT are told by their keys; GCN and GraphSAGE have the same, and
are told by `--architecture` or by the name of the file. What no tensor tells is taken as published and said: the last
layer's output, mean readout, dropout 0.5 in fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mesomer.encoders.gin import GINFamily
from mesomer.errors import MesomerError
from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.finetuned import assume, share, text, told_by_tensors
from mesomer.interop.imported import Imported
from mesomer.interop.pretrain_gnns_outputs import largest_difference
from mesomer.interop.recognised import looks_like, source_of

__all__ = ["ARCHITECTURES", "convert", "largest_difference"]

# Short names for --architecture; official argument names.
ARCHITECTURES: dict[str, dict[str, Any]] = {name: {"gnn_type": name} for name in ("gin", "gcn", "graphsage", "gat")}
PUBLISHED_ARGUMENTS: dict[str, Any] = {"JK": "last", "graph_pooling": "mean", "dropout_ratio": 0.5}
NOTES = (
    "Rules `published`: chirality is the tag and bond direction the mark as spelt, so that the vectors of a molecule",
    "with stereo marks change with the spelling of its SMILES. Dummy atoms and bonds other than single, double, triple",
    "and aromatic, at which the published code stops, are read as an element of their own and as single bonds.",
    "Differences are to be read beside the size of the outputs: those of GCN reach hundreds.",
)
_IN_FILE_NAMES = {"gcn": "gcn", "graphsage": "graphsage", "sage": "graphsage"}
_KINDS = ("weight", "bias")
_LINEARS = {
    "gin": {"mlp.0": "lift", "mlp.2": "lower"},
    "gcn": {"linear": "linear"},
    "graphsage": {"linear": "linear"},
    "gat": {"weight_linear": "linear"},
}
_NORM = (*_KINDS, "running_mean", "running_var", "num_batches_tracked")


class Source(NamedTuple):
    """Our tensor `ours` is these published tensors, one below the other."""

    ours: str
    theirs: tuple[str, ...]


def convert(checkpoint: ForeignCheckpoint, architecture: Mapping[str, Any] | None = None) -> Imported:
    """Build our encoder and fill it.

    `architecture` gives official argument names. Raises `MesomerError` if the file is of another source or its type
    cannot be told.
    """
    path = checkpoint.path
    names = {name.removeprefix("module.").removeprefix("gnn."): name for name in checkpoint.tensors}
    tensors = {bare: checkpoint.tensors[name] for bare, name in names.items()}
    found = source_of(tensors)
    if found != "pretrain-gnns":
        raise MesomerError(
            f"{path} is no checkpoint of pretrain-gnns: {looks_like(tensors)}.",
            "" if found is None else f"Import it with --from {found}.",
        )
    assumed: list[str] = []
    arguments = _arguments(checkpoint, tensors, dict(checkpoint.arguments or {}) | dict(architecture or {}), assumed)
    pooling = text(arguments, "graph_pooling")
    encoder = GINFamily(
        layer=arguments["gnn_type"],
        hidden_size=arguments["emb_dim"],
        depth=arguments["num_layer"],
        jk=text(arguments, "JK"),
        dropout=share(arguments, "dropout_ratio"),
        pooling="gate" if pooling == "attention" else pooling,
        rules="published",
    )
    ours = encoder.state_dict()
    sources = list(published_names(encoder))
    for source in sources:
        ours[source.ours].copy_(_joined(source, tensors, ours[source.ours].shape, str(path)))
    encoder.eval()
    used = {names[theirs] for source in sources for theirs in source.theirs}
    left_out = {name: _why_left_out(bare) for bare, name in names.items() if name not in used}
    what = f"a {arguments['gnn_type'].upper()} encoder of pretrain-gnns"
    return Imported("encoder", encoder, encoder, used, left_out, assumed, arguments, NOTES, what)


def published_names(encoder: GINFamily) -> Iterator[Source]:
    """The published tensors of each of ours; the readout has none in the files."""
    options = encoder.config()
    yield Source("atoms", ("x_embedding1.weight", "x_embedding2.weight"))
    for number in range(options["depth"]):
        theirs, ours = f"gnns.{number}", f"layers.{number}"
        yield Source(f"{ours}.bonds", (f"{theirs}.edge_embedding1.weight", f"{theirs}.edge_embedding2.weight"))
        for published, name in _LINEARS[options["layer"]].items():
            for kind in _KINDS:
                yield Source(f"{ours}.{name}.{kind}", (f"{theirs}.{published}.{kind}",))
        if options["layer"] == "gat":
            yield Source(f"{ours}.attention", (f"{theirs}.att",))
            yield Source(f"{ours}.bias", (f"{theirs}.bias",))
        for part in _NORM:
            yield Source(f"norms.{number}.{part}", (f"batch_norms.{number}.{part}",))


def _joined(source: Source, tensors: Mapping[str, Tensor], shape: torch.Size, path: str) -> Tensor:
    missing = [name for name in source.theirs if name not in tensors]
    if missing:
        raise MesomerError(f"{path} has no tensor {missing[0]}, which a model of its kind needs.")
    parts = [tensors[name] for name in source.theirs]
    if source.theirs[0].endswith(".att") and parts[0].dim() == 3:
        parts = [parts[0].squeeze(0)]
    alike = len({part.shape[1:] for part in parts}) == 1
    joined = torch.cat(parts) if alike and len(parts) > 1 else parts[0]
    if not alike or joined.shape != shape:
        raise MesomerError(
            f"{path}: {' and '.join(source.theirs)} have the shapes "
            f"{' and '.join(str(tuple(part.shape)) for part in parts)}, {tuple(shape)} together was expected."
        )
    return joined


def _arguments(
    checkpoint: ForeignCheckpoint, tensors: Mapping[str, Tensor], given: dict[str, Any], assumed: list[str]
) -> dict[str, Any]:
    """The architecture: from the tensors where they tell, else as given, else as published (and said)."""
    types, width = tensors["x_embedding1.weight"].shape
    if types == 119:
        raise MesomerError(
            f"{checkpoint.path} looks like a checkpoint of MolCLR, whose features are others than pretrain-gnns' "
            "(119 atom types, explicit hydrogens).",
            "Files of MolCLR cannot be imported.",
        )
    layers = {int(name.split(".")[1]) for name in tensors if name.startswith("gnns.")}
    told: dict[str, Any] = {"emb_dim": width, "num_layer": len(layers)}
    kind = _kind_by_keys(tensors)
    if kind is not None:
        told["gnn_type"] = kind
    arguments = told_by_tensors(given, told)
    if kind is None:
        arguments["gnn_type"] = _gcn_or_graphsage(checkpoint, given.get("gnn_type"), assumed)
    assume(arguments, PUBLISHED_ARGUMENTS, assumed)
    return arguments


def _kind_by_keys(tensors: Mapping[str, Tensor]) -> str | None:
    if any(name.endswith(".att") for name in tensors):
        return "gat"
    return "gin" if any(".mlp." in name for name in tensors) else None


def _gcn_or_graphsage(checkpoint: ForeignCheckpoint, given: str | None, assumed: list[str]) -> str:
    if given in ("gcn", "graphsage"):
        return str(given)
    if given is not None:
        raise MesomerError(f"{checkpoint.path} holds a GCN or a GraphSAGE, and gnn_type {given} was given.")
    stem = checkpoint.path.stem.lower()
    named = {kind for part, kind in _IN_FILE_NAMES.items() if part in stem}
    if len(named) != 1:
        raise MesomerError(
            f"{checkpoint.path} holds a GCN or a GraphSAGE: their tensors are alike, and the name does not tell.",
            "Say which it is: --architecture gcn or --architecture graphsage.",
        )
    (kind,) = named
    assumed.append(f"gnn_type = {kind} (from the name of the file)")
    return kind


def _why_left_out(name: str) -> str:
    if name.startswith("graph_pred_linear"):
        return "prediction head: the file does not say of what"
    if name.startswith("pool."):
        return "readout of a fine-tuned model"
    return "unknown"
