"""Graphs with the coordinates of their molecules: their own, or computed ones in parallel, and what is to be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mesomer.chem.graph import MolGraph
from mesomer.data.workers import available_cores, run_tasks
from mesomer.progress import Progress

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_MOLECULES_A_TASK = 16
_EXAMPLES, _LONGEST_EXAMPLE = 3, 60
OWN = "that bring their coordinates"
DRAWINGS = "drawn in the data in two dimensions, their coordinates computed"
_MARK, _BETWEEN = "_mesomerCoordinates", "\n"
"""The property of a molecule that says how its coordinates were computed, and what stands between its words."""


class _Task(NamedTuple):
    positions: list[int]
    graphs: list[MolGraph]
    mols: list[Mol]


def _place(task: _Task) -> tuple[list[int], list[tuple[MolGraph, tuple[str, ...]]]]:
    from mesomer.chem.conformers import placed

    return task.positions, [placed(graph, mol) for graph, mol in zip(task.graphs, task.mols, strict=True)]


def placed_graphs(
    graphs: Sequence[MolGraph],
    mols: Sequence[Mol],
    workers: int | None = None,
    quiet: bool = False,
    advance: Callable[[int], None] | None = None,
) -> list[MolGraph]:
    """The graphs with coordinates, in the given order.

    Args:
        graphs: One for each molecule.
        mols: The molecules; the coordinates of those that bring theirs are taken as they are. The others are marked
            with how theirs came about, which `Geometry` counts.
        workers: Processes that compute the others'; as many as there are cores if not given.
        quiet: Whether to show no progress.
        advance: Told how many more molecules are ready, by one who shows the progress instead.
    """
    from mesomer.chem.conformers import in_space, placed

    found = {at: placed(graphs[at], mol)[0] for at, mol in enumerate(mols) if in_space(mol)}
    others = [at for at in range(len(mols)) if at not in found]

    def tasks() -> Iterator[_Task]:
        for start in range(0, len(others), _MOLECULES_A_TASK):
            part = others[start : start + _MOLECULES_A_TASK]
            yield _Task(part, [graphs[at] for at in part], [mols[at] for at in part])

    with Progress(len(mols), "molecules", "placing atoms in space", quiet or advance is not None) as bar:
        ready_here = advance or bar.advance
        ready_here(len(found))
        for positions, ready in run_tasks(_place, tasks(), workers or available_cores()):
            for at, (graph, words) in zip(positions, ready, strict=True):
                found[at] = graph
                mols[at].SetProp(_MARK, _BETWEEN.join(words))
            ready_here(len(positions))
    return [found[at] for at in range(len(mols))]


class Geometry:
    """What is to be told of the coordinates of many molecules, which come part by part."""

    def __init__(self) -> None:
        self.molecules = 0
        self._marked: Counter[str] = Counter()
        self._brought: Counter[str] = Counter()
        self._computed: Counter[str] = Counter()
        self._examples: dict[str, list[Mol]] = {}

    def add(self, graphs: Sequence[MolGraph], mols: Sequence[Mol] | None = None) -> None:
        """Counts graphs that have coordinates; with their molecules, also what these bring, and some are kept."""
        from mesomer.chem.conformers import LATE, graph_marks, in_space, is_drawn

        self.molecules += len(graphs)
        for what, marks in graph_marks(graphs).items():
            self._marked[what] += int(marks.sum())
            if mols is not None:
                self._keep(what, [mols[at] for at in marks.nonzero()[0][:_EXAMPLES].tolist()])
        for mol in mols or ():
            self._brought[OWN] += in_space(mol)
            self._brought[DRAWINGS] += is_drawn(mol)
            if mol.HasProp(_MARK):
                words = mol.GetProp(_MARK).split(_BETWEEN)
                self._computed.update(words)
                if LATE in words:
                    self._keep(LATE, [mol])

    def _keep(self, what: str, mols: Sequence[Mol]) -> None:
        examples = self._examples.setdefault(what, [])
        examples += mols[: _EXAMPLES - len(examples)]

    @property
    def counts(self) -> dict[str, int]:
        """Words that follow "molecules", and how many."""
        return dict(self._brought + Counter()) | dict(self._computed) | dict(self._marked)

    def sentences(self) -> list[str]:
        """Where some molecules bring coordinates and others do not; for how many the time to compute them ran out; how
        many have those of a drawing, or atoms on top of each other; with the first few where molecules were given.
        """
        from mesomer.chem.conformers import LATE

        told = self._mixture()
        for what, count in ({LATE: self._computed[LATE]} | self._marked).items():
            if count:
                told.append(f"{count:,} of {self.molecules:,} molecules {what}{self._shown(what, count)}.")
        return told

    def _mixture(self) -> list[str]:
        own, drawings = self._brought[OWN], self._brought[DRAWINGS]
        if own == self.molecules or not (own or drawings):
            return []
        unused = f", {drawings:,} of them drawn in the data, in two dimensions" if drawings else ""
        return [
            f"Own coordinates in space: {own:,} of {self.molecules:,} molecules; computed for {self.molecules - own:,}"
            f"{unused}."
        ]

    def _shown(self, what: str, count: int) -> str:
        from rdkit import Chem

        texts = [Chem.MolToSmiles(mol) for mol in self._examples.get(what, [])]
        short = [text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}…" for text in texts]
        more = f" and {count - len(short):,} more" if count > len(short) else ""
        return f": {', '.join(short)}{more}" if short else ""


def geometry_warnings(graphs: Sequence[MolGraph], mols: Sequence[Mol] | None = None) -> list[str]:
    """`Geometry.sentences` of graphs that all have coordinates."""
    geometry = Geometry()
    geometry.add(graphs, mols)
    return geometry.sentences()
