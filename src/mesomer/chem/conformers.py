"""A molecule's atoms in space: distance geometry and a force field with a fixed seed, or else a drawing.

As published for R-MAT (rmat.md 2.2): hydrogens are added, the molecule is embedded by ETKDG with up to 5,000 attempts,
relaxed by 200 steps of UFF where it has parameters, hydrogens are taken off again. Where nothing can be embedded, the
two coordinates of a drawing take the place of three. After 100 attempts in vain the others start from atoms at random
places, by which long chains get a structure that the published recipe never finds. Stereo marks that no ring system
can have are found out before that (`impossible`).

Decided here: one fixed seed, and the canonical SMILES is what is embedded, so that a molecule has one conformer
whatever its spelling (of one RDKit release: another one may give another); a time limit, which the published code
lacks, of this thread's own CPU time, so that other work on the machine changes nothing, and a mark where it was
reached; coordinates have four decimals, like an SDF file. A drawing is known by its z, 0 for every atom, where y is
not: a structure that happens to lie in that plane is turned out of it, and a drawing along one line is turned into it.
Fragments are embedded one by one around the same origin, as published, so they lie within each other, and whoever uses
them can ask (`crowded`).

Shapes: `A` atoms, `M` molecules; coordinates and distances in Å.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor, rdDistGeom, rdForceFieldHelpers

from .graph import MolGraph
from .impossible import stereo_is_impossible
from .interrupts import restore_interrupts

CONFORMERS = "conformers"
"""The added column of a corpus that holds them."""
SEED = 3141
ATTEMPTS, PLAIN_ATTEMPTS = 5000, 100
RELAXING_STEPS = 200
TIME_LIMIT = 30.0
"""Seconds of CPU time for one molecule; a limit that is reached makes a drawing, or ends the relaxing early. The clock
is looked at between slices of the work, of which a molecule of several hundred atoms has long ones."""
RELAXED, EMBEDDED, DRAWN = "relaxed", "embedded", "drawn"
LATE = "whose time ran out: drawn, or not fully relaxed, and another machine may give others"
OUTCOMES = {
    RELAXED: "relaxed by the force field",
    EMBEDDED: "embedded and not relaxed (no parameters of the force field, or no time)",
    DRAWN: "drawn, as no structure was found",
}
"""Words that follow "molecules"."""
CROWDED, CROWDED_FRAGMENTS = 0.5, 1.5
"""Distances in Å below which two atoms lie on top of each other: of one fragment, and of two, which no bond binds."""
_STEPS_AT_A_TIME = 20  # a restarted minimisation is slower, so the clock is asked in large molecules only
_LARGE = 200
_SLICE = PLAIN_ATTEMPTS
_CORE_ATTEMPTS, _PLAIN_CORE_ATTEMPTS = 100, 20  # ring systems that can be had take few (docs/diary.md)
_TRIAL = 4  # attempts by whose cost is known how many fit into the time
_PATIENCE = 10  # RDKit's limit is wall clock, so it is the last resort only
_SHORTEST = 1e-6
_DECIMALS = 4
_PAIRS_AT_A_TIME = 1 << 22


class Conformer(NamedTuple):
    """Coordinates in the order of the molecule's atoms, and how they came about: `relaxed`, `embedded` (the force
    field lacks parameters, or time was up) or `drawn`; and whether time ran out on the way.
    """

    coordinates: np.ndarray  # float32 [A, 3]
    how: str
    late: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What is counted of it, in words that follow "molecules"."""
        return (OUTCOMES[self.how], LATE) if self.late else (OUTCOMES[self.how],)


def conformer(mol: Chem.Mol, seed: int = SEED, time_limit: float = TIME_LIMIT) -> Conformer:
    """One conformer of a molecule; conformers that it has are not looked at."""
    with rdBase.BlockLogs():
        spelt, order = _canonical(mol)
        found, how, late = _in_space(spelt, seed, time_limit)
        restore_interrupts()
        if found is None:
            rdDepictor.Compute2DCoords(spelt)
            found, how = spelt.GetConformer().GetPositions(), DRAWN
    coordinates = np.empty((len(order), 3))
    coordinates[order] = found.round(_DECIMALS)
    if not coordinates[:, 2].any() and (how != DRAWN or not coordinates[:, 1].any()):
        axes = np.argsort(np.abs(coordinates).max(0))  # largest last
        coordinates = coordinates[:, axes] if how != DRAWN else coordinates[:, [1, 0, 2]]
    return Conformer(coordinates.astype(np.float32), how, late)


def conformers(mols: Iterable[Chem.Mol]) -> np.ndarray:
    """Conformers of molecules one after the other: float32 [A, 3]."""
    return counted_conformers(mols)[0]


