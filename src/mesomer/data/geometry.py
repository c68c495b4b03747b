"""Graphs with the coordinates of their molecules: their own, or computed ones in parallel, and what is to be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mesomer.chem.graph import MolGraph
from mesomer.data.workers import available_cores, run_tasks
from mesomer.progress import Progress

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_MOLECULES_A_TASK = 16
_EXAMPLES, _LONGEST_EXAMPLE = 3, 60


class _Task(NamedTuple):
    positions: list[int]
    graphs: list[MolGraph]
    mols: list[Mol]


def _place(task: _Task) -> tuple[list[int], list[MolGraph]]:
    from mesomer.chem.conformers import placed

    return task.positions, [placed(graph, mol) for graph, mol in zip(task.graphs, task.mols, strict=True)]


def placed_graphs(
    graphs: Sequence[MolGraph], mols: Sequence[Mol], workers: int | None = None, quiet: bool = False
) -> list[MolGraph]:
    """The graphs with coordinates, in the given order; as many workers as there are cores if not given."""

    def tasks() -> Iterator[_Task]:
        for start in range(0, len(mols), _MOLECULES_A_TASK):
            part = slice(start, start + _MOLECULES_A_TASK)
            yield _Task(list(range(len(mols)))[part], list(graphs[part]), list(mols[part]))

    found: dict[int, MolGraph] = {}
    with Progress(len(mols), "molecules", "placing atoms in space", quiet) as bar:
        for positions, ready in run_tasks(_place, tasks(), workers or available_cores()):
            found.update(zip(positions, ready, strict=True))
            bar.advance(len(positions))
    return [found[at] for at in range(len(mols))]


def geometry_warnings(graphs: Sequence[MolGraph], mols: Sequence[Mol] | None = None) -> list[str]:
    """A sentence on molecules whose coordinates are those of a drawing, and one on atoms on top of each other.

    With the molecules, the first few of them are shown, and where some bring coordinates and others do not, that is
    told too.
    """
    from mesomer.chem.conformers import graph_marks

    told = [] if mols is None else _mixture(mols)
    for what, marks in graph_marks(graphs).items():
        if marks.any():
            shown = "" if mols is None else _shown([mols[at] for at in marks.nonzero()[0].tolist()])
            told.append(f"{marks.sum():,} of {len(graphs):,} molecules {what}{shown}.")
    return told


def _mixture(mols: Sequence[Mol]) -> list[str]:
    from mesomer.chem.conformers import in_space

    own = sum(in_space(mol) for mol in mols)
    drawings = sum(mol.GetNumConformers() > 0 and not in_space(mol) for mol in mols)
    if own == len(mols) or not (own or drawings):
        return []
    unused = f", {drawings:,} of which are drawn in the data, in two dimensions" if drawings else ""
    return [
        f"{own:,} of {len(mols):,} molecules bring their coordinates, those of the other {len(mols) - own:,} were "
        f"computed{unused}."
    ]


def _shown(mols: Sequence[Mol]) -> str:
    from rdkit import Chem

    texts = [Chem.MolToSmiles(mol) for mol in mols[:_EXAMPLES]]
    short = [text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}…" for text in texts]
    return ": " + ", ".join(short) + (f" and {len(mols) - len(short):,} more" if len(mols) > len(short) else "")
