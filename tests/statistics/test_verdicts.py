"""The table of verdicts, row by row and at its borders."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesomer.errors import MesomerError
from mesomer.statistics import default_zone, verdict, verdicts_by_zone


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.01, 0.015, "no practical difference"),
        (-0.02, 0.02, "no practical difference"),
        (0.001, 0.019, "no practical difference (detectable but small)"),
        (-0.019, -0.001, "no practical difference (detectable but small)"),
        (0.001, 0.03, "helps"),
        (0.021, 0.03, "helps (by more than the zone)"),
        (0.02, 0.03, "helps"),
        (-0.03, -0.001, "hurts"),
        (-0.05, -0.021, "hurts (by more than the zone)"),
        (-0.001, 0.03, "undecided"),
        (-0.03, 0.01, "undecided"),
        (0.0, 0.03, "undecided"),
        (-0.2, 0.2, "undecided"),
    ],
)
def test_table(low, high, expected):
    assert str(verdict(low, high, 0.02)) == expected


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.001, 1))
def test_changing_sides_changes_helps_and_hurts_only(low, width, zone):
    high = low + width
    there, back = verdict(low, high, zone), verdict(-high, -low, zone)
    assert back == there._replace(name={"helps": "hurts", "hurts": "helps"}.get(there.name, there.name))


def test_half_the_zone_and_twice_the_zone():
    names = [str(found) for found in verdicts_by_zone(0.012, 0.03, 0.02)]
    assert names == ["helps (by more than the zone)", "helps", "no practical difference (detectable but small)"]
    assert [found.zone for found in verdicts_by_zone(0, 0.1, 0.02)] == [0.01, 0.02, 0.04]


def test_default_zones():
    assert default_zone("roc_auc") == default_zone("average_precision") == 0.02
    assert default_zone("rmse", label_deviation=2.0) == pytest.approx(0.1)
    assert default_zone("mae", label_deviation=2.0, repeat_error=0.3) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verdict(0.1, 0.0, 0.02), "not an interval"),
        (lambda: verdict(math.nan, 0.0, 0.02), "not an interval"),
        (lambda: verdict(0.0, 0.1, 0.0), "above zero"),
        (lambda: default_zone("mcc"), "no usual zone"),
        (lambda: default_zone("rmse"), "spread of the labels"),
        (lambda: default_zone("rmse", 0.0), "above zero"),
    ],
)
def test_wrong_input_is_a_sentence(call, said):
    with pytest.raises(MesomerError, match=said):
        call()
