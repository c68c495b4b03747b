"""Official BatmanNet checkpoints -> our modules (batmannet.md 8).

Kinds, told by their keys: pre-training (with decoder), fine-tuned (with heads), and the two pair tasks, of which the
encoder is taken. Shapes come from the tensors, what shapes cannot tell (depth, `dense`, activation, dropout) from the
stored arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from mesomer.encoders.batmannet import BatmanNet
from mesomer.errors import MesomerError
from mesomer.interop.batmannet_outputs import largest_difference
from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.finetuned import (
    activation_of,
    assume,
    count_parts,
    flag,
    head_links,
    property_model,
    share,
    told_by_tensors,
    whole,
)
from mesomer.interop.gtransformer import Link, block_links, fill, output_links
from mesomer.interop.imported import Imported
from mesomer.interop.recognised import looks_like
from mesomer.objectives.masked_graph import MaskedGraph

__all__ = ["ARCHITECTURES", "convert", "largest_difference"]

BRANCHES = ("node_blocks", "edge_blocks")
VIEWS = ("atom_from_atom", "atom_from_bond", "bond_from_atom", "bond_from_bond")
# What every published command line sets, for bare state dicts that store no arguments (batmannet.md 7.3).
PUBLISHED_ARGUMENTS: dict[str, Any] = {"depth": 3, "dense": False, "dropout": 0.1}
# Short names for --architecture.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "base": {
        "hidden_size": 100,
        "depth": 3,
        "num_attn_head": 2,
        "num_enc_mt_block": 6,
        "num_dec_mt_block": 2,
        "activation": "PReLU",
        "bias": True,
        "dense": False,
        "dropout": 0.1,
    }
}
NOTES = (
    "Rules `published`: the padding row takes part in every sum, with table width max(4, the molecule's own largest",
    "in-degree), and chirality is the tag as spelt; positions, if any, count from 0 in each molecule. `batchwise`",
    "restores the published mixing of batch mates.",
)
WHAT = {
    "pretraining": "a pre-training file",
    "predictor": "a fine-tuned file",
    "encoder": "a file of a pair task: its encoder is imported",
}
NO_WEIGHTS = "BatmanNet's authors have published no weights; `mesomer pretrain CORPUS --method batmannet` trains them."


def convert(checkpoint: ForeignCheckpoint, architecture: Mapping[str, Any] | None = None) -> Imported:
    """Build our module and fill it.

    `architecture` gives official argument names and comes before the stored arguments. Raises `MesomerError` if the
    file is no BatmanNet checkpoint or its architecture cannot be told.
    """
    # DataParallel puts `module.` before every name
    bare = {name.removeprefix("module."): x for name, x in checkpoint.tensors.items()}
    tensors = {
        name if name.startswith(("mygame.", "mol_", "readout.", "embed_word", "W_")) else f"mygame.{name}": x
        for name, x in bare.items()
    }
    if not any(name.startswith("mygame.encoders.node_blocks.0.") for name in tensors):
        raise MesomerError(
            f"{checkpoint.path} is no BatmanNet checkpoint: {looks_like(checkpoint.tensors)}.", NO_WEIGHTS
        )
    assumed: list[str] = []
    arguments = _arguments(tensors, dict(checkpoint.arguments or {}) | dict(architecture or {}), assumed)
    config = {
        "hidden_size": arguments["hidden_size"], "depth": whole(arguments, "depth"),
        "heads": arguments["num_attn_head"], "blocks": arguments["num_enc_mt_block"],
        "activation": arguments["activation"], "bias": arguments["bias"],
        "dense": flag(arguments, "dense"), "dropout": share(arguments, "dropout"), "rules": "published",
    }  # fmt: skip
    module: nn.Module
    if any(name.startswith("mygame.decoders.") for name in tensors):
        kind, encoder = "pretraining", BatmanNet(**config, stage="pretraining")
        decoder_blocks = count_parts(tensors, "mygame.decoders.node_blocks.")
        assume(arguments, {"mask_ratio": 0.6}, assumed)
        module = MaskedGraph(encoder, mask_ratio=share(arguments, "mask_ratio"), decoder_blocks=decoder_blocks)
        links = pretraining_links(config["heads"], config["blocks"], decoder_blocks)
    else:
        encoder = BatmanNet(**config, stage="finetuning")
        pair = "embed_word.weight" in tensors or _is_drug_pair(tensors, config["hidden_size"], arguments)
        kind = "encoder" if pair or "mol_atom_from_atom_ffn.1.weight" not in tensors else "predictor"
        if kind == "predictor":
            # what a fine-tuning takes from a published pre-training file, so that its heads are not tied
            assume(arguments, {"dist_coff": 0.0}, assumed)
            model = property_model(tensors, encoder, arguments)
            module = model
            links = finetuned_links(config["heads"], config["blocks"], int(model.config()["ffn_layers"]))
        else:
            module = encoder
            links = [
                link._replace(ours=link.ours.removeprefix("encoder."))
                for link in encoder_links(config["heads"], config["blocks"], False)
            ]
    ours = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    used = fill(links, tensors, ours, str(checkpoint.path))
    module.load_state_dict(ours)
    module.eval()
    left_out = {name: _why_left_out(name) for name in tensors if name not in used}
    return Imported(kind, module, encoder, used, left_out, assumed, arguments, NOTES, WHAT[kind])


def encoder_links(heads: int, blocks: int, pretraining: bool) -> Iterator[Link]:
    """Links of the encoder; ours are named from a module that holds it as `encoder`."""
    for branch in BRANCHES:
        for i in range(blocks):
            yield from block_links(f"mygame.encoders.{branch}.{i}", f"encoder.{branch}.{i}", heads, i == 0)
    for view in VIEWS:
        if pretraining and view in ("atom_from_bond", "bond_from_atom"):
            for kind in ("weight", "bias"):
                yield Link(f"mygame.encoders.{view}_sublayer.norm.{kind}", f"encoder.carried_norms.{view}.{kind}")
        else:
            yield from output_links("mygame.encoders", view, f"encoder.outputs.{view}")


def pretraining_links(heads: int, blocks: int, decoder_blocks: int) -> list[Link]:
    """Links of a whole pre-training model, ours as a `MaskedGraph`."""
    links = list(encoder_links(heads, blocks, True))
    for branch, ours, view, last in (
        ("node_blocks", "node_decoder", VIEWS[0], "atom_fc"),
        ("edge_blocks", "edge_decoder", VIEWS[3], "bond_fc"),
    ):
        for i in range(decoder_blocks):
            links += block_links(f"mygame.decoders.{branch}.{i}", f"{ours}.blocks.{i}", heads, False)
        links += output_links("mygame.decoders", view, f"{ours}.output")
        links += [Link(f"mygame.decoders.{last}.{kind}", f"{ours}.predict.{kind}") for kind in ("weight", "bias")]
    return links


def finetuned_links(heads: int, blocks: int, layers: int) -> list[Link]:
    """Links of a fine-tuned model, ours as a `PropertyModel`."""
    return [*encoder_links(heads, blocks, False), *head_links(VIEWS[:2], layers)]


def _arguments(tensors: Mapping[str, Tensor], given: dict[str, Any], assumed: list[str]) -> dict[str, Any]:
    """The architecture: from the tensors where they tell, else as given, else as published (and said)."""
    heads = count_parts(tensors, "mygame.encoders.node_blocks.0.heads.")
    told = {
        "hidden_size": tensors["mygame.encoders.node_blocks.0.heads.0.mpn_q.W_h.weight"].shape[0],
        "num_attn_head": heads,
        "num_enc_mt_block": count_parts(tensors, "mygame.encoders.node_blocks."),
        "bias": "mygame.encoders.node_blocks.0.heads.0.mpn_q.W_h.bias" in tensors,
    }
    arguments = told_by_tensors(given, told)
    activation_of(arguments, "mygame.encoders.node_blocks.0.act_func.weight" in tensors, assumed)
    assume(arguments, PUBLISHED_ARGUMENTS, assumed)
    return arguments


def _is_drug_pair(tensors: Mapping[str, Tensor], hidden: int, arguments: Mapping[str, Any]) -> bool:
    """Whether the first head layer takes two molecules: then its width is 2 (H + features), and there is no task
    scaler to go by.
    """
    first = tensors.get("mol_atom_from_atom_ffn.1.weight")
    if first is None:
        return False
    if "parser_name" in arguments:
        return str(arguments["parser_name"]) == "ddi"
    attention = tensors.get("readout.attn.w2")
    one = hidden * (1 if attention is None else attention.shape[0])
    stored = next((name for name in ("features_dim", "features_size") if arguments.get(name) is not None), None)
    if stored is not None:
        features = whole(arguments, stored)
        return first.shape[1] == 2 * (one + features) and first.shape[1] != one + features
    raise MesomerError(
        "The file stores no arguments, and its head fits a property model as well as a drug-drug model.",
        'Give --architecture a JSON file with official argument names, among them "parser_name" or "features_dim".',
    )


def _why_left_out(name: str) -> str:
    if ".blocks." in name or "_blocks." in name:
        return "dead in the published code: only the first block projects its input"
    if "act_func_node" in name or "act_func_edge" in name:
        return "never used by the published code"
    if name.endswith("cached_zero_vector"):
        return "always zero"
    if name.startswith(("mol_", "embed_word", "W_cnn", "W_attention", "W_out", "W_interaction")):
        return "pair head: its encoder is imported, the pair models are not"
    return "unknown"
