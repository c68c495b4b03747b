"""The loop on a toy: exact sums, exact resume, stopping, best weights, errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy_training import ToyBatches, ToyTrainee

from mesomer.errors import MesomerError
from mesomer.run import Interrupted, StopRequest
from mesomer.training.context import Context
from mesomer.training.ledger import Ledger
from mesomer.training.loop import BEST, LAST, Listener, LoopOptions, fit
from mesomer.training.state import LoopState, read_state, save_state

FAST = LoopOptions(epochs=2, accelerator="cpu", precision="32", max_lr=1e-2, warmup_epochs=0.5, log_steps=4)


def options(**changes: object) -> LoopOptions:
    return LoopOptions(**{**vars(FAST), **changes})


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(trainee: ToyTrainee) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in trainee.module.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, x in one.items():
        assert torch.equal(x, other[name]), name


class StopAt(Listener):
    """Asks for a stop at one step, as a signal would."""

    def __init__(self, step: int, request: StopRequest) -> None:
        self.step, self.request = step, request

    def on_step(self, report) -> None:
        if report.step == self.step:
            self.request.requested = True


def test_training_learns_and_reports() -> None:
    trainee = ToyTrainee()
    rows: list[dict] = []

    class Keep(Listener):
        def on_log(self, row: dict) -> None:
            rows.append(row)

    result = fit(trainee, ToyBatches(), options(epochs=30), listener=Keep())
    assert result.stopped == "done" and result.epochs == 30 and result.molecules == 30 * 240
    assert result.steps == 30 * ToyBatches().steps(0)
    train = [row for row in rows if row["part"] == "train"]
    valid = [row for row in rows if row["part"] == "valid"]
    assert len(valid) == 30 and valid[-1]["error"] < 0.2 * valid[0]["error"]
    assert train[-1]["loss"] < 0.5 * train[0]["loss"]
    assert {"common", "rare", "learning_rate", "gradient_norm", "molecules_per_second"} <= set(train[0])
    assert [row["step"] for row in train] == list(range(4, result.steps + 1, 4))
    assert not trainee.module.training
    assert result.history == rows


def test_parameters_without_gradient_stay() -> None:
    trainee = ToyTrainee()
    before = weights(trainee)
    fit(trainee, ToyBatches(), options(weight_decay=0.1))
    after = weights(trainee)
    assert torch.equal(before["never.weight"], after["never.weight"])
    assert not torch.equal(before["rare.weight"], after["rare.weight"])


def test_gradient_is_that_of_one_big_batch() -> None:
    """Sums over all micro-batches divided by counts over all of them, for each term on its own."""
    split, whole = ToyTrainee(), ToyTrainee()
    batches = ToyBatches(accumulate=3)

    class Joined(ToyBatches):
        def epoch(self, epoch: int, start: int = 0):
            for step in super().epoch(epoch, start):
                parts = list(step)
                keys = torch.cat([part.key for part in parts])
                yield [type(parts[0])(self.x[keys], keys)]

    one_step = options(max_steps=1, epochs=None, clip=None)
    first, second = [], []

    class Take(Listener):
        def __init__(self, into: list) -> None:
            self.into = into

        def on_step(self, report) -> None:
            self.into.append(report)

    fit(split, batches, one_step, listener=Take(first))
    fit(whole, Joined(accumulate=3), one_step, listener=Take(second))
    assert math.isclose(first[0].loss, second[0].loss, rel_tol=1e-6)
    assert math.isclose(first[0].gradient_norm, second[0].gradient_norm, rel_tol=1e-5)
    for name, x in weights(split).items():
        torch.testing.assert_close(x, weights(whole)[name], rtol=1e-5, atol=1e-7)


def test_learning_rate_of_each_group_is_scaled() -> None:
    trainee = ToyTrainee()
    before = weights(trainee)
    # Adam's first step is the rate itself, whatever the gradient
    fit(trainee, ToyBatches(), options(max_steps=1, epochs=None, init_lr=1e-2, warmup_epochs=1.0, clip=None))
    after = weights(trainee)
    body = (after["body.0.weight"] - before["body.0.weight"]).abs().max()
    head = (after["common.weight"] - before["common.weight"]).abs().max()
    assert math.isclose(body, 0.5e-2, rel_tol=1e-3) and math.isclose(head, 1e-2, rel_tol=1e-3)


def test_clipping_bounds_the_gradient() -> None:
    norms: dict[str, list[float]] = {"free": [], "clipped": []}

    for name, clip in (("free", None), ("clipped", 1e-3)):
        trainee = ToyTrainee()
        seen: list[float] = []
        original = torch.optim.Adam.step

        def step(self, closure=None, trainee=trainee, seen=seen, original=original):
            gradients = [p.grad for p in trainee.module.parameters() if p.grad is not None]
            seen.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
            return original(self, closure)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", step)
            fit(trainee, ToyBatches(), options(clip=clip, epochs=1))
        norms[name] = seen
    assert max(norms["clipped"]) <= 1.001e-3 < min(norms["free"])


@settings(max_examples=12, deadline=None)
@given(stop=st.integers(1, 49), accumulate=st.sampled_from([1, 2]))
def test_resumed_equals_uninterrupted(tmp_path_factory: pytest.TempPathFactory, stop: int, accumulate: int) -> None:
    """Bit for bit, with dropout, at any step, in the middle of an epoch or at its end."""
    wanted = options(validate_steps=7, save_minutes=1000.0)
    batches = ToyBatches(accumulate=accumulate)
    through = ToyTrainee(dropout=0.3)
    straight = fit(through, batches, wanted, tmp_path_factory.mktemp("straight"))
    stop = min(stop, straight.steps - 2)
    folder = tmp_path_factory.mktemp("halted")
    request = StopRequest()
    with pytest.raises(Interrupted):
        fit(ToyTrainee(dropout=0.3), batches, wanted, folder, listener=StopAt(stop, request), stop=request)
    torch.manual_seed(99)  # the state of the generators is of no consequence
    resumed = ToyTrainee(dropout=0.3)
    result = fit(resumed, batches, wanted, folder)
    assert result.resumed_from is not None and stop <= result.resumed_from <= stop + 1
    assert_same(weights(through), weights(resumed))
    assert (result.best, result.best_step, result.molecules) == (straight.best, straight.best_step, straight.molecules)
    after = [row for row in straight.history if row["step"] > result.resumed_from]
    for row, again in zip(after, result.history[-len(after) :] if after else [], strict=True):
        for name in ("part", "step", "loss", "common", "error", "gradient_norm"):
            assert row.get(name) == again.get(name)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are read one step late, as on GPUs."""
    original = Ledger.__init__

    def patched(self: Ledger, *arguments: object) -> None:
        original(self, *arguments)
        self._delay = 1

    monkeypatch.setattr(Ledger, "__init__", patched)


