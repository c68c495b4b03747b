"""Tables: every source gives the same rows in order, with lines and reasons, and whatever is odd is said."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from mesomer.data.readers.delimited import Record
from mesomer.data.tables import Chunk, Table, open_table
from mesomer.errors import MesomerError

ROWS = [("CCO", "ethanol", "1.5"), ("c1ccccc1", "benzene", ""), ("CC(=O)O", "acid, acetic", "-2")]


def read(table: Table, parse: bool = False) -> Chunk:
    """All chunks as one."""
    whole = Chunk([], [], {name: [] for name in table.columns}, [], [], [])
    for chunk in table.chunks(parse):
        whole.rows += chunk.rows
        whole.lines += chunk.lines
        whole.smiles += chunk.smiles
        whole.reasons += chunk.reasons
        whole.mols += chunk.mols or [None] * len(chunk)
        for name, cells in chunk.cells.items():
            whole.cells[name] += cells
    return whole


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def csv_text(separator: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows([("smiles", "name", "y"), *ROWS])
    return out.getvalue()


def expect_rows(table: Table) -> None:
    chunk = read(table)
    assert table.columns == ("smiles", "name", "y")
    assert list(zip(chunk.cells["smiles"], chunk.cells["name"], chunk.cells["y"], strict=True)) == ROWS
    assert chunk.rows == [1, 2, 3]
    assert chunk.reasons == [None] * 3


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_told_from_the_content(tmp_path: Path, separator: str):
    expect_rows(open_table(write(tmp_path / "t.csv", csv_text(separator))))


def test_spaces_separate_where_every_row_agrees(tmp_path: Path):
    table = open_table(write(tmp_path / "t.txt", "smiles y\nCCO 1\nCCN 2\n"))
    assert table.columns == ("smiles", "y")
    assert read(table).cells["y"] == ["1", "2"]


def test_excel_names_its_separator(tmp_path: Path):
    chunk = read(open_table(write(tmp_path / "t.csv", "sep=;\r\nsmiles;y\r\nCCO;1,5\r\n")))
    assert chunk.cells["y"] == ["1,5"]
    assert chunk.lines == [3]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_and_line_ends(tmp_path: Path, ends: str, encoding: str):
    expect_rows(open_table(write(tmp_path / "t.csv", csv_text().replace("\n", ends).encode(encoding))))


def test_bytes_that_are_no_utf8_are_read_as_windows_1252_and_said(tmp_path: Path):
    rows = "".join(f"CCO,{'x' * 60}\n" for _ in range(3000))
    table = open_table(
        write(tmp_path / "t.csv", b"smiles,name\n" + rows.encode() + "CCN,50 µM café …\n".encode("cp1252"))
    )
    assert read(table).cells["name"][-1] == "50 µM café …"
    assert any("Windows-1252" in note for note in table.notes)


def compressed(kind: str, data: bytes) -> bytes:
    if kind == "gz":
        return gzip.compress(data)
    import bz2

    import zstandard

    return zstandard.compress(data) if kind == "zst" else bz2.compress(data)


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2"])
def test_compression_is_told_from_the_content(tmp_path: Path, kind: str):
    data = compressed(kind, csv_text().encode())
    table = open_table(write(tmp_path / f"t.csv.{kind}", data))
    expect_rows(table)
    assert not any("named" in note for note in table.notes)
    expect_rows(open_table(write(tmp_path / "plain.csv", data)))
    expect_rows(open_table(write(tmp_path / "double.csv", data + compressed(kind, b"\n"))))


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2"])
def test_a_cut_file_is_an_error_not_fewer_rows(tmp_path: Path, kind: str):
    text = "smiles,y\n" + "".join(f"{'C' * (1 + at % 50)}O,{at * 7919 % 100_003}\n" for at in range(40_000))
    data = compressed(kind, text.encode())
    path = write(tmp_path / f"t.csv.{kind}", data[: len(data) * 2 // 3])
    with pytest.raises(MesomerError, match="ends in the middle"):
        read(open_table(path))


def test_damaged_compression_is_an_error(tmp_path: Path):
    data = bytearray(gzip.compress(csv_text().encode() * 2000))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(MesomerError, match="Cannot read"):
        read(open_table(write(tmp_path / "t.csv.gz", bytes(data))))


def test_lines_are_physical_and_rows_are_counted(tmp_path: Path):
    text = 'smiles,name\n\nCCO,"a\nb"\n\nCCN,c\nCCC,"d ""e"""\n'
    chunk = read(open_table(write(tmp_path / "t.csv", text)))
    assert chunk.rows == [1, 2, 3]
    assert chunk.lines == [3, 6, 7]
    assert chunk.cells["name"] == ["a\nb", "c", 'd "e"']


