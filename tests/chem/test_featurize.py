"""Codes equal what RDKit says field by field, on every path, and do not depend on what was featurised before."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chem_oracle import MOLECULES, asked, real_smiles, without_cip
from rdkit import Chem
from rdkit.Chem import rdDepictor

from mesomer.chem import featurize as module
from mesomer.chem import formats, groups, memory, records
from mesomer.chem.featurize import (
    featurize,
    featurize_by_interface,
    featurize_many,
    graph_from_smiles,
    graphs_from_smiles,
)
from mesomer.chem.graph import MolGraph
from mesomer.chem.schema import atom_field, bond_field, charges, isotopes


def assert_same(graph: MolGraph, other: MolGraph) -> None:
    for name, ours, theirs in zip(graph._fields, graph, other, strict=True):
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), name


def assert_as_asked(mol: Chem.Mol, graph: MolGraph) -> None:
    atoms, bonds, ends = asked(mol)
    our_atoms, our_bonds = without_cip(graph.atoms, graph.bonds)
    assert np.array_equal(our_atoms, atoms)
    assert np.array_equal(our_bonds, bonds)
    assert np.array_equal(graph.ends, ends)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_every_field_is_what_rdkit_says(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    assert_as_asked(mol, featurize(mol))
    assert_same(featurize_by_interface(mol), featurize(mol))


@pytest.mark.parametrize("smiles", MOLECULES)
def test_hydrogens_as_nodes(smiles: str) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert_as_asked(mol, featurize(mol))


def test_real_molecules_are_what_rdkit_says(data_folder: Path) -> None:
    for name, every in (("corpus/chembl_diverse.csv.gz", 150), ("molecules/hiv.csv.gz", 150)):
        for smiles in real_smiles(data_folder, name, every, 250):
            mol = Chem.MolFromSmiles(smiles)
            if mol is not None:
                assert_as_asked(mol, featurize(mol))


def test_installed_rdkit_takes_the_fast_path() -> None:
    """If this fails, RDKit changed its byte format: results stay right, but featurising is several times slower until
    `chem.records` and its patterns are looked at.
    """
    for smiles in ("CC(=O)Oc1ccccc1C(=O)O", "F/C=C/F", "[13CH3][O-]", "C" * 300 + "/C=C/C1CC1"):
        found = records.split_records(Chem.MolFromSmiles(smiles))
        assert found is not None and found.version in records.KNOWN_FORMATS


def test_large_molecules_take_four_byte_numbers() -> None:
    mol = Chem.MolFromSmiles("C" * 250 + "/C=C/C1CC1" + "CO" * 20)
    graph = featurize(mol)
    assert records.split_records(mol) is not None
    assert len(graph.atoms) > 255
    assert_as_asked(mol, graph)
    assert_same(graph, featurize_by_interface(mol))


@pytest.mark.parametrize("cut", [5, 40, 60, -30, -1])
def test_unexpected_bytes_are_no_records(cut: int) -> None:
    mol = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    blob = bytearray(mol.ToBinary())

    class Strange:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def ToBinary(self) -> bytes:
            return self.content

    changed = bytearray(blob)
    changed[cut] ^= 0xFF
    for content in (bytes(changed), bytes(blob[:cut]), bytes(blob[:cut]) + b"\x00" + bytes(blob[cut:])):
        found = records.split_records(Strange(content))  # type: ignore[arg-type]
        if found is not None:  # bytes that only an answer of RDKit can judge, or behind the part that is read
            assert len(found.atoms) == mol.GetNumAtoms() and len(found.bonds) == mol.GetNumBonds()


@pytest.fixture
def no_known_format(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    formats.trusted.cache_clear()
    monkeypatch.setattr(records, "KNOWN_FORMATS", frozenset())
    yield
    formats.trusted.cache_clear()


def slow_atoms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Atoms that are asked for one by one from now on."""
    asked: list[int] = []
    reading = module.read_atom
    monkeypatch.setattr(module, "read_atom", lambda atom: asked.append(1) or reading(atom))
    return asked