@pytest.mark.parametrize("stop", [1, 12, 24, 25, 26, 30])
def test_reading_late_changes_nothing(tmp_path: Path, late: None, stop: int) -> None:
    wanted = options(validate_steps=7, save_minutes=0.0)
    through = ToyTrainee(dropout=0.3)
    straight = fit(through, ToyBatches(), replace(wanted, save_minutes=100.0), tmp_path / "straight")
    request = StopRequest()
    folder = tmp_path / "halted"
    with pytest.raises(Interrupted):
        fit(ToyTrainee(dropout=0.3), ToyBatches(), wanted, folder, listener=StopAt(stop, request), stop=request)
    resumed = ToyTrainee(dropout=0.3)
    result = fit(resumed, ToyBatches(), wanted, folder)
    assert result.resumed_from is not None and stop < result.resumed_from <= stop + 3
    assert_same(weights(through), weights(resumed))
    assert (result.best_step, result.molecules, result.steps) == (
        straight.best_step,
        straight.molecules,
        straight.steps,
    )


def test_bad_step_read_late_is_never_saved(tmp_path: Path, late: None) -> None:
    with pytest.raises(MesomerError, match="not a finite number at step"):
        fit(ToyTrainee(poison=17), ToyBatches(), options(save_minutes=0.0), tmp_path)
    state, tensors = read_state(tmp_path / LAST)
    assert all(torch.isfinite(x).all() for x in tensors.values()) and not state.finished


def test_full_disk_is_one_sentence_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    import resource

    request = StopRequest()
    with pytest.raises(Interrupted):
        fit(ToyTrainee(), ToyBatches(), FAST, tmp_path, listener=StopAt(3, request), stop=request)
    before = (tmp_path / LAST).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(MesomerError, match=r"last\.safetensors"):
            fit(ToyTrainee(monitor=False), ToyBatches(), FAST, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / LAST).read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [LAST]


def test_every_step_saved_resumes(tmp_path: Path) -> None:
    """A checkpoint by the clock after each step; a run that finished says so again at once."""
    trainee = ToyTrainee(dropout=0.1)
    first = fit(trainee, ToyBatches(), options(save_minutes=0.0), tmp_path)
    state, tensors = read_state(tmp_path / LAST)
    assert state.finished == "done" and state.step == first.steps
    assert all(name.startswith(("module/", "optimizer/")) for name in tensors)
    again = ToyTrainee(dropout=0.1)
    second = fit(again, ToyBatches(), options(save_minutes=0.0), tmp_path)
    assert second.steps == first.steps and second.history == [] and second.resumed_from == first.steps
    assert_same(weights(trainee), weights(again))