def test_a_blank_line_is_an_empty_cell_where_there_is_one_column(tmp_path: Path):
    chunk = read(open_table(write(tmp_path / "t.csv", 'smiles\nCCO\n\n""\nCCN\n')), parse=True)
    assert chunk.smiles == ["CCO", "", "", "CCN"]
    assert chunk.reasons == [None, "empty", "empty", None]


def test_a_quote_that_never_closes_costs_one_row(tmp_path: Path):
    text = "smiles,y\nCCO,1\n" + '"CCN,2\n' + "CCC,3\n" * 20_000
    chunk = read(open_table(write(tmp_path / "t.csv", text)))
    assert len(chunk.rows) == 20_002
    assert [at for at, reason in enumerate(chunk.reasons) if reason] == [1]
    assert chunk.reasons[1] == "wrong number of cells"
    assert chunk.lines[1:3] == [3, 4]


def test_rows_of_wrong_length_keep_their_place(tmp_path: Path):
    chunk = read(open_table(write(tmp_path / "t.csv", "smiles,y\nCCO\nCCC,1,2,3\nCCN,2\n")), parse=True)
    assert chunk.cells == {"smiles": ["CCO", "CCC", "CCN"], "y": ["", "1", "2"]}
    assert chunk.reasons == ["wrong number of cells", "wrong number of cells", None]
    assert [mol is None for mol in chunk.mols] == [True, True, False]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.sampled_from('ab",;\n\r "'), max_size=6), min_size=2, max_size=4), min_size=1, max_size=4
    )
)
def test_quotes_are_read_as_the_csv_module_reads_them(rows: list[list[str]]):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    lines = list(io.StringIO(out.getvalue(), newline=""))
    found, record = [], Record(",")
    for line in lines:
        if record.feed(line):
            found.append(record.cells)
            record = Record(",")
    assert found == rows


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('ab",'), max_size=20))
def test_odd_quotes_are_read_as_the_csv_module_reads_them(text: str):
    record = Record(",")
    if record.feed(text + "\n") and text:
        assert record.cells == next(csv.reader([text]))


PIECES = st.sampled_from(
    ["smiles", "CCO", "C[C@H](N)C", "y", "1.5", ",", ";", "\t", '"', "\n", "\r\n", "\r", " ", "\0", "é", "\ufeff", "|",
     "|$a$|", "$$$$\n", "M  END\n", "> <y>\n", "  3  2  0  0  0  0  0  0  0  0999 V2000\n",
     "sep=;", "xx", "\x1a", "\u2028"]
)  # fmt: skip
TEXTS = st.builds(
    lambda parts, code: "".join(parts).encode(code), st.lists(PIECES), st.sampled_from(["utf-8", "utf-16"])
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=600), TEXTS))
def test_any_bytes_give_rows_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("t.csv", "t.smi", "t.sdf", "t.parquet", "t.csv.gz"):
        path = write(folder / name, data)
        try:
            read(open_table(path), parse=True)
        except MesomerError as error:
            assert str(path) in error.message


def test_smi_names_blank_lines_and_extensions(tmp_path: Path):
    text = "CCO ethanol, pure\n\n  c1ccccc1\tbenzene\nCCN\nCC |$_AV:a;b$| with extension\n"
    table = open_table(write(tmp_path / "t.smi", text))
    chunk = read(table, parse=True)
    assert table.columns == ("smiles", "name")
    assert chunk.smiles == ["CCO", "c1ccccc1", "CCN", "CC |$_AV:a;b$|"]
    assert chunk.cells["name"] == ["ethanol, pure", "benzene", "", "with extension"]
    assert chunk.lines == [1, 3, 4, 5]
    assert chunk.reasons == [None] * 4


def test_smi_header(tmp_path: Path):
    table = open_table(write(tmp_path / "t.smi", "SMILES id weight\nCCO a 46.1\nCCN b\n"))
    chunk = read(table)
    assert chunk.cells == {"SMILES": ["CCO", "CCN"], "id": ["a", "b"], "weight": ["46.1", ""]}
    assert any("header" in note for note in table.notes)


def sdf_text(smiles: list[str], conformers: bool = False) -> str:
    from rdkit.Chem import AllChem

    out = io.StringIO()
    with Chem.SDWriter(out) as writer:
        for at, text in enumerate(smiles):
            mol = Chem.MolFromSmiles(text)
            if conformers:
                mol = Chem.AddHs(mol)
                AllChem.EmbedMolecule(mol, randomSeed=7)
            mol.SetProp("_Name", f"molecule {at}")
            mol.SetProp("y", str(at))
            if at == len(smiles) - 1:
                mol.SetProp("late", "first line\nsecond line")
            writer.write(mol)
    return out.getvalue()