def test_a_format_that_was_never_tried_is_tried_and_taken(
    no_known_format: None, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    first = featurize(mol)
    asked = slow_atoms(monkeypatch)
    assert_same(featurize(mol), first)
    assert not asked and not recwarn.list


@pytest.mark.parametrize("fault", ["other charges", "no records"])
def test_a_format_that_is_misread_is_asked_for_atom_by_atom(
    no_known_format: None, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    expected = featurize_by_interface(mol)
    splitting = records.split_records

    def misread(mol: Chem.Mol) -> records.Records | None:
        found = splitting(mol)
        if found is None or (fault == "no records" and mol.GetNumAtoms() > 100):
            return None
        return found._replace(atoms=found.atoms[::-1]) if fault == "other charges" else found

    monkeypatch.setattr(module, "split_records", misread)
    with pytest.warns(UserWarning, match="results are the same, featurising is about three times slower"):
        assert_same(featurize(mol), expected)
    asked = slow_atoms(monkeypatch)
    assert_same(featurize(mol), expected)
    assert len(asked) == mol.GetNumAtoms()


def test_the_trial_molecules_have_what_records_can_hold() -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in formats.TRIAL]
    atoms, bonds = ([part for mol in mols for part in get(mol)] for get in (Chem.Mol.GetAtoms, Chem.Mol.GetBonds))
    assert {atom.GetFormalCharge() for atom in atoms} >= {-1, 0, 1, 2}
    assert {atom.GetNumRadicalElectrons() for atom in atoms} >= {0, 1, 2}
    assert any(atom.GetIsotope() for atom in atoms) and any(atom.GetNoImplicit() for atom in atoms)
    assert {str(atom.GetChiralTag()) for atom in atoms} >= {"CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW"}
    assert {str(bond.GetBondType()) for bond in bonds} == {"SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "DATIVE"}
    assert len({str(bond.GetStereo()) for bond in bonds}) > 2 and len({str(bond.GetBondDir()) for bond in bonds}) > 1
    assert max(mol.GetNumAtoms() for mol in mols) > 255


def test_memory_does_not_change_results(monkeypatch: pytest.MonkeyPatch) -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    expected = [featurize(mol) for mol in mols]
    memory._ATOMS.clear()
    memory._BONDS.clear()
    for mol, graph in reversed(list(zip(mols, expected, strict=True))):
        assert_same(featurize(mol), graph)
    memory._ATOMS.clear()
    monkeypatch.setattr(memory, "_LIMIT", 5)
    for mol, graph in zip(mols, expected, strict=True):
        assert_same(featurize(mol), graph)
        assert len(memory._ATOMS) <= 5 + mol.GetNumAtoms()


def test_featurize_leaves_the_molecule_alone() -> None:
    for smiles in ("C[C@H]1CC[C@@H](C)CC1", "F/C=C/F", "C[C@H](N)C(=O)O"):
        mol = Chem.MolFromSmiles(smiles)
        before = mol.ToBinary(Chem.PropertyPickleOptions.AllProps)
        featurize(mol)
        assert mol.ToBinary(Chem.PropertyPickleOptions.AllProps) == before


def test_many_are_the_single_ones_in_order() -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in MOLECULES]
    singles = [featurize(mol) for mol in mols]
    for arrays in (featurize_many(mols), graphs_from_smiles(MOLECULES)[0]):
        kept = [graph for graph in singles if not (arrays.atom_counts.size < len(singles) and _only_hydrogen(graph))]
        assert arrays.atom_counts.tolist() == [len(graph.atoms) for graph in kept]
        assert arrays.bond_counts.tolist() == [len(graph.bonds) for graph in kept]
        for field in ("atoms", "bonds", "ends"):
            joined = np.concatenate([getattr(graph, field) for graph in kept])
            assert getattr(arrays, field).dtype == joined.dtype
            assert np.array_equal(getattr(arrays, field), joined)


def _only_hydrogen(graph: MolGraph) -> bool:
    return bool((atom_field(graph.atoms, "atomic_number") <= 1).all())


def test_many_reports_reasons_in_place() -> None:
    texts = ["CCO", None, "C1CC", "CC", "[H][H]", "C" * 600, "[2000C]", " O "] * 40
    arrays, reasons = graphs_from_smiles(texts)
    assert reasons == [graph_from_smiles(text)[1] for text in texts]
    assert reasons[:8] == [
        None,
        "empty",
        "cannot parse",
        None,
        "no heavy atoms",
        "more than 500 atoms",
        "element not in schema",
        None,
    ]
    assert arrays.atom_counts.tolist() == [3, 2, 1] * 40


def test_nothing_gives_empty_arrays() -> None:
    arrays, reasons = graphs_from_smiles([])
    assert reasons == [] and arrays.atoms.shape == (0, 12) and arrays.bonds.shape == (0, 2)
    assert arrays.ends.shape == (0, 2) and len(arrays.atom_counts) == len(arrays.bond_counts) == 0


def test_results_travel_between_processes_and_can_be_written_to() -> None:
    graph, _ = graph_from_smiles("C[C@H](N)C(=O)O")
    assert graph is not None
    assert_same(pickle.loads(pickle.dumps(graph)), graph)
    graph.atoms[0, 0] = 9
    again, _ = graph_from_smiles("C[C@H](N)C(=O)O")
    assert again is not None and again.atoms[0, 0] == 6


def test_threads_share_the_memory_safely() -> None:
    memory._ATOMS.clear()
    memory._BONDS.clear()
    expected = [graph_from_smiles(smiles)[0] for smiles in MOLECULES]
    failures = []

    def work() -> None:
        for smiles, graph in zip(MOLECULES, expected, strict=True):
            found = graph_from_smiles(smiles)[0]
            if (found is None) != (graph is None) or (found and not np.array_equal(found.atoms, graph.atoms)):
                failures.append(smiles)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_coordinates_are_kept_on_request() -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    mol = Chem.MolFromMolBlock(block)
    positions = np.arange(9, dtype=float).reshape(3, 3)
    for index, position in enumerate(positions):
        mol.GetConformer().SetAtomPosition(index, position.tolist())
    assert featurize(mol).coordinates is None
    found = featurize(mol, coordinates=True).coordinates
    assert found is not None and found.dtype == np.float32 and np.array_equal(found, positions)
    assert featurize(Chem.MolFromSmiles("CCO"), coordinates=True).coordinates is None
    assert_same(featurize(mol), featurize(Chem.MolFromSmiles("CCO")))


def test_stereo_of_a_structure_comes_from_its_coordinates() -> None:
    smiles = "C[C@H](N)C(=O)O"
    flat = Chem.MolFromSmiles(smiles)
    rdDepictor.Compute2DCoords(flat)
    read = Chem.MolFromMolBlock(Chem.MolToMolBlock(flat))
    assert atom_field(featurize(read).atoms, "cip").tolist() == atom_field(featurize(flat).atoms, "cip").tolist()
    assert atom_field(featurize(read).atoms, "cip").any()


def test_what_the_fields_cannot_hold_is_refused() -> None:
    with pytest.raises(memory.OutsideSchema):
        featurize(Chem.MolFromSmiles("[1024U]"))
    assert isotopes(featurize(Chem.MolFromSmiles("[1023U]")).atoms) == 1023
    for charge in (-128, 127):
        mol = Chem.MolFromSmiles("[U]")
        mol.GetAtomWithIdx(0).SetFormalCharge(charge)
        assert charges(featurize(mol).atoms) == charge
    with pytest.raises(memory.OutsideSchema):
        featurize(Chem.MolFromSmarts("[#6]~[#7]"))
    star = Chem.RWMol(Chem.MolFromSmiles("[U]"))
    for _ in range(256):
        star.AddBond(0, star.AddAtom(Chem.Atom("Cl")), Chem.BondType.DATIVE)
    star.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(star)
    with pytest.raises(memory.OutsideSchema):
        featurize(star)


def test_walk_is_left_where_the_matcher_is_cut_short() -> None:
    """170 amines with three neighbours embed 1020 times: above RDKit's limit of 1000 the matcher decides."""
    crowd = Chem.MolFromSmiles(".".join(["CN(C)C"] * 170))
    assert not groups.can_walk([atom.kind for atom in (memory.read_atom(a) for a in crowd.GetAtoms())], (1,) * 510)
    assert_as_asked(crowd, featurize(crowd))
    few = Chem.MolFromSmiles(".".join(["CN(C)C"] * 160))
    assert_as_asked(few, featurize(few))
    assert bond_field(featurize(few).bonds, "type").tolist() == [1] * 480


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = graphs_from_smiles(MOLECULES)[0]
    monkeypatch.setattr(module, "_BLOCK", 3)
    for ours, theirs in zip(graphs_from_smiles(iter(MOLECULES))[0], expected, strict=True):
        assert np.array_equal(ours, theirs)
