"""Published features are rebuilt from the codes exactly: every reference set that holds such arrays, and edge cases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rdkit
from conftest import find_reference
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem import published
from mesomer.chem.featurize import featurize_many
from mesomer.chem.graph import GraphArrays
from mesomer.chem.schema import ATOM_BYTES, ATOM_FIELDS, BOND_BYTES, BOND_FIELDS, BOND_TYPES, atom_field
from mesomer.errors import MesomerError

Features = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
DIRECTED: dict[str, Features] = {
    "grover": (published.grover_atoms, published.grover_bonds),
    "batmannet": (published.batmannet_atoms, published.batmannet_bonds),
}


def reference_sets() -> Iterator[Path]:
    folder = find_reference()
    for path in sorted((folder / "parity").iterdir()) if folder else ():
        if (path / "config.json").is_file() and (path / "expected.npz").is_file() and (path / "smiles.csv").is_file():
            yield path


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "expected.npz") as content:
        return {name: content[name] for name in content.files}


def smiles_of(folder: Path) -> list[str]:
    with open(folder / "smiles.csv", newline="") as file:
        return [row["smiles"] for row in csv.DictReader(file)]


def same_rdkit(folder: Path) -> None:
    named = json.loads((folder / "config.json").read_text()).get("versions", {}).get("rdkit", rdkit.__version__)
    if [int(part) for part in named.split(".")] != [int(part) for part in rdkit.__version__.split(".")]:
        pytest.skip(f"the set was made with RDKit {named}, this is {rdkit.__version__}: features may differ")


def graphs(smiles: list[str]) -> GraphArrays:
    return featurize_many([Chem.MolFromSmiles(text) for text in smiles])


def first_atoms(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


SETS = [pytest.param(path, id=path.name) for path in reference_sets()]


@pytest.mark.reference
@pytest.mark.parametrize("folder", SETS)
def test_graphs_of_directed_bonds(folder: Path) -> None:
    """GROVER's and BatmanNet's batches: `graph_<which>_f_atoms`, `_f_bonds`, `_b2a`, `_b2revb`, scopes, tables."""
    arrays = arrays_of(folder)
    names = [name.removesuffix("_f_atoms") for name in arrays if name.endswith("_f_atoms")]
    if not names:
        pytest.skip("the set has no graphs of directed bonds")
    same_rdkit(folder)
    widths = {arrays[f"{name}_f_atoms"].shape[1] for name in names}
    features = [pair for pair in DIRECTED.values() if pair[0](np.zeros((0, ATOM_BYTES), np.uint8)).shape[1] in widths]
    (atom_features, bond_features) = features[0]
    for name in names:
        count = len(arrays[f"{name}_a_scope"])
        graph = graphs(smiles_of(folder)[:count])
        atoms = atom_features(graph.atoms)
        order = published.published_bond_order(graph.ends, graph.bond_counts)
        ends = graph.ends[order].astype(int) + np.repeat(first_atoms(graph.atom_counts), graph.bond_counts)[:, None]
        sources, targets = ends.reshape(-1), ends[:, ::-1].reshape(-1)
        bonds = np.concatenate([atoms[sources], np.repeat(bond_features(graph.bonds)[order], 2, axis=0)], axis=1)
        assert np.array_equal(arrays[f"{name}_f_atoms"][1:], atoms)
        assert np.array_equal(arrays[f"{name}_f_bonds"][1:], bonds)
        assert not arrays[f"{name}_f_atoms"][0].any() and not arrays[f"{name}_f_bonds"][0].any()
        assert np.array_equal(arrays[f"{name}_b2a"][1:], sources + 1)
        assert np.array_equal(arrays[f"{name}_b2revb"][1:] - 1, np.arange(len(sources)) ^ 1)
        assert np.array_equal(arrays[f"{name}_a_scope"][:, 1], graph.atom_counts)
        assert np.array_equal(arrays[f"{name}_b_scope"][:, 1], 2 * graph.bond_counts)
        table = np.zeros_like(arrays[f"{name}_a2b"])
        used = np.zeros(len(atoms) + 1, dtype=int)
        for bond, target in enumerate(targets):
            table[target + 1, used[target + 1]] = bond + 1
            used[target + 1] += 1
        assert np.array_equal(arrays[f"{name}_a2b"], table)


@pytest.mark.reference
@pytest.mark.parametrize("source", ["smiles", "structures"])
@pytest.mark.parametrize("folder", SETS)
def test_nodes_and_pairs(folder: Path, source: str) -> None:
    """R-MAT's and MAT's molecules: a dummy node before each, one column more where a mask column leads."""
    arrays = arrays_of(folder)
    if "all_node_features" not in arrays:
        pytest.skip("the set has no node features")
    same_rdkit(folder)
    mols = [Chem.MolFromSmiles(text) for text in smiles_of(folder)]
    if source == "structures":
        (path,) = folder.glob("*.sdf")
        mols = list(Chem.SDMolSupplier(str(path), removeHs=False))
    graph = featurize_many(mols)
    assert np.array_equal(arrays["n_atoms"], graph.atom_counts)
    atoms = published.rmat_atoms(graph.atoms)
    expected = arrays["all_node_features"]
    expected = expected[:, expected.shape[1] - atoms.shape[1] :]
    dummies = first_atoms(graph.atom_counts + 1)
    real = np.ones(len(expected), dtype=bool)
    real[dummies] = False
    assert np.array_equal(expected[real], atoms)
    assert (expected[dummies] == np.eye(atoms.shape[1])[0]).all()
    if "all_bond_bits" in arrays:
        bits = (published.rmat_bonds(graph.bonds).astype(int) << np.arange(1, 8)).sum(1)
        start = bond = 0
        for atom_count, bond_count in zip(graph.atom_counts, graph.bond_counts, strict=True):
            pairs = np.zeros((atom_count + 1, atom_count + 1), dtype=int)
            begin, end = graph.ends[bond : bond + bond_count].astype(int).T + 1
            pairs[begin, end] = pairs[end, begin] = bits[bond : bond + bond_count]
            assert np.array_equal(arrays["all_bond_bits"][start : start + pairs.size], pairs.reshape(-1))
            start, bond = start + pairs.size, bond + bond_count
        assert start == len(arrays["all_bond_bits"])
    if "coordinates" in arrays and source == "structures":
        from mesomer.chem.featurize import featurize

        kept = [featurize(mol, coordinates=True).coordinates for mol in mols]
        assert np.array_equal(np.concatenate(kept), arrays["coordinates"].astype(np.float32))


@pytest.mark.reference
@pytest.mark.parametrize("folder", SETS)
def test_index_features(folder: Path) -> None:
    """pretrain-gnns' `x`, `edge_index`, `edge_attr`, in RDKit's bond order and direction."""
    arrays = arrays_of(folder)
    if "edge_attr" not in arrays:
        pytest.skip("the set has no index features")
    same_rdkit(folder)
    graph = graphs(smiles_of(folder))
    assert np.array_equal(arrays["x"], published.basic_atoms(graph.atoms))
    assert np.array_equal(arrays["edge_attr"], np.repeat(published.basic_bonds(graph.bonds), 2, axis=0))
    pairs = published.begin_end(graph.ends, graph.bonds).astype(int)
    pairs += np.repeat(first_atoms(graph.atom_counts), graph.bond_counts)[:, None]
    both = np.stack([pairs, pairs[:, ::-1]], axis=1).reshape(-1, 2)
    assert np.array_equal(arrays["edge_index"], both.T)
    assert np.array_equal(arrays["batch"], np.repeat(np.arange(len(graph.atom_counts)), graph.atom_counts))


def test_masses_are_rdkits() -> None:
    codes, expected = [], []
    for number in range(119):
        for isotope in (0, 1, 2, 3, 13, 14, 99, 235, 256, 999, 1023):
            row = np.zeros(ATOM_BYTES, dtype=np.uint8)
            row[ATOM_FIELDS["atomic_number"].byte] = number
            row[ATOM_FIELDS["isotope_low"].byte] = isotope & 255
            row[ATOM_FIELDS["isotope_high"].byte] |= (isotope >> 8) << ATOM_FIELDS["isotope_high"].shift
            atom = Chem.Atom(number)
            atom.SetIsotope(isotope)
            codes.append(row)
            expected.append(atom.GetMass())
    assert np.array_equal(published.masses(np.array(codes)), expected)


@pytest.mark.parametrize("name", sorted(BOND_TYPES.keys() & Chem.BondType.names.keys()))
def test_bond_orders_of_rmat_are_rdkits(name: str) -> None:
    mol = Chem.MolFromSmiles("CC")
    bond = mol.GetBondWithIdx(0)
    bond.SetBondType(Chem.BondType.names[name])
    try:
        order = bond.GetBondTypeAsDouble()
    except RuntimeError:
        pytest.skip("RDKit itself gives such a bond no order")
    codes = np.zeros((1, BOND_BYTES), dtype=np.uint8)
    codes[0, BOND_FIELDS["type"].byte] = BOND_TYPES[name]
    slot = {1.0: 0, 1.5: 1, 2.0: 2}.get(order, 3)
    assert published.rmat_bonds(codes)[0, :4].tolist() == np.eye(4)[slot].tolist()


@pytest.mark.parametrize(
    ("charge", "column"), [(-6, 0), (-5, 1), (-4, 2), (-3, 3), (-2, 4), (-1, 5), (0, 0), (1, 1), (2, 2), (3, 3), (5, 5)]
)
def test_grover_charge_columns(charge: int, column: int) -> None:
    row = published.grover_atoms(charged(charge))[0, 108:114]
    assert row.tolist() == np.eye(6)[column].tolist()


def test_charges_without_a_column() -> None:
    for charge in (-7, 6):
        with pytest.raises(MesomerError, match=str(charge)):
            published.grover_atoms(charged(charge))
    for charge in (-6, 6, 9):
        assert published.rmat_atoms(charged(charge))[0, 23:34].tolist() == np.eye(11)[10].tolist()
    assert published.rmat_atoms(charged(-5))[0, 23:34].tolist() == np.eye(11)[0].tolist()
    assert published.batmannet_atoms(charged(3))[0, 29:34].tolist() == [0, 0, 0, 0, 1]


def charged(charge: int) -> np.ndarray:
    mol = Chem.MolFromSmiles("[U]")
    mol.GetAtomWithIdx(0).SetFormalCharge(charge)
    return featurize_many([mol]).atoms


def test_what_pretrain_gnns_cannot_encode_is_marked() -> None:
    graph = graphs(["*C", "[Fe]<-N"])
    assert published.basic_atoms(graph.atoms)[:, 0].tolist() == [-1, 5, 25, 6]
    assert published.basic_bonds(graph.bonds)[:, 0].tolist() == [0, -1]


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6), max_size=5))
def test_published_bond_order_sorts_inside_molecules(molecules: list[list[tuple[int, int]]]) -> None:
    ends = np.array([pair for pairs in molecules for pair in pairs], dtype=np.uint16).reshape(-1, 2)
    order = published.published_bond_order(ends, [len(pairs) for pairs in molecules])
    expected = [pair for pairs in molecules for pair in sorted(pairs)]
    assert [tuple(pair) for pair in ends[order].tolist()] == expected


def test_no_atoms_no_rows() -> None:
    atoms, bonds = np.zeros((0, ATOM_BYTES), np.uint8), np.zeros((0, BOND_BYTES), np.uint8)
    assert published.grover_atoms(atoms).shape == (0, 151) and published.grover_bonds(bonds).shape == (0, 14)
    assert published.batmannet_atoms(atoms).shape == (0, 39) and published.batmannet_bonds(bonds).shape == (0, 11)
    assert published.rmat_atoms(atoms).shape == (0, 36) and published.rmat_bonds(bonds).shape == (0, 7)
    assert published.basic_atoms(atoms).shape == (0, 2) and published.basic_bonds(bonds).shape == (0, 2)
    assert atom_field(atoms, "charge").shape == (0,)
