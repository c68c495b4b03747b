"""Which of the coordinates that molecules bring are refused, with which words."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from mesomer.chem.parse import check_mol
from mesomer.chem.positions import BEYOND_MEASURE, NO_COORDINATES, SAME_PLACE
from mesomer.data.tables import open_table

ETHANOL = [[0, 0, 0], [1.5, 0, 0], [2, 1.3, 0.5]]


def given(text, positions, in_space=True):
    mol = Chem.MolFromSmiles(text)
    shape = Chem.Conformer(mol.GetNumAtoms())
    shape.SetPositions(np.array(positions, dtype=np.float64))
    shape.Set3D(in_space)
    mol.AddConformer(shape)
    return mol


@pytest.mark.parametrize(("positions", "reason"), [
    (ETHANOL, None),
    ([[x + 5000, y, z] for x, y, z in ETHANOL], None),
    ([[0, 0, 0], [1.5, 0, 0], [2, 1.3, 0]], None),
    ([[x + 1e8, y, z] for x, y, z in ETHANOL], BEYOND_MEASURE),
    ([[0, 0, 0], [1e8, 0, 0], [2, 1.3, 0.5]], BEYOND_MEASURE),
    ([[100 * x, 100 * y, 100 * z] for x, y, z in ETHANOL], BEYOND_MEASURE),
    ([[0, 0, 0], [np.nan, 0, 0], [2, 1.3, 0.5]], NO_COORDINATES),
    ([[0, 0, 0], [1.5, -np.inf, 0], [2, 1.3, 0.5]], NO_COORDINATES),
    ([[0, 0, 0], [1e300, 0, 0], [2, 1.3, 0.5]], NO_COORDINATES),
    ([[0, 0, 0]] * 3, SAME_PLACE),
    ([[0, 0, 0], [1.5, 0, 0], [1.5, 0.01, 0]], SAME_PLACE),
    ([[0, 0, 0], [1.5, 0, 0], [1.5, 0.1, 0]], None),
])  # fmt: skip
def test_bounds(positions, reason):
    assert check_mol(given("CCO", positions)) == reason


def test_fragments_may_be_far_from_each_other_and_not_in_each_other():
    assert check_mol(given("[Na+].[Cl-]", [[0, 0, 0], [900, 0, 0]])) is None
    assert check_mol(given("[Na+].[Cl-]", [[1, 1, 1], [1, 1, 1]])) == SAME_PLACE
    assert check_mol(given("C", [[0, 0, 0]])) is None


def test_a_drawing_is_not_measured():
    """Its coordinates are not used; that they are numbers is asked of it as well."""
    assert check_mol(given("CCO", [[0, 0, 0]] * 3, in_space=False)) is None
    assert check_mol(given("CCO", [[0, 0, 0], [4000, 0, 0], [4000, 0, 0]], in_space=False)) is None
    assert check_mol(given("CCO", [[0, np.inf, 0]] * 3, in_space=False)) == NO_COORDINATES


def block(header, rows):
    """A record of ethanol as a program writes it, coordinates as given."""
    atoms = "".join(f"{x:>10}{y:>10}{z:>10} {element}   0  0\n" for (x, y, z), element in zip(rows, "CCO", strict=True))
    head = f"\n  any{' ' * 15}{header}\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
    return f"{head}{atoms}  1  2  1  0\n  2  3  1  0\nM  END\n$$$$\n"


RECORDS = {
    "a structure": ("3D", "0.0000 1.5000 2.0000 1.3000 0.5000", None, True),
    "called a drawing, with z": ("2D", "0.0000 1.5000 2.0000 1.3000 0.5000", None, True),
    "called a structure, without z": ("3D", "0.0000 1.5000 2.0000 1.3000 0.0000", None, True),
    "a drawing": ("2D", "0.0000 1.5000 2.0000 1.3000 0.0000", None, False),
    "not said, without z": ("  ", "0.0000 1.5000 2.0000 1.3000 0.0000", None, False),
    "zeros, called a structure": ("3D", "0.0000 0.0000 0.0000 0.0000 0.0000", SAME_PLACE, None),
    "zeros": ("2D", "0.0000 0.0000 0.0000 0.0000 0.0000", None, False),
    "far": ("3D", "0.0000 99999.9999 2.0000 1.3000 0.5000", BEYOND_MEASURE, None),
    "no number": ("3D", "0.0000 nan 2.0000 1.3000 0.5000", "cannot parse", None),
    "infinite": ("3D", "0.0000 inf 2.0000 1.3000 0.5000", "cannot parse", None),
    "1e8": ("3D", "0.0000 1e8 2.0000 1.3000 0.5000", "cannot parse", None),
}


def test_what_a_structure_file_says_of_its_coordinates(tmp_path):
    """Reason and line of each record, and which of them count as atoms in space."""
    texts = []
    for header, numbers, _, _ in RECORDS.values():
        zero, first, x, y, z = numbers.split()
        texts.append(block(header, [(zero,) * 3, (first, zero, zero), (x, y, z)]))
    (tmp_path / "a.sdf").write_text("".join(texts))
    [chunk] = open_table(str(tmp_path / "a.sdf")).chunks(parse=True)
    assert chunk.lines == [1 + 11 * at for at in range(len(RECORDS))]
    found = [None if mol is None else mol.GetConformer().Is3D() for mol in chunk.mols]
    assert dict(zip(RECORDS, zip(chunk.reasons, found, strict=True), strict=True)) == {
        name: (reason, in_space) for name, (_, _, reason, in_space) in RECORDS.items()
    }
