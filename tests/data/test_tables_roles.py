"""The SMILES column is found by name and said; where it is not, the sentence lists what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesomer.data.tables import open_table
from mesomer.errors import MesomerError


def table(tmp_path: Path, header: str, *rows: str, **options):
    path = tmp_path / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return open_table(path, **options)


@pytest.mark.parametrize(
    "name", ["smiles", "SMILES", "canonical_smiles", "Canonical SMILES", "Drug", "mol", "drug_smiles"]
)
def test_names_that_are_known(tmp_path: Path, name: str):
    opened = table(tmp_path, f"id,{name},y", "1,CCO,2", "2,CCN,3")
    assert opened.smiles_column == name
    assert opened.notes == [f"SMILES column: {name!r}."]


def test_a_known_name_goes_before_one_that_only_contains_the_word(tmp_path: Path):
    opened = table(tmp_path, "raw_smiles,smiles,SMILES", "CCO,CCN,CCC")
    assert opened.smiles_column == "smiles"
    assert "'SMILES'" in opened.notes[0] and "--smiles_column" in opened.notes[0]


def test_ambiguous_names_count_only_with_smiles_in_them(tmp_path: Path):
    opened = table(tmp_path, "Drug,structure", "aspirin,CC(=O)Oc1ccccc1C(=O)O", "ethanol,CCO")
    assert opened.smiles_column == "structure"


def test_two_columns_of_a_pair_table_are_a_question(tmp_path: Path):
    with pytest.raises(MesomerError, match="'Drug1_SMILES', 'Drug2_SMILES'") as caught:
        table(tmp_path, "Drug1_SMILES,Drug2_SMILES,y", "CCO,CCN,1")
    assert "--smiles_column Drug1_SMILES" in caught.value.hint


def test_the_column_can_be_named(tmp_path: Path):
    assert table(tmp_path, "smiles,product", "CCO,CCN", smiles_column="product").smiles_column == "product"
    with pytest.raises(MesomerError, match="no column 'Product'; its columns are smiles, product") as caught:
        table(tmp_path, "smiles,product", "CCO,CCN", smiles_column="Product")
    assert "'product'" in caught.value.hint


def test_no_smiles_column_lists_the_columns_and_shows_the_likely_one(tmp_path: Path):
    with pytest.raises(MesomerError, match="its columns are id, ligand name, x, y") as caught:
        table(tmp_path, "id,ligand name,x,y", "1,CCO,a,3.5", "2,c1ccccc1,b,4", "3,CCN,c,5")
    assert '--smiles_column "ligand name"' in caught.value.hint
    with pytest.raises(MesomerError, match="no SMILES column") as caught:
        table(tmp_path, "name,y", "ethanol,3.5")
    assert "--smiles_column" in caught.value.hint


def test_a_missing_header_is_recognised(tmp_path: Path):
    with pytest.raises(MesomerError, match=r"no header: its first line holds CCO, 1\.0") as caught:
        table(tmp_path, "CCO,1.0", "CCN,2.0")
    assert ".smi" in caught.value.hint


def test_columns_of_one_name_stay_apart(tmp_path: Path):
    opened = table(tmp_path, "smiles,y,y,", "CCO,1,2,3")
    assert opened.columns == ("smiles", "y", "y.1", "")
    assert next(iter(opened)).cells["y.1"] == ["2"]
    assert any("two columns named 'y'" in note for note in opened.notes)


def test_names_with_commas_are_joined_again(tmp_path: Path):
    opened = table(tmp_path, 'smiles,"a, b",c,"x,y,z"', "CCO,1,2,3")
    assert opened.named_columns(["c", "a", "b"]) == ["c", "a, b"]
    assert opened.named_columns(["x", "y", "z", "c"]) == ["x,y,z", "c"]
    assert opened.named_columns(["a, b"]) == ["a, b"]
    with pytest.raises(MesomerError, match="no column 'b'"):
        opened.named_columns(["b"])


def test_things_that_are_no_table(tmp_path: Path):
    for name, data in {"t.xlsx": b"PK\x03\x04rest", "t.csv": b"\x89HDF\r\n"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MesomerError, match="not a table"):
            open_table(tmp_path / name)
    with pytest.raises(MesomerError, match="There is no file"):
        open_table(tmp_path / "absent.csv")
    with pytest.raises(MesomerError, match="No file matches"):
        open_table(str(tmp_path / "*.smi"))
    with pytest.raises(MesomerError, match="is a folder"):
        open_table(tmp_path)
    with pytest.raises(MesomerError, match="not a local file"):
        open_table("s3://bucket/t.csv")
    with pytest.raises(MesomerError, match="int is no table"):
        open_table(3)


def test_a_part_of_a_name_finds_it(tmp_path: Path):
    opened = table(tmp_path, "smiles,LOG PLASMA PROTEIN BINDING (HUMAN) hPPB (%),other", "CCO,1,2")
    with pytest.raises(MesomerError) as caught:
        opened.named_columns(["hppb"])
    assert caught.value.hint == "Did you mean 'LOG PLASMA PROTEIN BINDING (HUMAN) hPPB (%)'?"
    with pytest.raises(MesomerError) as caught:
        opened.named_columns(["pH7"], "--targets names another.")
    assert caught.value.hint == "--targets names another."