def counted_conformers(mols: Iterable[Chem.Mol]) -> tuple[np.ndarray, dict[str, int]]:
    """`conformers`, and of how many molecules which words are true."""
    found = [conformer(mol) for mol in mols]
    counts = Counter(word for one in found for word in one.words)
    coordinates = np.concatenate([np.zeros((0, 3), np.float32), *(one.coordinates for one in found)])
    return coordinates, {word: counts[word] for word in (*OUTCOMES.values(), LATE)}


def placed(graph: MolGraph, mol: Chem.Mol) -> tuple[MolGraph, tuple[str, ...]]:
    """The graph of a molecule with its own coordinates, if it has any in space, or else with computed ones, and the
    `words` of these.
    """
    if in_space(mol):
        return graph._replace(coordinates=mol.GetConformer().GetPositions().astype(np.float32)), ()
    found = conformer(mol)
    return graph._replace(coordinates=found.coordinates), found.words


def in_space(mol: Chem.Mol) -> bool:
    """Whether a molecule brings coordinates of its own that are not a drawing."""
    return mol.GetNumConformers() > 0 and mol.GetConformer().Is3D()


def is_drawn(mol: Chem.Mol) -> bool:
    """Whether a molecule brings a drawing; zeros for all coordinates are none."""
    return mol.GetNumConformers() > 0 and not in_space(mol) and bool(mol.GetConformer().GetPositions().any())


def graph_marks(graphs: Iterable[MolGraph]) -> dict[str, np.ndarray]:
    """`conformer_marks` of graphs; those without coordinates are left out."""
    found = [(graph, graph.coordinates) for graph in graphs if graph.coordinates is not None]
    return conformer_marks(
        np.concatenate([np.zeros((0, 3), np.float32), *(coordinates for _, coordinates in found)]),
        np.concatenate([np.zeros((0, 2), np.uint16), *(graph.ends for graph, _ in found)]),
        np.array([len(graph.atoms) for graph, _ in found], dtype=np.int64),
        np.array([len(graph.bonds) for graph, _ in found], dtype=np.int64),
    )


