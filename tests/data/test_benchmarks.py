"""Benchmark sets: facts that agree with the files, rules from the public layout to our table, the ways to a set.

The public addresses cannot be reached from a test, so public files are re-made here in their documented layout from a
few rows, and served from this machine.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mesomer.data import benchmarks
from mesomer.data.benchmarks import (
    BENCHMARKS,
    find_benchmark,
    load_benchmark,
    resolve_data,
    target_columns,
    uses_canonical_scaffolds,
)
from mesomer.data.conversion import Conversion, convert, read_rows, table_digest
from mesomer.data.splits import find_rule
from mesomer.errors import MesomerError
from mesomer.files import sha256_of

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
METRICS = {"roc_auc", "average_precision", "rmse", "mae", "r"}


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, tmp_path):
    """No offline folder, an empty cache, no copy in the package, unless a test says otherwise."""
    monkeypatch.delenv("MESOMER_DATA", raising=False)
    monkeypatch.setenv("MESOMER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def public(tmp_path, monkeypatch):
    """Serves a folder; gives a function that puts a public file there and lets the registry point to it."""
    folder = tmp_path / "public"
    folder.mkdir()
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *arguments: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

        def put(name: str, lines: list[list[str]], **facts: object) -> Path:
            entry = BENCHMARKS[name]
            path = folder / str(entry.url).rsplit("/", 1)[1]
            with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else open(path, "w", newline="") as handle:
                csv.writer(handle).writerows(lines)
            url = f"http://127.0.0.1:{server.server_port}/{path.name}"
            monkeypatch.setitem(BENCHMARKS, name, dataclasses.replace(entry, url=url, **facts))
            return path

        yield put
        server.shutdown()


# Some rows of every public file as it is laid out, and our table of them.
LAYOUTS = {
    "bbbp": (
        [["num", "name", "p_np", "smiles"], ["1", "A", "1", "CCO"],
         ["2", "B", "0", "O=N([O-])C1=C(CN=C1NCCSCc2ncccc2)Cc3ccccc3"],
         ["3", "C", "0", "c1ccccc1"]],
        [["smiles", "p_np"], ["CCO", "1"], ["c1ccccc1", "0"]],
    ),
    "clintox": (
        [["smiles", "FDA_APPROVED", "CT_TOX"], ["CCO", "1", "0"],
         ["[NH4][Pt]([NH4])(Cl)Cl", "1", "0"], ["CCN", "0", "1"]],
        [["smiles", "FDA_APPROVED", "CT_TOX"], ["CCO", "1", "0"], ["CCN", "0", "1"]],
    ),
    "sider": (
        [["smiles", "Eye disorders", "Neoplasms (a, b)"], ["CCO", "1", "0"]],
        [["smiles", "Eye disorders", "Neoplasms (a, b)"], ["CCO", "1", "0"]],
    ),
    "bace": (
        [["mol", "CID", "Class", "Model", "pIC50"], ["CCO", "BACE_1", "1", "Train", "9.15"]],
        [["smiles", "Class"], ["CCO", "1"]],
    ),
    "tox21": (
        [[*BENCHMARKS["tox21"].targets, "mol_id", "smiles"], ["0", "", *["1"] * 10, "TOX3021", "CCO"]],
        [["smiles", *BENCHMARKS["tox21"].targets], ["CCO", "0", "", *["1"] * 10]],
    ),
    "esol": (
        [["Compound ID", "ESOL predicted log solubility in mols per litre", "measured log solubility in mols per litre",
          "smiles"], ["Amigdalin", "-0.974", "-0.77", "CCO "]],
        [["smiles", "logSolubility"], ["CCO", "-0.77"]],
    ),
    "freesolv": (
        [["mol", "y"], ["COC(=O)CC#N", "-0.75868105577892"], ["COc1ccc(cc1)N", "-0.956349493890347"],
         ["CC(C)Cc1ccccc1", "1.03073848922979"]],
        [["smiles", "freesolv"], ["COC(=O)CC#N", "-6.72"], ["COc1ccc(cc1)N", "-7.48"], ["CC(C)Cc1ccccc1", "0.16"]],
    ),
    "lipo": (
        [["CMPD_CHEMBLID", "exp", "smiles"], ["CHEMBL596271", "3.54", "CCO"]],
        [["smiles", "lipo"], ["CCO", "3.54"]],
    ),
    "qm7": (
        [["smiles", "u0_atom"], ["C([H])([H])([H])[H]", "-417.96"]],
        [["smiles", "u0_atom"], ["C([H])([H])([H])[H]", "-417.96"]],
    ),
    # The public file names four columns twice; the first of each pair is meant.
    "qm8": (
        [["smiles", *BENCHMARKS["qm8"].targets[:8], *BENCHMARKS["qm8"].targets[4:8], *BENCHMARKS["qm8"].targets[8:]],
         ["CCO", *map(str, range(16))]],
        [["smiles", *BENCHMARKS["qm8"].targets], ["CCO", *map(str, [*range(8), *range(12, 16)])]],
    ),
    "toxcast": (
        [["smiles", "ACEA_T47D_80hr_Negative", "APR_up"], ["CCO", "0.0", ""], ["FAIL", "", "1.0"]],
        [["smiles", "ACEA_T47D_80hr_Negative", "APR_up"], ["CCO", "0.0", ""], ["FAIL", "", "1.0"]],
    ),
    "hiv": (
        [["smiles", "activity", "HIV_active"], ["CCO", "CI", "0"], ["CCN", "CA", "1"]],
        [["smiles", "HIV_active"], ["CCO", "0"], ["CCN", "1"]],
    ),
    "muv": (
        [[*BENCHMARKS["muv"].targets, "mol_id", "smiles"], ["0", *[""] * 16, "CID1", "CCO"],
         ["", "1", *[""] * 15, "CID2", "CCN"],
         ["", "0", *[""] * 15, "CID3", "CCO"]],
        [["smiles", *BENCHMARKS["muv"].targets], ["CCO", "0", "0", *[""] * 15], ["CCN", "", "1", *[""] * 15]],
    ),
}  # fmt: skip


def digest_of(lines: list[list[str]], folder: Path) -> str:
    path = folder / "wanted.csv"
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows(lines)
    return table_digest(path)[0]


# --- the registry -----------------------------------------------------------------------------------------------------


def test_every_entry_is_complete():
    assert sum(entry.folder == "molecules" for entry in BENCHMARKS.values()) == 20
    assert sum(entry.folder == "corpus" for entry in BENCHMARKS.values()) == 2
    for entry in BENCHMARKS.values():
        assert len(entry.sha256) == 64 and entry.rows and entry.source
        assert bool(entry.url) == bool(entry.digest), entry.name
        if entry.folder == "molecules":
            assert entry.num_targets and entry.task in ("binary", "regression")
            assert entry.metrics and set(entry.metrics) <= METRICS
            assert find_rule(entry.split)
        else:
            assert not entry.targets and not entry.task and not entry.metrics
    assert len({entry.url for entry in BENCHMARKS.values() if entry.url}) == 13


def test_entries_agree_with_the_offline_files(data_folder):
    """Sum, number of rows, targets and digest of every file that is there."""
    seen = 0
    for entry in BENCHMARKS.values():
        path = data_folder / entry.file
        if not path.is_file() or entry.folder == "corpus":
            continue
        seen += 1
        assert sha256_of(path) == entry.sha256, entry.name
        header = next(read_rows(path))
        assert header[0] == "smiles"
        if entry.targets:
            assert [name for name in header[1:] if name != "split"] == list(entry.targets), entry.name
            assert ("split" in header) == (entry.split == "column")
        else:
            assert len(header) == entry.num_targets + 1, entry.name
        digest, rows = table_digest(path) if entry.rows < 20_000 else (entry.digest, entry.rows)
        assert rows == entry.rows, entry.name
        assert not entry.url or digest == entry.digest, entry.name
    if not seen:
        pytest.skip(f"{data_folder} holds none of the sets")


def test_corpora_agree_with_the_offline_files(data_folder):
    pairs = [(entry, data_folder / entry.file) for entry in BENCHMARKS.values() if entry.folder == "corpus"]
    if not all(path.is_file() for _, path in pairs):
        pytest.skip(f"{data_folder} holds no corpora")
    for entry, path in pairs:
        assert sha256_of(path) == entry.sha256
        assert next(read_rows(path)) == ["smiles"]


def test_the_docs_tell_every_set_as_the_registry_has_it():
    text = DOCS.read_text()
    for entry in BENCHMARKS.values():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{entry.name}` |")), "")
        for fact in (f"{entry.rows:,}", *entry.metrics, entry.split, entry.sha256[:16]):
            assert fact in row, f"{entry.name}: {fact}"
        for said in entry.conversion.describe():
            assert said in text, f"{entry.name}: {said}"
        if entry.url:
            assert entry.url in text


def test_unknown_sets_get_the_nearest_name():
    with pytest.raises(MesomerError, match="no benchmark set named 'bbpb'") as caught:
        find_benchmark("bbpb")
    assert caught.value.hint == "Did you mean bbbp?"


def test_which_sets_have_canonical_scaffolds():
    assert [name for name in BENCHMARKS if uses_canonical_scaffolds(name)] == ["bbbp", "clintox", "toxcast"]
    assert uses_canonical_scaffolds("folder/bbbp.csv.gz")
    assert not uses_canonical_scaffolds("folder/mine.csv")


# --- from the public file to our table --------------------------------------------------------------------------------


def test_every_public_file_has_a_layout_here():
    assert set(LAYOUTS) == {entry.name for entry in BENCHMARKS.values() if entry.url}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_fetched_file_becomes_our_table(name, public, tmp_path):
    given, wanted = LAYOUTS[name]
    path = public(name, given, rows=len(wanted) - 1, digest=digest_of(wanted, tmp_path))
    said: list[str] = []
    table = load_benchmark(name, said.append, quiet=True)
    assert list(read_rows(table)) == wanted
    assert said == [f"Fetched {BENCHMARKS[name].url}: sha256 {sha256_of(path)}."]
    assert target_columns(BENCHMARKS[name]) == wanted[0][1:]


def test_the_table_has_the_same_bytes_each_time(tmp_path):
    with open(tmp_path / "public.csv", "w", newline="") as handle:
        csv.writer(handle).writerows(LAYOUTS["bbbp"][0])
    for name in ("one.csv.gz", "two.csv.gz"):
        assert convert(tmp_path / "public.csv", tmp_path / name, ["p_np"], BENCHMARKS["bbbp"].conversion) == 2
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()


def test_digests_compare_content_not_spelling(tmp_path):
    def digest(*lines: str) -> str:
        (tmp_path / "x.csv").write_text("\n".join(lines))
        return table_digest(tmp_path / "x.csv")[0]

    assert digest("smiles,y", "CCO,0.0", "CCN,") == digest("smiles,y", "CCO,0", "CCN,")
    assert digest("smiles,y", "CCO,0", "CCN,") != digest("smiles,y", "CCO,0", "CCN,1")
    assert digest("smiles,y", "CCO,0", "CCN,") != digest("smiles,y", "CCN,", "CCO,0")


def test_a_byte_order_mark_and_blank_lines_are_no_harm(tmp_path):
    (tmp_path / "public.csv").write_bytes(b"\xef\xbb\xbfsmiles,y\r\n\r\nCCO,1\r\n")
    assert convert(tmp_path / "public.csv", tmp_path / "out.csv.gz", ["y"], Conversion()) == 1
    assert list(read_rows(tmp_path / "out.csv.gz")) == [["smiles", "y"], ["CCO", "1"]]


# --- the ways to a set ------------------------------------------------------------------------------------------------


def offline(monkeypatch, tmp_path, name: str, content: bytes) -> Path:
    path = tmp_path / "data" / BENCHMARKS[name].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    monkeypatch.setenv("MESOMER_DATA", str(tmp_path / "data"))
    return path


def test_the_offline_folder_comes_first_and_a_difference_is_said(monkeypatch, tmp_path):
    content = b"smiles,p_np\nCCO,1\n"
    path = offline(monkeypatch, tmp_path, "bbbp", content)
    said: list[str] = []
    assert load_benchmark("bbbp", said.append) == path
    assert "its sha256 differs" in said[0] and str(path) in said[0]
    assert said[1:] == ["It has 1 rows instead of 2,039: splits and scores will differ."]
    facts = dataclasses.replace(BENCHMARKS["bbbp"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(BENCHMARKS, "bbbp", facts)
    said.clear()
    assert load_benchmark("bbbp", said.append) == path
    assert said == []


def test_other_columns_are_said_and_stop_where_they_are_needed(monkeypatch, tmp_path):
    path = offline(monkeypatch, tmp_path, "clintox", b"smiles,y\nCCO,1\nCCN,0\n")
    said: list[str] = []
    load_benchmark("clintox", said.append)
    assert said[1:] == [
        "It lacks the columns FDA_APPROVED, CT_TOX and has 1 columns beside the SMILES instead of 2 and has 2 rows "
        "instead of 1,478: splits and scores will differ."
    ]
    with pytest.raises(MesomerError, match="stands for clintox but has no column FDA_APPROVED, CT_TOX") as caught:
        target_columns(BENCHMARKS["clintox"], path)
    assert "--targets" in caught.value.hint
    facts = dataclasses.replace(BENCHMARKS["sider"], rows=1)
    monkeypatch.setitem(BENCHMARKS, "sider", facts)
    offline(monkeypatch, tmp_path, "sider", ("smiles," + ",".join("a" * n for n in range(1, 28)) + "\nC\n").encode())
    said.clear()
    load_benchmark("sider", said.append)
    assert len(said) == 1  # same columns and rows: only the sum differs
    offline(monkeypatch, tmp_path, "clintox", b"\xff\xfe\x00")
    with pytest.raises(MesomerError, match="cannot be read as a table"):
        load_benchmark("clintox", said.append)


def test_messages_go_to_stderr(monkeypatch, tmp_path, capsys):
    offline(monkeypatch, tmp_path, "bbbp", b"smiles,p_np\n")
    load_benchmark("bbbp")
    assert "differs" in (caught := capsys.readouterr()).err and not caught.out


def test_a_set_without_address_says_where_to_put_it(monkeypatch, tmp_path):
    with pytest.raises(MesomerError, match=r"metstab-low has no public address .* MESOMER_DATA is not set") as caught:
        load_benchmark("metstab-low")
    assert "molecules/metstab-low.csv.gz" in caught.value.hint and "ardigen/MAT" in caught.value.hint
    monkeypatch.setenv("MESOMER_DATA", str(tmp_path))
    with pytest.raises(MesomerError, match="which has no corpus/chembl_diverse"):
        load_benchmark("chembl_diverse")
    monkeypatch.setenv("MESOMER_DATA", str(tmp_path / "absent"))
    with pytest.raises(MesomerError, match="which is no folder"):
        load_benchmark("bbbp")


def test_the_shipped_set_needs_neither_folder_nor_network():
    path = load_benchmark("biogen_sol")
    assert path.parent.name == "demo"
    assert sha256_of(path) == BENCHMARKS["biogen_sol"].sha256
    assert resolve_data("biogen_sol") == str(path)


def test_a_fetched_set_is_kept_and_checked(public, tmp_path):
    given, wanted = LAYOUTS["lipo"]
    source = public("lipo", given, rows=1, digest=digest_of(wanted, tmp_path))
    table = load_benchmark("lipo", lambda text: None, quiet=True)
    source.unlink()  # from here on nothing can be fetched
    said: list[str] = []
    assert load_benchmark("lipo", said.append) == table and said == []
    table.write_bytes(b"edited")
    assert load_benchmark("lipo", said.append) == table
    assert "was changed since it was fetched" in said[0] and "Using" in said[1]
    assert list(read_rows(table)) == wanted
    facts = table.with_suffix("").with_suffix(".json")
    known = json.loads(facts.read_text())
    assert known["rows"] == 1 and known["table_sha256"] == sha256_of(table) and known["url"] == BENCHMARKS["lipo"].url
    facts.write_text("{")
    assert load_benchmark("lipo", lambda text: None) == table


def test_another_number_of_rows_or_order_is_one_sentence_each_time(public, tmp_path):
    given, wanted = LAYOUTS["hiv"]
    public("hiv", given, digest=digest_of(wanted, tmp_path))
    said: list[str] = []
    load_benchmark("hiv", said.append, quiet=True)
    load_benchmark("hiv", said.append, quiet=True)
    sentence = (
        "The fetched hiv has 2 rows, the table that the reference results were made with has 41,127: "
        "splits and scores will differ."
    )
    assert said[1:] == [sentence, sentence]
    shutil.rmtree(tmp_path / "cache")
    public("hiv", [given[0], given[2], given[1]], rows=2, digest=digest_of(wanted, tmp_path))
    said.clear()
    load_benchmark("hiv", said.append, quiet=True)
    assert "in order or values" in said[1]


def test_an_unexpected_public_file_is_said_and_fetched_anew(public, tmp_path):
    given, wanted = LAYOUTS["muv"]
    source = public("muv", given, rows=2, digest=digest_of(wanted, tmp_path))
    whole = source.read_bytes()
    for unexpected in (whole[: len(whole) // 2], b"<html>moved</html>", b"\xff\xfe\x00", b""):
        source.write_bytes(unexpected)
        with pytest.raises(MesomerError, match=r"cannot be read|has no column") as caught:
            load_benchmark("muv", lambda text: None, quiet=True)
        assert "removed from the cache" in caught.value.hint
    source.write_bytes(whole)
    assert list(read_rows(load_benchmark("muv", lambda text: None, quiet=True))) == wanted


def test_a_changed_layout_names_the_column(public):
    public("lipo", [["CMPD_CHEMBLID", "value", "smiles"], ["x", "1", "CCO"]])
    with pytest.raises(MesomerError, match="has no column 'exp'"):
        load_benchmark("lipo", lambda text: None, quiet=True)
    public("bace", [["mol", "Class"], ["CCO", "1", "2"]])
    with pytest.raises(MesomerError, match="a row of 3 cells, not 2"):
        load_benchmark("bace", lambda text: None, quiet=True)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MESOMER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert benchmarks.cache_folder() == tmp_path / "xdg" / "mesomer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert benchmarks.cache_folder() == tmp_path / ".cache" / "mesomer"


# --- DATA arguments ---------------------------------------------------------------------------------------------------


def test_what_exists_wins_over_a_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("bbbp").write_text("smiles\nCCO\n")
    assert resolve_data("bbbp") == "bbbp"
    assert resolve_data(tmp_path / "bbbp") == str(tmp_path / "bbbp")
    assert resolve_data("bb*") == "bb*"
    assert resolve_data("s3://bucket/x.parquet") == "s3://bucket/x.parquet"


def test_what_is_neither_file_nor_name():
    with pytest.raises(MesomerError, match="no file or benchmark set named 'biogen_so'") as caught:
        resolve_data("biogen_so")
    assert caught.value.hint == "Did you mean biogen_sol?"
    for path in ("data/mine", "mine.csv", "x*.csv"):
        with pytest.raises(MesomerError, match="There is no file"):
            resolve_data(path)
