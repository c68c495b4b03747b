"""The order of the stations, and the rules of the house that a machine can see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import mesomer

SOURCE = Path(mesomer.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def test_every_station_imports_only_stations_before_it():
    linter = Path(sys.executable).with_name("lint-imports")
    got = subprocess.run([linter, "--no-cache"], cwd=SOURCE.parent.parent, capture_output=True, text=True)
    assert got.returncode == 0, got.stdout[-3000:]


def test_a_file_says_what_it_does_and_stays_short():
    texts = {str(file.relative_to(SOURCE)): file.read_text(encoding="utf-8") for file in FILES}
    assert [name for name, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))] == []
    assert [name for name, text in texts.items() if len(text.splitlines()) > 400] == []


def test_public_functions_and_classes_are_documented():
    silent = [
        f"{file.relative_to(SOURCE)}: {node.name}"
        for file in FILES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_pickle_is_loaded():
    for file in FILES:
        for line in file.read_text(encoding="utf-8").splitlines():
            if re.search(r"\btorch\.load\(", line):
                assert "weights_only=True" in line, f"{file}: {line.strip()}"
