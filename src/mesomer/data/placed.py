"""Where the atoms of labelled molecules lie, for encoders that need it: computed once, kept in a run's folder.

Decided: the file holds the molecules and the release of RDKit that it was made from; with others it is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mesomer.chem.graph import MolGraph
from mesomer.files import atomic_write


def store_coordinates(folder: Path, smiles: Sequence[str], graphs: Sequence[MolGraph]) -> None:
    """Writes the coordinates of all atoms, in the order of the molecules."""
    joined = np.concatenate([graph.coordinates for graph in graphs if graph.coordinates is not None])
    path = _path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, coordinates=joined, made_from=_fingerprint(smiles))


def with_stored_coordinates(folder: Path, smiles: Sequence[str], graphs: Sequence[MolGraph]) -> list[MolGraph] | None:
    """The graphs with the stored coordinates; None where there are none of these molecules."""
    path = _path(folder)
    if not path.exists():
        return None
    counts = [len(graph.atoms) for graph in graphs]
    with np.load(path) as stored:
        if not np.array_equal(stored["made_from"], _fingerprint(smiles)) or len(stored["coordinates"]) != sum(counts):
            return None
        parts = np.split(stored["coordinates"], np.cumsum(counts)[:-1])
    return [graph._replace(coordinates=part) for graph, part in zip(graphs, parts, strict=True)]


def _path(folder: Path) -> Path:
    return folder / "features" / "coordinates.npz"


def _fingerprint(smiles: Sequence[str]) -> np.ndarray:
    from rdkit import rdBase

    text = "\n".join([rdBase.rdkitVersion, *smiles])
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
