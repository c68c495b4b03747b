"""Stereo labels that do not depend on how a SMILES was written.

RDKit's chirality tags and bond directions are relative to the order of atoms, so two spellings of one molecule differ
in them. A CIP label ranks the neighbours by what they are.

Decided here: RDKit's older labeller, plus a rule of our own for what it leaves open. Measured on ChEMBL molecules
with stereo marks: both RDKit labellers are independent of the spelling; the newer one (`rdCIPLabeler`) follows the
CIP rules to the letter but takes 485 us a molecule, up to 90 ms, three times the parsing; the older one takes 22 us,
differs in one centre of 400, and leaves 6 % of the centres without a label: those whose two ring halves are alike,
such as cis and trans in 1,4-disubstituted cyclohexanes. For these a label r or s says how they stand to the other
centres:

    Prefer one of the two like neighbours (an isotope mark), label everything again, do the same for the other one.
    One of the two runs calls the centre R, the other S. If the other centres' labels come out larger in the run that
    says R, the centre is r; smaller, s; equal, it is no centre.

The labels of 10,000 ChEMBL SMILES with stereo marks did not change in four respellings or renumberings of each.

Left out: atropisomers and non-tetrahedral centres, which get no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rdkit import Chem

_MARK = 250  # isotope that no element has


@contextmanager
def older_perception() -> Iterator[None]:
    """RDKit's older stereo perception inside, whatever its process-wide switch says outside.

    The newer one gives other marks, which the published features do not know, and ranks no neighbours.
    """
    if Chem.GetUseLegacyStereoPerception():
        yield
        return
    Chem.SetUseLegacyStereoPerception(True)
    try:
        yield
    finally:
        Chem.SetUseLegacyStereoPerception(False)


def cip_labels(
    mol: Chem.Mol, marked_atoms: Sequence[int], marked_bonds: Sequence[int], just_parsed: bool = False
) -> tuple[dict[int, str], dict[int, str]]:
    """Labels R, S, r, s of those atoms and E, Z of those cis or trans bonds that have one, by index.

    `marked_atoms` are all atoms with a chirality tag. Labels that the molecule carries already are believed only if
    it was `just_parsed`: they do not follow changes made since, and another labeller may have written them.
    """
    labelled = mol
    if not (just_parsed and Chem.GetUseLegacyStereoPerception()):
        labelled = Chem.Mol(mol)
        _label(labelled, marked_atoms)
    codes = _codes(labelled, marked_atoms)
    atom_labels = {
        index: code or _relative_label(labelled, index, marked_atoms)
        for index, code in zip(marked_atoms, codes, strict=True)
    }
    bond_labels = _double_bond_labels(mol, marked_bonds) if marked_bonds else {}
    return (
        {i: label for i, label in atom_labels.items() if label},
        {i: label for i, label in bond_labels.items() if label},
    )


def _relative_label(mol: Chem.Mol, centre: int, marked_atoms: Sequence[int]) -> str:
    """The label of a centre with two like neighbours: r, s or none."""
    ranks = {atom.GetIdx(): _rank(atom) for atom in mol.GetAtomWithIdx(centre).GetNeighbors()}
    tie, count = Counter(ranks.values()).most_common(1)[0]
    if count != 2 or len(set(ranks.values())) != len(ranks) - 1:
        return ""
    others = [index for index in marked_atoms if index != centre]
    other_ranks = [_rank(mol.GetAtomWithIdx(index)) for index in others]
    outcomes = {}
    for neighbour, rank in ranks.items():
        if rank == tie:
            preferred = Chem.Mol(mol)
            preferred.GetAtomWithIdx(neighbour).SetIsotope(_MARK)
            _label(preferred, marked_atoms)
            (code,) = _codes(preferred, [centre])
            outcomes[code] = sorted(zip(other_ranks, _codes(preferred, others), strict=True))
    if outcomes.keys() != {"R", "S"} or outcomes["R"] == outcomes["S"]:
        return ""
    return "r" if outcomes["R"] > outcomes["S"] else "s"


def _double_bond_labels(mol: Chem.Mol, indices: Sequence[int]) -> dict[int, str]:
    """E or Z of bonds whose cis or trans refers to one neighbour at each end, none where neighbours are alike."""
    ranks = list(Chem.ComputeAtomCIPRanks(Chem.Mol(mol)))
    return {index: _double_bond_label(mol.GetBondWithIdx(index), ranks) for index in indices}


def _double_bond_label(bond: Chem.Bond, ranks: Sequence[int]) -> str:
    together = bond.GetStereo() == Chem.BondStereo.STEREOCIS
    reference = set(bond.GetStereoAtoms())
    for end, partner in ((bond.GetBeginAtom(), bond.GetEndAtomIdx()), (bond.GetEndAtom(), bond.GetBeginAtomIdx())):
        by_rank = {ranks[atom.GetIdx()]: atom.GetIdx() for atom in end.GetNeighbors() if atom.GetIdx() != partner}
        if len(by_rank) != end.GetDegree() - 1:
            return ""
        if by_rank[max(by_rank)] not in reference:
            together = not together
    return "Z" if together else "E"


def _label(mol: Chem.Mol, marked_atoms: Sequence[int]) -> None:
    """Have RDKit label the marked atoms; it keeps the labels that it finds, so they go first."""
    for index in marked_atoms:
        mol.GetAtomWithIdx(index).ClearProp("_CIPCode")
    with older_perception():
        Chem.AssignStereochemistry(mol, cleanIt=False, force=True)


def _codes(mol: Chem.Mol, indices: Sequence[int]) -> list[str]:
    atoms = [mol.GetAtomWithIdx(index) for index in indices]
    return [atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else "" for atom in atoms]


def _rank(atom: Chem.Atom) -> int:
    return atom.GetUnsignedProp("_CIPRank")
