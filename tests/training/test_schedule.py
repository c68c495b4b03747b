"""The learning rate against the published formula."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesomer.commands.finetune import finetune
from mesomer.commands.pretrain import pretrain
from mesomer.errors import MesomerError
from mesomer.training.schedule import SHAPES, Schedule, warmup_steps


def schedule(**changes) -> Schedule:
    values = {
        "shape": "exponential",
        "init_lr": 1e-4,
        "max_lr": 1e-3,
        "final_lr": 1e-4,
        "warmup_steps": 20,
        "total_steps": 100,
    }
    return Schedule(**{**values, **changes})


def test_published_formula() -> None:
    s = schedule()
    for step in range(130):
        if step <= 20:
            wanted = 1e-4 + step * (1e-3 - 1e-4) / 20
        elif step <= 100:
            wanted = 1e-3 * (1e-4 / 1e-3) ** ((step - 20) / 80)
        else:
            wanted = 1e-4
        assert math.isclose(s.rate(step), wanted, rel_tol=1e-12)


@pytest.mark.parametrize("warm", [0, 1, 20])
def test_the_published_formula_of_rmat(warm: int) -> None:
    """Of its step s = 1, 2, ... (rmat.md 6), given its peak."""
    s = schedule(shape="inverse_sqrt", init_lr=0.0, final_lr=0.0, warmup_steps=warm)
    w = max(warm, 1)
    for number in range(1, 101):
        assert math.isclose(s.rate(number - 1), 1e-3 * w**0.5 * min(number**-0.5, number * w**-1.5), rel_tol=1e-12)
    assert schedule(shape="inverse_sqrt", final_lr=8e-4).rate(99) == 8e-4


@pytest.mark.parametrize("command", [pretrain, finetune])
def test_both_trainings_offer_every_schedule(command) -> None:
    assert get_args(get_type_hints(command)["schedule"]) == SHAPES


@given(
    shape=st.sampled_from(SHAPES),
    rates=st.tuples(*[st.floats(1e-8, 1.0)] * 3),
    warm=st.integers(0, 50),
    more=st.integers(1, 200),
    step=st.integers(0, 400),
)
def test_rate_stays_between_its_ends(shape: str, rates: tuple, warm: int, more: int, step: int) -> None:
    init, top, final = rates
    s = schedule(shape=shape, init_lr=init, max_lr=top, final_lr=final, warmup_steps=warm, total_steps=warm + more)
    assert min(rates) * (1 - 1e-9) <= s.rate(step) <= max(rates) * (1 + 1e-9)
    if shape not in ("constant", "inverse_sqrt"):
        assert math.isclose(s.rate(warm + more), final)
    if warm and shape != "inverse_sqrt":
        assert math.isclose(s.rate(0), init) and math.isclose(s.rate(warm), top)


def test_warm_up_longer_than_the_run_is_cut_to_half() -> None:
    assert warmup_steps(2.0, 100, 1000) == 200
    assert warmup_steps(2.0, 100, 150) == 75
    assert warmup_steps(0.0, 100, 1) == 0


@pytest.mark.parametrize("wrong", [{"shape": "expo"}, {"max_lr": -1.0}, {"final_lr": 0.0}, {"init_lr": float("inf")}])
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(MesomerError):
        schedule(**wrong)
