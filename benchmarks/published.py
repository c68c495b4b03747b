"""The published BatmanNet code as a contestant; its repository is a path that the caller gives.

It is run as it stands, with two concessions: tensors stay on the CPU where it moves them to a GPU whatever its options
say, and its collator is called part by part, because its own call hands `mol2graph` an argument too many.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mesomer.errors import MesomerError

ARGUMENTS: dict[str, Any] = {
    "hidden_size": 100, "depth": 3, "num_enc_mt_block": 6, "num_dec_mt_block": 2, "num_attn_head": 2, "dropout": 0.1,
    "activation": "PReLU", "bias": True, "undirected": False, "dense": False, "res_connection": False, "cuda": False,
    "no_cache": True, "mask_ratio": 0.6, "dist_coff": 0, "self_attention": False, "dataset_type": "regression",
    "features_only": False, "features_dim": 0, "features_size": 0, "ffn_num_layers": 2, "ffn_hidden_size": 200,
    "output_size": 1, "enable_multi_gpu": False,
}  # fmt: skip


def contestants(folder: str, batches: Sequence[Sequence[str]]) -> dict[str, Callable[[], object]]:
    """`pretrain`, `finetune` and `embed`; each call takes the next batch, whose graphs and masks are made before."""
    sys.path.insert(0, folder)
    try:
        from BatmanNet.data.molgraph import mol2graph
        from BatmanNet.data.myGMAEdataset import myGMAE_Collator
        from BatmanNet.model.models import BatmanNet_model, MyGMAE_Task, myGMAE_FinetuneTask
    except ImportError as error:
        raise MesomerError(f"The published code in {folder} cannot be imported: {error}.") from error
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
    arguments = Namespace(parser_name="pretrain", **ARGUMENTS)
    tuning = Namespace(parser_name="finetune", **ARGUMENTS)
    graphs = [mol2graph(list(batch), {}).get_components() for batch in batches]
    collator = myGMAE_Collator({}, arguments)
    masked = []
    for graph in graphs:
        parts = collator.node_random_masking(graph, 0.6), collator.edge_random_masking(graph, 0.6)
        masked.append((*parts, *collator.get_mask_target_features(*parts)))
    pretraining = MyGMAE_Task(arguments, BatmanNet_model(arguments))
    finetuning = myGMAE_FinetuneTask(tuning)
    losses = MyGMAE_Task.get_loss_func(arguments), myGMAE_FinetuneTask.get_loss_func(tuning)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-4) for network in (pretraining, finetuning)]
    turns = {"pretrain": 0, "finetune": 0, "embed": 0}

    def turn(name: str) -> int:
        turns[name] += 1
        return (turns[name] - 1) % len(graphs)

    def update(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def pretrain() -> None:
        at = turn("pretrain")
        node, edge, node_target, edge_target = masked[at]
        guess = pretraining.train()(graphs[at], node, edge)
        update(losses[0](*guess, node_target, edge_target)[0], optimizers[0])

    def finetune() -> None:
        at = turn("finetune")
        guess = finetuning.train()(graphs[at], [None], "both")
        update(losses[1](guess, torch.zeros(len(batches[at]), 1)).mean(), optimizers[1])

    @torch.no_grad()
    def embed() -> None:
        at = turn("embed")
        output = finetuning.eval().mygame(graphs[at])
        for view in ("atom_from_atom", "atom_from_bond"):
            finetuning.readout(output[view], graphs[at][5])

    return {"pretrain": pretrain, "finetune": finetune, "embed": embed}
