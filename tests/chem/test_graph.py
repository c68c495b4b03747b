"""Batches hold every molecule's codes and bonds, whatever is put together, and say which is whose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chem_oracle import MOLECULES
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.chem.featurize import featurize
from mesomer.chem.graph import GraphBatch, MolGraph, batch_from_arrays, collate
from mesomer.chem.schema import ATOM_FIELDS, BOND_FIELDS, SPELLING_DEPENDENT, atom_field, bond_field

GRAPHS = [featurize(Chem.MolFromSmiles(smiles)) for smiles in MOLECULES]


def check(batch: GraphBatch, graphs: list[MolGraph]) -> None:
    assert batch.num_molecules == len(graphs)
    assert batch.num_atoms == sum(len(graph.atoms) for graph in graphs)
    assert batch.num_bonds == 2 * sum(len(graph.bonds) for graph in graphs)
    for m, graph in enumerate(graphs):
        first, last = batch.atom_offsets[m : m + 2].tolist()
        start, stop = batch.bond_offsets[m : m + 2].tolist()
        assert np.array_equal(batch.atom_codes[first:last], graph.atoms)
        assert np.array_equal(batch.bond_codes[start:stop], graph.bonds)
        assert (batch.atom_molecule[first:last] == m).all() and (batch.bond_molecule[start:stop] == m).all()
        forward = slice(2 * start, 2 * stop, 2)
        assert np.array_equal(batch.source[forward] - first, graph.ends[:, 0])
        assert np.array_equal(batch.target[forward] - first, graph.ends[:, 1])
    directed = torch.arange(batch.num_bonds)
    assert torch.equal(batch.source[directed ^ 1], batch.target)
    assert torch.equal(batch.atom_molecule[batch.source], batch.bond_molecule[directed >> 1])
    for atom in range(batch.num_atoms):
        arriving = batch.incoming[batch.incoming_offsets[atom] : batch.incoming_offsets[atom + 1]]
        assert arriving.tolist() == torch.nonzero(batch.target == atom).reshape(-1).tolist()
    assert batch.incoming_offsets[-1] == batch.num_bonds


@given(st.lists(st.sampled_from(GRAPHS), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_batches_hold_their_molecules(graphs: list[MolGraph]) -> None:
    batch = collate(graphs)
    check(batch, graphs)
    assert batch.key.tolist() == list(range(len(graphs)))
    assert batch.coordinates is None and batch.extras == {}


def test_types_and_devices() -> None:
    batch = collate(GRAPHS[:5], keys=[7, 1, 9, 3, 3], extras={"labels": np.ones((5, 2), np.float32)})
    assert batch.atom_codes.dtype == batch.bond_codes.dtype == torch.uint8
    for name in ("source", "target", "atom_molecule", "bond_molecule", "atom_offsets", "bond_offsets", "incoming"):
        assert getattr(batch, name).dtype == torch.int64
    assert batch.key.tolist() == [7, 1, 9, 3, 3]
    moved = batch.to("meta")
    assert moved.source.device.type == moved.extras["labels"].device.type == "meta"
    assert moved.coordinates is None


def test_coordinates_are_kept_if_all_have_them() -> None:
    with_positions = [graph._replace(coordinates=np.ones((len(graph.atoms), 3), np.float32)) for graph in GRAPHS[:3]]
    kept = collate(with_positions).coordinates
    assert kept is not None and kept.shape == (sum(len(graph.atoms) for graph in with_positions), 3)
    assert collate([*with_positions, GRAPHS[3]]).coordinates is None


def test_single_atoms_and_read_only_memory() -> None:
    graphs = [graph for graph in GRAPHS if not len(graph.bonds)]
    batch = collate(graphs)
    assert batch.num_bonds == 0 and batch.bond_codes.shape == (0, 2) and batch.incoming.shape == (0,)
    arrays = [np.frombuffer(GRAPHS[-1].atoms.tobytes(), np.uint8).reshape(-1, 12), GRAPHS[-1].bonds, GRAPHS[-1].ends]
    batch = batch_from_arrays(*arrays, np.array([len(arrays[0])]), np.array([len(arrays[1])]))
    batch.atom_codes[0, 0] = 0  # the batch owns its memory
    assert arrays[0][0, 0] == GRAPHS[-1].atoms[0, 0]


def test_what_does_not_fit_together_is_refused() -> None:
    graph = GRAPHS[-1]
    with pytest.raises(ValueError, match="counts"):
        batch_from_arrays(graph.atoms, graph.bonds, graph.ends, np.array([1]), np.array([len(graph.bonds)]))
    with pytest.raises(ValueError, match="at least one"):
        collate([])


def test_fields_read_the_same_from_arrays_and_tensors() -> None:
    atoms = np.concatenate([graph.atoms for graph in GRAPHS])
    bonds = np.concatenate([graph.bonds for graph in GRAPHS])
    for read, fields, codes in ((atom_field, ATOM_FIELDS, atoms), (bond_field, BOND_FIELDS, bonds)):
        for name in fields:
            array, tensor = read(codes, name), read(torch.from_numpy(codes), name)
            assert array.dtype == np.uint8 and tensor.dtype == torch.int64
            assert np.array_equal(array, tensor.numpy())
            assert array.max() < fields[name].size


def test_fields_do_not_overlap() -> None:
    for fields, size in ((ATOM_FIELDS, 12), (BOND_FIELDS, 2)):
        used = [0] * size
        for field in fields.values():
            mask = (field.size - 1) << field.shift
            assert mask < 256 and not used[field.byte] & mask
            used[field.byte] |= mask
    assert SPELLING_DEPENDENT["atom"] <= ATOM_FIELDS.keys() and SPELLING_DEPENDENT["bond"] <= BOND_FIELDS.keys()
