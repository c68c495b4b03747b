"""The probe script: what its scores come from, and its table."""

from __future__ import annotations

import numpy as np
import probe_sets
import pytest
from small_models import heteroatoms, molecules, save_encoder, small_encoder

from mesomer.data.labels import read_labels
from mesomer.data.splits import splits_for
from mesomer.data.tables import open_table
from mesomer.training.context import Context
from mesomer.training.finetune_plan import FinetuneOptions, property_data


def probe_set(tmp_path, values):
    smiles = molecules(len(values))
    table = tmp_path / "set.csv"
    table.write_text("smiles,y\n" + "".join(f"{s},{v}\n" for s, v in zip(smiles, values, strict=True)))
    labelled = read_labels(open_table(str(table)), ["y"])
    folds = splits_for("cv", labelled.mols, 1, 0, probe_sets.FOLDS)
    return probe_sets.ProbeSet("toy", property_data(labelled), folds, splits_for("random", labelled.mols, 1, 0)[0])


@pytest.fixture(scope="module")
def context():
    return Context.start("cpu", "32")


def test_numbers_that_vectors_hold_score_high_and_shuffled_ones_do_not(tmp_path, context):
    truth = [heteroatoms(s) + 0.01 * at for at, s in enumerate(molecules(120))]
    found = probe_sets.linear_score(small_encoder(), probe_set(tmp_path, truth), context)
    shuffled = np.random.default_rng(0).permutation(truth).tolist()
    assert found > 0.5
    assert probe_sets.linear_score(small_encoder(), probe_set(tmp_path, shuffled), context) < 0.2


def test_a_column_that_hardly_a_molecule_has_ruins_no_score(tmp_path):
    truth = [heteroatoms(s) + 0.01 * at for at, s in enumerate(molecules(120))]
    toy = probe_set(tmp_path, truth)
    vectors = np.stack([np.array(truth), np.zeros(120)], 1)
    plain = probe_sets.linear_fold_score(vectors, toy.data, toy.folds[0])
    vectors[toy.folds[0].train[:1], 1] = 1e-3
    vectors[toy.folds[0].test[:1], 1] = 10.0
    assert probe_sets.linear_fold_score(vectors, toy.data, toy.folds[0]) > plain - 0.1


def test_classes_are_judged_by_the_area_under_the_curve(tmp_path, context):
    counts = [heteroatoms(s) for s in molecules(120)]
    labels = [int(count > np.median(counts)) for count in counts]
    assert 0.8 < probe_sets.linear_score(small_encoder(), probe_set(tmp_path, labels), context) <= 1


def test_fine_tuning_never_looks_at_the_labels_of_the_test_part(tmp_path, context):
    values = [float(heteroatoms(s)) + 0.01 * at for at, s in enumerate(molecules(60))]
    toy = probe_set(tmp_path, values)
    options = FinetuneOptions(epochs=2)
    found = probe_sets.finetuned_score(small_encoder(), toy, options, context)
    toy.data.y[toy.balanced.test] = 1e6
    assert probe_sets.finetuned_score(small_encoder(), toy, options, context) == found


def test_the_table_has_a_row_for_each_encoder_and_one_for_random_weights(tmp_path, monkeypatch, capsys):
    one, two = save_encoder(tmp_path / "one"), save_encoder(tmp_path / "two", seed=1)
    values = [float(heteroatoms(s)) + 0.01 * at for at, s in enumerate(molecules(60))]
    toy = probe_set(tmp_path, values)
    monkeypatch.setattr(probe_sets, "read_probe_set", lambda *_: toy)
    probe_sets.main([str(one), str(two), "--random", "--sets", "biogen_hlm", "biogen_rlm"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["biogen_hlm", "biogen_rlm", "mean"]
    assert [line.rsplit("  ", 4)[0].split("  ")[0] for line in lines[1:]] == [
        str(one), str(two), f"random weights, as {one}",
    ]  # fmt: skip


def test_the_descriptors_are_a_row_of_their_own(tmp_path, monkeypatch, capsys):
    truth = [heteroatoms(s) + 0.01 * at for at, s in enumerate(molecules(60))]
    toy = probe_set(tmp_path, truth)
    monkeypatch.setattr(probe_sets, "read_probe_set", lambda *_: toy)
    monkeypatch.setattr(
        probe_sets, "descriptors_200", lambda mols: np.array([[len(mol.GetAtoms()), np.nan] for mol in mols])
    )
    probe_sets.main([str(save_encoder(tmp_path / "one")), "--descriptors", "--sets", "biogen_hlm"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("200 descriptors") and -1 < float(last.split()[2]) < 1
