"""Every cell gets a molecule or a reason, in the documented words, and RDKit says nothing meanwhile."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from rdkit import Chem

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.parse import MISSING_WORDS, check_mol, is_missing, parse_smiles, read_many


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CCO", None),
        ("  CCO\t", None),
        ("CCO ethanol", None),
        ("CCO éthanol", None),
        ("CCO |$_R1;;$|", None),
        ("*CC*", None),
        ("[CH3:1][OH:2]", None),
        ("", "empty"),
        (" \t ", "empty"),
        (None, "empty"),
        (float("nan"), "empty"),
        ("NaN", "empty"),
        ("<NA>", "empty"),
        ("N/A", "empty"),
        ("C(C", "cannot parse"),
        ("C\0C", "cannot parse"),
        ("C\u200bC", "cannot parse"),
        ("\uff23\uff23\uff2f", "cannot parse"),
        ("CC.OO>>CCO", "cannot parse"),
        ("CN(C)(C)(C)C", "cannot parse"),
        ("CCO |broken", "cannot parse"),
        ("[H][H]", "no heavy atoms"),
        ("*", "no heavy atoms"),
        ("C" * 500, None),
        ("C" * 501, "more than 500 atoms"),
        ("C" * 10_001, "longer than 10,000 characters"),
        ("(" * 2000, "cannot parse"),
        ("[1023U]", None),
        ("[1024U]", "element not in schema"),
        ("CC |$_AV:;Q_e$|", None),
    ],
)
def test_verdicts(text: str | None, reason: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    mol, found = parse_smiles(text)
    assert found == reason
    assert (mol is None) == (reason is not None)
    graph, same = graph_from_smiles(text)
    assert same == reason and (graph is None) == (reason is not None)
    if reason != "element not in schema":
        assert read_many([text])[0][1] == reason
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_limit_of_atoms_is_the_callers() -> None:
    assert parse_smiles("CCCC", max_atoms=3)[1] == "more than 3 atoms"
    assert parse_smiles("C" * 900, max_atoms=900)[1] is None


def test_ready_molecules_get_the_same_reasons() -> None:
    assert check_mol(Chem.MolFromSmiles("CCO")) is None
    assert check_mol(Chem.MolFromSmiles("[H][H]")) == "no heavy atoms"
    assert check_mol(Chem.MolFromSmiles("C" * 501)) == "more than 500 atoms"
    assert check_mol(Chem.MolFromSmiles("[2000C]")) == "element not in schema"
    assert check_mol(Chem.MolFromSmarts("C~C")) == "element not in schema"
    crowd = Chem.RWMol(Chem.MolFromSmiles("[U]"))
    for _ in range(256):
        crowd.AddBond(0, crowd.AddAtom(Chem.Atom("Cl")), Chem.BondType.DATIVE)
    crowd.UpdatePropertyCache(strict=False)
    assert check_mol(crowd) == "element not in schema"


def test_missing_words_are_no_molecules() -> None:
    for word in MISSING_WORDS - {""}:
        for spelt in (word, word.upper(), word.title()):
            assert is_missing(spelt) and Chem.MolFromSmiles(spelt) is None


def test_hostile_rows(data_folder: Path) -> None:
    csv.field_size_limit(10**7)
    with open(data_folder / "hostile" / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        text = row["smiles"].replace("\\x00", "\0")
        start = time.perf_counter()
        mol, reason = parse_smiles(text)
        assert time.perf_counter() - start < 1, text[:80]
        assert (mol is None) == (reason is not None)
        if row["verdict"] == "ok":
            assert reason is None, (text[:80], reason)
        elif row["verdict"] == "rejected":
            assert reason not in (None, "empty"), text[:80]
        elif row["verdict"] == "empty":
            assert reason == "empty", text[:80]
        elif row["verdict"] == "either":
            assert (reason is None) == (Chem.MolFromSmiles(text) is not None)
