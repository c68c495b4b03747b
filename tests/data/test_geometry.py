"""Atoms in space for fine-tuning: computed in parallel or the user's own, the same for any number of workers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDepictor
from small_models import heteroatoms, molecules, write_table

from mesomer import MolRegressor
from mesomer.chem import conformers
from mesomer.chem.conformers import DRAWN, EMBEDDED, LATE, OUTCOMES, RELAXED, conformer
from mesomer.chem.featurize import featurize
from mesomer.commands.embed import embed
from mesomer.commands.predict import predict
from mesomer.data import geometry
from mesomer.data.geometry import Geometry, geometry_warnings, placed_graphs
from mesomer.data.labels import read_labels
from mesomer.data.placed import store_coordinates, with_stored_coordinates
from mesomer.data.tables import open_table
from mesomer.encoders.base import build_encoder
from mesomer.inference.rows import Wanted, table_rows
from mesomer.training import finetune_plan as plan
from mesomer.training.checkpoint import save_model
from mesomer.training.finetune import finetune, labelled_splits
from mesomer.training.finetune_plan import FinetuneOptions, property_data


@pytest.mark.parametrize("workers", [1, 2])
def test_graphs_are_placed_in_order(monkeypatch, workers):
    monkeypatch.setattr(geometry, "_MOLECULES_A_TASK", 2)
    mols = [Chem.MolFromSmiles(text) for text in ("CCO", "[Na+].[Cl-]", "C", "c1ccccc1", "CCN")]
    own = Chem.Conformer(3)
    for atom in range(3):
        own.SetAtomPosition(atom, [2.0 * atom, 1, 1])
    own.Set3D(True)
    mols[4].AddConformer(own)
    found = placed_graphs([featurize(mol) for mol in mols], mols, workers, quiet=True)
    for mol, graph in zip(mols[:4], found, strict=False):
        assert np.array_equal(graph.coordinates, conformer(mol).coordinates)
        assert np.array_equal(graph.atoms, featurize(mol).atoms)
    assert np.array_equal(found[4].coordinates, [[0, 1, 1], [2, 1, 1], [4, 1, 1]])
    assert geometry_warnings(found) == ["1 of 5 molecules with atoms on top of each other (fragments, mostly)."]
    assert geometry_warnings(found[2:]) == []
    drawing = in_two("CO")
    mixed = [*mols, drawing]
    assert geometry_warnings(found, mols) == [
        "Own coordinates in space: 1 of 5 molecules; computed for 4.",
        "1 of 5 molecules with atoms on top of each other (fragments, mostly): [Cl-].[Na+].",
    ]
    [told] = geometry_warnings([*found[2:], found[2]], mixed[2:])
    assert told.endswith("computed for 3, 1 of them drawn in the data, in two dimensions.")
    assert geometry_warnings(found[2:4], mols[2:4]) == geometry_warnings(found[4:], mols[4:]) == []
    many = [found[1]] * 5
    assert geometry_warnings(many, [mols[1]] * 5) == [
        "5 of 5 molecules with atoms on top of each other (fragments, mostly): [Cl-].[Na+], [Cl-].[Na+], [Cl-].[Na+] "
        "and 2 more."
    ]


def test_zeros_are_no_drawing():
    mols = [Chem.MolFromSmiles("CO"), in_three("CCN"), in_two("CCO")]
    mols[0].AddConformer(Chem.Conformer(2))
    mols[0].GetConformer().Set3D(False)
    told = Geometry()
    told.add(placed_graphs([featurize(mol) for mol in mols], mols, 1, quiet=True), mols)
    assert told.counts[geometry.DRAWINGS] == told.counts[geometry.OWN] == 1
    assert told.sentences() == [
        "Own coordinates in space: 1 of 3 molecules; computed for 2, 1 of them drawn in the data, in two dimensions."
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_how_coordinates_came_about_is_counted(monkeypatch, workers):
    monkeypatch.setattr(geometry, "_MOLECULES_A_TASK", 2)
    mols = [*(Chem.MolFromSmiles(text) for text in ("CCO", "[Fe+3]", "CCN", "C")), in_three("CCC")]
    told = Geometry()
    told.add(placed_graphs([featurize(mol) for mol in mols], mols, workers, quiet=True), mols)
    assert told.counts[OUTCOMES[RELAXED]] == 3 and told.counts[OUTCOMES[EMBEDDED]] == told.counts[geometry.OWN] == 1
    assert OUTCOMES[DRAWN] not in told.counts and LATE not in told.counts


def test_molecules_whose_time_ran_out_are_told(monkeypatch):
    monkeypatch.setattr(conformers.conformer, "__defaults__", (conformers.SEED, 0.0))
    mols = [Chem.MolFromSmiles("CCO"), in_three("CCC")]
    told = Geometry()
    told.add(placed_graphs([featurize(mol) for mol in mols], mols, 1, quiet=True), mols)
    assert told.counts[LATE] == 1
    assert f"1 of 2 molecules {LATE}: CCO." in told.sentences()


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("rmat", hidden_size=16, heads=2, blocks=1, ffn_hidden=16)
    config = {"encoder": {"name": "rmat", "config": encoder.config()}}
    return save_model(tmp_path_factory.mktemp("model") / "rmat", "encoder", config, encoder.state_dict(), "# test\n")


def write_structures(path, mols, values=None):
    with Chem.SDWriter(str(path)) as writer:
        for at, mol in enumerate(mols):
            mol.SetProp("n", str(at / 2 if values is None else values[at]))
            writer.write(mol)
    return path


def in_two(text):
    mol = Chem.MolFromSmiles(text)
    rdDepictor.Compute2DCoords(mol)
    return mol


def in_three(text, seed=1):
    mol = Chem.MolFromSmiles(text)
    shape = Chem.Conformer(mol.GetNumAtoms())
    shape.SetPositions(conformer(mol, seed).coordinates.astype(np.float64))
    shape.Set3D(True)
    mol.AddConformer(shape)
    return mol


def test_rows_are_placed_by_several_processes_alike(tmp_path, monkeypatch):
    """Unreadable rows keep their places; the display counts each row once, those to be placed as they are."""
    monkeypatch.setattr(geometry, "_MOLECULES_A_TASK", 2)
    table = write_table(tmp_path / "a.csv", {"smiles": ["CCO", "nonsense", "CCN", "[Na+].[Cl-]", "", "c1ccccc1"]})
    found = []
    for workers in (1, 2):
        counted: list[int] = []
        [(chunk, rows)] = table_rows(open_table(str(table)), Wanted(coordinates=True), workers, counted.append)
        found.append(rows)
        assert sum(counted) == len(chunk) == 6 and counted[1:3] == [2, 2]
    for one, two in zip(found[0].graphs, found[1].graphs, strict=True):
        assert (one is None) == (two is None)
        assert one is None or np.array_equal(one.coordinates, two.coordinates)
    assert [graph is None for graph in found[0].graphs] == [False, True, False, False, True, False]
    assert np.array_equal(found[0].graphs[2].coordinates, conformer(Chem.MolFromSmiles("CCN")).coordinates)


def test_drawings_are_never_taken_nor_replaced_unsaid(tmp_path, encoder_folder, monkeypatch):
    """Of a file with structures, drawings and ions, `embed` tells which had their coordinates computed."""
    monkeypatch.setattr(geometry, "available_cores", lambda: 1)
    stretched = in_three("CCO")
    stretched.GetConformer().SetAtomPosition(2, stretched.GetConformer().GetAtomPosition(2) * 1.2)
    mols = [in_three("CCO"), in_two("CCN"), in_two("CC(=O)[O-].[Na+]"), stretched]
    path = write_structures(tmp_path / "a.sdf", mols)
    told = embed(str(path), model=str(encoder_folder), output=str(tmp_path / "a.npy"))
    own, crowding = told["geometry_warnings"]
    assert (
        own
        == "Own coordinates in space: 2 of 4 molecules; computed for 2, 2 of them drawn in the data, in two dimensions."
    )
    assert crowding.endswith("(fragments, mostly): CC(=O)[O-].[Na+].") and crowding.startswith("1 of 4 molecules")
    assert own in told["text"] and crowding in told["text"]
    assert told["geometry"][geometry.OWN] == told["geometry"][geometry.DRAWINGS] == 2
    vectors = np.load(tmp_path / "a.npy")
    write_table(tmp_path / "b.csv", {"smiles": ["CCN"]})
    embed(str(tmp_path / "b.csv"), model=str(encoder_folder), output=str(tmp_path / "b.npy"))
    assert np.allclose(vectors[1], np.load(tmp_path / "b.npy")[0], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[3], atol=1e-4)  # one molecule, two structures


def test_a_record_without_finite_coordinates_costs_itself_only(tmp_path, encoder_folder):
    mols = [in_three("CCO"), in_three("CCN")]
    mols[0].GetConformer().SetAtomPosition(1, [float("nan"), 0, 0])
    assert model_rows(mols) == ["coordinates are no finite numbers", None]
    blocks = [Chem.MolToV3KMolBlock(mol) for mol in mols]
    (tmp_path / "a.sdf").write_text("".join(f"{block}$$$$\n" for block in blocks))
    told = embed(str(tmp_path / "a.sdf"), model=str(encoder_folder), output=str(tmp_path / "a.csv"))
    assert told["failures"] == {"coordinates are no finite numbers": 1} and told["rows"] == 2


def model_rows(mols):
    [(_, rows)] = table_rows(open_table(mols), Wanted(coordinates=True), 1)
    return rows.reasons


def test_repeated_rows_keep_a_structure(tmp_path):
    """Of a drawing and a structure of one molecule the structure is kept; of two the first, which is told."""
    others = [in_three(text) for text in molecules(12)]
    repeated = [in_two("CCOC(C)=O"), in_three("CCOC(C)=O"), in_three("CCOC(C)=O", seed=2)]
    same = [in_three("CCCO"), in_three("CCCO")]
    table = open_table(str(write_structures(tmp_path / "a.sdf", [*repeated, *same, *others])))
    task = labelled_splits(table, ["n"], FinetuneOptions(epochs=1), split="random", repeats=1, coordinates=True)
    assert np.array_equal(task.data.graphs[0].coordinates, conformer(repeated[1], 1).coordinates)
    assert task.labelled.structures == 1 and task.labelled.rows[0] == 1
    assert "Repeated rows of 1 molecule bring different coordinates; used: the first." in task.warnings
    assert not any("computed" in text for text in task.warnings)


def test_an_encoder_that_needs_coordinates_is_fine_tuned(tmp_path, encoder_folder, monkeypatch):
    monkeypatch.setattr(geometry, "available_cores", lambda: 1)
    smiles = [*molecules(39), "[Na+].[Cl-]"]
    table = write_table(tmp_path / "a.csv", {"smiles": smiles, "n": [heteroatoms(text) + 0.5 for text in smiles]})
    options = FinetuneOptions(epochs=1, accelerator="cpu")
    finetune(
        str(table), targets=["n"], output=tmp_path / "run", model=str(encoder_folder), repeats=1, split="random",
        options=options,
    )  # fmt: skip
    told = (tmp_path / "run" / "log.txt").read_text()
    assert "1 of 40 molecules with atoms on top of each other (fragments, mostly): [Cl-].[Na+]." in told
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "head of width 200 were trained" in card and "views" not in card
    told = predict(str(table), model=str(tmp_path / "run"), output=str(tmp_path / "out.csv"))
    assert told["failed"] == 0 and told["geometry"]["with atoms on top of each other (fragments, mostly)"] == 1


def test_an_estimator_places_atoms_too(encoder_folder, monkeypatch):
    monkeypatch.setattr(geometry, "available_cores", lambda: 1)
    smiles = molecules(24)
    model = MolRegressor(model=str(encoder_folder), split="random", epochs=1).fit(
        smiles, [float(heteroatoms(text)) for text in smiles]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.predict(smiles[:3])).all()
    with pytest.warns(UserWarning, match=r"1 of 2 molecules with atoms on top of each other .*: CCN.Cl\."):
        model.predict(["CCO", "CCN.Cl"])


def test_a_structure_file_keeps_its_coordinates_to_the_graphs(tmp_path):
    """For fine-tuning, and for the rows that predict and embed see; hydrogens of the file are no nodes."""
    written = []
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for count, text in enumerate(molecules(20)):
            mol = Chem.AddHs(Chem.MolFromSmiles(text))
            shape = Chem.Conformer(mol.GetNumAtoms())
            for atom in range(mol.GetNumAtoms()):
                shape.SetAtomPosition(atom, [1.25 * atom, 0.5, count + 1.0])
            shape.Set3D(True)
            mol.AddConformer(shape)
            mol.SetProp("n", str(count / 2))
            writer.write(mol)
            written.append(mol.GetNumHeavyAtoms())
    labelled = read_labels(open_table(str(tmp_path / "a.sdf")), ["n"])
    graphs = property_data(labelled, coordinates=True).graphs
    [(_, rows)] = table_rows(open_table(str(tmp_path / "a.sdf")), Wanted(coordinates=True))
    for found in (graphs, rows.graphs):
        for count, (graph, atoms) in enumerate(zip(found, written, strict=True)):
            assert graph.coordinates.shape == (atoms, 3)
            assert np.array_equal(graph.coordinates[:, 2], np.full(atoms, count + 1.0))
            assert np.array_equal(graph.coordinates[:, 0], 1.25 * np.arange(atoms))


def test_fine_tuning_as_published_for_rmat(tmp_path, encoder_folder, monkeypatch):
    """The published schedule, the last epoch, pooling by attention, a linear head: all by options."""
    monkeypatch.setattr(geometry, "available_cores", lambda: 1)
    smiles = molecules(30)
    table = write_table(tmp_path / "a.csv", {"smiles": smiles, "n": [heteroatoms(text) for text in smiles]})
    options = FinetuneOptions(
        epochs=3, batch_size=16, max_lr=1e-2, warmup_epochs=0.6, schedule="inverse_sqrt", select="last", clip=None,
        readout="attention", ffn_layers=1, dropout=0.0, standardize=False, accelerator="cpu",
    )  # fmt: skip
    found = finetune(
        str(table), targets=["n"], output=tmp_path / "run", model=str(encoder_folder), repeats=1, split="random",
        task="regression", options=options,
    )  # fmt: skip
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "one shared attention readout and a linear head were trained" in card
    assert "then decay with the square root of the step" in card and "the last epoch was kept." in card
    assert found is not None and (tmp_path / "run" / "report.html").exists() is False


def test_stored_coordinates_are_read_by_the_molecules_that_they_are_of(tmp_path):
    smiles = molecules(5)
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    bare = [featurize(mol) for mol in mols]
    placed = placed_graphs(bare, mols, 1, quiet=True)
    assert with_stored_coordinates(tmp_path, smiles, bare) is None
    store_coordinates(tmp_path, smiles, placed)
    found = with_stored_coordinates(tmp_path, smiles, bare)
    assert all(np.array_equal(one.coordinates, other.coordinates) for one, other in zip(found, placed, strict=True))
    assert with_stored_coordinates(tmp_path, smiles[::-1], bare[::-1]) is None


def test_an_interrupted_fine_tuning_does_not_place_its_atoms_again(tmp_path, encoder_folder, monkeypatch):
    monkeypatch.setattr(geometry, "available_cores", lambda: 1)
    smiles = molecules(30)
    table = write_table(tmp_path / "a.csv", {"smiles": smiles, "n": [heteroatoms(text) for text in smiles]})

    def run():
        finetune(
            str(table), targets=["n"], output=tmp_path / "run", model=str(encoder_folder), repeats=1, split="random",
            options=FinetuneOptions(epochs=1, accelerator="cpu"),
        )  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr("mesomer.training.finetune.run_cells", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run()
    monkeypatch.setattr(plan, "placed_graphs", lambda *_, **__: pytest.fail("placed again"))
    run()
    assert not (tmp_path / "run" / "cells").exists()
