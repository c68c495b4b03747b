"""Cells of a program that no file would hold, and other spellings of molecules, each with a reason of its own.

What RDKit only calls unreadable may be a number, a list, an InChI or a query; who reads the reason then knows what to
mend. Good rows are not parsed for it: text is looked at closely only if it has a letter that no SMILES has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mesomer.data.readers import Block, is_absent
from mesomer.data.readers.frames import Molecules

if TYPE_CHECKING:
    from rdkit.Chem import Mol

NOT_TEXT = "not text"
INCHI = "InChI instead of SMILES"
QUERY = "query (SMARTS) instead of a molecule"

_OF_QUERIES = re.compile(r"\s*[^\s,;&!~]*[,;&!~]")  # before the first blank: names and CXSMILES may hold anything


class GivenMolecules(Molecules):
    """SMILES or RDKit molecules from a program, anything else among them with its own reason."""

    def blocks(self, rows: int) -> Iterator[Block]:
        """See `Reader`."""
        for block in super().blocks(rows):
            items = block.cells[self.smiles_column]
            for at, item in enumerate(items):
                if block.reasons[at] is None:
                    mol = None if block.mols is None else block.mols[at]
                    block.reasons[at] = _against_text(item) if mol is None else _against_molecule(mol)
            yield block


def _against_text(item: Any) -> str | None:
    """The reason against a cell as far as it can be told without parsing, or None."""
    if not isinstance(item, str):
        return None if is_absent(item) or _is_text(item) else NOT_TEXT
    if item.lstrip()[:6] == "InChI=":
        return INCHI
    return QUERY if _OF_QUERIES.match(item) and _is_query(item.split()[0]) else None


def _against_molecule(mol: Mol) -> str | None:
    from mesomer.chem.parse import stands_for_many

    return QUERY if stands_for_many(mol) else None


def _is_text(item: Any) -> bool:
    """Whether bytes are text."""
    try:
        return isinstance(item, bytes) and bool(item.decode())
    except UnicodeDecodeError:
        return False


def _is_query(text: str) -> bool:
    """Whether RDKit reads a query in it: as a SMILES with bonds of any kind, or else as SMARTS."""
    from rdkit import Chem, rdBase

    from mesomer.chem.parse import CANNOT_PARSE, read_smiles, stands_for_many

    mol, reason = read_smiles(text)
    if mol is not None or reason != CANNOT_PARSE:
        return mol is not None and stands_for_many(mol)
    with rdBase.BlockLogs():
        return Chem.MolFromSmarts(text) is not None
