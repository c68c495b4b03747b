"""Labels: the task of each target by the published rule, bad labels, merged duplicates, and what is too little."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer.data.labels import Labelled, few_labels_warning, read_labels, require_enough
from mesomer.data.repeats import SplitColumn
from mesomer.data.tables import open_table
from mesomer.data.tasks import read_target
from mesomer.errors import MesomerError


def target(cells: list, task: str | None = None):
    return read_target("y", cells, range(1, len(cells) + 1), task)


def labelled(rows: list[tuple], task: str | None = None, names: tuple[str, ...] = ("y",), **options) -> Labelled:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=["smiles", *names])
    return read_labels(open_table(frame), list(names), task, **options)


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [
        (["0", "1", "", "1.0"], "binary", ["0", "1"]),
        ([0, 1, None, float("nan")], "binary", ["0", "1"]),
        ([True, False, None], "binary", ["0", "1"]),
        (["active", "inactive", "active"], "binary", ["inactive", "active"]),
        (["yes", "no"], "binary", ["no", "yes"]),
        (["blue", "red"], "binary", ["blue", "red"]),
        (["True", "False"], "binary", ["False", "True"]),
        (["red", "green", "blue"], "multiclass", ["blue", "green", "red"]),
        (["0.5", "1", "2"], "regression", None),
        (["0", "1", "2"], "regression", None),
        (["-1", "1"], "regression", None),
        ([" 1.5 ", "1e3", "-2"], "regression", None),
    ],
)
def test_the_task_is_inferred(cells: list, kind: str, classes: list[str] | None):
    info = target(cells).info
    assert (info.type, info.classes) == (kind, classes)


def test_values_follow_the_classes():
    column = target(["active", "", "inactive", "NaN"])
    assert column.values[[0, 2]].tolist() == [1, 0]
    assert np.isnan(column.values[[1, 3]]).all()
    assert target(["3", "1", "2"], "multiclass").values.tolist() == [2, 0, 1]
    assert target(["-1", "1.0", "1"], "binary").values.tolist() == [0, 1, 1]
    assert target(["inactive", "inactive"], "binary").values.tolist() == [0, 0]
    assert target(["1", "1"], "binary").info.classes == ["0", "1"]


def test_few_whole_numbers_are_said_to_be_regression_unless_asked_for():
    warning = target([str(at % 10) for at in range(30)]).info.warning
    assert "--task regression" in warning and "--task multiclass" in warning and "--task binary" in warning
    assert target([str(at % 11) for at in range(30)]).info.warning is None
    assert target(["0", "1"]).info.warning is None
    assert target(["1", "2", "2.5"]).info.warning is None
    assert target(["1", "2"], "regression").info.warning is None


def test_a_column_of_text_is_not_numeric_and_shows_three_rows():
    cells = ["1.5", "high", "<0.5", "low", "2", "medium"]
    with pytest.raises(MesomerError, match="not numeric") as caught:
        target(cells)
    for shown in ("row 2: 'high'", "row 3: '<0.5'", "row 4: 'low'"):
        assert shown in caught.value.message
    assert "medium" not in caught.value.message
    with pytest.raises(MesomerError, match="not numeric"):
        target([f"name {at}" for at in range(60)])
    with pytest.raises(MesomerError, match="not numeric"):
        target(["red", "green", "blue"], "regression")


def test_hints_name_the_usual_causes():
    with pytest.raises(MesomerError) as caught:
        target(["1,5", "2,5", "3"])
    assert "decimal" in caught.value.hint
    with pytest.raises(MesomerError) as caught:
        target(["<1.5", ">20", "3"])
    assert "censored" in caught.value.hint


def test_text_and_infinities_among_numbers_are_bad_labels():
    column = target(["1.5", "high", "inf", "2", "-inf", "1_000", "3", "7", "8"])
    assert column.bad == [1, 2, 4, 5]
    assert np.isnan(column.values[column.bad]).all()
    assert target(["0", "1", "inf"], "binary").bad == [2]
    with pytest.raises(MesomerError, match="no finite label"):
        target(["inf", "-inf"])


def test_too_many_classes():
    with pytest.raises(MesomerError, match=r"not binary: it has 3 classes \('0', '1', '2'\)"):
        target(["0", "1", "2"], "binary")
    with pytest.raises(MesomerError, match="too many for classes"):
        target([str(at) for at in range(101)], "multiclass")
    with pytest.raises(MesomerError, match="no task named 'regresion'") as caught:
        target(["1"], "regresion")
    assert "regression" in caught.value.hint


def test_no_label_and_constant_labels():
    with pytest.raises(MesomerError, match="no label"):
        target(["", "nan", None, "N/A"])
    for cells in (["1", "1"], ["2.5", "2.5"], ["yes", "yes"]):
        assert "nothing to learn" in target(cells).info.warning


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_every_number_comes_through_unchanged(numbers: list[float]):
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        with pytest.raises(MesomerError):
            target([repr(number) for number in numbers], "regression")
        return
    column = target([repr(number) for number in numbers], "regression")
    assert column.values[~np.isnan(column.values)].tolist() == finite
    assert column.bad == [at for at, number in enumerate(numbers) if math.isinf(number)]


def test_rows_are_kept_rejected_or_counted():
    rows = [("CCO", 1.5), ("xx", 2), ("CCN", None), ("", 3), ("CCC", float("inf")), ("CCCl", 2.5)]
    table = labelled(rows)
    assert table.smiles == ["CCO", "CCCl"]
    assert table.rows == [1, 6]
    assert table.y.tolist() == [[1.5], [2.5]]
    assert [(item.row, item.reason) for item in table.rejects.items] == [
        (2, "cannot parse"),
        (4, "empty"),
        (5, "bad label"),
    ]
    assert (table.table_rows, table.unlabelled) == (6, 1)
    assert [mol.GetNumAtoms() for mol in table.mols] == [3, 3]


def test_several_targets_with_missing_labels():
    rows = [("CCO", "0", 1.5, "a"), ("CCN", "", 2.25, "b"), ("CCC", "1", None, "c"), ("CCF", "", None, "d")]
    import pandas as pd

    frame = pd.DataFrame(rows, columns=["smiles", "active", "logS", "who"])
    table = read_labels(open_table(frame), ["logS", "active"], keep=["who"])
    assert [task.type for task in table.tasks] == ["regression", "binary"]
    np.testing.assert_array_equal(table.y, [[1.5, 0], [2.25, np.nan], [np.nan, 1]])
    assert table.columns == {"who": ["a", "b", "c"]}
    assert table.unlabelled == 1


def test_one_molecule_is_one_row_regression():
    table = labelled([("CCO", 1.0), ("CCN", 7.5), ("OCC", 2.0), ("C(O)C", 6.0), ("NCC", 7.5)])
    assert table.smiles == ["CCO", "CCN"]
    assert table.y.tolist() == [[3.0], [7.5]]
    assert table.all_rows == [[1, 3, 4], [2, 5]]
    assert (table.merged, table.conflicts) == (3, {"y": 1})
    assert any("1 molecule has rows with different labels; used: their mean" in text for text in table.warnings)


def test_one_molecule_is_one_row_classes():
    rows = [("CCO", "a"), ("OCC", "b"), ("CCN", "b"), ("NCC", "b"), ("C(N)C", "a"), ("CCC", "a")]
    table = labelled(rows)
    assert table.smiles == ["CCN", "CCC"]  # ethanol is a tie
    assert table.y.tolist() == [[1], [0]]
    assert table.conflicts == {"y": 2}
    assert any("majority" in text for text in table.warnings)


def by_column(rows: list[tuple], further: tuple[str, ...], **options) -> Labelled:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=["smiles", "y", *further])
    return read_labels(open_table(frame), ["y"], **options)


def test_no_label_crosses_the_parts_of_a_column():
    rows = [
        ("CCO", 1.0, "train"), ("OCC", 9.0, "Test"), ("C(O)C", 11.0, "test"), ("CCN", 2.0, "training"),
        ("NCC", 4.0, "train"), ("CCC", 3.0, "train"), ("CCC", 5.0, "val"), ("CCCl", None, "test"),
        ("CCCl", 7.0, "train"),
    ]  # fmt: skip
    table = by_column(rows, ("part",), split_column=SplitColumn("part"))
    found = dict(zip(table.smiles, zip(table.y[:, 0], table.columns["part"], strict=True), strict=True))
    assert found == {"OCC": (10.0, "Test"), "CCN": (3.0, "training"), "CCC": (5.0, "val"), "CCCl": (7.0, "train")}
    assert (table.merged, table.left_out) == (2, 2)
    said = [text for text in table.warnings if "several parts" in text]
    assert len(said) == 1 and "2 molecules have" in said[0] and "2 other rows are left out" in said[0]


def test_later_labels_do_not_reach_an_earlier_time():
    rows = [("CCO", 9.0, "2005"), ("OCC", 1.0, "1999"), ("C(O)C", 3.0, "1999.0"), ("CCN", 2.5, "2003")]
    table = by_column(rows, ("year",), split_column=SplitColumn("year", "time"))
    assert (table.smiles, table.y.tolist(), table.columns["year"]) == (["OCC", "CCN"], [[2.0], [2.5]], ["1999", "2003"])
    assert (table.merged, table.left_out) == (1, 1)
    assert any("1 molecule has rows of different times" in text and "1 other row is" in text for text in table.warnings)


def test_cells_that_the_rule_cannot_read_are_named_by_row_unless_tolerated():
    rows = [("CCO", 1.5, "train"), ("xx", 1.5, "odd"), ("OCC", 2.5, "maybe"), ("CCN", 2.5, "test")]
    with pytest.raises(MesomerError, match="1 of 3 differ: 'maybe' in row 3"):
        by_column(rows, ("part",), split_column=SplitColumn("part"))
    table = by_column(rows, ("part",), split_column=SplitColumn("part", strict=False))
    assert table.left_out == 0 and any("'maybe' in row 3" in text for text in table.warnings)


def test_conditions_tell_examples_of_one_molecule_apart():
    rows = [("CCO", 1.0, "7"), ("OCC", 3.0, "7.0"), ("CCO", 9.5, "2"), ("CCO", 4.0, ""), ("OCC", 6.0, "nan")]
    table = by_column(rows, ("pH",), conditions=["pH"])
    assert table.canonical == ["CCO"] * 3
    assert table.y.tolist() == [[2.0], [9.5], [5.0]]
    assert table.columns["pH"] == ["7", "2", ""]
    assert table.all_rows == [[1, 2], [3], [4, 5]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["CCO", "OCC", "CCN", "CCC", "C1CC1"]),
            st.floats(-5, 5).map(lambda number: number + 0.25),
            st.sampled_from(["train", "valid", "test"]),
            st.sampled_from(["2", "7"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_molecule_lies_in_one_part_and_takes_labels_from_it_only(rows: list[tuple]):
    column = SplitColumn("part")
    table = by_column(rows, ("part", "pH"), task="regression", conditions=["pH"], split_column=column)
    parts: dict[str, set[str]] = {}
    for name, part, group in zip(table.canonical, table.columns["part"], table.all_rows, strict=True):
        parts.setdefault(name, set()).add(part)
        assert {rows[row - 1][2] for row in group} == {part}
        assert len({rows[row - 1][3] for row in group}) == 1
    assert all(len(found) == 1 for found in parts.values())
    assert sum(map(len, table.all_rows)) + table.left_out == len(rows)


def test_stereoisomers_are_different_molecules():
    assert len(labelled([("C[C@H](N)O", 1.0), ("C[C@@H](N)O", 2.0), ("CC(N)O", 3.0)])) == 3


def test_rare_classes_and_nearly_constant_numbers_are_said():
    chains = ["C" * length for length in range(1, 101)]
    rare = labelled([(s, int(at < 3)) for at, s in enumerate(chains)])
    assert any("class 1 has only 3 of 100" in text for text in rare.warnings)
    nearly = labelled([(s, 1.5 if at else 2.5) for at, s in enumerate(chains)])
    assert any("nearly constant" in text for text in nearly.warnings)
    assert labelled([(s, at % 2) for at, s in enumerate(chains)]).warnings == []


def test_enough_labels():
    few = labelled([("C" * length, length / 7) for length in range(1, 10)])
    with pytest.raises(MesomerError, match="Only 9 molecules"):
        require_enough(few)
    require_enough(few, minimum=9)
    assert "--probe" in few_labels_warning(few)
    assert few_labels_warning(few, enough=9) is None


def test_targets_must_be_there_and_be_targets():
    cases = [(["z"], "no column 'z'"), ([], "No target"), (["smiles"], "SMILES column"), (["y", "y"], "twice")]
    for targets, message in cases:
        with pytest.raises(MesomerError, match=message):
            read_labels(open_table(_frame()), targets)


def _frame():
    import pandas as pd

    return pd.DataFrame({"smiles": ["CCO", "CCN"], "y": [1.5, 2.5]})


def test_rejects_of_several_files_name_the_file(tmp_path: Path):
    (tmp_path / "a.csv").write_text("smiles,y\nCCO,1.5\nxx,2\n")
    (tmp_path / "b.csv").write_text("smiles,y\nCCN,inf\nCCC,0.5\n")
    table = read_labels(open_table(str(tmp_path / "*.csv")), ["y"])
    table.rejects.write(tmp_path / "rejects.csv")
    text = (tmp_path / "rejects.csv").read_text().splitlines()
    assert text == [
        "row,line,smiles,reason,cell,file",
        f"2,3,xx,cannot parse,,{tmp_path / 'a.csv'}",
        f"3,2,CCN,bad label,y 'inf',{tmp_path / 'b.csv'}",
    ]


COMMAS = [f"{at % 35 / 10:.1f}".replace(".", ",") for at in range(290)]


@pytest.mark.parametrize(
    "cells",
    [
        COMMAS,  # few digits: 35 different words
        [*COMMAS, "n.d.", "<0,5", "4"],
        ["0,5", "1,5"] * 20,  # two words
        ["1.5"] * 231 + ["-0,3"] * 61,  # left out, they would take the negative end away
    ],
)
def test_columns_with_decimal_commas_are_neither_classes_nor_bad_labels(cells: list[str]):
    for task in (None, "regression"):
        with pytest.raises(MesomerError, match="have a decimal comma") as caught:
            target(cells, task)
        assert caught.value.hint.startswith("Write decimal points instead of decimal commas")
    if len(set(cells)) > 2:
        assert target(cells, "multiclass").info.type == "multiclass"


def test_commas_that_may_separate_thousands_are_said_to():
    with pytest.raises(MesomerError) as caught:
        target(["1,300", "950", "12,500", "1,250"])
    assert "thousands" in caught.value.hint
    with pytest.raises(MesomerError) as caught:
        target(["1,300", "0,950", "12,5"])
    assert "thousands" not in caught.value.hint


def test_single_commas_among_points_are_bad_labels_that_name_them():
    rows = [("C" * (at + 1), f"{at / 10}") for at in range(30)] + [("CCO", "0,7"), ("CCN", "n.d.")]
    found = labelled(rows)
    assert [(item.row, item.reason, item.cell) for item in found.rejects.items] == [
        (31, "bad label", "y '0,7'"),
        (32, "bad label", "y 'n.d.'"),
    ]
    (warning,) = (text for text in found.warnings if "finite" in text)
    assert "(row 31: y '0,7'; row 32: y 'n.d.'); decimal commas: 1, write points instead" in warning


def test_classes_with_a_few_commas_stay_classes():
    assert target(["1,2", "A", "B", "A", "B", "C"]).info.type == "multiclass"


def test_decimal_commas_are_numbers_where_the_table_is_said_to_have_them(tmp_path: Path):
    path = tmp_path / "komma.csv"
    path.write_bytes("\ufeffsmiles;pH;y;n\r\nCCO;7,4;1,3;2\r\nCCN;7;-0,25;3\r\nCCC;;1e-1;4\r\n".encode())
    found = read_labels(open_table(path, decimal=","), ["y", "n"], "regression", conditions=["pH"])
    assert found.y.tolist() == [[1.3, 2], [-0.25, 3], [0.1, 4]]
    assert found.columns["pH"] == ["7.4", "7", ""]
    assert read_labels(open_table(path, decimal="."), ["n"], "regression").y.tolist() == [[2], [3], [4]]
    path.write_text("smiles;y\nCCO;1,3\nCCN;1.300\n")
    with pytest.raises(MesomerError, match=r"'y' has a decimal point in row 2 \('1.300'\)"):
        read_labels(open_table(path, decimal=","), ["y"])
