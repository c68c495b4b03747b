"""A European export (`;`, BOM, CRLF, decimal commas) through the commands: refused in words, or read with --decimal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_models import heteroatoms, molecules, read_table, save_encoder

from mesomer.commands.check import check

SMILES = molecules(60)


def comma(value: float) -> str:
    return f"{value:.1f}".replace(".", ",")


@pytest.fixture
def table(tmp_path: Path) -> str:
    cells = [(text, comma(heteroatoms(text) + at % 3 / 10), comma(7 + at % 2 / 2)) for at, text in enumerate(SMILES)]
    lines = ["smiles;pIC50;pH", *(";".join(row) for row in cells)]
    path = tmp_path / "komma.csv"
    path.write_bytes("\ufeff".encode() + "".join(f"{line}\r\n" for line in lines).encode())
    return str(path)


def test_check_warns_and_recommends_no_such_column(table: str):
    found = check(table)
    assert found["possible_targets"] == [] and "--targets" not in found["next"]
    (warning,) = found["warnings"]
    assert warning.startswith("'pIC50', 'pH' have decimal commas (1,3): to use numbers of them, say --decimal ,")
    found = check(table, decimal=",")
    assert found["possible_targets"] == ["pIC50", "pH"] and found["warnings"] == []
    assert found["next"].endswith("--targets pIC50,pH --decimal ,")


def test_the_commands_refuse_commas_or_read_them(table: str, tmp_path: Path, mesomer):
    for command in (["check", table], ["finetune", table, "--output", "run"]):
        told = mesomer(*command, "--targets", "pIC50")
        assert told.code == 2 and "60 of 60 labels have a decimal comma (row 1: " in told.err
        assert "Write decimal points instead of decimal commas, or say --decimal ," in told.err
    told = mesomer("check", table, "--targets", "pIC50", "--decimal", ",")
    assert told.code == 0 and "pIC50: regression, 60 labels" in told.out and "--decimal ," in told.out
    encoder = str(save_encoder(tmp_path / "small"))
    told = mesomer(
        "finetune", table, "--targets", "pIC50", "--descriptors", "pH", "--decimal", ",", "--probe", "--repeats", "1",
        "--split", "random", "--model", encoder, "--output", "run",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["config"]["decimal"] == ","
    for option, reason in (([], "bad descriptor"), (["--decimal", ","], "")):
        told = mesomer("predict", table, "--model", "run", "--output", "pred.csv", "--overwrite", *option)
        assert told.code == 0, told.err
        rows = read_table(tmp_path / "pred.csv")
        assert {row["mesomer_error"] for row in rows} == {reason}
        assert rows[0]["pIC50"] == comma(heteroatoms(SMILES[0]))  # the input's cells stay as they are
    truth = np.array([float(row["pIC50"].replace(",", ".")) for row in rows])
    assert np.corrcoef(truth, [float(row["pIC50_pred"]) for row in rows])[0, 1] > 0.7


def test_a_study_refuses_commas_or_reads_them(table: str, mesomer):
    options = ["--arms", "ecfp_forest,mean", "--splits", "random", "--repeats", "1", "--jobs", "1"]
    words = ["study", "power", table, "--targets", "pIC50", *options]
    told = mesomer(*words)
    assert told.code == 2 and "say --decimal ," in told.err
    told = mesomer(*words, "--decimal", ",")
    assert told.code == 0 and "smallest detectable difference" in told.out, told.err
    told = mesomer("study", "--preset", "moleculenet", "--decimal", ",")
    assert told.code == 2 and "--decimal is for the study of one table" in told.err


def test_bad_labels_show_their_cell(table: str, tmp_path: Path, mesomer):
    text = Path(table).read_text(encoding="utf-8-sig").replace(",", ".").splitlines()
    text[3] = text[3].split(";")[0] + ";n.d.;7.0"
    Path(table).write_text("\n".join(text))
    told = mesomer("check", table, "--targets", "pIC50", "--output", "report.json")
    assert told.code == 0 and f"row 3 (line 4): bad label (pIC50 'n.d.'): {SMILES[2]!r}" in told.out
    (reject,) = read_table(tmp_path / "report.json.rejects.csv")
    assert reject["cell"] == "pIC50 'n.d.'"
