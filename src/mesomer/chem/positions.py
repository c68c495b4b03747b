"""Whether the coordinates that a molecule brings can be those of a molecule.

They are never replaced, so a record whose coordinates cannot be meant is refused, for every encoder: its stereo was
read from them, too. Decided here: numbers beyond `FARTHEST` (of which float32 would keep no thousandth), fragments
wider than `WIDEST` for each of their bonds (as a file in picometres has them), and two atoms nearer than `ONE_PLACE`
are refused. Where fragments lie to each other is free. A drawing, and zeros for all atoms where the file does not call
them a structure, are not looked at: they are not used.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem

NO_COORDINATES = "coordinates are no finite numbers"
BEYOND_MEASURE = "coordinates beyond all measure"
SAME_PLACE = "two atoms at the same place"
FARTHEST, WIDEST, ONE_PLACE = 10_000.0, 10.0, 0.05
"""All in Å; the second for each bond of the longest chain that a fragment's atoms could be."""


def unusable_positions(mol: Chem.Mol) -> str | None:
    """The reason for refusing the molecule for its coordinates; None where they may be used, or are none."""
    if not mol.GetNumConformers():
        return None
    positions = mol.GetConformer().GetPositions()
    with np.errstate(over="ignore"):
        if not np.isfinite(positions.astype(np.float32)).all():
            return NO_COORDINATES
    if not mol.GetConformer().Is3D():
        return None
    if np.abs(positions).max(initial=0) > FARTHEST or any(
        np.ptp(positions[list(fragment)], axis=0).max() > WIDEST * max(len(fragment) - 1, 1)
        for fragment in Chem.GetMolFrags(mol)
    ):
        return BEYOND_MEASURE
    first, second = np.triu_indices(len(positions), 1)
    apart = np.square(positions[first] - positions[second]).sum(1)
    return SAME_PLACE if (apart < ONE_PLACE**2).any() else None
