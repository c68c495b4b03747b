"""Numbers on logarithmic axes are readable: pages draw no formulas."""

from __future__ import annotations

import re

import pytest

from mesomer.report.figures import _axes, logarithmic


@pytest.mark.parametrize(("values", "shown"), [((1e-5, 1e-2), "0.001"), ((2.0, 7.0), "3"), ((0.01, 300.0), "100")])
def test_labels_are_numbers(values, shown):
    with _axes() as (ax, finish):
        ax.plot([0, 1], values)
        logarithmic(ax.yaxis)
        assert ax.get_yscale() == "log"
        svg = finish("title", "caption", "told in words").svg
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "$" not in svg and "mathdefault" not in svg and shown in labels, labels
