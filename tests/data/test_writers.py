"""Output tables: the input's rows and columns unchanged, results beside them, the whole file or none."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesomer.data.rejects import Rejects
from mesomer.data.tables import Table, open_table
from mesomer.data.writers import Result, TableWriter, check_names, output_suffix
from mesomer.errors import MesomerError

VECTOR = Result("embedding", "vector", 3)
ERROR = Result("mesomer_error", "text")
INPUT = 'smiles,note,y\nCCO,"a, ""b""\nc",1.50\nxx, padded ,\nCCN,,007\n'


def source(tmp_path: Path) -> Table:
    (tmp_path / "in.csv").write_text(INPUT)
    return open_table(tmp_path / "in.csv", chunk_rows=2)


def embed(table: Table, path: Path, results: list[Result], metadata: dict | None = None) -> None:
    """Writes for each row its number times (1, 1/3, -1), nothing for bad rows."""
    with TableWriter.like(table, path, results, metadata) as writer:
        for chunk in table.chunks(parse=True):
            numbers = np.array(chunk.rows, float)
            numbers[[reason is not None for reason in chunk.reasons]] = np.nan
            rows = numbers[:, None] * np.array([1, 1 / 3, -1])
            vectors = [None if np.isnan(n) else np.full((int(n), 2), n) for n in numbers]
            values = {"embedding": rows, "y_pred": numbers / 3, "mesomer_error": chunk.reasons, "atoms": vectors}
            writer.write(chunk, values)
        assert writer.rows == 3


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.csv.zst", "out.tsv", "out.TSV.gz"])
def test_text_output_reads_back_as_it_was(tmp_path: Path, name: str):
    table = source(tmp_path)
    embed(table, tmp_path / name, [Result("y_pred", "number"), VECTOR, ERROR])
    back = open_table(tmp_path / name)
    assert back.columns == (*table.columns, "y_pred", "embedding_0", "embedding_1", "embedding_2", "mesomer_error")
    before, after = next(iter(table.chunks())), next(iter(back.chunks()))
    assert {column: after.cells[column][:2] for column in table.columns} == before.cells
    third = np.float32(1) / np.float32(3)
    assert after.cells["y_pred"] == [str(third), "", "1.0"]
    assert [np.float32(after.cells["embedding_1"][0]), after.cells["embedding_1"][1]] == [third, ""]
    assert after.cells["mesomer_error"] == ["", "cannot parse", ""]


def test_the_separator_and_the_bytes_are_stable(tmp_path: Path):
    table = source(tmp_path)
    for number in (1, 2):
        embed(table, tmp_path / f"{number}.csv.gz", [ERROR])
    assert (tmp_path / "1.csv.gz").read_bytes() == (tmp_path / "2.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "1.csv.gz").read_bytes()).decode() == (
        'smiles,note,y,mesomer_error\nCCO,"a, ""b""\nc",1.50,\nxx," padded ",,cannot parse\nCCN,,007,\n'
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet_holds_vectors_of_fixed_size(tmp_path: Path, dtype: str):
    import pyarrow as pa
    import pyarrow.parquet as pq

    results = [Result("embedding", "vector", 3, dtype), Result("atoms", "vectors", 2, dtype), ERROR]
    embed(source(tmp_path), tmp_path / "out.parquet", results, {"model": "abc", "width": 3})
    table = pq.read_table(tmp_path / "out.parquet")
    number = pa.from_numpy_dtype(dtype)
    assert table.schema.field("embedding").type == pa.list_(number, 3)
    assert table.schema.field("atoms").type == pa.list_(pa.list_(number, 2))
    assert json.loads(table.schema.metadata[b"mesomer"]) == {"model": "abc", "width": 3}
    rows = table.to_pylist()
    assert rows[1]["embedding"] is None and rows[1]["atoms"] is None
    np.testing.assert_array_equal(rows[0]["embedding"], np.array([1, 1 / 3, -1], dtype))
    assert np.shape(rows[2]["atoms"]) == (3, 2)
    assert [row["mesomer_error"] for row in rows] == [None, "cannot parse", None]
    assert [row["y"] for row in rows] == ["1.50", "", "007"]


def test_wide_vectors_are_not_held_back_until_there_are_many_rows(tmp_path: Path, monkeypatch):
    """A row group ends by its bytes as well: memory must not depend on how many rows there are."""
    import pyarrow.parquet as pq

    from mesomer.data import outputs

    monkeypatch.setattr(outputs, "_BUFFERED_BYTES", 100_000)
    table = open_table(["CCO"] * 100, chunk_rows=10)
    with TableWriter.like(table, tmp_path / "out.parquet", [Result("v", "vector", 1000, "float32")]) as writer:
        for chunk in table.chunks():
            writer.write(chunk, {"v": np.ones((10, 1000), np.float32)})
    groups = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == [30, 30, 30, 10]


def test_parquet_input_keeps_its_types(tmp_path: Path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "smiles": pa.array(["CCO", "xx", "CCN"]).dictionary_encode(),
        "n": pa.array([1, None, 3], pa.int16()),
        "when": pa.array([datetime.datetime(2020, 5, 1), None, None], pa.timestamp("ns")),
        "tags": pa.array([["a"], [], None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    table = open_table(tmp_path / "in.parquet", chunk_rows=2)
    embed(table, tmp_path / "out.parquet", [ERROR])
    back = pq.read_table(tmp_path / "out.parquet")
    assert back.select(list(columns)).to_pylist() == pa.table(columns).to_pylist()
    assert back.schema.field("n").type == pa.int16()
    assert back.schema.field("when").type == pa.timestamp("ns")
    embed(table, tmp_path / "out.csv", [ERROR])
    assert next(iter(open_table(tmp_path / "out.csv"))).cells["n"] == ["1", "", "3"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_npy_has_a_row_for_each_row(tmp_path: Path, dtype: str):
    embed(source(tmp_path), tmp_path / "out.npy", [Result("embedding", "vector", 3, dtype), ERROR])
    array = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert array.shape == (3, 3) and array.dtype == dtype
    assert np.isnan(array[1]).all()
    np.testing.assert_array_equal(array[2], np.array([3, 1, -3], dtype))


CELLS = st.text(st.sampled_from("aé1 ,;\t\"'\n\r|"), max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_any_text_survives_writing_and_reading(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]):
    import pandas as pd

    folder = tmp_path_factory.mktemp("cells")
    frame = pd.DataFrame(rows, columns=[f"c{at}" for at in range(len(rows[0]))])
    frame.insert(0, "smiles", "CCO")
    for name in ("out.csv", "out.tsv"):
        table = open_table(frame)
        with TableWriter.like(table, folder / name, []) as writer:
            for chunk in table.chunks():
                writer.write(chunk, {})
        back = next(iter(open_table(folder / name)))
        assert [list(cells) for cells in zip(*back.cells.values(), strict=True)] == [["CCO", *row] for row in rows]


def test_an_empty_cell_in_one_column_stays_a_row(tmp_path: Path):
    table = open_table(["CCO", "", "CCN"])
    with TableWriter.like(table, tmp_path / "out.csv", []) as writer:
        for chunk in table.chunks():
            writer.write(chunk, {})
    assert next(iter(open_table(tmp_path / "out.csv"))).smiles == ["CCO", "", "CCN"]


def test_names_that_clash_name_the_suffix_option(tmp_path: Path):
    with pytest.raises(MesomerError, match="'y_pred'") as caught:
        check_names(["smiles", "y_pred"], [Result("y_pred", "number")])
    assert "--suffix" in caught.value.hint
    with pytest.raises(MesomerError, match="'embedding_2'"):
        TableWriter(tmp_path / "out.csv", ["smiles", "embedding_2"], [VECTOR])
    TableWriter(tmp_path / "out.parquet", ["smiles", "embedding_2"], [VECTOR])


def test_formats_that_cannot_hold_the_results(tmp_path: Path):
    for name, results in {
        "out.xlsx": [VECTOR],
        "out": [VECTOR],
        "out.csv": [Result("atoms", "vectors", 2)],
        "out.npy": [ERROR],
        "out.csv.bz2": [ERROR],
    }.items():
        with pytest.raises(MesomerError, match="out"):
            TableWriter(tmp_path / name, ["smiles"], results)
    assert output_suffix("a/b.CSV.gz") == ".csv"


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet", "out.npy"])
def test_nothing_appears_when_the_work_fails(tmp_path: Path, name: str):
    table = source(tmp_path)
    (tmp_path / name).write_text("old")
    with pytest.raises(RuntimeError, match="stopped"), TableWriter.like(table, tmp_path / name, [VECTOR]) as writer:
        chunk = next(iter(table.chunks()))
        writer.write(chunk, {"embedding": np.zeros((2, 3))})
        raise RuntimeError("stopped")
    assert (tmp_path / name).read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == sorted(["in.csv", name])


def test_a_wrong_number_of_values_is_refused(tmp_path: Path):
    table, expected = source(tmp_path), pytest.raises(ValueError, match="1 values for 2 rows")
    with expected, TableWriter.like(table, tmp_path / "o.csv", [ERROR]) as writer:
        writer.write(next(iter(table.chunks())), {"mesomer_error": [None]})


FULL_DISK = """
import resource, sys
import numpy as np
from mesomer.data.tables import open_table
from mesomer.data.writers import Result, TableWriter
from mesomer.errors import MesomerError

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
table = open_table(["CCO"] * 20_000)
try:
    with TableWriter.like(table, sys.argv[1], [Result("embedding", "vector", 8)]) as writer:
        for chunk in table.chunks():
            writer.write(chunk, {"embedding": np.random.default_rng(0).random((len(chunk), 8), np.float32)})
