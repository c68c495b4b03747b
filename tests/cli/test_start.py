"""Starting costs little: --help within twelve bare interpreter starts, and no torch until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mesomer
from mesomer import cli

SOURCE = Path(mesomer.__file__).parent
LIGHT = {"__future__", "typing", "dataclasses", "pathlib", "collections.abc", "time", "mesomer.errors"}


def loaded_after(code: str) -> set[str]:
    """The modules in a fresh interpreter after `code`."""
    ending = "\nimport sys; print('MODULES', *sys.modules)"
    got = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return set(got.stdout.rpartition("MODULES ")[2].split())


def seconds(*commands: list[str]) -> list[float]:
    """The shortest of eleven runs of each command, in turn: what the work costs, whatever else the machine does."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(11):
        for taken, command in zip(times, commands, strict=True):
            start = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


@pytest.mark.parametrize("code", ["import mesomer", "from mesomer.cli import main; main(['--help'])"])
def test_nothing_heavy_is_loaded(code):
    loaded = loaded_after(code)
    assert "mesomer" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "rdkit", "pyarrow", "jsonargparse", "yaml", "rich", "sklearn", "scipy"})


def test_commands_let_arrow_share_the_allocator_of_the_c_library(monkeypatch):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    code = "from mesomer.cli import main; main(['--help'])"
    code += "; import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    for chosen in ("system", "mimalloc"):  # what the user has set stays
        got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert got.stdout.split()[-1] == chosen
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "mimalloc")


def test_help_takes_at_most_twelve_interpreter_starts():
    bare, told = seconds([sys.executable, "-c", "pass"], [str(Path(sys.executable).with_name("mesomer")), "--help"])
    assert told <= 12 * bare, f"{told * 1000:.0f} ms, {told / bare:.1f} bare starts"
    assert told <= 0.4


def test_importing_the_package_takes_a_tenth_of_a_second():
    bare, imported = seconds([sys.executable, "-c", "pass"], [sys.executable, "-c", "import mesomer"])
    assert imported - bare < 0.1


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_command_modules_import_nothing_heavy(name):
    module = cli.COMMANDS[name].partition(":")[0]
    tree = ast.parse((SOURCE / (module.partition(".")[2].replace(".", "/") + ".py")).read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    assert found <= LIGHT


def test_public_names_resolve():
    for name in mesomer.__all__:
        assert getattr(mesomer, name) is not None and name in dir(mesomer)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mesomer.nonsense  # noqa: B018
