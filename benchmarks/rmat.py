"""R-MAT against the published code: `python benchmarks/rmat.py [--published REPOSITORY] [--data FILE]`.

Featurising first, on one core: with given coordinates (ours up to pair features, which the encoder computes on the
device, theirs up to the padded batch) and from SMILES alone, beside RDKit's own embedding and relaxing of the same
molecules with the same settings. Then forward pass and training step of the whole network with its pooling and a head
of one output, from batches made before, ours in float32 and bfloat16; where the repository is given, ours has the
published network's weights, and the largest difference of outputs is printed. Rates are followed by their share of
the machine's matrix-product peak of the same precision in the same run, counting our network's matrix products.
At last the peak memory of each, in a process of its own, over what it holds before the first call (Linux alone).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from measure import by_turns, facts, product, read_molecules
from published_rmat import Published
from rdkit import Chem, RDLogger
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from torch.utils.flop_counter import FlopCounterMode

from mesomer.chem.conformers import ATTEMPTS, RELAXING_STEPS, SEED, conformer, placed
from mesomer.chem.featurize import featurize
from mesomer.chem.graph import GraphBatch, collate
from mesomer.encoders.base import build_encoder, sizes
from mesomer.encoders.rmat import RMat
from mesomer.encoders.rmat_features import layout_of
from mesomer.errors import MesomerError
from mesomer.heads import PropertyModel
from mesomer.interop.checkpoints import ForeignCheckpoint
from mesomer.interop.rmat import convert
from mesomer.machine import keep_freed_memory
from mesomer.outputs import Output

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TASKS = ("forward", "step")
_MEASURED_CALLS = 3


class Ours:
    """Our network in one precision; each call takes the next batch."""

    def __init__(self, network: PropertyModel, batches: Sequence[GraphBatch], precision: str) -> None:
        self.network, self.batches, self.half = network, batches, precision == "bfloat16"
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
        self.turns = 0

    def _next(self) -> GraphBatch:
        self.turns += 1
        return self.batches[(self.turns - 1) % len(self.batches)]

    def forward(self) -> torch.Tensor:
        """Outputs of the next batch."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.network.eval()(self._next())[0]

    def step(self) -> None:
        """One training step of a regression."""
        batch = self._next()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            total, count = self.network.train().loss(self.network(batch), torch.zeros(batch.num_molecules, 1))
        (total / count).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Data:
    """Molecules in batches, with the coordinates that all contestants are given."""

    def __init__(self, options: argparse.Namespace) -> None:
        texts = read_molecules(options.data, options.batch * options.count, options.seed)
        self.parts = [texts[at : at + options.batch] for at in range(0, len(texts), options.batch)]
        if len(self.parts[-1]) < len(self.parts[0]):
            self.parts.pop()
        if not self.parts:
            raise MesomerError("There are fewer molecules than a batch takes.", "Give a smaller --batch.")
        self.texts = [text for part in self.parts for text in part]
        self.mols = {text: _in_space(text) for text in self.texts}
        self.batches = [self.batch(part) for part in self.parts]

    def batch(self, texts: Sequence[str]) -> GraphBatch:
        """A batch of molecules whose coordinates are given."""
        return collate([featurize(self.mols[text], coordinates=True) for text in texts])


def _in_space(text: str) -> Chem.Mol:
    mol = Chem.MolFromSmiles(text)
    points = Chem.Conformer(mol.GetNumAtoms())
    points.SetPositions(conformer(mol).coordinates.astype(np.float64))
    mol.AddConformer(points)
    return mol


def rdkit_alone(texts: Sequence[str]) -> None:
    """RDKit's own embedding and relaxing with our settings, and nothing else."""
    for text in texts:
        whole = Chem.AddHs(Chem.MolFromSmiles(text))
        options = rdDistGeom.ETKDGv3()
        options.randomSeed, options.maxIterations = SEED, ATTEMPTS
        if rdDistGeom.EmbedMolecule(whole, options) == 0 and rdForceFieldHelpers.UFFHasAllMoleculeParams(whole):
            rdForceFieldHelpers.UFFOptimizeMolecule(whole, maxIters=RELAXING_STEPS)