except MesomerError as error:
    print(error.message)
    sys.exit(2)
"""


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.csv.zst", "out.parquet", "out.npy"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str):
    path = tmp_path / name
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stdout.strip() == f"Cannot write {path}: the file grew past the size limit."
    assert os.listdir(tmp_path) == []


def test_a_path_below_a_file_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MesomerError, match="Cannot write"), TableWriter(tmp_path / "file" / "o.csv", ["smiles"], []):
        pass


def test_rejects_are_written_as_they_come_and_only_if_there_are_any(tmp_path: Path):
    (tmp_path / "none.csv").write_text("row,line,smiles,reason\n1,2,xx,of the last run\n")
    with Rejects(tmp_path / "none.csv"):
        pass
    assert not (tmp_path / "none.csv").exists()
    with Rejects(tmp_path / "some.csv", keep=1) as rejects:
        rejects.add(3, 5, 'C,"C', "cannot parse")
        rejects.add(9, 0, None, "empty")
        rejects.add(10, 20, "C" * 300_000, "longer than 10,000 characters")
        assert len(rejects.items) == 1
        assert not (tmp_path / "some.csv").exists()
    lines = (tmp_path / "some.csv").read_text().splitlines()
    assert lines[:3] == ["row,line,smiles,reason", '3,5,"C,""C",cannot parse', "9,,,empty"]
    assert len(lines[3]) < 11_000
    assert rejects.total == 3
    assert rejects.summary().startswith("1 cannot parse, 1 empty")


def test_rejects_of_failed_work_are_not_written(tmp_path: Path):
    with pytest.raises(RuntimeError), Rejects(tmp_path / "rejects.csv") as rejects:
        rejects.add(1, 2, "xx", "cannot parse")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
