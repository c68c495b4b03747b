"""One arm on one fold: nothing leaks, twins share what they must, trials are chosen on the validation part."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mesomer.metrics import rmse
from mesomer.studies.arms import ARMS, Arm, Job, Predicted
from mesomer.studies.arms.base import fit_linear_model
from mesomer.studies.cells import Task, Training, cell_path, evaluate, run_cell
from mesomer.studies.design import Cell
from mesomer.studies.molecules import draw, read_molecules, store_splits
from mesomer.studies.scoring import Labels
from mesomer.training.ledger import Diverged

TRAINING = Training(trials=2, epochs=2, batch_size=16, patience=5)
CELL = Cell("random", 0, 0, "pretrained")


@pytest.fixture
def study(table, request_of):
    """60 molecules in two folds."""
    found = read_molecules(request_of(table).source)
    store_splits(found, {"random": draw(found, "random", 1, 2)})
    return found


class Scripted(Arm):
    """Predicts what it is told to."""

    name, label, kind = "scripted", "Scripted", "classical"

    def __init__(self, outcomes):
        self.outcomes = outcomes
        self.settings = [{"number": at} for at in range(len(outcomes))]

    def fit(self, job: Job, setting, trial: int) -> Predicted:
        outcome = self.outcomes[setting["number"]]
        if isinstance(outcome, Exception):
            raise outcome
        valid, test = job.split.valid, job.split.test
        return Predicted(job.study.data.y[valid] + outcome, np.full((len(test), 1), float(setting["number"])))


@pytest.fixture
def scripted(monkeypatch):
    """Puts an arm of these outcomes (an offset on the validation part, or an error) into the registry."""

    def make(*outcomes):
        monkeypatch.setitem(ARMS, "scripted", Scripted(outcomes))
        return CELL._replace(arm="scripted")

    return make


def test_the_validation_part_chooses_among_the_trials(study, scripted):
    cell = scripted(0.5, 0.1, 0.3, 0.0)
    found = evaluate(study, cell, TRAINING)
    assert found["setting"] == {"number": 1} and len(found["trials"]) == 2
    assert found["predicted"][0] == [1.0] and found["default"][0] == [0.0]
    assert found["trials"][1]["valid"] == pytest.approx(0.1)
    again = evaluate(study, cell, Training(4, 2, 16, 5))
    assert again["setting"] == {"number": 3}
    assert evaluate(study, scripted(0.2, 0.2), TRAINING)["setting"] == {"number": 0}


def test_a_trial_that_diverges_counts_and_a_cell_of_such_is_a_failure(study, scripted):
    found = evaluate(study, scripted(Diverged("The loss is not a finite number."), 0.4), TRAINING)
    assert found["setting"] == {"number": 1} and found["failed"] == "" and found["default"] is None
    assert found["trials"][0]["failed"].startswith("The loss")
    found = evaluate(study, scripted(Diverged("no"), float("nan")), TRAINING)
    assert found["failed"] == "no" and found["setting"] is None
    split = study.split_of(CELL)
    assert np.allclose(found["predicted"], study.data.y[split.train].mean(), atol=1e-6)
    with pytest.raises(ZeroDivisionError):
        evaluate(study, scripted(ZeroDivisionError(), 0.1), TRAINING)


@pytest.mark.parametrize("arm", ["pretrained", "frozen_linear", "ecfp_forest", "mean"])
def test_labels_of_the_test_part_are_seen_by_nobody(study, arm):
    cell = CELL._replace(arm=arm)
    first = evaluate(study, cell, TRAINING)
    test = study.split_of(cell).test
    study.data.y[test] = study.data.y[test][::-1] * 100 - 7
    second = evaluate(study, cell, TRAINING)
    assert first["predicted"] == second["predicted"] and first["setting"] == second["setting"]
    assert [trial["valid"] for trial in first["trials"]] == [trial["valid"] for trial in second["trials"]]


def test_features_are_scaled_on_the_training_part(study):
    split = study.split_of(CELL)
    features = study.fragments.copy()
    valid = fit_linear_model(features, study.data, split).valid
    features[split.test] = 1e6
    assert np.array_equal(fit_linear_model(features, study.data, split).valid, valid)
    features[split.train[0]] += 5
    assert not np.array_equal(fit_linear_model(features, study.data, split).valid, valid)


def test_twins_differ_in_the_weights_that_they_start_from_only(study, monkeypatch):
    from mesomer.studies.arms import finetuned

    seen = []

    class Watched(finetuned.Cells):
        def _train(self, cell, *rest):
            network = self.network(cell)
            head = {name: x.clone() for name, x in network.state_dict().items() if not name.startswith("encoder.")}
            seen.append((self.options, cell, head, self.splits[0], self.encoder(cell).state_dict()))
            return super()._train(cell, *rest)

    monkeypatch.setattr(finetuned, "Cells", Watched)
    for arm in ("pretrained", "random"):
        evaluate(study, CELL._replace(arm=arm), TRAINING)
    for (options, cell, head, split, own), (others, twin, head2, split2, fresh) in zip(seen[:2], seen[2:], strict=True):
        assert vars(others) | {"scratch": False} == vars(options) | {"scratch": False}
        assert (options.scratch, others.scratch) == (False, True)
        assert cell == twin and np.array_equal(split.train, split2.train)
        assert all(np.array_equal(head[name], head2[name]) for name in head)
        assert any(not np.array_equal(own[name], fresh[name]) for name in own)


def test_a_finished_cell_is_not_run_again(study, tmp_path, monkeypatch):
    task = Task(CELL._replace(arm="mean"), study.source, ("random",), False, TRAINING, study.source.folder)
    first = run_cell(task)
    path = cell_path(study.source.folder, task.cell)
    assert json.loads(path.read_text()) == first
    assert not (study.source.folder / "work").exists() or not list((study.source.folder / "work").iterdir())
    monkeypatch.setattr("mesomer.studies.cells.evaluate", lambda *_: pytest.fail("it ran"))
    assert run_cell(task) == first


def test_fewer_labels_leave_the_test_part_alone(study):
    labels = Labels(study.data.targets, study.data.y)
    few = evaluate(study, CELL._replace(arm="mean", labels=20), TRAINING)
    every = evaluate(study, CELL._replace(arm="mean"), TRAINING)
    assert few["rows"] == every["rows"] and few["sizes"]["train"] + few["sizes"]["valid"] == 20
    assert (labels.metric, labels.better) == ("rmse", "min")
    split = study.split_of(CELL)
    truth = study.data.y[split.test, 0]
    assert rmse(truth, np.array(every["predicted"])[:, 0]) > 0


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_arm_predicts_every_test_molecule(study, arm):
    job = Job(study, study.split_of(CELL), 1, 16, 5, None)
    found = ARMS[arm].fit(job, ARMS[arm].settings[-1], 0)
    assert found.valid.shape == (len(job.split.valid), 1) and found.test.shape == (len(job.split.test), 1)
    assert np.isfinite(found.test).all()


def test_what_is_done_once_is_not_multiplied_by_the_epochs(study, monkeypatch):
    job = Job(study, study.split_of(CELL), 30, 16, 5, None)
    arm, clock = ARMS["pretrained"], [0.0]
    train = type(arm)._train

    def slow_start(self, job, setting, trial, on_step=None):
        clock[0] += 100.0  # kernels are made

        def step(report):
            clock[0] += 1.0
            on_step(report)

        assert job.epochs == 2 and len(job.split.train) == len(study.split_of(CELL).train)
        return train(self, job, setting, trial, step)

    monkeypatch.setattr(type(arm), "_train", slow_start)
    monkeypatch.setattr("mesomer.studies.arms.finetuned.time.perf_counter", lambda: clock[0])
    steps = -(-len(job.split.train) // 16)
    assert arm.seconds(job) == pytest.approx(100 + 30 * steps)


def test_networks_try_the_settings_that_a_study_names_and_trees_their_own(study):
    named = ({"max_lr": 0.01, "dropout": 0.5},)
    training = Training(2, 1, 16, 5, named)
    network = evaluate(study, Cell("random", 0, 0, "random"), training)
    assert [trial["setting"] for trial in network["trials"]] == [dict(named[0])] and network["setting"] == named[0]
    forest = evaluate(study, Cell("random", 0, 0, "ecfp_forest"), training)
    assert [trial["setting"] for trial in forest["trials"]] == [{}, {"min_samples_leaf": 3}]
