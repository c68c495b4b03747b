"""Embedding and prediction: every row in its place, no influence of batch mates, RDKit's order of atoms and bonds."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from small_models import heteroatoms, molecules, read_table, save_encoder, small_encoder, write_table

from mesomer.chem.featurize import featurize, graph_from_smiles
from mesomer.chem.graph import collate
from mesomer.commands.embed import rows_sentence
from mesomer.data.labels import read_labels
from mesomer.data.splits import splits_for
from mesomer.data.tables import open_table
from mesomer.encoders.base import SUM_SCALE
from mesomer.errors import MesomerError
from mesomer.inference import Embedder, TablePredictor, embed_table, load, predict_table
from mesomer.inference.batches import Runner, size_batches
from mesomer.inference.rows import Wanted, table_rows
from mesomer.training.context import Context
from mesomer.training.finetune import run_cells
from mesomer.training.finetune_plan import FinetuneOptions, property_data
from mesomer.training.predictor import descriptor_columns
from mesomer.uncertainty import nearest_similarity

SMILES = molecules(60, seed=3)
BAD = {4: ("C(C", "cannot parse"), 9: ("", "empty"), 17: ("[H][H]", "no heavy atoms")}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "small")


def trained(folder, splits=2, **options):
    """A predictor of a number, two words and three words, with a table column among its features if wanted."""
    counts = [heteroatoms(text) for text in SMILES]
    frame = pandas.DataFrame({
        "smiles": SMILES,
        "n": [count + 0.25 for count in counts],
        "polar": ["yes" if count > 2 else "no" for count in counts],
        "kind": [("few", "some", "many")[min(count // 2, 2)] for count in counts],
        "length": [len(text) for text in SMILES],
    })  # fmt: skip
    descriptors = options.pop("descriptors", ())
    labelled = read_labels(open_table(frame), ["n", "polar", "kind"], keep=descriptor_columns(descriptors))
    data = property_data(labelled, descriptors)
    chosen = FinetuneOptions(epochs=2, ffn_hidden=16, batch_size=16, descriptors=descriptors, **options)
    drawn = splits_for("random", data.smiles, repeats=splits, fractions=(0.6, 0.2, 0.2))
    result = run_cells(data, drawn, small_encoder(), chosen, context=Context.start("cpu", "32"), quiet=True)
    result.predictor.save(folder, "# test\n")
    return result


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    return folder, trained(folder, readout="attention", attn_hidden=8, attn_out=2)


@pytest.fixture
def library(tmp_path):
    """Rows of all sizes with three bad ones."""
    texts = [BAD[at][0] if at in BAD else SMILES[at] for at in range(40)]
    return write_table(tmp_path / "library.csv", {"id": [f"m{at}" for at in range(40)], "smiles": texts})


def graphs_of(texts):
    return [graph_from_smiles(text)[0] for text in texts]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 100))
def test_batches_hold_every_molecule_once_within_the_budget(sizes, budget):
    sizes = np.array(sizes, dtype=np.int64)
    batches = list(size_batches(sizes, budget))
    assert sorted(at for batch in batches for at in batch) == list(range(len(sizes)))
    assert all(sizes[batch].sum() <= budget or len(batch) == 1 for batch in batches)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(12)), atoms=st.sampled_from([1, 30, 10_000]))
def test_results_come_back_in_order_whatever_the_batches(encoder, order, atoms):
    texts = [SMILES[at] for at in order]
    embedder = Embedder(encoder, accelerator="cpu", atoms_per_batch=atoms)
    alone = np.concatenate([embedder.vectors(graphs_of([text])) for text in texts])
    assert embedder.vectors(graphs_of(texts)) == pytest.approx(alone, abs=1e-5)


def test_prediction_does_not_depend_on_batch_mates(model):
    predictor = TablePredictor(model[0], accelerator="cpu")
    together = predictor.member_outputs(graphs_of(SMILES))
    alone = np.concatenate([predictor.member_outputs(graphs_of([text])) for text in SMILES], axis=1)
    assert together == pytest.approx(alone, abs=1e-5)


def test_spelling_does_not_change_a_molecule_vector(encoder):
    embedder = Embedder(encoder, accelerator="cpu")
    texts = ["C[C@H](N)C(=O)O", "OC(=O)[C@@H](N)C", "N[C@@H](C)C(O)=O", "C/C=C/Cl", "Cl/C=C/C"]
    vectors = embedder.vectors(graphs_of(texts))
    assert vectors[1:3] == pytest.approx(vectors[[0, 0]], abs=1e-5)
    assert vectors[4] == pytest.approx(vectors[3], abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_atom_and_bond_vectors_follow_rdkits_order(encoder, rng):
    mol = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)NC1CC1")
    order = list(range(mol.GetNumAtoms()))
    rng.shuffle(order)
    other = Chem.RenumberAtoms(mol, order)  # atom i of `other` is atom order[i] of `mol`
    atoms, bonds = Embedder(encoder, "atom", "cpu"), Embedder(encoder, "bond", "cpu")
    first, second = atoms.vector_lists([featurize(mol), featurize(other)])
    assert second == pytest.approx(first[order], abs=1e-5)
    first, second = bonds.vector_lists([featurize(mol), featurize(other)])
    assert len(first) == mol.GetNumBonds()
    place = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())): b.GetIdx() for b in mol.GetBonds()}
    same = [place[frozenset((order[b.GetBeginAtomIdx()], order[b.GetEndAtomIdx()]))] for b in other.GetBonds()]
    assert second == pytest.approx(first[same], abs=1e-5)


def test_a_bond_is_the_mean_of_its_directions_and_a_molecule_mean_and_scaled_sum_of_its_rows(encoder):
    graph = graphs_of(["CCOC(=O)N"])[0]
    network = load(encoder).embedder().encoder
    with torch.no_grad():
        views = network(collate([graph])).views
    atoms, bonds = (views[name].numpy() for name in network.readout_views)
    assert Embedder(encoder, "atom", "cpu").vector_lists([graph])[0] == pytest.approx(atoms)
    mean = (bonds[0::2] + bonds[1::2]) / 2
    assert Embedder(encoder, "bond", "cpu").vector_lists([graph])[0] == pytest.approx(mean, abs=1e-6)
    whole = Embedder(encoder, "molecule", "cpu").vectors([graph])[0]
    parts = [atoms.mean(0), atoms.sum(0) * SUM_SCALE, bonds.mean(0), bonds.sum(0) * SUM_SCALE]
    assert whole == pytest.approx(np.concatenate(parts), abs=1e-5)


def test_lone_atoms_and_bad_molecules(encoder):
    embedder = Embedder(encoder, "bond", "cpu")
    lone, nothing, pair = embedder.vector_lists([graphs_of(["C"])[0], None, graphs_of(["CC"])[0]])
    assert lone.shape == (0, 16) and nothing is None and pair.shape == (1, 16)
    vectors = Embedder(encoder, accelerator="cpu").vectors([None, graphs_of(["C"])[0]])
    assert np.isnan(vectors[0]).all() and np.isfinite(vectors[1]).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_embedded_table_keeps_every_row(encoder, library, tmp_path, workers):
    table = open_table(str(library), chunk_rows=7)
    found = embed_table(table, Embedder(encoder, accelerator="cpu"), tmp_path / "e.parquet", workers=workers)
    assert (found["rows"], found["failed"]) == (40, 3)
    assert found["failures"] == {"cannot parse": 1, "empty": 1, "no heavy atoms": 1}
    out = pq.read_table(tmp_path / "e.parquet")
    assert out.column_names == ["id", "smiles", "embedding", "mesomer_error"]
    rows = out.to_pylist()
    assert [row["id"] for row in rows] == [f"m{at}" for at in range(40)]
    embedder = Embedder(encoder, accelerator="cpu")
    for at, row in enumerate(rows):
        if at in BAD:
            assert row["embedding"] is None and row["mesomer_error"] == BAD[at][1]
        else:
            alone = embedder.vectors(graphs_of([row["smiles"]]))[0]
            assert row["embedding"] == pytest.approx(alone, abs=1e-5) and row["mesomer_error"] is None
    about = json.loads(out.schema.metadata[b"mesomer"])
    assert about["dimension"] == 64 and about["level"] == "molecule" and about["readout"] == "mean_sum"
    assert about["model_sha256"] == load(encoder).folder.sha256


def test_embedding_formats(encoder, library, tmp_path):
    table = open_table(str(library))
    embedder = Embedder(encoder, accelerator="cpu")
    embed_table(table, embedder, tmp_path / "e.npy")
    array = np.load(tmp_path / "e.npy")
    assert array.shape == (40, 64) and np.isnan(array[list(BAD)]).all() and np.isnan(array).all(1).sum() == 3
    embed_table(table, embedder, tmp_path / "e.csv", suffix="_v1")
    rows = read_table(tmp_path / "e.csv")
    assert [float(rows[0][f"embedding_v1_{at}"]) for at in range(64)] == pytest.approx(array[0], rel=1e-6)
    assert rows[4]["embedding_v1_0"] == "" and rows[4]["mesomer_error_v1"] == "cannot parse"
    embed_table(table, embedder, tmp_path / "h.parquet", dtype="float16")
    half = pq.read_table(tmp_path / "h.parquet")["embedding"]
    assert str(half.type) == "fixed_size_list<element: halffloat>[64]"
    embed_table(table, Embedder(encoder, "atom", "cpu"), tmp_path / "a.parquet")
    lists = pq.read_table(tmp_path / "a.parquet")["embedding"].to_pylist()
    assert lists[4] is None and len(lists[0]) == Chem.MolFromSmiles(SMILES[0]).GetNumAtoms()
    with pytest.raises(MesomerError, match="parquet"):
        embed_table(table, Embedder(encoder, "atom", "cpu"), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_predicted_table(model, library, tmp_path):
    folder, result = model
    predictor = TablePredictor(folder, accelerator="cpu")
    found = predict_table(open_table(str(library), chunk_rows=9), predictor, tmp_path / "p.csv")
    assert (found["rows"], found["failed"]) == (40, 3)
    rows = read_table(tmp_path / "p.csv")
    assert list(rows[0]) == [
        "id", "smiles", "n_pred", "n_pred_std", "n_pred_low", "n_pred_high", "polar_pred", "polar_pred_std",
        "kind_pred", "kind_prob_few", "kind_prob_many", "kind_prob_some", "kind_pred_std", "similarity",
        "mesomer_error",
    ]  # fmt: skip
    width = result.half_widths[0]
    for at, row in enumerate(rows):
        if at in BAD:
            assert row["mesomer_error"] == BAD[at][1]
            assert all(row[name] == "" for name in list(row)[2:-1])
            continue
        members = predictor.member_outputs(graphs_of([row["smiles"]]))[:, 0]
        assert float(row["n_pred"]) == pytest.approx(members[:, 0].mean(), abs=1e-4)
        assert float(row["n_pred_std"]) == pytest.approx(members[:, 0].std(), abs=1e-4)
        assert float(row["n_pred_high"]) - float(row["n_pred_low"]) == pytest.approx(2 * width, abs=1e-4)
        assert float(row["polar_pred"]) == pytest.approx(members[:, 1].mean(), abs=1e-5)
        shares = members[:, 2:].mean(0)
        assert row["kind_pred"] == ("few", "many", "some")[shares.argmax()]
        assert float(row["kind_prob_some"]) == pytest.approx(shares[2], abs=1e-5)
        assert row["mesomer_error"] == ""
    seen = {result.data.smiles[m] for split in result.splits for m in (*split.train, *split.valid)}
    assert {row["smiles"] for row in rows if row["similarity"] == "1.0"} >= {
        row["smiles"] for row in rows if row["smiles"] in seen
    }


def test_training_similarity_is_of_the_molecules_trained_on(model):
    _, result = model
    stored = load(model[0]).folder.state["training_fingerprints"].numpy()
    assert np.array_equal(stored, result.predictor.fingerprints)
    assert nearest_similarity(result.data.fingerprints[result.splits[0].train], stored).min() == 1.0


def test_one_member_has_no_deviation(tmp_path):
    trained(tmp_path / "m", splits=1)
    table = write_table(tmp_path / "new.csv", {"smiles": ["CCO"]})
    predict_table(open_table(str(table)), TablePredictor(tmp_path / "m", accelerator="cpu"), tmp_path / "p.csv")
    (row,) = read_table(tmp_path / "p.csv")
    assert row["n_pred"] != "" and row["n_pred_std"] == "" and row["polar_pred_std"] == ""


def test_column_names_that_clash(model, tmp_path):
    table = write_table(tmp_path / "t.csv", {"smiles": ["CCO"], "n_pred": [1]})
    with pytest.raises(MesomerError, match=r"n_pred.*--suffix"):
        predict_table(open_table(str(table)), TablePredictor(model[0], "cpu"), tmp_path / "p.csv")
    predict_table(open_table(str(table)), TablePredictor(model[0], "cpu", suffix="_new"), tmp_path / "p.csv")
    (row,) = read_table(tmp_path / "p.csv")
    assert row["n_pred"] == "1" and float(row["n_pred_new"]) and row["mesomer_error_new"] == ""


def test_slow_rows_have_a_rate():
    slow = {"rows": 3, "failed": 0, "failures": {}, "molecules_per_second": 0.372}
    assert rows_sentence(slow) == "3 rows, 0.37 molecules/s."
    assert rows_sentence(slow | {"molecules_per_second": 1234.5}).endswith("1,234 molecules/s.")


def test_stop_at_the_first_bad_row(model, library, tmp_path):
    with pytest.raises(MesomerError, match=r"Row 5 \(line 6\).*cannot parse: 'C\(C'"):
        predict_table(open_table(str(library)), TablePredictor(model[0], "cpu"), tmp_path / "p.csv", on_error="stop")
    assert list(tmp_path.glob("*p.csv*")) == []


def test_table_descriptors_are_required_checked_and_used(tmp_path):
    result = trained(tmp_path / "m", splits=1, descriptors=("length",))
    predictor = TablePredictor(tmp_path / "m", "cpu")
    plain = write_table(tmp_path / "plain.csv", {"smiles": ["CCO"]})
    with pytest.raises(MesomerError, match=r"'length'"):
        predict_table(open_table(str(plain)), predictor, tmp_path / "p.csv")
    full = write_table(tmp_path / "full.csv", {"smiles": ["CCO"] * 4, "length": ["3", "", "long", "30"]})
    predict_table(open_table(str(full)), predictor, tmp_path / "p.csv")
    rows = read_table(tmp_path / "p.csv")
    assert [row["mesomer_error"] for row in rows] == ["", "", "bad descriptor", ""]
    values = [float(rows[at]["n_pred"]) for at in (0, 1, 3)]
    assert len(set(values)) == 3
    mean = result.predictor.descriptor_scalings[0].mean[0]
    known = write_table(tmp_path / "mean.csv", {"smiles": ["CCO"], "length": [mean]})
    predict_table(open_table(str(known)), predictor, tmp_path / "q.csv")
    assert float(read_table(tmp_path / "q.csv")[0]["n_pred"]) == pytest.approx(values[1], abs=1e-5)


def atom_counts(mols, workers=1):
    """Stands in for the 200 descriptors, one of them undefined for small molecules."""
    found = np.zeros((len(mols), 200), np.float32)
    found[:, 0] = [mol.GetNumAtoms() / 10 for mol in mols]
    found[:, 1] = [np.nan if mol.GetNumAtoms() < 4 else 0.5 for mol in mols]
    return found


def test_computed_descriptors_reach_training_and_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr("mesomer.chem.descriptors.descriptors_200", atom_counts)
    result = trained(tmp_path / "m", splits=1, descriptors=("rdkit_2d_normalized",))
    scaling = result.predictor.descriptor_scalings[0]
    assert scaling.mean.tolist() == [0.0] * 200 and scaling.deviation.tolist() == [1.0] * 200
    new = write_table(tmp_path / "new.csv", {"smiles": ["CCO", "CCCCO", "bad("]})
    predict_table(open_table(str(new)), TablePredictor(tmp_path / "m", "cpu"), tmp_path / "p.csv")
    rows = read_table(tmp_path / "p.csv")
    features = np.zeros((2, 200))
    features[:, 0], features[1, 1] = [0.3, 0.5], 0.5
    direct = result.predictor.predict(collate(graphs_of(["CCO", "CCCCO"])), features)[0]
    assert [float(row["n_pred"]) for row in rows[:2]] == pytest.approx(direct[:, 0], abs=1e-4)
    assert rows[2]["mesomer_error"] == "cannot parse"


def test_without_the_descriptor_package_the_command_to_install_it_is_named(tmp_path):
    if importlib.util.find_spec("descriptastorus") is not None:
        pytest.skip("descriptastorus is installed")
    with pytest.raises(MesomerError, match=r"mesomer\[descriptors\]"):
        trained(tmp_path / "m", descriptors=("rdkit_2d_normalized",))


def test_ready_molecules_and_workers_give_the_same(encoder, tmp_path):
    with Chem.SDWriter(str(tmp_path / "m.sdf")) as writer:
        for text in SMILES[:20]:
            writer.write(Chem.MolFromSmiles(text))
    expected = Embedder(encoder, accelerator="cpu").vectors(graphs_of(SMILES[:20]))
    for workers in (0, 2):
        table = open_table(str(tmp_path / "m.sdf"), chunk_rows=4)
        embed_table(table, Embedder(encoder, accelerator="cpu"), tmp_path / f"{workers}.npy", workers=workers)
        assert np.load(tmp_path / f"{workers}.npy") == pytest.approx(expected, abs=1e-5)


def test_a_file_without_one_molecule_is_an_error_and_leaves_nothing(encoder, model, tmp_path):
    table = write_table(tmp_path / "bad.csv", {"smiles": ["C(C", "(("]})
    for job in (
        lambda: embed_table(open_table(str(table)), Embedder(encoder, accelerator="cpu"), tmp_path / "e.parquet"),
        lambda: predict_table(open_table(str(table)), TablePredictor(model[0], "cpu"), tmp_path / "p.csv"),
    ):
        with pytest.raises(MesomerError, match="No row"):
            job()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv"]


def test_chunks_are_read_as_they_are_needed(library):
    """Memory does not grow with the table: the second chunk is not read before the first was used."""
    table, read = open_table(str(library), chunk_rows=5), []
    original = table.chunks

    def watched(parse=False):
        for chunk in original(parse):
            read.append(chunk.first_row)
            yield chunk

    table.chunks = watched
    used = []
    for chunk, _ in table_rows(table, Wanted()):
        used.append(chunk.first_row)
        assert len(read) <= len(used) + 2
    assert used == [1, 6, 11, 16, 21, 26, 31, 36]


def test_too_little_gpu_memory_halves_the_batch_once(capsys):
    graphs = graphs_of(SMILES[:20])
    calls = []

    def function(batch, positions, limit=60):
        calls.append(batch.num_atoms)
        if batch.num_atoms > limit:
            raise torch.OutOfMemoryError("no memory")
        return batch.num_atoms

    runner = Runner(torch.device("cpu"), 100)
    positions = [at for part, _ in runner.run(graphs, function) for at in part]
    assert sorted(positions) == list(range(20)) and runner.atoms_per_batch == 50
    assert capsys.readouterr().err.count("Out of memory") == 1
    with pytest.raises(MesomerError, match="does not suffice"):
        list(Runner(torch.device("cpu"), 100).run(graphs, lambda batch, at: function(batch, at, limit=1)))


def test_vectors_too_large_for_float16_are_refused(encoder, library, tmp_path, monkeypatch):
    embedder = Embedder(encoder, accelerator="cpu")
    monkeypatch.setattr(embedder, "vectors", lambda graphs: np.full((len(graphs), 64), 1e6, np.float32))
    with pytest.raises(MesomerError, match="float16"):
        embed_table(open_table(str(library)), embedder, tmp_path / "e.parquet", dtype="float16")


def test_python_interface(encoder, model):
    embedding = load(encoder, "cpu")
    vectors = embedding.embed(["CCO", "nonsense", "c1ccccc1"])
    assert vectors.dtype == np.float32 and vectors.shape == (3, 64) and np.isnan(vectors[1]).all()
    assert embedding.reasons(["CCO", "nonsense"]) == [None, "cannot parse"]
    assert embedding.embed([]).shape == (0, 64)
    assert [len(part) for part in embedding.embed(["CCO", "CC"], "atom")] == [3, 2]
    assert embedding.embed([Chem.MolFromSmiles("CCO")])[0] == pytest.approx(vectors[0], abs=1e-5)
    found = load(model[0], "cpu").predict(pandas.Series(["CCO", "bad("]))
    assert np.isnan(found["n_pred"][1]) and found["mesomer_error"].tolist() == [None, "cannot parse"]
    fine_tuned = load(model[0], "cpu").embed(["CCO"])
    assert fine_tuned.shape == (1, 2 * 16 * 2)  # attention readout: two heads of 16 for each of two views
    with pytest.raises(MesomerError, match="predicts no property"):
        embedding.predict(["CCO"])
    with pytest.raises(MesomerError, match="no list"):
        embedding.embed("CCO")


def test_unknown_level_and_encoder_as_predictor(encoder):
    with pytest.raises(MesomerError, match="molecule"):
        Embedder(encoder, "molecules")
    with pytest.raises(MesomerError, match="predicts no property"):
        TablePredictor(encoder)


def test_frames_are_read_by_their_smiles_column():
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    import mesomer

    columns = {"name": ["a", "b", "c"], "SMILES": ["CCO", "c1ccccc1", "xx"]}
    model = mesomer.load()
    wanted = model.embed(columns["SMILES"])
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)):
        found = model.embed(frame)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert model.reasons(frame) == [None, None, "cannot parse"]
    for command in (mesomer.finetune, mesomer.check, mesomer.prepare):
        with pytest.raises(MesomerError, match="takes a file, not a DataFrame"):
            command(pd.DataFrame(columns), **({} if command is mesomer.check else {"output": "nowhere"}))


def test_threads_give_what_one_thread_gives_in_the_same_order(encoder, model):
    graphs = graphs_of(SMILES)
    embedders = [Embedder(encoder, level, "cpu", atoms_per_batch=60) for level in ("molecule", "atom")]
    predictor = TablePredictor(model[0], accelerator="cpu", atoms_per_batch=60)
    alone = [embedders[0].vectors(graphs), embedders[1].vector_lists(graphs), predictor.member_outputs(graphs)]
    torch.set_num_threads(3)
    try:
        together = [embedders[0].vectors(graphs), embedders[1].vector_lists(graphs), predictor.member_outputs(graphs)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert together[0] == pytest.approx(alone[0], abs=1e-5) and together[2] == pytest.approx(alone[2], abs=1e-5)
    for found, expected in zip(together[1], alone[1], strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_threads_hold_few_batches_and_pass_errors_on():
    graphs = graphs_of(SMILES)
    seen: list[tuple[int, bool]] = []

    def function(batch, positions):
        seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        if len(seen) > 12:
            raise ValueError("too many")
        return len(positions)

    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            results = Runner(torch.device("cpu"), 40).run(graphs, function)
            first = next(results)
            assert first[1] == len(first[0]) and len(seen) <= 3
            with pytest.raises(ValueError, match="too many"):
                list(results)
        assert len(seen) < 16  # what had not begun was called off
        assert set(seen) == {(1, True)} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_bfloat16_vectors_point_where_those_of_float32_do(encoder):
    graphs = graphs_of(SMILES)
    half = Embedder(encoder, accelerator="cpu", precision="bf16")
    full = Embedder(encoder, accelerator="cpu").vectors(graphs)
    found = half.vectors(graphs)
    assert found.dtype == np.float32 and half.metadata()["precision"] == "bf16" and not np.array_equal(found, full)
    cosine = (found * full).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(full, axis=1)
    assert cosine.min() > 0.999
    with pytest.raises(MesomerError, match="precision"):
        Embedder(encoder, precision="half")


@pytest.mark.parametrize("name", ["p.xlsx", "p.npy", "p"])
def test_predictions_are_offered_the_formats_that_hold_them(model, library, tmp_path, name):
    with pytest.raises(MesomerError, match="cannot be written as a table") as caught:
        predict_table(library, model, tmp_path / name)
    assert caught.value.hint == "End its name in .csv, .tsv or .parquet."
