"""One process that places a small GROVER in shards, takes a step, and tells what it has: `sharded_worker.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.distributed.tensor import DTensor

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.encoders.base import build_encoder
from mesomer.objectives.base import build_objective
from mesomer.training.context import Context
from mesomer.training.placement import place
from mesomer.training.sharding import Sharded

SMILES = [["CCO", "c1ccccc1O"], ["C"]]  # the second process has no bond


def main(output: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = build_encoder("grover", hidden_size=8, heads=2, depth=3, dropout=0.0, random_depth=False)
    objective = build_objective("contextual", encoder, atom_names=5, bond_names=4, directions="separate")
    trainee = SimpleNamespace(module=objective, parameter_groups=lambda: [{"params": list(objective.parameters())}])
    with Context.start("cpu", "32", "fsdp") as context:
        whole = {name: x.clone() for name, x in objective.state_dict().items()}
        placed = place(trainee, context)
        assert isinstance(placed, Sharded)
        batch = collate([graph_from_smiles(text)[0] for text in SMILES[context.rank]])
        batch.extras["atom_contexts"] = torch.arange(batch.num_atoms) % 5
        batch.extras["bond_contexts"] = torch.arange(batch.num_bonds // 2) % 4
        draw = objective.targets(torch.ones(batch.num_atoms).bool(), torch.ones(batch.num_bonds // 2).bool())
        optimizer = torch.optim.Adam(placed.parameter_groups(), lr=0.1, fused=True)
        before = [isinstance(parameter, DTensor) for parameter in placed.module.parameters()]
        with placed.without_exchange(placed.module):
            placed.backward(sum(placed.module(batch, draw).values()))
        placed.backward(sum(placed.module(batch, draw).values()))
        optimizer.step()
        names = {parameter: name for name, parameter in placed.module.named_parameters()}
        stored = placed.optimizer_tensors(optimizer, names)
        placed.collect()
        local = [parameter.to_local().numel() for parameter in placed.module.parameters()]
        states = [x.to_local().numel() for entry in optimizer.state.values() for x in entry.values() if x.dim()]
        told = {
            "sharded": all(before),
            "whole": sum(x.numel() for x in whole.values()),
            "local": sum(local),
            "states": sum(states),
            "stored": sorted({name.rpartition("/")[2] for name in stored}),
            "shapes": all(stored[f"optimizer/{name}/exp_avg"].shape == x.shape for name, x in whole.items()),
            "moved": [name for name, x in objective.state_dict().items() if not torch.equal(x, whole[name])],
            "weights": {name: float(x.double().sum()) for name, x in objective.state_dict().items()},
        }
        (output / f"told-{context.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