def _network(size: str, seed: int, published: Published | None) -> PropertyModel:
    """Encoder, attention pooling and one linear layer, as published; with the published weights if there are any."""
    if published is not None:
        tensors = {name: x.detach() for name, x in published.model.state_dict().items()}
        network = convert(ForeignCheckpoint(Path("published"), None, tensors, None, None, ())).module
        assert isinstance(network, PropertyModel)
        return network
    torch.manual_seed(seed)
    encoder = build_encoder("rmat", **sizes("rmat")[size])
    return PropertyModel(
        encoder, [Output("regression")], readout="attention", attn_hidden=128, attn_out=4, ffn_layers=1, dropout=0.0
    )


def _by_parts(run: Callable[[Sequence[str]], object], parts: Sequence[Sequence[str]]) -> Callable[[], object]:
    """A contestant that takes the next part in each call."""
    turns = cycle(parts)
    return lambda: run(next(turns))


def print_featurizing(data: Data, published: Published | None, encoder: RMat, rounds: int) -> None:
    """Rates on one core."""
    torch.set_num_threads(1)

    def pairs(texts: Sequence[str]) -> None:
        batch = data.batch(texts)
        layout = layout_of(batch)
        encoder.features(batch, layout)
        encoder.relations(batch, layout)

    def embedded(texts: Sequence[str]) -> None:
        mols = [Chem.MolFromSmiles(text) for text in texts]
        collate([placed(featurize(mol), mol)[0] for mol in mols])

    contestants: dict[str, Callable[[], object]] = {
        "ours, coordinates given": _by_parts(data.batch, data.parts),
        "ours, coordinates given, with pair features": _by_parts(pairs, data.parts),
        "ours, from SMILES": _by_parts(embedded, data.parts),
        "RDKit's embedding alone": _by_parts(rdkit_alone, data.parts),
    }
    if published is not None:
        contestants["published, coordinates given"] = published.featurize_given
        contestants["published, from SMILES"] = published.featurize_embedded
    seconds = by_turns(contestants, rounds * len(data.parts), warmup=0)
    size = len(data.parts[0])
    alone = seconds["RDKit's embedding alone"]
    for name, spent in seconds.items():
        said = f"  featurizing, {name}: {size / spent:,.1f} molecules/s on one core"
        if name.endswith("from SMILES"):
            said += f", {alone / spent:.2f} of RDKit's embedding"
        theirs = f"published,{name.split(',', 1)[-1].split(', with')[0]}"
        if name.startswith("ours") and theirs in seconds:
            said += f", {seconds[theirs] / spent:.1f} times the published code"
        print(said, flush=True)


def print_task(task: str, ours: dict[str, Ours], published: Published | None, rounds: int, size: int) -> None:
    """Rates of the network, with their share of the peak."""
    counter = FlopCounterMode(display=False)
    with counter:
        for _ in ours["float32"].batches:
            getattr(ours["float32"], task)()
    needed = counter.get_total_flops() / len(ours["float32"].batches)
    runs: dict[str, Callable[[], object]] = {name: getattr(one, task) for name, one in ours.items()}
    if published is not None:
        runs["published"] = getattr(published, task)
    peaks = {name: product(dtype) for name, dtype in PRECISIONS.items()}
    rounds *= len(ours["float32"].batches)
    seconds = by_turns(runs | {f"peak {name}": run for name, (run, _) in peaks.items()}, rounds)
    for name in runs:
        said = f"  {task}, batch {size}, {name}: {size / seconds[name]:,.2f} molecules/s"
        if name in peaks:
            peak = peaks[name][1] / seconds[f"peak {name}"]
            said += f", {needed / seconds[name] / peak:.0%} of {peak / 1e9:,.0f} GFLOP/s"
            said += f" at {needed / size / 1e9:.3g} GFLOP a molecule"
            if published is not None:
                said += f", {seconds['published'] / seconds[name]:.2f} times the published code"
        print(said, flush=True)


