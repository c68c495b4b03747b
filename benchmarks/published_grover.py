"""The published GROVER code as a contestant; its repository (tencent-ailab/grover) is a path that the caller gives.

It is run as it stands, on the device that the caller names and in its own training mode, with one concession: its depth
sampler returns a number, where today's numpy refuses to make one of an array. Its vocabulary is that of the molecules
timed; ours is that of the prepared corpus, about twice as long.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from rdkit import Chem, RDLogger

from mesomer.errors import MesomerError

ARGUMENTS: dict[str, Any] = {
    "parser_name": "pretrain", "depth": 6, "num_mt_block": 1, "num_attn_head": 4, "dropout": 0.1, "activation": "PReLU",
    "bias": False, "undirected": False, "dense": False, "embedding_output_type": "both", "backbone": "gtrans",
    "fingerprint_source": "both", "bond_drop_rate": 0, "dist_coff": 0.1, "no_cache": True, "cuda": False,
    "weight_decay": 0.0, "init_lr": 1e-4,
}  # fmt: skip


class Modules(NamedTuple):
    """What is taken of the published code."""

    collator: Any
    vocabulary: Any
    names: dict[str, Callable[..., str]]
    embedding: Any
    task: Any
    fingerprint: Any


def modules(folder: str) -> Modules:
    """Imports the published code, whose package is a folder without `__init__.py`: a module of that name would win."""
    package = ModuleType("grover")
    package.__path__ = [str(Path(folder) / "grover")]
    sys.modules["grover"] = package
    try:
        from grover.data.groverdataset import GroverCollator
        from grover.data.task_labels import atom_to_vocab, bond_to_vocab
        from grover.data.torchvocab import TorchVocab
        from grover.model import layers
        from grover.model.models import GROVEREmbedding, GroverFpGeneration, GroverTask
    except ImportError as error:
        raise MesomerError(f"The published code in {folder} cannot be imported: {error}.") from error
    RDLogger.DisableLog("rdApp.warning")  # a line for each atom, which would be timed as well
    layers.stats = SimpleNamespace(truncnorm=_numbers(layers.stats.truncnorm))
    names = {"atom": atom_to_vocab, "bond": bond_to_vocab}
    return Modules(GroverCollator, TorchVocab, names, GROVEREmbedding, GroverTask, GroverFpGeneration)


def _numbers(distribution: Any) -> Callable[..., Any]:
    def frozen(*arguments: float, **more: float) -> Any:
        made = distribution(*arguments, **more)
        return SimpleNamespace(rvs=lambda size: made.rvs(size).item())

    return frozen


class Published:
    """The published code around batches of molecules, given as SMILES with their motif labels [molecules, 85]."""

    def __init__(
        self,
        folder: str,
        batches: Sequence[Sequence[str]],
        motifs: Sequence[np.ndarray],
        depth: int,
        device: torch.device,
    ) -> None:
        self.code, self.device = modules(folder), device
        self.arguments = {**ARGUMENTS, "depth": depth, "cuda": device.type == "cuda"}
        self.vocabularies = [self._vocabulary(level, batches) for level in ("atom", "bond")]
        self.points = [
            [SimpleNamespace(smiles=text, features=row) for text, row in zip(batch, rows, strict=True)]
            for batch, rows in zip(batches, motifs, strict=True)
        ]
        self.turns: Counter[str] = Counter()
        self.collator = self.code.collator({}, *self.vocabularies, Namespace(**self.arguments))
        self.collated = [self._moved(self.collator(points)) for points in self.points]

    def _vocabulary(self, level: str, batches: Sequence[Sequence[str]]) -> Any:
        counts: Counter[str] = Counter()
        for mol in (Chem.MolFromSmiles(text) for batch in batches for text in batch):
            parts = mol.GetAtoms() if level == "atom" else mol.GetBonds()
            counts.update(self.code.names[level](mol, part) for part in parts)
        return self.code.vocabulary(counts, vocab_type=level)

    def _moved(self, item: dict[str, Any]) -> dict[str, Any]:
        """A batch on the device, but for the scopes of molecules, which the published code loops over on the CPU."""
        *tensors, atom_scope, bond_scope, neighbours = item["graph_input"]
        graph = (*(x.to(self.device) for x in tensors), atom_scope, bond_scope, neighbours.to(self.device))
        return {"graph_input": graph, "targets": {name: x.to(self.device) for name, x in item["targets"].items()}}

    def _turn(self, task: str) -> int:
        self.turns[task] += 1
        return (self.turns[task] - 1) % len(self.points)

    def collate(self) -> None:
        """Graphs and labels of one batch, in this process."""
        self.collator(self.points[self._turn("collate")])

    def contestants(self, hidden: int) -> dict[str, Callable[[], object]]:
        """`pretrain` and `embed` at a width; each call takes the next batch, collated before."""
        arguments = Namespace(**self.arguments, hidden_size=hidden)
        sizes = [len(vocabulary) for vocabulary in self.vocabularies]
        network = self.code.task(arguments, self.code.embedding(arguments), *sizes, 85).to(self.device)
        loss = self.code.task.get_loss_func(arguments)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        reader = self.code.fingerprint(arguments).eval().to(self.device)
        network.train()

        def pretrain() -> None:
            item = self.collated[self._turn("pretrain")]
            terms = loss(network(item["graph_input"]), item["targets"])
            network.zero_grad()
            terms[0].backward()
            optimizer.step()

        @torch.no_grad()
        def embed() -> None:
            reader(self.collated[self._turn("embed")]["graph_input"], [None])

        return {"pretrain": pretrain, "embed": embed}
