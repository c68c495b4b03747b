"""The `cluster` rule: Butina clusters of ECFP4 fingerprints, spread over the parts like balanced scaffolds.

A molecule joins the cluster of a centre at Tanimoto distance 0.6 or less; centres are taken by number of neighbours in
the whole table, ties by the later row, as RDKit's Butina does it. Equal molecules and stereoisomers have equal
fingerprints and so share a cluster. Cost grows with the square of the table; only neighbour lists are kept, never the
whole matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mesomer.data.splits.base import Draft, Groups, Request
from mesomer.data.splits.published import fill_balanced
from mesomer.progress import Progress

DISTANCE = 0.6


def cluster(request: Request) -> list[Draft]:
    """Butina clusters stay together; big ones go into train."""
    groups = request.shared.get("butina")
    if groups is None:
        groups = request.shared["butina"] = butina(request.molecules.fingerprints)
    draft = fill_balanced(groups, request.count, request.fractions, request.seed)
    return [draft._replace(notes=(f"{len(groups)} clusters, the largest of {max(map(len, groups))}",))]


def butina(fingerprints: list[Any], distance: float = DISTANCE) -> Groups:
    """Clusters in order of their first row, members ascending."""
    neighbours = _neighbours(fingerprints, distance)
    centres = sorted(range(len(neighbours)), key=lambda at: (len(neighbours[at]), at), reverse=True)
    free = np.ones(len(neighbours), dtype=bool)
    clusters = []
    for centre in centres:
        if not free[centre]:
            continue
        near = neighbours[centre]
        members = sorted([centre, *near[free[near]].tolist()])
        free[members] = False
        clusters.append(members)
    return sorted(clusters)


def _neighbours(fingerprints: list[Any], distance: float) -> list[np.ndarray]:
    from rdkit.DataStructs import BulkTanimotoSimilarity

    near: list[list[int]] = [[] for _ in fingerprints]
    with Progress(len(fingerprints), "molecules", "clustering") as bar:
        for at, fingerprint in enumerate(fingerprints):
            similarity = np.array(BulkTanimotoSimilarity(fingerprint, fingerprints[:at]))
            found = np.flatnonzero(1.0 - similarity <= distance).tolist()
            near[at] += found
            for other in found:
                near[other].append(at)
            bar.advance()
    return [np.array(members, dtype=np.int64) for members in near]
