"""Ctrl-C reaches Python after every call of RDKit that we make, and ends long work in the middle."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from rdkit import Chem
from small_corpora import demo_smiles

from mesomer.chem.conformers import conformer
from mesomer.chem.descriptors import count_ecfp, descriptors_200, ecfp_bits
from mesomer.chem.featurize import featurize, graph_from_smiles
from mesomer.chem.groups import add_matched_groups
from mesomer.chem.inchi import inchi_keys
from mesomer.chem.interrupts import restore_interrupts
from mesomer.chem.motifs import motif_labels
from mesomer.chem.parse import as_parsed, check_mol, parse_smiles
from mesomer.chem.scaffolds import scaffold

posix_only = pytest.mark.skipif(os.name == "nt", reason="reads the system's handler by sigaction")
TEXT = "C[C@H](N)C(=O)Oc1ccccc1C(=O)O"


def native_handler() -> int:
    """The address of the handler for SIGINT that the system would call."""
    told = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).sigaction(signal.SIGINT, None, told)
    return int.from_bytes(told.raw[: ctypes.sizeof(ctypes.c_void_p)], sys.byteorder)


def groups(mol: Chem.Mol) -> None:
    add_matched_groups(bytearray(mol.GetNumAtoms()), mol)


CALLS: dict[str, Callable[[Chem.Mol], object]] = {
    "parse": lambda mol: parse_smiles(TEXT),
    "check": check_mol,
    "as_parsed": as_parsed,
    "featurize": featurize,
    "graph": lambda mol: graph_from_smiles(TEXT),
    "groups": groups,
    "motifs": lambda mol: motif_labels([mol]),
    "descriptors": lambda mol: descriptors_200([mol]),
    "bits": lambda mol: ecfp_bits([mol]),
    "counts": lambda mol: count_ecfp([mol]),
    "keys": lambda mol: inchi_keys([mol], [TEXT]),
    "conformer": conformer,
    "scaffold": lambda mol: scaffold(mol, chirality=True),
}


@posix_only
@pytest.mark.parametrize("name", CALLS)
def test_the_handler_is_python_s_afterwards(name: str) -> None:
    if name == "descriptors":
        pytest.importorskip("descriptastorus")
    restore_interrupts()
    before, mol = native_handler(), Chem.MolFromSmiles(TEXT)
    CALLS[name](mol)
    assert native_handler() == before


def test_a_handler_of_the_program_stays() -> None:
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        motif_labels([Chem.MolFromSmiles(TEXT)])
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [1]


SCRIPTS = {
    "embed": "model = mesomer.load()\nprint('ready', flush=True)\nmodel.embed(texts * 100)",
    "fit": "print('ready', flush=True)\nmesomer.MolRegressor(epochs=500).fit(texts, range(len(texts)))",
}


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("work", SCRIPTS)
def test_ctrl_c_ends_the_work(work: str) -> None:
    script = f"import mesomer\ntexts = {demo_smiles(60)!r}\n{SCRIPTS[work]}\nprint('to the end', flush=True)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(8)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "to the end" not in told
    assert "KeyboardInterrupt" in errors
