"""The hostile set through the reader and through check: each row and each file gets its listed outcome."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest

from mesomer.commands.check import check
from mesomer.data.labels import read_labels
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError

READ_REASONS = {"cannot parse", "no heavy atoms", "element not in schema", "longer than 10,000 characters"}


def hostile_rows(data_folder: Path) -> list[dict[str, str]]:
    with open(data_folder / "hostile" / "rows.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return [{**row, "smiles": row["smiles"].replace("\\x00", "\0")} for row in rows]


def hostile_files(data_folder: Path) -> list[dict[str, str]]:
    with open(data_folder / "hostile" / "files" / "FILES.csv", newline="", encoding="utf-8") as handle:
        return [{**row, "path": str(data_folder / "hostile" / "files" / row["file"])} for row in csv.DictReader(handle)]


def write_rows(rows: list[dict[str, str]], path: Path, columns: list[str]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def assert_verdict(row: dict[str, str], reason: str | None) -> None:
    said = f"{row['smiles'][:40]!r} ({row['why']}): {reason}"
    if row["verdict"] == "ok":
        # A legal SMILES may still lie beyond a documented limit.
        assert reason is None or reason.startswith(("more than", "longer than")), said
    elif row["verdict"] == "empty":
        assert reason == "empty", said
    elif row["verdict"] == "rejected":
        assert reason in READ_REASONS or (reason or "").startswith("more than"), said


@pytest.mark.parametrize("columns", [["smiles"], ["smiles", "verdict", "why"], ["why", "smiles"]])
def test_each_row_gets_its_verdict(data_folder: Path, tmp_path: Path, columns: list[str]):
    rows = hostile_rows(data_folder)
    table = open_table(write_rows(rows, tmp_path / "rows.csv", columns))
    started = time.perf_counter()
    reasons = [reason for chunk in table.chunks(parse=True) for reason in chunk.reasons]
    assert time.perf_counter() - started < len(rows)
    assert len(reasons) == len(rows)
    for row, reason in zip(rows, reasons, strict=True):
        assert_verdict(row, reason)


def test_rows_from_other_sources_get_the_same_verdicts(data_folder: Path, tmp_path: Path):
    import pandas as pd
    import polars as pl

    rows = hostile_rows(data_folder)
    smiles = [row["smiles"] for row in rows]
    pl.DataFrame({"smiles": smiles}).write_parquet(tmp_path / "rows.parquet")
    expected = None
    for source in (
        smiles,
        pd.DataFrame({"smiles": smiles}),
        pl.DataFrame({"smiles": smiles}),
        tmp_path / "rows.parquet",
    ):
        reasons = [reason for chunk in open_table(source).chunks(parse=True) for reason in chunk.reasons]
        expected = expected or reasons
        assert reasons == expected
    for row, reason in zip(rows, expected, strict=True):
        assert_verdict(row, reason)


def test_rows_with_a_label_are_learnt_from_or_rejected(data_folder: Path, tmp_path: Path):
    rows = [{**row, "y": f"{at / 7:.4f}"} for at, row in enumerate(hostile_rows(data_folder))]
    table = open_table(write_rows(rows, tmp_path / "rows.csv", ["smiles", "y"]))
    labelled = read_labels(table, ["y"])
    used = [number for group in labelled.all_rows for number in group]
    assert sorted(used + [item.row for item in labelled.rejects.items]) == list(range(1, len(rows) + 1))
    for number, row in enumerate(rows, 1):
        if row["verdict"] in ("rejected", "empty"):
            assert number not in used


def test_check_lists_every_rejected_row(data_folder: Path, tmp_path: Path):
    rows = hostile_rows(data_folder)
    found = check(str(write_rows(rows, tmp_path / "rows.csv", ["smiles", "why"])))
    rejected = {item["row"]: item for item in found["rejects"]}
    assert found["rows"] == len(rows) == found["readable"] + found["rejected"]
    for number, row in enumerate(rows, 1):
        assert_verdict(row, rejected[number]["reason"] if number in rejected else None)


def run(entry: dict[str, str], tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """The outcome of check in the words of FILES.csv, and what it found."""
    options: dict[str, Any] = {"output": str(tmp_path / "report.json")}
    if entry["commands"] == "label":
        options["targets"] = [open_table(entry["path"]).columns[-1]]
        options["task"] = "binary" if "binary" in entry["why"] else None
    try:
        found = check(entry["path"], **options)
    except MesomerError as error:
        assert error.message and error.hint and "\n" not in error.message
        assert list(tmp_path.iterdir()) == []
        return "error", {"message": str(error)}
    if found["rejected"]:
        return "rejects", found
    return ("warning" if found["warnings"] else "ok"), found


def test_each_file_gets_its_outcome(data_folder: Path, tmp_path: Path):
    files = hostile_files(data_folder)
    assert files
    for at, entry in enumerate(files):
        folder = tmp_path / str(at)
        folder.mkdir()
        outcome, found = run(entry, folder)
        allowed = entry["outcome"].split(" or ")
        # Advice about tiny tables is no warning in the sense of the list.
        assert outcome in allowed or (outcome == "warning" and "ok" in allowed), f"{entry['file']}: {outcome}, {found}"
        if outcome == "rejects":
            assert found["readable"] > 0 and all(item["line"] and item["reason"] for item in found["rejects"])
            assert (folder / "report.json.rejects.csv").read_text().count("\n") >= 1 + found["rejected"]


def test_errors_say_what_was_found(data_folder: Path, tmp_path: Path):
    for entry in hostile_files(data_folder):
        if entry["outcome"] != "error":
            continue
        _, found = run(entry, tmp_path)
        lines = Path(entry["path"]).read_bytes().splitlines()
        if "columns are listed" in entry["why"] or "lists what was found" in entry["why"]:
            for word in lines[0].decode().split(","):
                assert word in found["message"]
        if entry["commands"] == "read":
            assert entry["file"] in found["message"]