def test_callers_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    trainee = ToyTrainee(dropout=0.5)
    torch.manual_seed(1)
    fit(trainee, ToyBatches(), options(epochs=1))
    assert torch.equal(torch.rand(3), wanted)


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        trainee = ToyTrainee()
        trainee.validations = [3.0, 1.0, 2.0, math.nan, 2.0, 0.5]
        snapshots: list[dict[str, Tensor]] = []

        class Snap(Listener):
            def on_log(self, row: dict, trainee=trainee, snapshots=snapshots) -> None:
                if row["part"] == "valid":
                    snapshots.append(weights(trainee))

        result = fit(trainee, ToyBatches(), options(epochs=6, patience=3, keep_best=True), folder, listener=Snap())
        assert result.stopped == "early" and result.epochs == 5 and result.best == 1.0
        assert_same(snapshots[1], weights(trainee))
    assert read_state(tmp_path / BEST)[0].best_step == result.best_step


def test_no_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(ToyTrainee(), ToyBatches(), options(keep_best=True))
    assert list(tmp_path.iterdir()) == []


def test_time_limit_ends_cleanly(tmp_path: Path) -> None:
    result = fit(ToyTrainee(), ToyBatches(), options(max_minutes=0.0), tmp_path)
    assert result.stopped == "time" and result.steps == 1 and "error" in result.validation
    assert read_state(tmp_path / LAST)[0].finished == "time"


def test_not_a_number_names_step_and_molecules(tmp_path: Path) -> None:
    trainee = ToyTrainee(poison=17)
    with pytest.raises(MesomerError) as error:
        fit(trainee, ToyBatches(accumulate=2), options(save_minutes=0.0), tmp_path)
    text = str(error.value)
    assert "not a finite number at step" in text and " 17" in text
    number = int(text.split("at step ")[1].split()[0])
    if number > 1:
        state, tensors = read_state(tmp_path / LAST)
        assert state.step == number - 1
        assert all(torch.isfinite(x).all() for x in tensors.values())


def test_bfloat16_keeps_parameters_in_float32() -> None:
    trainee = ToyTrainee()
    kinds = set()

    def look(module, inputs, output) -> None:
        kinds.add(output.dtype)

    trainee.module.common.register_forward_hook(look)
    fit(trainee, ToyBatches(), options(precision="bf16"))
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in trainee.module.parameters()} == {torch.float32}


def test_frozen_until_an_epoch() -> None:
    class Thawing(ToyTrainee):
        def start_epoch(self, epoch: int) -> None:
            for p in self.module.body.parameters():
                p.requires_grad_(epoch >= 1)

    trainee = Thawing()
    start = weights(trainee)["body.0.weight"]
    seen = []

    class Look(Listener):
        def on_log(self, row: dict) -> None:
            if row["part"] == "valid":
                seen.append(torch.equal(start, trainee.module.body[0].weight))

    fit(trainee, ToyBatches(), options(epochs=2), listener=Look())
    assert seen == [True, False]


def test_checkpoint_of_other_processes_is_refused(tmp_path: Path) -> None:
    request = StopRequest()
    with pytest.raises(Interrupted):
        fit(ToyTrainee(), ToyBatches(), FAST, tmp_path, listener=StopAt(3, request), stop=request)
    with pytest.raises(MesomerError, match="same number of processes"):
        fit(ToyTrainee(), ToyBatches(accumulate=2), FAST, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "foreign", "other network"])
def test_damaged_checkpoint_is_one_sentence(tmp_path: Path, damage: str) -> None:
    fit(ToyTrainee(), ToyBatches(), options(max_steps=2, epochs=None), tmp_path)
    path = tmp_path / LAST
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "foreign":
        path.write_bytes(b"PK\x03\x04 something else")
    else:
        save_state(path, LoopState(), {"module/other": torch.zeros(2)})
    with pytest.raises(MesomerError):
        fit(ToyTrainee(), ToyBatches(), options(max_steps=2, epochs=None), tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"optimizer": "adan"}, {"schedule": "cosin"}, {"epochs": None}, {"epochs": 0}, {"max_lr": float("nan")}]
)
def test_wrong_options_are_the_users_error(wrong: dict) -> None:
    with pytest.raises(MesomerError):
        fit(ToyTrainee(), ToyBatches(), options(**wrong))


@pytest.mark.parametrize("wrong", [{"precision": "16"}, {"accelerator": "gpuu"}])
def test_wrong_device_options_are_the_users_error(wrong: dict) -> None:
    with pytest.raises(MesomerError):
        Context.start(**wrong)


def test_time_is_counted_without_a_folder_too() -> None:
    assert fit(ToyTrainee(), ToyBatches(), options(max_steps=2, epochs=None)).seconds > 0


def test_the_best_step_is_that_of_the_weights_that_are_kept(tmp_path: Path) -> None:
    """A kill after a better validation, before the next checkpoint: the file of the best weights is ahead."""
    whole = fit(ToyTrainee(), ToyBatches(), replace(FAST, keep_best=True), tmp_path)
    from mesomer.training.state import read_state

    ahead, best = read_state(tmp_path / BEST)
    ahead.best, ahead.best_step = -1.0, 4321
    save_state(tmp_path / BEST, ahead, best)
    again = fit(ToyTrainee(), ToyBatches(), replace(FAST, keep_best=True), tmp_path)
    assert whole.best_step != 4321 and again.best_step == 4321 and again.best == -1.0
