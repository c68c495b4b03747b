"""Whether the stereo marks of a molecule's rings can be had in space at all.

Bridgeheads that point against each other, or two trans double bonds in one small ring, are written easily, and no
attempt to embed them succeeds. What forbids them is the ring system alone. So it is cut out, with a hydrogen in the
place of whatever is bound to it, and embedded by itself, which takes a fraction of the time and succeeds wherever the
whole molecule does: if it never does, but does at once without its marks, then the marks are why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rdkit import Chem

Embed = Callable[[Chem.Mol], bool | None]
"""Whether a molecule gets a conformer; None where time ran out first."""
_TURNED = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)


def stereo_is_impossible(mol: Chem.Mol, patient: Embed, brief: Embed) -> bool:
    """Whether a ring system of a molecule, whose hydrogens are atoms, can only be embedded without its stereo marks:
    not by the `patient` attempts with them, and by `brief` ones without.
    """
    return any(patient(core) is False and brief(_unmarked(core)) for core in marked_ring_systems(mol))


def marked_ring_systems(mol: Chem.Mol) -> Iterator[Chem.Mol]:
    """The ring systems with two stereo marks or more, or a marked double bond, each as a molecule of its own."""
    for atoms in _ring_systems(mol):
        turned = sum(mol.GetAtomWithIdx(at).GetChiralTag() in _TURNED for at in atoms)
        if turned > 1 or any(_is_marked(bond) for bond in _bonds_within(mol, atoms)):
            core = _cut_out(mol, atoms)
            if core is not None:
                yield core


def _ring_systems(mol: Chem.Mol) -> list[set[int]]:
    """Atoms of rings that share atoms, also one alone."""
    systems: list[set[int]] = []
    for ring in mol.GetRingInfo().AtomRings():
        joined = set(ring)
        apart = []
        for system in systems:
            if system & joined:
                joined |= system
            else:
                apart.append(system)
        systems = [*apart, joined]
    return systems


def _bonds_within(mol: Chem.Mol, atoms: set[int]) -> list[Chem.Bond]:
    return [bond for bond in mol.GetBonds() if bond.GetBeginAtomIdx() in atoms and bond.GetEndAtomIdx() in atoms]


def _is_marked(bond: Chem.Bond) -> bool:
    return bond.GetStereo() > Chem.BondStereo.STEREOANY


def _cut_out(mol: Chem.Mol, atoms: set[int]) -> Chem.Mol | None:
    """The atoms and what they are bound to, this as hydrogen, or as oxygen where the bond is a double one."""
    core = Chem.RWMol(mol)
    core.RemoveAllConformers()
    border = {other.GetIdx() for at in atoms for other in mol.GetAtomWithIdx(at).GetNeighbors()} - atoms
    for at in border:
        kinds = [bond.GetBondType() for bond in mol.GetAtomWithIdx(at).GetBonds() if bond.GetOtherAtomIdx(at) in atoms]
        if len(kinds) != 1 or kinds[0] not in _BORDER:
            return None
        core.ReplaceAtom(at, Chem.Atom(_BORDER[kinds[0]]), updateLabel=False, preserveProps=False)
        core.GetAtomWithIdx(at).SetNoImplicit(True)
    for bond in core.GetBonds():
        if not (bond.GetBeginAtomIdx() in atoms and bond.GetEndAtomIdx() in atoms):
            bond.SetStereo(Chem.BondStereo.STEREONONE)  # it may refer to atoms that go
    core.BeginBatchEdit()
    for atom in mol.GetAtoms():
        if atom.GetIdx() not in atoms | border:
            core.RemoveAtom(atom.GetIdx())
    core.CommitBatchEdit()
    found = core.GetMol()
    return found if Chem.SanitizeMol(found, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE else None


_BORDER = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 8}


def _unmarked(mol: Chem.Mol) -> Chem.Mol:
    plain = Chem.Mol(mol)
    for atom in plain.GetAtoms():
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    for bond in plain.GetBonds():
        bond.SetStereo(Chem.BondStereo.STEREONONE)
        bond.SetBondDir(Chem.BondDir.NONE)
    return plain
