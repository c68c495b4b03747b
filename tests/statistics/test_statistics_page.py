"""The page on statistics: its Python runs and its table is that of the planning functions."""

import re
from pathlib import Path

import pytest

from mesomer.statistics import cross_validation, drawn_splits, smallest_detectable

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_its_python_prints_a_headline(capsys):
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "statistics.md", "exec"), {})
    said = capsys.readouterr().out
    assert "0.022 (0.006 to 0.038), helps" in said
    assert "Posterior(better=0.63" in said


def test_its_table_is_what_the_designs_detect():
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) s(.*?) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for name, factor, more_spread, shown in rows:
        crossed = re.match(r"(\d+) x (\d+) folds", name)
        design = cross_validation(int(crossed[1]), int(crossed[2])) if crossed else drawn_splits(int(name.split()[0]))
        found = smallest_detectable(1.0, design)
        assert found == pytest.approx(float(factor), abs=0.006), name
        assert 0.012 * found * (2**0.5 if more_spread else 1) == pytest.approx(float(shown), abs=0.0006), name
