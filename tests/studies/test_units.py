"""Units of targets: given, or said by a header; never guessed from words that may mean something else."""

from __future__ import annotations

import pytest

from mesomer.errors import MesomerError
from mesomer.studies.units import unit_in, units_of
from mesomer.training.predictor import Target


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("solubility (mg/L)", "mg/L"), ("logS [log mol/L]", "log mol/L"), ("logS (log(mol/L))", "log(mol/L)"),
        ("IC50 (\N{MICRO SIGN}M)", "\N{MICRO SIGN}M"),
        ("IC50 (\N{GREEK SMALL LETTER MU}M)", "\N{GREEK SMALL LETTER MU}M"),
        ("CL (mL/min/kg)", "mL/min/kg"), ("Papp (10^-6 cm s⁻¹)", "10^-6 cm s⁻¹"), ("melting point [°C]", "°C"),
        ("yield (second try)", ""), ("target (m)", ""), ("activity (log)", ""), ("count [1]", ""), ("pIC50", ""),
        ("value (M) of two", ""), ("empty ()", ""),
    ],
)  # fmt: skip
def test_what_a_header_says(header, unit):
    assert unit_in(header) == unit


def test_given_units_count_and_classes_have_none():
    number, yes = Target("logS (mM)", "regression"), Target("toxic (mM)", "binary", ("no", "yes"))
    assert units_of([number, yes], None) == ["mM", ""]
    assert units_of([number, yes], ["log mol/L ", ""]) == ["log mol/L", ""]
    with pytest.raises(MesomerError, match=r"--units names 1, and there are 2 targets"):
        units_of([number, yes], ["mM"])
    with pytest.raises(MesomerError, match="holds classes"):
        units_of([number, yes], ["mM", "mM"])
