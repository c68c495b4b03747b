"""A hash of what a molecule's InChI skeleton rests on (elements and which atoms are bonded), for whole corpora at once.

Molecules with one InChIKey skeleton have one hash, unless a metal is drawn bonded in one of them and apart in the
other; so only the few molecules whose hash occurs among those looked for need an InChI at all. The same for the rings
and what links them: atoms are taken off that have one neighbour left, until none has; molecules with one Murcko
scaffold have one such hash.
Numbers: Weisfeiler-Lehman rounds in wrapping 64-bit integers, a sum over each molecule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 4
_FIELD = 0  # byte of the atomic number in an atom's codes
_A, _B, _C = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
Hashes = NDArray[np.uint64]


class Arrays(NamedTuple):
    """Molecules one after the other: A atoms, E bonds, M molecules."""

    elements: NDArray[np.uint8]  # [A]
    ends: NDArray[np.int64]  # [E, 2], counted over all atoms
    molecule: NDArray[np.int64]  # [A]
    molecules: int  # M


def arrays(
    atoms: NDArray[np.uint8],
    ends: NDArray[np.integer],
    atom_counts: NDArray[np.integer],
    bond_counts: NDArray[np.integer],
) -> Arrays:
    """From atom codes [A, 12] and ends [E, 2] counted in each molecule."""
    starts = (
        np.concatenate([[0], np.cumsum(atom_counts)[:-1]]).astype(np.int64) if len(atom_counts) else np.zeros(0, int)
    )
    everywhere = ends.astype(np.int64) + np.repeat(starts, bond_counts)[:, None]
    molecule = np.repeat(np.arange(len(atom_counts)), atom_counts)
    return Arrays(atoms[:, _FIELD], everywhere, molecule, len(atom_counts))


def whole(graph: Arrays) -> Hashes:
    """The hash of each molecule without its hydrogens [M]."""
    return _hash(graph, np.asarray(graph.elements != 1))


def cores(graph: Arrays) -> Hashes:
    """The hash of the rings of each molecule and what links them [M]; 0 where there is no ring."""
    kept = np.asarray(graph.elements != 1)
    while True:
        bonded = kept[graph.ends].all(1)
        degree = np.bincount(graph.ends[bonded].ravel(), minlength=len(kept))
        loose = kept & (degree < 2)
        if not loose.any():
            return _hash(graph, kept)
        kept = kept & ~loose


def _hash(graph: Arrays, kept: NDArray[np.bool_]) -> Hashes:
    bonds = graph.ends[kept[graph.ends].all(1)]
    state = _mix(graph.elements.astype(np.uint64) + np.uint64(1))
    for _ in range(ROUNDS):
        around = np.zeros_like(state)
        np.add.at(around, bonds[:, 0], state[bonds[:, 1]])
        np.add.at(around, bonds[:, 1], state[bonds[:, 0]])
        state = _mix(state * _B + around)
    total = np.zeros(graph.molecules, np.uint64)
    np.add.at(total, graph.molecule[kept], state[kept])
    return total


def _mix(values: Hashes) -> Hashes:
    """Spreads every bit over the whole number."""
    values = (values + _A) * _B
    values = (values ^ (values >> np.uint64(31))) * _C
    return values ^ (values >> np.uint64(29))