def test_sdf_properties_become_columns_and_coordinates_stay(tmp_path: Path):
    smiles = ["CCO", "C[C@H](N)C(=O)O", "c1ccncc1"]
    data = gzip.compress(sdf_text(smiles, conformers=True).encode())
    table = open_table(write(tmp_path / "t.sdf.gz", data))
    chunk = read(table)
    assert table.columns == ("smiles", "name", "y", "late")
    assert table.rows == 3
    assert chunk.cells["name"] == ["molecule 0", "molecule 1", "molecule 2"]
    assert chunk.cells["y"] == ["0", "1", "2"]
    assert chunk.cells["late"] == [None, None, "first line\nsecond line"]
    assert chunk.smiles == [Chem.CanonSmiles(text) for text in smiles]
    for mol in chunk.mols:
        assert mol.GetNumAtoms() == mol.GetNumHeavyAtoms()
        assert mol.GetConformer().Is3D()
        assert abs(mol.GetConformer().GetPositions()[:, 2]).max() > 0.01


def test_a_broken_sdf_record_costs_itself_only(tmp_path: Path):
    good = sdf_text(["CCO", "CCN"]).split("$$$$\n")
    text = "$$$$\n".join([good[0], "broken\n\n\n  3  2  0\n nonsense\nM  END\n> <y>\n7\n\n", good[1], ""])
    chunk = read(open_table(write(tmp_path / "t.sdf", text)), parse=True)
    assert chunk.reasons == [None, "cannot parse", None]
    assert chunk.cells["y"] == ["0", "7", "1"]
    assert chunk.lines[1] == good[0].count("\n") + 2


def test_a_mol_file_is_one_record(tmp_path: Path):
    path = write(tmp_path / "t.mol", Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")))
    assert read(open_table(path)).smiles == ["CCO"]


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.smi", "t", "t.csv.gz"])
def test_structures_are_told_from_the_content(tmp_path: Path, name: str):
    data = sdf_text(["CCO", "CCN"], conformers=True).encode()
    table = open_table(write(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data))
    chunk = read(table, parse=True)
    assert chunk.smiles == ["CCO", "CCN"] and all(mol.GetConformer().Is3D() for mol in chunk.mols)
    assert table.notes == [f"{tmp_path / name} is an SDF file by its content; read as such."]


@pytest.mark.parametrize("name", ["t.pdb", "t.MOL2", "t.xyz.gz"])
def test_formats_that_are_not_read_are_named(tmp_path: Path, name: str):
    with pytest.raises(MesomerError, match="a format that is not read here") as told:
        open_table(write(tmp_path / name, b"2\n\nC 0 0 0\nO 0 0 1.2\n"))
    assert "SDF" in told.value.hint


def test_limits_hold_for_molecules_from_files_too(tmp_path: Path):
    path = write(tmp_path / "t.sdf", sdf_text(["CCO", "CCCCCCCC"]))
    chunk = read(open_table(path, max_atoms=5), parse=True)
    assert chunk.reasons == [None, "more than 5 atoms"]
    assert chunk.mols[1] is None


def arrow_table():
    import pyarrow as pa

    return pa.table({"Drug": ["CCO", None, "CCN"], "y": pa.array([1.5, None, 3], pa.float32()), "n": [1, 2, 3]})


def test_parquet_keeps_types_and_reads_batches(tmp_path: Path):
    import pyarrow.parquet as pq

    pq.write_table(arrow_table(), tmp_path / "t.parquet")
    table = open_table(tmp_path / "t.parquet", chunk_rows=2)
    chunks = list(table.chunks(parse=True))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert table.rows == 3 and table.smiles_column == "Drug"
    assert chunks[0].reasons == [None, "empty"]
    assert chunks[0].cells["y"] == [1.5, None]
    assert chunks[1].batch.schema == arrow_table().schema
    assert chunks[1].rows == [3] and chunks[1].lines == [0]


def test_a_cut_parquet_file_is_an_error(tmp_path: Path):
    import pyarrow.parquet as pq

    pq.write_table(arrow_table(), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(MesomerError, match="not a readable Parquet file"):
        open_table(write(tmp_path / "cut.parquet", data[:-20]))


def test_frames_and_lists():
    import numpy as np
    import pandas as pd
    import polars as pl

    columns = {"smiles": ["CCO", None, "CCN"], "y": [1.0, float("nan"), 2.0]}
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns), pl.LazyFrame(columns)):
        table = open_table(frame, chunk_rows=2)
        chunk = read(table, parse=True)
        assert table.columns == ("smiles", "y") and table.rows == 3
        assert chunk.smiles == ["CCO", None, "CCN"]
        assert chunk.reasons == [None, "empty", None]
    strings = pd.DataFrame({"smiles": pd.array(["CCO", pd.NA], dtype="string")})
    assert read(open_table(strings)).smiles == ["CCO", None]
    for molecules in (["CCO", "xx"], ("CCO", "xx"), np.array(["CCO", "xx"]), pd.Series(["CCO", "xx"])):
        assert read(open_table(molecules), parse=True).reasons == [None, "cannot parse"]


