"""SMILES or Mol to Mol, or the reason why not.

Decided here: what counts as empty, which molecules are refused and in which words (they go to rejects files as they
are). A SMILES is the cell without surrounding white space; a name or a CXSMILES extension after a blank is read as
RDKit reads it. Reactions are refused by RDKit's SMILES parser; atom maps and dummy atoms are accepted. RDKit's own
messages never reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable

from rdkit import Chem, rdBase

from .positions import unusable_positions
from .schema import MAX_ATOMS, MAX_ISOTOPE
from .stereo import older_perception

MAX_CHARACTERS = 10_000
DEFAULT_MAX_ATOMS = 500
MISSING_WORDS = frozenset({"", "nan", "none", "null", "n/a", "#n/a", "na", "<na>", "nat", "-nan", "missing", "nil"})

EMPTY = "empty"
CANNOT_PARSE = "cannot parse"
NO_HEAVY_ATOMS = "no heavy atoms"
TOO_LONG = f"longer than {MAX_CHARACTERS:,} characters"
NOT_IN_SCHEMA = "element not in schema"
CANNOT_SANITISE = "RDKit cannot sanitise it"

_MAX_NEIGHBOURS = 255


def too_many_atoms(max_atoms: int) -> str:
    """The reason for refusing a molecule above the limit."""
    return f"more than {min(max_atoms, MAX_ATOMS)} atoms"


def parse_smiles(text: str | None, max_atoms: int = DEFAULT_MAX_ATOMS) -> tuple[Chem.Mol | None, str | None]:
    """The molecule and None, or None and the reason for refusing the cell."""
    mol, reason = read_smiles(text, max_atoms)
    return (None, NOT_IN_SCHEMA) if mol is not None and _outside_schema(mol) else (mol, reason)


def read_smiles(text: str | None, max_atoms: int = DEFAULT_MAX_ATOMS) -> tuple[Chem.Mol | None, str | None]:
    """`parse_smiles` without the look at what the schema can hold: encoding the molecule next finds that out."""
    with rdBase.BlockLogs(), older_perception():
        return _read(text, max_atoms)


def read_many(
    texts: Iterable[str | None], max_atoms: int = DEFAULT_MAX_ATOMS
) -> list[tuple[Chem.Mol | None, str | None]]:
    """`read_smiles` of each text."""
    with rdBase.BlockLogs(), older_perception():
        return [_read(text, max_atoms) for text in texts]


def is_missing(text: str) -> bool:
    """Whether a stripped cell is empty or a word that stands for a missing value."""
    return text.lower() in MISSING_WORDS


def check_mol(mol: Chem.Mol, max_atoms: int = DEFAULT_MAX_ATOMS) -> str | None:
    """The reason for refusing a ready molecule, or None."""
    reason = _check_size(mol, max_atoms) or (NOT_IN_SCHEMA if _outside_schema(mol) else None)
    return reason or unusable_positions(mol)


def as_parsed(mol: Chem.Mol) -> tuple[Chem.Mol | None, str | None]:
    """A molecule from a program as its SMILES would be read, or None and the reason against it.

    Sanitised, aromatic, without hydrogens as atoms, in the order of its other atoms; the given one stays as it is.
    """
    try:
        with rdBase.BlockLogs(), older_perception():
            own = Chem.RemoveHs(mol)
            if mol.NeedsUpdatePropertyCache():  # never sanitised: the parser would have tidied its stereo marks
                Chem.AssignStereochemistry(own, cleanIt=True, force=True)
    except (RuntimeError, ValueError):
        return None, CANNOT_SANITISE
    return own, None


def _check_size(mol: Chem.Mol, max_atoms: int) -> str | None:
    if mol.GetNumHeavyAtoms() == 0:
        return NO_HEAVY_ATOMS
    return too_many_atoms(max_atoms) if mol.GetNumAtoms() > min(max_atoms, MAX_ATOMS) else None


def stands_for_many(mol: Chem.Mol) -> bool:
    """Whether an atom or bond is a query, e.g. a list of elements; a query for any atom is taken as a dummy atom."""
    return mol.HasQuery() and (
        any(atom.HasQuery() and atom.GetAtomicNum() for atom in mol.GetAtoms())
        or any(bond.HasQuery() for bond in mol.GetBonds())
    )


def _read(text: str | None, max_atoms: int) -> tuple[Chem.Mol | None, str | None]:
    if not isinstance(text, str):
        return None, EMPTY  # None, and NaN as tables give it
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        return None, TOO_LONG
    if is_missing(text):
        return None, EMPTY
    if "\0" in text or not (text.isascii() or text.split(maxsplit=1)[0].isascii()):
        return None, CANNOT_PARSE
    try:
        mol = Chem.MolFromSmiles(text)
    except (RuntimeError, ValueError):
        mol = None  # RDKit raises instead of returning None on a few inputs
    if mol is None:
        return None, CANNOT_PARSE
    reason = _check_size(mol, max_atoms)
    return (mol, None) if reason is None else (None, reason)


def _outside_schema(mol: Chem.Mol) -> bool:
    if stands_for_many(mol) or any(atom.GetIsotope() > MAX_ISOTOPE for atom in mol.GetAtoms()):
        return True
    if mol.GetNumAtoms() <= _MAX_NEIGHBOURS:
        return False
    return any(atom.GetTotalDegree() > _MAX_NEIGHBOURS for atom in mol.GetAtoms())
