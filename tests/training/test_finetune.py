"""Fine-tuning: it learns, it judges itself on unseen molecules only, and an interruption changes nothing."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from small_models import heteroatoms, molecules, read_table, save_encoder, small_encoder, write_table

from mesomer.chem.graph import collate
from mesomer.data.labels import read_labels
from mesomer.data.splits import splits_for
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.run import Interrupted, StopRequest
from mesomer.training.context import Context
from mesomer.training.finetune import finetune, run_cells
from mesomer.training.finetune_cell import Cells, read_cell, write_cell
from mesomer.training.finetune_network import PropertyBatches, PropertyTrainee, curve_table
from mesomer.training.finetune_plan import FinetuneOptions, check_parts, plan_cells, property_data
from mesomer.training.finetune_report import split_sentence, trivial_scores
from mesomer.training.head_start import standardize_inputs
from mesomer.training.predictor import load_predictor
from mesomer.training.scaling import Scaling
from mesomer.uncertainty import conformal_half_width

SMILES = molecules(90)
COUNTS = [heteroatoms(text) for text in SMILES]
QUICK = FinetuneOptions(epochs=2, batch_size=16, ffn_hidden=16, accelerator="cpu", precision="32")
PROBE = FinetuneOptions(probe=True, accelerator="cpu", precision="32")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def context():
    return Context.start("cpu", "32")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "small")


@pytest.fixture(scope="module")
def mixed_table(tmp_path_factory):
    """A number, two words, three words; some labels missing; a numeric column and a split column."""
    rng = np.random.default_rng(0)
    columns = {
        "smiles": SMILES,
        "n": [None if at % 7 == 0 else count + 0.5 for at, count in enumerate(COUNTS)],
        "polar": [None if at % 5 == 0 else ("yes" if count > 2 else "no") for at, count in enumerate(COUNTS)],
        "kind": [("few", "some", "many")[min(count // 2, 2)] for count in COUNTS],
        "length": [None if at % 11 == 0 else len(text) for at, text in enumerate(SMILES)],
        "part": [("train", "valid", "test")[at] for at in rng.choice(3, len(SMILES), p=[0.6, 0.2, 0.2])],
    }
    return write_table(tmp_path_factory.mktemp("data") / "mixed.csv", columns)


def labelled(path, targets, keep=()):
    return read_labels(open_table(str(path)), targets, keep=keep)


def count_data(smiles):
    """The number of heteroatoms as a regression target."""
    frame = pandas.DataFrame({"smiles": smiles, "n": [float(heteroatoms(text)) for text in smiles]})
    return property_data(read_labels(open_table(frame), ["n"]))


@pytest.fixture(scope="module")
def numbers():
    return count_data(SMILES)


@pytest.fixture(scope="module")
def two_splits(numbers):
    return splits_for("random", numbers.smiles, repeats=2)


def train(data, splits, context, options=QUICK, base=None, **more):
    return run_cells(data, splits, base or small_encoder(), options, context=context, quiet=True, **more)


def test_it_learns_and_beats_the_mean(context):
    data = count_data(molecules(200, seed=1))
    splits = splits_for("random", data.smiles, fractions=(0.7, 0.1, 0.2))
    options = replace(QUICK, epochs=30, max_lr=5e-3, ffn_hidden=32)
    result = train(data, splits, context, options)
    model = result.table["n"]["rmse"]["mean"]
    trivial = trivial_scores(data, splits)["n"]["rmse"]
    assert model < 0.5 * trivial, (model, trivial)
    losses = [row["train_loss"] for row in result.cells[0].curve]
    assert len(losses) == 30 and losses[-1] < 0.3 * losses[0]


def test_overfits_twenty_molecules(context):
    data = count_data(SMILES[:20])
    part = np.arange(20)
    scaling = Scaling.of_targets(data.y, data.outputs)
    options = replace(QUICK, epochs=120, max_lr=5e-3, ffn_hidden=32, dropout=0.0, warmup_epochs=5)
    runner = Cells(data, splits_for("random", data.smiles), small_encoder(), options, context)
    model = runner.network(plan_cells(runner.splits, options)[0])
    batches = PropertyBatches(data, part, scaling, None, 20, 0)
    trainee = PropertyTrainee(model, batches, part, scaling, options)
    from mesomer.training.finetune_network import loop_options
    from mesomer.training.loop import fit

    found = fit(trainee, batches, loop_options(options, 0, 1), context=context)
    assert found.best < 0.25 * data.y.std()


def test_predictions_are_of_molecules_that_were_not_used(numbers, two_splits, context):
    """Labels of test molecules do not reach their predictions."""
    changed = replace(numbers, y=numbers.y.copy())
    for split in two_splits[:1]:
        changed.y[split.test] = 1000.0
    one = train(numbers, two_splits[:1], context)
    other = train(changed, two_splits[:1], context)
    assert np.array_equal(one.cells[0].predicted["test"], other.cells[0].predicted["test"])
    assert one.table["n"]["mae"]["mean"] < 10 < 900 < other.table["n"]["mae"]["mean"]


def stopping(after):
    """A stop request that is set after some optimiser steps."""
    request = StopRequest()
    count = 0

    def on_step(self, report):
        nonlocal count
        count += 1
        if count == after:
            request.requested = True

    return request, on_step


@pytest.mark.parametrize("after", [1, 5, 7, 10])
def test_interrupted_and_resumed_equals_uninterrupted(numbers, two_splits, context, tmp_path, monkeypatch, after):
    """9 or 10 steps a cell: within an epoch, at its end, in the second cell, at the end of a cell."""
    from mesomer.training import finetune_network

    options = replace(QUICK, ensemble=1, save_minutes=0.0)
    whole = train(numbers, two_splits, context, options)
    request, on_step = stopping(after)
    with monkeypatch.context() as patch:
        patch.setattr(finetune_network.CurveListener, "on_step", on_step)
        with pytest.raises(Interrupted):
            train(numbers, two_splits, context, options, folder=tmp_path, stop=request)
    resumed = train(numbers, two_splits, context, options, folder=tmp_path, stop=StopRequest())
    for one, other in zip(whole.cells, resumed.cells, strict=True):
        assert one.state.keys() == other.state.keys()
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
        assert np.array_equal(one.predicted["test"], other.predicted["test"])
        assert one.curve == other.curve and one.best_epoch == other.best_epoch
    assert whole.table == resumed.table and whole.half_widths == resumed.half_widths


def test_finished_cells_are_not_trained_again(numbers, two_splits, context, tmp_path, monkeypatch):
    train(numbers, two_splits, context, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "split000-member00.safetensors",
        "split001-member00.safetensors",
    ]
    monkeypatch.setattr(Cells, "_train", lambda *_: pytest.fail("trained again"))
    train(numbers, two_splits, context, folder=tmp_path)


def test_a_damaged_cell_is_named(numbers, two_splits, context, tmp_path):
    options = PROBE
    result = train(numbers, two_splits[:1], context, options)
    path = tmp_path / "cell.safetensors"
    write_cell(path, result.cells[0])
    assert read_cell(path, result.cells[0].cell).scaling.to_json() == result.cells[0].scaling.to_json()
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(MesomerError, match=r"cell\.safetensors"):
        read_cell(path, result.cells[0].cell)


def encoder_change(result, base):
    state = base.state_dict()
    member = result.predictor.members[0].encoder.state_dict()
    return max(float((member[name] - value).abs().max()) for name, value in state.items())


def test_freezing(numbers, two_splits, context):
    split = two_splits[:1]
    base = small_encoder()
    frozen = train(numbers, split, context, replace(QUICK, freeze="encoder"), base)
    assert encoder_change(frozen, base) == 0
    assert frozen.predictor.shared_encoder
    assert frozen.predictor.members[0].encoder is not base
    still = train(numbers, split, context, replace(QUICK, encoder_lr_scale=0.0), base)
    assert encoder_change(still, base) == 0
    later = replace(QUICK, unfreeze_after=1, epochs=8, max_lr=5e-3)
    thawed = train(numbers, split, context, later, base)
    assert thawed.cells[0].best_epoch > 1
    assert encoder_change(thawed, base) > 0
    slow = train(numbers, split, context, replace(QUICK, encoder_lr_scale=0.1), base)
    fast = train(numbers, split, context, base=base)
    assert 0 < encoder_change(slow, base) < 0.3 * encoder_change(fast, base)
    assert frozen.trained_parameters < fast.trained_parameters


def test_the_encoder_is_frozen_for_exactly_the_epochs_asked(numbers, two_splits, context):
    options = replace(QUICK, unfreeze_after=2, epochs=4)
    runner = Cells(numbers, two_splits, small_encoder(), options, context)
    model = runner.network(plan_cells(two_splits, options)[0])
    scaling = Scaling.none(1)
    batches = PropertyBatches(numbers, two_splits[0].train, scaling, None, 16, 0)
    trainee = PropertyTrainee(model, batches, two_splits[0].valid, scaling, options)
    seen = []
    for epoch in range(4):
        trainee.start_epoch(epoch)
        seen.append(model.encoder_frozen)
    assert seen == [True, True, False, False]


def test_scratch_is_the_same_network_from_other_weights(numbers, two_splits, context):
    base = small_encoder()
    runner = Cells(numbers, two_splits, base, replace(QUICK, scratch=True), context)
    cells = plan_cells(two_splits, runner.options)
    first, second = (runner.encoder(cell).state_dict() for cell in cells)
    own = base.state_dict()
    assert {n: v.shape for n, v in first.items()} == {n: v.shape for n, v in own.items()}
    weight = next(name for name, value in own.items() if value.dim() == 2)
    assert not torch.equal(first[weight], own[weight]) and not torch.equal(first[weight], second[weight])
    assert torch.equal(runner.encoder(cells[0]).state_dict()[weight], first[weight])


def test_probe_is_ridge_on_the_vectors(numbers, two_splits, context):
    from sklearn.linear_model import Ridge

    from mesomer.metrics import rmse
    from mesomer.training.finetune_cell import molecule_vectors
    from mesomer.training.probe import RIDGE_PENALTIES

    base = small_encoder().eval()
    split = two_splits[0]
    result = train(numbers, [split], context, PROBE, base)
    assert len(result.cells) == 1
    vectors = molecule_vectors(base, numbers, torch.device("cpu")).astype(float)
    standard = Scaling.fit(vectors[split.train])
    x, y = standard.apply(vectors), numbers.y[:, 0]
    far = np.abs(x) > 3
    assert far.any()
    x[far] = np.sign(x[far]) * (3 + np.log(np.abs(x[far]) - 2))
    scale = y[split.train].std()
    models = [Ridge(alpha=penalty).fit(x[split.train], y[split.train] / scale) for penalty in RIDGE_PENALTIES]
    best = min(models, key=lambda model: rmse(y[split.valid] / scale, model.predict(x[split.valid])))
    expected = best.predict(x[split.test]) * scale
    assert result.cells[0].predicted["test"][:, 0] == pytest.approx(expected, abs=1e-3)


def test_probe_of_classes_is_logistic_regression():
    """Binary and multi-class targets together, missing labels in one, each at its own best penalty."""
    from sklearn.linear_model import LogisticRegression

    from mesomer.data.splits import Split
    from mesomer.metrics import log_loss
    from mesomer.training.predictor import Target
    from mesomer.training.probe import CLASS_PENALTIES, fit_linear

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20))
    y = np.stack([x[:, 0] + rng.normal(size=300) > 0, np.digitize(x[:, 1] + rng.normal(size=300), [-0.5, 0.5])], 1)
    y = y.astype(float)
    y[::7, 0] = np.nan
    split = Split("s", "s", np.arange(200), np.arange(200, 260), np.arange(260, 300))
    targets = [Target("two", "binary", ("no", "yes")), Target("three", "multiclass", ("a", "b", "c"))]
    weights, offsets = fit_linear(x, y, targets, split)
    for at, rows in ((0, slice(0, 1)), (1, slice(1, 4))):
        train, valid = (part[~np.isnan(y[part, at])] for part in (split.train, split.valid))
        models = [
            LogisticRegression(C=1 / p, max_iter=5000, tol=1e-8).fit(x[train], y[train, at]) for p in CLASS_PENALTIES
        ]
        best = min(models, key=lambda model: log_loss(y[valid, at], model.predict_proba(x[valid])))
        assert weights[rows] == pytest.approx(best.coef_, abs=1e-3)
        logits = x[split.test] @ weights[rows].T + offsets[rows]
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) if at else 1 / (1 + np.exp(-logits))
        assert shares == pytest.approx(best.predict_proba(x[split.test])[:, 0 if at else 1 :], abs=1e-3)


def test_heads_see_vectors_standardised_on_the_training_part(numbers, two_splits, context):
    split, options = two_splits[0], replace(QUICK, epochs=1)
    runner = Cells(numbers, two_splits, small_encoder(), options, context)
    model = runner.network(plan_cells(two_splits, options)[0])
    batches = PropertyBatches(numbers, split.train, Scaling.none(1), None, 16, 0)
    standardize_inputs(model, batches, split.train, context.device)
    batch = collate([numbers.graphs[at] for at in split.train])
    for at, vectors in enumerate(model.head_inputs(model.encode(batch), batch)):
        standard = (vectors - model.centers[at]) / model.scales[at]
        assert standard.mean(0).abs().max() < 1e-4 and standard.std(0, correction=0).max() < 1.001
    trained = train(numbers, [split], context, options).predictor.members[0]
    assert torch.equal(trained.centers, model.centers) and torch.equal(trained.scales, model.scales)
    plain = train(numbers, [split], context, replace(options, standardize=False)).predictor.members[0]
    assert "centers" not in plain.state_dict()


def test_probe_of_classes_with_missing_labels(mixed_table, context):
    data = property_data(labelled(mixed_table, ["polar", "kind"]))
    splits = splits_for("random", data.smiles, repeats=4, fractions=(0.6, 0.2, 0.2))
    result = train(data, splits, context, PROBE)
    assert result.table["polar"]["roc_auc"]["mean"] > 0.75
    assert result.table["kind"]["accuracy"]["mean"] > 0.6
    shares = result.cells[0].predicted["test"][:, 1:]
    assert shares.sum(1) == pytest.approx(1)


def test_mixed_targets_with_missing_labels_fill_all_files(mixed_table, encoder, tmp_path):
    from mesomer.report import finetune_report

    found, result = finetune(
        str(mixed_table), targets=["n", "polar", "kind"], output=tmp_path / "run", model=str(encoder), split="random",
        repeats=2, options=replace(QUICK, ensemble=2), write_report=finetune_report,
    )  # fmt: skip
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "config.yaml", "manifest.json", "log.txt", "metrics.csv", "predictions.csv", "splits.csv", "model",
        "report.html",
    }  # fmt: skip
    assert {t: v["type"] for t, v in found["targets"].items()} == {
        "n": "regression", "polar": "binary", "kind": "multiclass",
    }  # fmt: skip
    predictions = read_table(run / "predictions.csv")
    assert len(predictions) == sum(len(split.test) for split in result.splits)
    by_row = {int(line["row"]): at for at, line in enumerate(predictions)}
    source = read_table(mixed_table)
    for row, at in by_row.items():
        assert predictions[at]["smiles"] == source[row - 1]["smiles"]
        assert predictions[at]["polar"] == source[row - 1]["polar"]
        assert predictions[at]["kind_pred"] in ("few", "some", "many")
        shares = [float(predictions[at][f"kind_prob_{name}"]) for name in ("few", "some", "many")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert (predictions[at]["n"] == "") == (source[row - 1]["n"] == "")
        assert 0 <= float(predictions[at]["polar_pred"]) <= 1 and predictions[at]["n_pred_std"] != ""
    figures = read_table(run / "metrics.csv")
    tests = [line for line in figures if line["part"] == "test" and line["target"] == "n"]
    assert [line["member"] for line in tests] == ["0", "1", "ensemble", "0", "1", "ensemble", "", ""]
    values = [float(line["rmse"]) for line in tests if line["member"] == "ensemble"]
    assert float(tests[-2]["rmse"]) == pytest.approx(np.mean(values), rel=1e-5)
    assert float(tests[-1]["rmse"]) == pytest.approx(np.std(values, ddof=1), rel=1e-4)
    assert found["targets"]["n"]["metrics"]["rmse"]["sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-4)
    assert "sample standard deviation" in (run / "report.html").read_text()
    assert json.loads((run / "model" / "config.json").read_text())["predictor"]["members"] == 4
    assert "2 members for each split" in (run / "model" / "README.md").read_text()


def test_saved_predictor_gives_the_same_predictions(numbers, two_splits, context, tmp_path):
    for options in (QUICK, replace(QUICK, freeze="encoder"), PROBE):
        result = train(numbers, two_splits, context, options)
        result.predictor.save(tmp_path / "model", "# card\n")
        loaded = load_predictor(tmp_path / "model")
        from mesomer.chem.graph import collate

        batch = collate(numbers.graphs[:7])
        assert np.array_equal(result.predictor.predict(batch), loaded.predict(batch))
        assert loaded.half_widths == result.half_widths and loaded.targets == numbers.targets
        # member by member: what the cell predicted for its test part
        test = two_splits[1].test
        again = loaded.predict(collate([numbers.graphs[at] for at in test]))[1]
        assert again == pytest.approx(result.cells[1].predicted["test"], abs=1e-5)


def test_intervals_come_from_the_residuals_of_unseen_molecules(numbers, two_splits, context):
    result = train(numbers, two_splits, context)
    pairs = zip(result.cells, two_splits, strict=True)
    residuals = [cell.predicted["test"][:, 0] - numbers.y[split.test, 0] for cell, split in pairs]
    owners = np.concatenate([split.test for split in two_splits])
    assert result.half_widths == [conformal_half_width(np.concatenate(residuals), owners)]
    assert len(result.predictor.fingerprints) == len(
        np.unique(np.concatenate([np.concatenate([s.train, s.valid]) for s in two_splits]))
    )


def test_deterministic_splits_repeat_the_training_only(mixed_table, encoder, tmp_path):
    found, result = finetune(
        str(mixed_table), targets=["kind"], output=tmp_path / "run", model=str(encoder), split="deterministic",
        repeats=2, options=replace(QUICK, epochs=1),
    )  # fmt: skip
    assert "one split" in found["split"]
    first, second = result.splits
    assert np.array_equal(first.test, second.test)
    assert not np.array_equal(result.cells[0].predicted["test"], result.cells[1].predicted["test"])


def test_same_command_again_and_other_settings(mixed_table, encoder, tmp_path):
    def run(**more):
        options = replace(PROBE, seed=more.pop("seed", 0))
        return finetune(
            str(mixed_table), targets=["kind"], output=tmp_path / "run", model=str(encoder), split="random", repeats=1,
            options=options, **more,
        )  # fmt: skip

    first, result = run()
    assert first["state"] == "done" and result is not None
    again, nothing = run()
    assert again["state"] == "finished" and nothing is None
    assert again["figures"] == first["figures"]
    with pytest.raises(MesomerError, match="overwrite"):
        run(seed=1)
    other, _ = run(seed=1, overwrite=True)
    assert other["state"] == "done"


def test_column_split_and_descriptors(mixed_table, encoder, tmp_path):
    _, result = finetune(
        str(mixed_table), targets=["n"], output=tmp_path / "run", model=str(encoder), split="column",
        split_column="part", repeats=1, options=replace(QUICK, descriptors=("length",)),
    )  # fmt: skip
    parts = {int(line["row"]): line["part"] for line in read_table(tmp_path / "run" / "splits.csv")}
    assert all(line["part"] == parts[at + 1] for at, line in enumerate(read_table(mixed_table)) if line["n"])
    assert result.predictor.descriptors == ["length"]
    scaling = result.predictor.descriptor_scalings[0]
    lengths = result.data.descriptors[result.splits[0].train]
    assert scaling.mean == pytest.approx(np.nanmean(lengths)) and scaling.deviation == pytest.approx(np.nanstd(lengths))
    assert np.isnan(result.data.descriptors).any()
    assert np.isfinite(result.cells[0].predicted["test"]).all()


def test_conditions_are_examples_and_their_molecule_lies_in_one_part(encoder, tmp_path):
    rows = [(text, acidity, heteroatoms(text) + acidity / 7) for text in SMILES[:40] for acidity in (2, 7)]
    table = write_table(
        tmp_path / "t.csv", dict(zip(("smiles", "pH", "y"), map(list, zip(*rows, strict=True)), strict=True))
    )
    found, result = finetune(
        str(table), targets=["y"], output=tmp_path / "run", model=str(encoder), split="random", repeats=1,
        options=replace(PROBE, descriptors=("pH",)),
    )  # fmt: skip
    assert sorted(result.data.descriptors[:, 0]) == [2.0] * 40 + [7.0] * 40
    places = {}
    for line in read_table(tmp_path / "run" / "splits.csv"):
        places.setdefault(line["smiles"], []).append(line["part"])
    assert all(len(parts) == 2 and len(set(parts)) == 1 for parts in places.values())
    assert "stay together" in found["split"]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "80 examples (descriptor columns differ) of 40 labelled molecules from 80 rows" in log


@pytest.mark.parametrize(("split", "cells"), [("column", ("train", "test")), ("time", ("2001", "2009"))])
def test_no_test_label_is_averaged_into_training(encoder, tmp_path, split, cells):
    early = {"smiles": SMILES[:40], "y": [0.5 + at / 7 for at in range(40)], "when": [cells[0]] * 40}
    late = {"smiles": SMILES[35:60], "y": [99.5] * 25, "when": [cells[1]] * 25}
    if split == "time":
        early["when"] = ["2001"] * 30 + ["2002"] * 10
    table = write_table(tmp_path / "t.csv", {name: early[name] + late[name] for name in early})
    found, result = finetune(
        str(table), targets=["y"], output=tmp_path / "run", model=str(encoder), split=split, split_column="when",
        repeats=1, options=PROBE,
    )  # fmt: skip
    data, drawn = result.data, result.splits[0]
    assert (data.y[np.concatenate([drawn.train, drawn.valid])] < 10).all() and (data.y[drawn.test] == 99.5).all()
    assert len(drawn.test) == (25 if split == "column" else 20)
    assert any("5 molecules have" in text and "5 other rows are left out" in text for text in found["warnings"])


@pytest.mark.parametrize(
    ("targets", "options", "more", "words"),
    [
        (["nothing"], {}, {}, "nothing"),
        (["smiles"], {}, {}, "SMILES column"),
        (["n"], {"descriptors": ("kind",)}, {}, "not numeric"),
        (["n"], {"descriptors": ("absent",)}, {}, "absent"),
        (["n"], {}, {"split": "column", "split_column": "kind"}, "train, valid or test"),
        (["n"], {}, {"split": "scafold"}, "scaffold"),
        (["n"], {}, {"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    mixed_table, encoder, tmp_path, targets, options, more, words
):
    arguments = {"model": str(encoder), "split": "random", "repeats": 1} | more
    with pytest.raises(MesomerError, match=words):
        finetune(
            str(mixed_table), targets=targets, output=tmp_path / "run", options=replace(QUICK, **options), **arguments
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ensemble": 3}, "has no use for --ensemble.$"),
        ({"epochs": 5, "max_lr": 1e-4, "dropout": 0.0}, "has no use for --epochs, --max_lr, --dropout.$"),
        ({"freeze": "encoder"}, "has no use for --freeze.$"),
        ({"unfreeze_after": 3, "clip": None}, "has no use for --clip, --unfreeze_after.$"),
    ],
)
def test_a_probe_refuses_what_only_networks_use(changed, words):
    with pytest.raises(MesomerError) as caught:
        FinetuneOptions(probe=True, **changed)
    assert re.search(words, caught.value.message) and "Leave" in caught.value.hint
    kept = FinetuneOptions(probe=True, scratch=True, descriptors=("a",), seed=3, accelerator="cpu", save_minutes=1)
    assert kept.probe and kept.epochs == FinetuneOptions().epochs


def test_fewer_than_ten_labelled_rows(encoder, tmp_path):
    table = write_table(tmp_path / "few.csv", {"smiles": SMILES[:9], "y": COUNTS[:9]})
    with pytest.raises(MesomerError, match="Only 9 molecules"):
        finetune(str(table), targets=["y"], output=tmp_path / "run", model=str(encoder), split="random", options=QUICK)
    assert not (tmp_path / "run").exists()


def test_few_labels_get_the_advice(encoder, tmp_path):
    table = write_table(tmp_path / "few.csv", {"smiles": SMILES[:20], "y": [c + 0.5 for c in COUNTS[:20]]})
    found, _ = finetune(
        str(table), targets=["y"], output=tmp_path / "run", model=str(encoder), split="random", repeats=1,
        options=replace(QUICK, epochs=1),
    )  # fmt: skip
    assert any("--probe" in text for text in found["warnings"])


def test_one_class_in_a_part_is_an_error_or_with_other_targets_a_warning(numbers):
    splits = splits_for("random", numbers.smiles)
    y = np.stack([(np.arange(len(numbers.y)) % 2).astype(float), (np.arange(len(numbers.y)) % 2).astype(float)], 1)
    y[splits[0].test, 0] = 1
    from mesomer.training.predictor import Target

    targets = [Target("a", "binary", ("no", "yes")), Target("b", "binary", ("no", "yes"))]
    with pytest.raises(MesomerError, match=r"test part.*a has only the class 'yes'"):
        check_parts(replace(numbers, y=y[:, :1], targets=targets[:1]), splits)
    warnings = check_parts(replace(numbers, y=y, targets=targets), splits)
    assert len(warnings) == 1 and "a has only the class 'yes'" in warnings[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"freeze": "heads"}, {"dropout": 1.0}, {"unfreeze_after": 40}, {"readout": "total"},
        {"probe": True, "freeze": "encoder"}, {"max_lr": 0.0}, {"select": "accuracy"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense(wrong):
    with pytest.raises(MesomerError):
        FinetuneOptions(**wrong)


def test_nan_loss_stops_and_names_rows(numbers, two_splits, context):
    with pytest.raises(MesomerError, match=r"not a finite number at step \d+.*molecules of the batch"):
        train(numbers, two_splits[:1], context, replace(QUICK, max_lr=1e30, clip=None))


def test_labels_beyond_computing_are_named(encoder, tmp_path):
    y = [float(count) for count in COUNTS]
    y[4] = -1e200
    table = write_table(tmp_path / "huge.csv", {"smiles": SMILES, "y": y})
    with pytest.raises(MesomerError, match=r"row 5.*-1e\+200"):
        finetune(str(table), targets=["y"], output=tmp_path / "run", model=str(encoder), split="random", options=QUICK)


def test_batches_are_a_pure_function_of_seed_and_epoch(numbers, two_splits):
    batches = PropertyBatches(numbers, two_splits[0].train, Scaling.none(1), None, 16, 5)
    whole = [batch.key.tolist() for (batch,) in batches.epoch(3)]
    assert [batch.key.tolist() for (batch,) in batches.epoch(3, start=2)] == whole[2:]
    assert sorted(key for keys in whole for key in keys) == sorted(numbers.rows[at] for at in two_splits[0].train)
    assert whole != [batch.key.tolist() for (batch,) in batches.epoch(4)]
    assert len(whole) == batches.steps(3) == math.ceil(len(two_splits[0].train) / 16)


def test_report_has_what_the_page_draws(mixed_table, encoder, tmp_path):
    pages = []
    finetune(
        str(mixed_table), targets=["n", "polar"], output=tmp_path / "run", model=str(encoder), split="random",
        repeats=1, options=replace(QUICK, epochs=2), write_report=lambda data: pages.append(data) or "<html></html>",
    )  # fmt: skip
    (page,) = pages
    assert page["curves"][0]["epoch"] == [1, 2] and len(page["curves"][0]["valid_loss"]) == 2
    number, polar = page["targets"]
    sizes = {len(number[key]) for key in ("smiles", "row", "split", "truth", "prediction", "similarity")}
    assert len(sizes) == 1 and polar["classes"] == ["no", "yes"]
    assert {row["metric"] for row in page["metrics"] if row["target"] == "polar"} >= {"roc_auc", "average_precision"}
    trivial = {row["metric"]: row["trivial"] for row in page["metrics"] if row["target"] == "polar"}
    assert trivial["roc_auc"] == 0.5
    assert all("/" not in name or name.endswith("/") for name, _ in page["files"])


def test_scaling_follows_the_published_rule():
    values = np.array([[1.0, np.nan, 5.0, 0.1], [3.0, np.nan, 5.0, 0.1], [np.nan, np.nan, 5.0, 0.1]])
    scaling = Scaling.fit(values)
    assert scaling.mean == pytest.approx([2.0, 0.0, 5.0, 0.1])
    assert scaling.deviation == pytest.approx([1.0, 1.0, 1.0, 1.0])
    assert Scaling.from_json(json.loads(json.dumps(scaling.to_json()))).mean.tolist() == scaling.mean.tolist()


def test_curve_has_one_row_for_each_epoch():
    rows = [
        {"part": "train", "step": 5, "epoch": 1.0, "loss": 2.0, "learning_rate": 0.1},
        {"part": "valid", "step": 5, "epoch": 1.0, "loss": 3.0, "rmse": 1.5},
        {"part": "train", "step": 10, "epoch": 2.0, "loss": 1.0, "learning_rate": 0.2},
    ]
    assert curve_table(rows) == [
        {"epoch": 1, "train_loss": 2.0, "learning_rate": 0.1, "valid_loss": 3.0, "valid_rmse": 1.5},
        {"epoch": 2, "train_loss": 1.0, "learning_rate": 0.2},
    ]


def test_the_split_in_words(numbers):
    assert split_sentence(splits_for("random", numbers.smiles)) == (
        "random, one split of 72/9/9 molecules (train/valid/test)"
    )
    folds = splits_for("random_cv", numbers.smiles, folds=3)
    assert split_sentence(folds).startswith("random_cv (cv), 3 splits of about")
    fixed = split_sentence(splits_for("deterministic", numbers.smiles, 3))
    assert "one split of" in fixed and fixed.endswith("trained 3 times")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"clip": 0.0}, "--clip"),
        ({"weight_decay": -1.0}, "--weight_decay"),
        ({"patience": 0}, "--patience"),
        ({"warmup_epochs": -1.0}, "--warmup_epochs"),
        ({"save_minutes": float("nan")}, "--save_minutes"),
        ({"disagreement": -0.1}, "--disagreement"),
        ({"encoder_lr_scale": float("nan")}, "--encoder_lr_scale"),
        ({"freeze": "encoder", "encoder_lr_scale": 0.1}, "no use for --encoder_lr_scale"),
        ({"attn_out": 8}, "of the readout attention"),
    ],
)
def test_options_are_checked_before_there_is_a_run(wrong, told):
    with pytest.raises(MesomerError, match=told):
        FinetuneOptions(**wrong)


@pytest.mark.parametrize("names", [["row"], ["similarity"], ["a", "a_pred"]])
def test_targets_that_would_hide_a_column_of_the_predictions_are_refused(tmp_path, encoder, names):
    table = write_table(tmp_path / "t.csv", {"smiles": SMILES, **{name: COUNTS for name in names}})
    with pytest.raises(MesomerError, match="would be named"):
        finetune(str(table), targets=names, output=tmp_path / "run", model=str(encoder), split="random", options=QUICK)
    assert not (tmp_path / "run").exists()


def test_a_descriptor_too_large_for_float32_is_refused(tmp_path, encoder):
    table = write_table(tmp_path / "t.csv", {"smiles": SMILES, "n": COUNTS, "x": ["1e39", *[1.0] * (len(SMILES) - 1)]})
    options = replace(PROBE, descriptors=("x",))
    with pytest.raises(MesomerError, match="'x' is not numeric: 1 cells"):
        finetune(
            str(table), targets=["n"], output=tmp_path / "run", model=str(encoder), split="random", options=options
        )


def test_descriptors_of_many_molecules_need_no_guarded_script(tmp_path):
    """A plain script, as users write it: processes that compute descriptors must not run it again."""
    pytest.importorskip("descriptastorus", reason="the 200 descriptors need mesomer[descriptors]")
    script = tmp_path / "plain.py"
    script.write_text(
        "import torch\n"
        "torch.set_num_threads(2)\n"
        "from rdkit.Chem import MolFromSmiles\n"
        "from mesomer.data.computed import computed_descriptors\n"
        "print('starts')\n"
        "mols = [MolFromSmiles('C' * n + 'O') for n in range(1, 131)]\n"
        "print(computed_descriptors(mols, 2).shape)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.split("\n")[:2] == ["starts", "(130, 200)"], done.stderr[-500:]