def _canonical(mol: Chem.Mol) -> tuple[Chem.Mol, list[int]]:
    """The molecule as its canonical SMILES is read, and the given number of each of its atoms."""
    own = Chem.Mol(mol)
    own.RemoveAllConformers()
    text = Chem.MolToSmiles(own)
    order = list(own.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    spelt = Chem.MolFromSmiles(text)
    if spelt is None or spelt.GetNumAtoms() != len(order):  # what only a structure can say
        return own, list(range(own.GetNumAtoms()))
    return spelt, order


def _in_space(mol: Chem.Mol, seed: int, time_limit: float) -> tuple[np.ndarray | None, str, bool]:
    """Positions of the atoms without added hydrogens, or None where no structure was found; how they came about; and
    whether time ran out.
    """
    end = time.thread_time() + time_limit
    whole = Chem.AddHs(mol)
    plain = min(PLAIN_ATTEMPTS, ATTEMPTS)
    late = False
    try:
        embedded = _embed(whole, seed, plain, time_limit / 2, anywhere=False)
        late = embedded is None
        if not embedded and plain < ATTEMPTS:
            if _is_impossible(whole, seed, end):
                return None, DRAWN, False
            left = end - time.thread_time()
            embedded = _embed(whole, seed, ATTEMPTS - plain, left, anywhere=True) if left > 0 else None
            late = late or embedded is None
        if not embedded:
            return None, DRAWN, late
    except (RuntimeError, ValueError):  # RDKit's broken invariants on odd bonds
        return None, DRAWN, late
    relaxed = _relax(whole, end)
    late = late or relaxed is None
    found = whole.GetConformer().GetPositions()[: mol.GetNumAtoms()]
    return (found, RELAXED if relaxed else EMBEDDED, late) if np.isfinite(found).all() else (None, DRAWN, late)


def _is_impossible(whole: Chem.Mol, seed: int, end: float) -> bool:
    """Whether the stereo marks of a ring system rule out any conformer, as far as half the time left can tell."""
    end -= (end - time.thread_time()) / 2

    def embeds(core: Chem.Mol, attempts: int) -> bool | None:
        left = end - time.thread_time()
        return _embed(core, seed, attempts, left, anywhere=True) if left > 0 else None

    return stereo_is_impossible(
        whole, lambda core: embeds(core, _CORE_ATTEMPTS), lambda core: embeds(core, _PLAIN_CORE_ATTEMPTS)
    )


def _embed(mol: Chem.Mol, seed: int, attempts: int, seconds: float, anywhere: bool) -> bool | None:
    """Gives the molecule a conformer, starting from atoms `anywhere` or from the distance bounds; whether it did, or
    None where time ran out.

    The first attempts are made again within the first slice, whose draws are those of one seed; each further slice has
    a seed of its own.
    """
    wall = max(1, round(_PATIENCE * seconds / len(Chem.GetMolFrags(mol))))  # RDKit's limit is for each fragment
    begun = time.monotonic()
    tried = min(_TRIAL, attempts)
    found, spent = _attempt(mol, seed, tried, wall, anywhere)
    if found or tried == attempts:
        return found
    if spent >= seconds:
        return None
    while attempts:
        size = min(_SLICE, attempts, int(seconds / max(spent / tried, _SHORTEST)))
        if size < 1 or time.monotonic() - begun >= wall:
            return None
        found, spent = _attempt(mol, seed, size, wall, anywhere)
        if found:
            return True
        attempts, seconds, seed, tried = attempts - size, seconds - spent, seed + 1, size
    return False


def _attempt(mol: Chem.Mol, seed: int, attempts: int, wall: int, anywhere: bool) -> tuple[bool, float]:
    """Whether one call of RDKit gave the molecule a conformer, and its CPU time."""
    options = rdDistGeom.ETKDGv3()
    settings = {"randomSeed": seed, "maxIterations": attempts, "timeout": wall, "useRandomCoords": anywhere}
    for name, value in settings.items():
        setattr(options, name, value)
    start = time.thread_time()
    return rdDistGeom.EmbedMolecule(mol, options) == 0, time.thread_time() - start


def _relax(mol: Chem.Mol, end: float) -> bool | None:
    """Moves the atoms down the force field; whether it has parameters for them, or None where this thread's CPU time
    reached the `end` first.
    """
    try:
        if not rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
            return False
        field = rdForceFieldHelpers.UFFGetMoleculeForceField(mol)
        field.Initialize()
        steps = RELAXING_STEPS if mol.GetNumAtoms() < _LARGE else _STEPS_AT_A_TIME
        for _ in range(0, RELAXING_STEPS, steps):
            if time.thread_time() > end:
                return None
            if field.Minimize(maxIts=steps) == 0:
                break
    except (RuntimeError, ValueError):  # bonds that the force field does not know, of which it says so by raising
        return False
    return True


def fragments(ends: np.ndarray, atom_counts: np.ndarray, bond_counts: np.ndarray) -> np.ndarray:
    """The number of each atom's fragment: int [A], from the ends of bonds [E, 2] as each molecule counts its atoms."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = ends.T.astype(np.int64) + np.repeat(np.cumsum(atom_counts) - atom_counts, bond_counts)
    atoms = int(atom_counts.sum())
    return connected_components(coo_array((np.ones(len(first)), (first, second)), (atoms, atoms)), directed=False)[1]


def drawn(coordinates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Which molecules have the coordinates of a drawing: bool [M] from [A, 3] and atoms of each molecule."""
    owner = np.repeat(np.arange(len(counts)), counts)
    flat = np.bincount(owner[coordinates[:, 2] != 0], minlength=len(counts)) == 0
    return flat & (np.bincount(owner[coordinates[:, 1] != 0], minlength=len(counts)) > 0)


def crowded(coordinates: np.ndarray, counts: np.ndarray, fragment: np.ndarray) -> np.ndarray:
    """Which molecules have two atoms on top of each other: bool [M] from [A, 3], atoms of each molecule and the number
    of each atom's fragment.
    """
    starts = np.cumsum(counts) - counts
    coordinates = coordinates.astype(np.float64)  # whose squares are finite
    found = np.zeros(len(counts), dtype=bool)
    for size in np.unique(counts[counts > 1]):
        which = np.flatnonzero(counts == size)
        upper = np.triu_indices(int(size), 1)
        step = max(1, _PAIRS_AT_A_TIME // len(upper[0]))
        for part in np.split(which, range(step, len(which), step)):
            rows = starts[part][:, None] + np.arange(size)
            first, second = rows[:, upper[0]], rows[:, upper[1]]
            apart = np.square(coordinates[first] - coordinates[second]).sum(2)
            least = np.where(fragment[first] == fragment[second], CROWDED, CROWDED_FRAGMENTS)
            found[part] = (apart < least**2).any(1)
    return found


def conformer_marks(
    coordinates: np.ndarray, ends: np.ndarray, atom_counts: np.ndarray, bond_counts: np.ndarray
) -> dict[str, np.ndarray]:
    """What is to be said of the conformers of many molecules, and of which of them: bool [M] each."""
    fragment = fragments(ends, atom_counts, bond_counts)
    return {
        "in two dimensions (z = 0: a drawing, or given so)": drawn(coordinates, atom_counts),
        "with atoms on top of each other (fragments, mostly)": crowded(coordinates, atom_counts, fragment),
    }