def memory(line: str) -> float:
    """Megabytes that Linux tells of this process: `VmRSS` now, `VmHWM` at most since it was last forgotten."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(f"{line}:"):
            return float(text.split()[1]) / 1024
    raise MesomerError(f"This system does not tell {line}, by which memory is measured.")


def print_memory(arguments: Sequence[str], contestants: Sequence[str]) -> None:
    """Peak memory of each task of each contestant, by this script in a process of its own."""
    found: dict[tuple[str, str], float] = {}
    for task in TASKS:
        for name in contestants:
            reader, writer = os.pipe()
            command = [sys.executable, __file__, *arguments, "--memory_of", f"{name}:{task}"]
            process = os.posix_spawn(
                sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)]
            )
            os.close(writer)
            with os.fdopen(reader) as told:
                text = told.read()
            if os.waitpid(process, 0)[1]:
                raise MesomerError(f"Measuring the memory of {name}, {task}, failed.")
            found[name, task] = float(text)
            megabytes = found[name, task]
            print(f"  {task}, {name}: peak memory {megabytes:,.0f} MB over what is held before", flush=True)
        if ("published", task) in found:
            ratios = [f"{name} {found[name, task] / found['published', task]:.2f}" for name in PRECISIONS]
            print(f"  {task}, share of the published code's memory: " + ", ".join(ratios), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--published", help="folder of the published code's repository; without it, ours alone is timed"
    )
    parser.add_argument("--data", help="table of molecules; the demonstration set if not given")
    parser.add_argument("--threads", type=int, default=2, help="of the network; featurising has one core")
    parser.add_argument("--batch", type=int, default=32, help="molecules")
    parser.add_argument("--count", type=int, default=2, help="different batches")
    parser.add_argument("--rounds", type=int, default=5, help="turns through all batches")
    parser.add_argument("--size", default="base", choices=sorted(sizes("rmat")), help="of the network")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn molecules and the first weights")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    RDLogger.DisableLog("rdApp.*")
    torch.manual_seed(options.seed)
    keep_freed_memory()
    data = Data(options)
    published = None
    if options.published and options.memory_of in (None, "published:forward", "published:step"):
        published = Published(options.published, data.parts, data.mols, sizes("rmat")[options.size])
    if options.memory_of:
        _measure_memory(options, data, published)
        return
    print(facts(options.data, data.texts, options.seed))
    if published is None:
        print("The published code is not given (--published): every figure is of our code alone.")
    print(f"mean {np.mean([mol.GetNumAtoms() + 1 for mol in data.mols.values()]):.1f} nodes, the dummy counted")
    network = _network(options.size, options.seed, published)
    assert isinstance(network.encoder, RMat)
    print_featurizing(data, published, network.encoder, options.rounds)
    torch.set_num_threads(options.threads)
    ours = {name: Ours(network, data.batches, name) for name in PRECISIONS}
    exact, half = (ours[name].forward() for name in PRECISIONS)
    print(f"  largest difference of bfloat16 outputs to float32: {(half.float() - exact).abs().max():.2g}", end="")
    print(f", largest output {exact.abs().max():.2g}")
    if published is not None:
        apart = (published.forward() - exact).abs().max()
        print(f"  largest difference of our outputs to the published ones: {apart:.2g}")
    for task in TASKS:
        print_task(task, ours, published, options.rounds, len(data.parts[0]))
    print_memory(given, [*PRECISIONS, *(["published"] if published else [])])


def _measure_memory(options: argparse.Namespace, data: Data, published: Published | None) -> None:
    name, task = options.memory_of.split(":")
    contestant = published or Ours(_network(options.size, options.seed, None), data.batches, name)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest so far
    for _ in range(_MEASURED_CALLS):
        getattr(contestant, task)()
    print(memory("VmHWM") - before)


if __name__ == "__main__":
    try:
        main()
    except MesomerError as error:
        print(f"rmat.py: {error}", file=sys.stderr)
        sys.exit(2)
