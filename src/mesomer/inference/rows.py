"""Rows of a table to graphs (and fingerprints, descriptors), chunk by chunk, in order, here or in worker processes.

Every row keeps its place: one that is no molecule has no graph and a reason. Memory does not grow with the table: with
workers, at most two chunks for each of them are under way. Coordinates, far dearer than anything else here, are
computed a few molecules at a time by as many processes as there are cores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.graph import MolGraph
from mesomer.data.geometry import placed_graphs
from mesomer.data.tables import Chunk, Table

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class Wanted(NamedTuple):
    """What a model needs of a molecule besides its graph."""

    fingerprints: bool = False
    descriptors: bool = False
    coordinates: bool = False


class Rows(NamedTuple):
    """The molecules of consecutive rows; None (or NaN, or zeros) where a row is no molecule."""

    graphs: list[MolGraph | None]
    reasons: list[str | None]
    fingerprints: NDArray[np.uint8] | None = None  # [rows, bytes], packed ECFP4 bits
    descriptors: NDArray[np.float32] | None = None  # [rows, 200]


class _Task(NamedTuple):
    number: int
    smiles: list[str | None]
    reasons: list[str | None]
    max_atoms: int
    wanted: Wanted


def rows_of_mols(mols: Sequence[Mol | None], reasons: list[str | None], wanted: Wanted) -> Rows:
    """Graphs (and what else is wanted, but for coordinates) of parsed molecules."""
    from mesomer.chem.featurize import featurize

    graphs = [None if mol is None else featurize(mol) for mol in mols]
    good = [at for at, mol in enumerate(mols) if mol is not None]
    present = [mol for mol in mols if mol is not None]
    fingerprints = descriptors = None
    if wanted.fingerprints:
        fingerprints = np.zeros((len(mols), 256), np.uint8)
        if good:
            fingerprints[good] = fingerprint_bits(present)
    if wanted.descriptors:
        from mesomer.chem.descriptors import descriptors_200

        descriptors = np.full((len(mols), 200), np.nan, np.float32)
        if good:
            descriptors[good] = descriptors_200(present)
    return Rows(graphs, reasons, fingerprints, descriptors)


def fingerprint_bits(mols: Sequence[Any]) -> NDArray[np.uint8]:
    """Packed ECFP4 bits [molecules, 256] for similarities."""
    from mesomer.chem.descriptors import ecfp_bits

    return ecfp_bits(mols)


def _work(task: _Task) -> tuple[int, Rows]:
    from mesomer.chem.parse import parse_smiles

    mols: list[Mol | None] = []
    reasons = list(task.reasons)
    for at, text in enumerate(task.smiles):
        mol = None
        if reasons[at] is None:
            mol, reasons[at] = parse_smiles(text, task.max_atoms)
        mols.append(mol)
    return task.number, rows_of_mols(mols, reasons, task.wanted)


def table_rows(
    table: Table, wanted: Wanted, workers: int = 0, advance: Callable[[int], None] = lambda count: None
) -> Iterator[tuple[Chunk, Rows]]:
    """Every chunk with its molecules, in order; an error at the end if no row of a file was a molecule.

    `advance` is told how many more rows are done: used by the caller, or, what takes far longer, placed in space.
    """
    reasons: Counter[str] = Counter()
    good = 0
    for chunk, rows in _in_order(table, wanted, workers):
        chunk.reasons = rows.reasons
        good += sum(graph is not None for graph in rows.graphs)
        reasons.update(reason for reason in rows.reasons if reason is not None)
        told = 0
        if wanted.coordinates:
            import torch

            positions, graphs, mols = present(chunk, rows)
            placed = placed_graphs(graphs, mols, workers or torch.get_num_threads(), advance=advance)
            for at, graph in zip(positions, placed, strict=True):
                rows.graphs[at] = graph
            told = len(positions)
        yield chunk, rows
        advance(len(chunk) - told)
    if table.is_file and good == 0:
        raise table.nothing_readable(reasons)


def present(chunk: Chunk, rows: Rows) -> tuple[list[int], list[MolGraph], list[Mol]]:
    """The rows that are molecules, of a parsed chunk: positions, graphs, molecules."""
    found = [
        (at, graph, mol)
        for at, (graph, mol) in enumerate(zip(rows.graphs, chunk.mols or (), strict=True))
        if graph is not None and mol is not None
    ]
    return [at for at, _, _ in found], [graph for _, graph, _ in found], [mol for _, _, mol in found]


def _in_order(table: Table, wanted: Wanted, workers: int) -> Iterator[tuple[Chunk, Rows]]:
    from mesomer.data.workers import run_tasks

    pending: dict[int, Chunk] = {}
    ready: dict[int, Rows] = {}
    following = 0

    def tasks() -> Iterator[_Task]:
        for number, chunk in enumerate(table.chunks()):
            pending[number] = chunk
            # Ready molecules (SDF, lists of Mol) are done here: pickling would drop what RDKit computed for them.
            sent = chunk.smiles if chunk.mols is None and not wanted.coordinates else []
            yield _Task(number, sent, chunk.reasons if sent else [], table.max_atoms, wanted)

    for number, rows in run_tasks(_work, tasks(), 0 if wanted.coordinates else workers):
        ready[number] = rows
        while following in ready:
            chunk, rows = pending.pop(following), ready.pop(following)
            if chunk.mols is not None or wanted.coordinates:
                chunk.parse(table.max_atoms)
                rows = rows_of_mols(chunk.mols or (), chunk.reasons, wanted)
            yield chunk, rows
            following += 1
