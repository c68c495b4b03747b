"""Acceptors, donors, acidic and basic centres: the four SMARTS of the published features.

RDKit's matcher spends more than half as long on the four patterns as on reading the SMILES. Each of them looks at one
atom and at most two bonds further, so the same answer follows from a class of each atom (`atom_class`, remembered
with its record) and one walk over the bonds of the hetero atoms (`add_group_flags`).

Decided here: where the two could differ, the matcher itself is asked (`add_matched_groups`). They could differ where
RDKit's limit of 1000 embeddings cuts a pattern short, where hydrogens are nodes (H in SMARTS counts them), and where
aromatic flags and bond types disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from rdkit import Chem

from .interrupts import restore_interrupts
from .schema import ATOM_FIELDS

SMARTS = {
    "acceptor": (
        "[$([O,S;H1;v2;!$(*-*=[O,N,P,S])]),$([O,S;H0;v2]),$([O,S;-]),$([N;v3;!$(N-*=[O,N,P,S])]),"
        "n&H0&+0,$([o,s;+0;!$([o,s]:n);!$([o,s]:c:n)])]"
    ),
    "donor": "[$([N;!H0;v3,v4&+1]),$([O,S;H1;+0]),n&H1&+0]",
    "acidic": "[$([C,S](=[O,S,P])-[O;H1,-1])]",
    "basic": (
        "[#7;+,$([N;H2&+0][$([C,a]);!$([C,a](=O))]),"
        "$([N;H1&+0]([$([C,a]);!$([C,a](=O))])[$([C,a]);!$([C,a](=O))]),"
        "$([N;H0&+0]([C;!$(C(=O))])([C;!$(C(=O))])[C;!$(C(=O))])]"
    ),
}
ACCEPTOR, DONOR, ACIDIC, BASIC = (1 << ATOM_FIELDS[name].shift for name in SMARTS)
FLAG_BYTE = ATOM_FIELDS["acceptor"].byte
ALL_FLAGS = ACCEPTOR | DONOR | ACIDIC | BASIC

# Bounds that keep every pattern, recursive parts included, below the matcher's limit of embeddings: one for each atom;
# 3! for each amine with three neighbours; for each double bond, 2 directions times the other bonds of one end.
# Quadruple, dative and other rare bonds leave it to the matcher.
_LIMIT = 1000
_MAX_DEGREE = 6
_MAX_AMINES = _LIMIT // 6
_MAX_DOUBLE = _LIMIT // (2 * (_MAX_DEGREE - 1))

SINGLE, DOUBLE, AROMATIC, TRIPLE, OTHER = 1, 2, 3, 4, 0  # kinds of bonds

# Classes of atoms. The lowest three are also what a double bond to such an atom makes of its partner.
_ONPS, _OSP, _O = 1, 2, 4  # aliphatic
_ONPS_OSP_O = _ONPS | _OSP | _O
_ACID_O = 8  # aliphatic O with one hydrogen or charge -1
_ACID_CENTRE = 16  # aliphatic C or S
_CARBON = 32  # aliphatic C
_CARBON_OR_AROMATIC = 64
_ACCEPTOR_UNLESS = 128  # acceptor unless a neighbour has a double bond to O, N, P, S
_FURAN_LIKE = 256  # aromatic o or s
_AROMATIC_N, _AROMATIC_C = 512, 1024
_AMINE = 2048  # three classes: NH2, NH, N without hydrogen need 1, 2, 3 suitable neighbours
_AMINE_BITS = 3 * _AMINE
_NO_WALK = 8192  # a hydrogen that is a node, or an atom that may have more than _MAX_DEGREE neighbours
_WALK_FROM = _ACID_O | _ACCEPTOR_UNLESS | _AMINE_BITS


def can_walk(classes: Sequence[int], kinds: Sequence[int]) -> bool:
    """Whether `add_group_flags` is certain to agree with the matcher."""
    num_atoms = len(classes)
    if num_atoms > _LIMIT or kinds.count(DOUBLE) > _MAX_DOUBLE or OTHER in kinds:
        return False
    if num_atoms > _MAX_AMINES and sum([kind & _AMINE_BITS == _AMINE_BITS for kind in classes]) > _MAX_AMINES:
        return False
    return max(classes) < _NO_WALK


def atom_class(number: int, aromatic: bool, charge: int, hydrogens: int, valence: int) -> tuple[int, int]:
    """What the walk must know of an atom, and the flags that hold whatever its surroundings.

    `valence` is the total valence, `hydrogens` those that are not nodes.
    """
    if (
        number == 1 or valence > _MAX_DEGREE
    ):  # where no bond is dative or the like, an atom has at most `valence` neighbours
        return _NO_WALK, 0
    if aromatic:
        return _aromatic_class(number, charge, hydrogens)
    kind = flags = 0
    if number == 6:
        kind |= _ACID_CENTRE | _CARBON | _CARBON_OR_AROMATIC
    elif number == 7:
        kind |= _ONPS
        if valence == 3:
            kind |= _ACCEPTOR_UNLESS
        if hydrogens and (valence == 3 or (valence == 4 and charge == 1)):
            flags |= DONOR
        if charge == 1:
            flags |= BASIC
        elif charge == 0 and hydrogens <= 2:
            kind |= _AMINE * (3 - hydrogens)
    elif number == 15:
        kind |= _ONPS | _OSP
    elif number in (8, 16):
        kind |= _ONPS | _OSP | (_ACID_CENTRE if number == 16 else _O)
        if number == 8 and (hydrogens == 1 or charge == -1):
            kind |= _ACID_O
        if (hydrogens == 0 and valence == 2) or charge == -1:
            flags |= ACCEPTOR
        elif hydrogens == 1 and valence == 2:
            kind |= _ACCEPTOR_UNLESS
        if hydrogens == 1 and charge == 0:
            flags |= DONOR
    return kind, flags


def _aromatic_class(number: int, charge: int, hydrogens: int) -> tuple[int, int]:
    kind, flags = _CARBON_OR_AROMATIC, 0
    if number == 6:
        kind |= _AROMATIC_C
    elif number == 7:
        kind |= _AROMATIC_N
        if charge == 0 and hydrogens == 0:
            flags |= ACCEPTOR
        if charge == 0 and hydrogens == 1:
            flags |= DONOR
        if charge == 1:
            flags |= BASIC
    elif number in (8, 16) and charge == 0:
        kind |= _FURAN_LIKE
    return kind, flags


def add_group_flags(
    flags: bytearray, classes: Sequence[int], begins: Sequence[int], ends: Sequence[int], kinds: Sequence[int]
) -> None:
    """Add to `flags` (one byte an atom) what depends on the neighbours and is not in the flags of `atom_class`.

    `classes` per atom; `begins`, `ends` and `kinds` (SINGLE, DOUBLE, AROMATIC, TRIPLE) per bond.
    """
    partner = [0] * len(classes)  # what the atom has a double bond to
    to_walk = []
    for begin, end, kind in zip(begins, ends, kinds, strict=True):
        if kind == DOUBLE:
            partner[begin] |= classes[end] & _ONPS_OSP_O
            partner[end] |= classes[begin] & _ONPS_OSP_O
        else:
            if classes[begin] & _WALK_FROM:
                to_walk.append((begin, end, kind))
            if classes[end] & _WALK_FROM:
                to_walk.append((end, begin, kind))
    likely = [atom for atom, kind in enumerate(classes) if kind & (_ACCEPTOR_UNLESS | _FURAN_LIKE)]
    for atom in likely:
        flags[atom] |= ACCEPTOR
    if any([classes[atom] & _FURAN_LIKE for atom in likely]):
        for atom in _near_aromatic_nitrogen(classes, begins, ends, kinds):
            flags[atom] &= 255 - ACCEPTOR
    suitable: dict[int, int] = {}
    for atom, other, kind in to_walk:
        own = classes[atom]
        if kind == SINGLE:
            if own & _ACCEPTOR_UNLESS and partner[other] & _ONPS:
                flags[atom] &= 255 - ACCEPTOR
            if own & _ACID_O and partner[other] & _OSP and classes[other] & _ACID_CENTRE:
                flags[other] |= ACIDIC
        if own & _AMINE_BITS and kind in (SINGLE, AROMATIC) and not partner[other] & _O:
            wanted = _CARBON if own & _AMINE_BITS == _AMINE_BITS else _CARBON_OR_AROMATIC
            if classes[other] & wanted:
                suitable[atom] = suitable.get(atom, 0) + 1
    for atom, count in suitable.items():
        if count * _AMINE >= classes[atom] & _AMINE_BITS:
            flags[atom] |= BASIC


def _near_aromatic_nitrogen(
    classes: Sequence[int], begins: Sequence[int], ends: Sequence[int], kinds: Sequence[int]
) -> set[int]:
    """Aromatic o and s that are bound to n, or to a c that is bound to n."""
    beside = set()  # bound to n
    neighbours = []  # an o or s and what it is bound to
    for begin, end, kind in zip(begins, ends, kinds, strict=True):
        if kind == AROMATIC:
            for atom, other in ((begin, end), (end, begin)):
                if classes[other] & _AROMATIC_N:
                    beside.add(atom)
                if classes[atom] & _FURAN_LIKE:
                    neighbours.append((atom, other))
    return {atom for atom, other in neighbours if atom in beside or (other in beside and classes[other] & _AROMATIC_C)}


def add_matched_groups(flags: bytearray, mol: Chem.Mol) -> None:
    """Add to `flags` all groups, as RDKit's matcher gives them at its default limit of 1000 matches."""
    for name, flag in zip(SMARTS, (ACCEPTOR, DONOR, ACIDIC, BASIC), strict=True):
        for (atom,) in mol.GetSubstructMatches(_pattern(name)):
            flags[atom] |= flag
    restore_interrupts()


@cache
def _pattern(name: str) -> Chem.Mol:
    return Chem.MolFromSmarts(SMARTS[name])
