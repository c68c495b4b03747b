"""Heads that start as linear models on the encoder's vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import heteroatoms, molecules, small_encoder, write_table

from mesomer.chem.graph import collate
from mesomer.data.labels import read_labels
from mesomer.data.splits import splits_for
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.outputs import final_outputs
from mesomer.training.context import Context
from mesomer.training.finetune import run_cells
from mesomer.training.finetune_cell import Cells
from mesomer.training.finetune_network import PropertyBatches
from mesomer.training.finetune_plan import FinetuneOptions, plan_cells, property_data
from mesomer.training.head_start import standardize_inputs, start_linear
from mesomer.training.predictor import load_predictor
from mesomer.training.probe import fit_linear
from mesomer.training.scaling import Scaling

SMILES = molecules(80)
LINEAR = FinetuneOptions(
    epochs=1, batch_size=16, ffn_hidden=8, readout="mean_sum", head_start="linear", accelerator="cpu", precision="32"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    counts = [heteroatoms(text) for text in SMILES]
    kinds = [("few", "some", "many")[min(count // 2, 2)] for count in counts]
    columns = {"smiles": SMILES, "n": [count + 0.5 for count in counts], "kind": kinds}
    path = write_table(tmp_path_factory.mktemp("data") / "table.csv", columns)
    return property_data(read_labels(open_table(str(path)), ["n", "kind"]))


@pytest.fixture(scope="module")
def splits():
    return splits_for("random", SMILES, repeats=1, fractions=(0.6, 0.2, 0.2))


def test_before_training_each_head_is_the_linear_model_of_its_view(data, splits):
    split, context = splits[0], Context.start("cpu", "32")
    model = Cells(data, splits, small_encoder(), LINEAR, context).network(plan_cells(splits, LINEAR)[0])
    scaling = Scaling.of_targets(data.y[split.train], data.outputs)
    batches = PropertyBatches(data, split.train, scaling, None, 16, 0)
    standardize_inputs(model, batches, split.train, context.device)
    start_linear(model, batches, data.targets, split, context.device)
    batch = collate(data.graphs)
    with torch.no_grad():
        vectors = model.standardized(model.head_inputs(model.encode(batch), batch))
        said = model(batch)
    for inputs, raw in zip(vectors, said, strict=True):
        weights, offsets = fit_linear(inputs.double().numpy(), scaling.apply(data.y), data.targets, split)
        expected = inputs.double().numpy() @ weights.T + offsets
        assert np.abs(raw.double().numpy() - expected).max() < 1e-2
    predicted = final_outputs(said, data.outputs)[split.test, 0].double().numpy()
    assert np.corrcoef(predicted, data.y[split.test, 0])[0, 1] > 0.6


def test_a_model_with_linear_heads_is_saved_and_read(data, splits, tmp_path):
    result = run_cells(data, splits, small_encoder(), LINEAR, context=Context.start("cpu", "32"), quiet=True)
    result.predictor.save(tmp_path / "model", "card")
    batch = collate(data.graphs[:9])
    again = load_predictor(tmp_path / "model")
    assert again.network_config["linear"] is True
    assert np.allclose(again.predict(batch), result.predictor.predict(batch), atol=1e-6)


def test_options_that_contradict_it_are_refused():
    with pytest.raises(MesomerError, match="--head_start linear"):
        replace(LINEAR, standardize=False)
    with pytest.raises(MesomerError, match="head_start"):
        FinetuneOptions(probe=True, head_start="linear")
    with pytest.raises(MesomerError, match="head_start"):
        FinetuneOptions(head_start="ridge")