def test_molecules_in_a_list_keep_their_atoms_in_order_and_the_callers_own_are_left_alone():
    mols = [
        Chem.AddHs(Chem.MolFromSmiles("OCC")),
        None,
        Chem.MolFromSmiles("CCN"),
        Chem.MolFromSmiles("CN(C)(C)(C)C", False),
    ]
    mols.append(Chem.MolFromSmarts("C~C"))
    chunk = read(open_table(mols), parse=True)
    assert [atom.GetSymbol() for atom in chunk.mols[0].GetAtoms()] == ["O", "C", "C"]
    assert mols[0].GetNumAtoms() == 9
    assert chunk.smiles[:4] == ["CCO", None, "CCN", None]
    assert chunk.reasons == [None, "empty", None, "RDKit cannot sanitise it", "element not in schema"]


def test_molecules_in_a_frame_are_read_and_its_smiles_column_is_not():
    import pandas as pd

    frame = pd.DataFrame(
        {"smiles": ["CCO", "CCN"], "ROMol": [Chem.MolFromSmiles("CCCl"), Chem.AddHs(Chem.MolFromSmiles("CBr"))]}
    )
    chunk = read(open_table(frame), parse=True)
    assert [Chem.MolToSmiles(mol) for mol in chunk.mols] == ["CCCl", "CBr"]
    assert chunk.cells["ROMol"] == ["CCCl", "CBr"] and chunk.cells["smiles"] == ["CCO", "CCN"]


def test_lists_may_be_bad_or_empty_but_files_may_not(tmp_path: Path):
    assert read(open_table(["xx"]), parse=True).reasons == ["cannot parse"]
    assert read(open_table([]), parse=True).rows == []
    with pytest.raises(MesomerError, match="readable molecule"):
        read(open_table(write(tmp_path / "t.smi", "xx\n")), parse=True)


def test_several_files_are_one_table(tmp_path: Path):
    write(tmp_path / "b.csv", "smiles,y\nCCN,2\n")
    write(tmp_path / "a.csv", "y,smiles\n1,CCO\n")
    chunks = list(open_table(str(tmp_path / "*.csv")).chunks())
    assert [chunk.smiles for chunk in chunks] == [["CCO"], ["CCN"]]
    assert [list(chunk.cells) for chunk in chunks] == [["y", "smiles"]] * 2
    assert [(chunk.rows, chunk.lines, Path(chunk.file).name) for chunk in chunks] == [
        ([1], [2], "a.csv"),
        ([2], [2], "b.csv"),
    ]
    assert read(open_table([tmp_path / "b.csv", tmp_path / "a.csv"])).smiles == ["CCN", "CCO"]
    write(tmp_path / "c.csv", "smiles,z\nCCN,2\n")
    with pytest.raises(MesomerError, match=r"c\.csv has other columns"):
        open_table(str(tmp_path / "*.csv"))


def test_chunks_are_small_and_can_be_read_again(tmp_path: Path):
    path = write(tmp_path / "t.csv", "smiles\n" + "CCO\n" * 1000)
    table = open_table(path, chunk_rows=64)
    sizes = [len(chunk) for chunk in table]
    assert max(sizes) == 64 and sum(sizes) == 1000
    assert [chunk.first_row for chunk in table][:3] == [1, 65, 129]
    assert table.estimated_rows == 1000


def test_memory_does_not_grow_with_the_rows(tmp_path: Path):
    import tracemalloc

    path = tmp_path / "t.csv.gz"
    peaks = []
    for rows in (10_000, 60_000):
        path.write_bytes(gzip.compress(b"smiles,y\n" + b"CCOC(=O)c1ccccc1,1.25\n" * rows, 1))
        table = open_table(path)
        tracemalloc.start()
        assert sum(len(chunk) for chunk in table) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def test_estimates_follow_the_size_of_compressed_files(tmp_path: Path):
    rows = [f"{'C' * (at % 40 + 1)}O,{at * 7919 % 10_007}" for at in range(300_000)]
    path = write(tmp_path / "t.csv.gz", gzip.compress(("smiles,y\n" + "\n".join(rows) + "\n").encode(), 1))
    estimate = open_table(path).estimated_rows
    assert estimate is not None and 0.7 < estimate / len(rows) < 1.4
