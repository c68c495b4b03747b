"""mesomer check: what it finds, what it advises, and that it writes only what it is asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mesomer.commands.check import check
from mesomer.errors import MesomerError


def table(tmp_path: Path, *rows: str, name: str = "t.csv") -> str:
    path = tmp_path / name
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def chains(count: int) -> list[str]:
    return [f"{'C' * at}O,{at / 7:.3f},{'train' if at % 3 else 'test'}" for at in range(1, count + 1)]


def test_counts_of_structures(tmp_path: Path):
    path = table(
        tmp_path, "smiles,note", "CCO,1", "OCC,2", "CC[O-].[Na+],3", "C*,4", "[CH3:1]O,5", "xx,6", ",7", "[NH4+],8"
    )
    found = check(path)
    expected = {
        "rows": 8,
        "readable": 6,
        "rejected": 2,
        "reasons": {"cannot parse": 1, "empty": 1},
        "duplicates": 1,
        "salts_and_mixtures": 1,
        "charged": 1,
        "dummy_atoms": 1,
        "atom_maps": 1,
        "median_atoms": 2,
        "most_atoms": 4,
        "smiles_column": "smiles",
    }
    assert {name: found[name] for name in expected} == expected
    text = found["text"]
    for words in (
        "row 6 (line 7): cannot parse: 'xx'",
        "row 7 (line 8): empty",
        "1 row repeats",
        "several parts",
        "dummy",
    ):
        assert words in text
    assert os.listdir(tmp_path) == ["t.csv"]


def test_the_report_ends_with_the_next_command(tmp_path: Path):
    path = table(tmp_path, "smiles,log S,split", *chains(40))
    found = check(path)
    assert found["possible_targets"] == ["log S"]
    assert found["text"].splitlines()[-1] == f"Next: mesomer check {path} --targets 'log S'"
    found = check(path, targets=["log S"])
    assert found["next"] == f"mesomer finetune {path} --targets 'log S' --split scaffold --output runs/first"
    found = check(path, targets=["log S"], split_column="split")
    assert "--split_column split --split column" in found["next"]
    assert "--task regression" in check(path, targets=["log S"], task="regression")["next"]
    assert found["split"]["parts"] == {"train": 27, "test": 13}
    assert found["targets"][0]["type"] == "regression" and found["targets"][0]["labels"] == 40
    assert check(table(tmp_path, "CCO a", "CCN b", name="t.smi"))["next"].startswith("mesomer embed")


def test_all_possible_targets_are_advised(tmp_path: Path):
    rows = [f"{'C' * at}O,{at}.5,{at % 2},{at}.25" for at in range(1, 13)]
    path = table(tmp_path, 'smiles,log S,active,"a,b"', *rows)
    found = check(path)
    assert found["next"] == f"mesomer check {path} --targets 'log S,active'"
    assert found["text"].splitlines()[-1].startswith("These are 2 of 3 columns")
    path = table(tmp_path, "smiles,log S,active", *(row.rsplit(",", 1)[0] for row in rows))
    assert check(path)["text"].splitlines()[-1].startswith("These are all 2 columns")
    assert check(path, targets=["active"])["next_note"] is None


def test_of_many_possible_targets_the_first_are_advised_with_their_number(tmp_path: Path):
    names = [f"t{at}" for at in range(50)]
    rows = [",".join(["C" * at, *(f"{at + number / 8}" for number in range(50))]) for at in range(1, 13)]
    found = check(table(tmp_path, ",".join(["smiles", *names]), *rows))
    assert found["next"].endswith(f"--targets {','.join(names[:20])}")
    assert found["next_note"] == "These are 20 of 50 columns that may be targets; name those that are."


def test_a_molecule_in_several_parts_is_counted_as_finetune_does(tmp_path: Path):
    rows = [*chains(40), "OCC,9.5,test", "OCC,9.25,train"]
    found = check(table(tmp_path, "smiles,y,split", *rows), targets=["y"], split_column="split")
    assert any("in several parts of 'split'" in text for text in found["warnings"])
    odd = check(table(tmp_path, "smiles,y,split", *rows, "CCN,1.5,odd"), targets=["y"], split_column="split")
    assert any("'odd' in row 43" in text for text in odd["warnings"])


def test_few_labels_are_said(tmp_path: Path):
    found = check(table(tmp_path, "smiles,y", "CCO,1.5", "CCN,2"), targets=["y"])
    assert any("at least 10" in text for text in found["warnings"])
    rows = [",".join(row.split(",")[:2]) for row in chains(20)]
    assert any("--probe" in text for text in check(table(tmp_path, "smiles,y", *rows), targets=["y"])["warnings"])


def test_a_column_of_times_is_not_listed_in_full(tmp_path: Path):
    path = table(tmp_path, "smiles,year", *(f"CCO,{1900 + at}" for at in range(60)))
    assert "1 1919, … (60 different values)" in check(path, split_column="year")["text"]


def test_what_cannot_be_fine_tuned_is_not_advised(tmp_path: Path):
    path = table(tmp_path, "smi2,y", "CCO,1.5", "CCN,2")
    assert check(path, smiles_column="smi2", targets=["y"])["next"].startswith(f"mesomer embed {path}")
    assert check(path, smiles_column="smi2")["next"].endswith("--targets y --smiles_column smi2")


def test_targets_and_their_warnings(tmp_path: Path):
    rows = [f"{'C' * at},{'yes' if at > 3 else 'no'},{at % 4},{at}.5" for at in range(1, 41)]
    found = check(table(tmp_path, "smiles,active,grade,value", *rows), targets=["active", "grade", "value"])
    assert [target["type"] for target in found["targets"]] == ["binary", "regression", "regression"]
    assert found["targets"][0]["classes"] == {"no": 3, "yes": 37}
    text = found["text"]
    assert "active: binary, 40 labels (3 no, 37 yes)" in text
    assert "grade" in text and "--task multiclass" in text
    assert any("class no has only 3 of 40" in warning for warning in found["warnings"])


def test_the_report_can_be_written_once(tmp_path: Path):
    path, output = table(tmp_path, "smiles", "CCO", "xx"), tmp_path / "report.json"
    found = check(path, output=str(output))
    written = json.loads(output.read_text())
    assert written["rejects"] == [
        {"row": 2, "line": 3, "smiles": "xx", "reason": "cannot parse", "file": path, "cell": ""}
    ]
    assert written["rows"] == found["rows"]
    rejects = tmp_path / "report.json.rejects.csv"
    assert rejects.read_text() == "row,line,smiles,reason\n2,3,xx,cannot parse\n"
    assert str(rejects) in found["text"]
    with pytest.raises(MesomerError, match="exists already") as caught:
        check(path, output=str(output))
    assert "--overwrite" in caught.value.hint
    check(table(tmp_path, "smiles", "CCO", name="u.csv"), output=str(output), overwrite=True)
    assert not rejects.exists()


def test_what_cannot_work_is_an_error_before_anything_is_written(tmp_path: Path):
    path = table(tmp_path, "smiles,y,SMILES2", "CCO,a,CC", "CCN,2,CC", "CCC,b,CC")
    output = str(tmp_path / "report.json")
    for options, message in (
        ({"targets": ["z"]}, "no column 'z'"),
        ({"split_column": "z"}, "no column 'z'"),
        ({"targets": ["y"]}, "not numeric"),
        ({"smiles_column": "z"}, "no column 'z'"),
    ):
        with pytest.raises(MesomerError, match=message):
            check(path, output=output, **options)
    with pytest.raises(MesomerError, match="Cannot write"):
        check(path, output=f"{path}/report.json")
    assert os.listdir(tmp_path) == ["t.csv"]


def test_long_lists_are_cut_in_the_text_not_in_the_file(tmp_path: Path):
    path = table(tmp_path, "smiles", "CCO", *["xx"] * 50)
    found = check(path, output=str(tmp_path / "r.json"))
    assert "… and 30 more" in found["text"]
    assert found["text"].count("cannot parse") == 21
    assert len(found["rejects"]) == 50
    assert (tmp_path / "r.json.rejects.csv").read_text().count("\n") == 51
