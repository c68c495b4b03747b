"""Descriptors equal the published ones, fingerprints hold what RDKit finds, scaffolds follow the published rule."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rdkit
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from mesomer.chem import descriptors
from mesomer.chem.descriptors import count_ecfp, descriptor_names, descriptors_200, ecfp_bits
from mesomer.chem.scaffolds import scaffold
from mesomer.data import computed
from mesomer.errors import MesomerError

SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O", "C", "[Na+].[Cl-]", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "C[C@H](N)C(=O)O"]
MOLS = [Chem.MolFromSmiles(smiles) for smiles in SMILES]


@pytest.mark.reference
def test_reference_descriptors(reference_folder: Path) -> None:
    """`features_200_raw` was computed from the given spelling, `features_200` from the canonical one with NaN as 0."""
    pytest.importorskip("descriptastorus", reason="the package descriptastorus is not installed")
    compared = 0
    for folder in sorted((reference_folder / "parity").iterdir()):
        if not (folder / "expected.npz").is_file() or not (folder / "smiles.csv").is_file():
            continue
        with np.load(folder / "expected.npz") as content:
            stored = {name: content[name] for name in ("features_200_raw", "features_200") if name in content.files}
        version = json.loads((folder / "config.json").read_text()).get("versions", {}).get("rdkit", rdkit.__version__)
        if not stored or [int(part) for part in version.split(".")] != [int(p) for p in rdkit.__version__.split(".")]:
            continue
        with open(folder / "smiles.csv", newline="") as file:
            mols = [Chem.MolFromSmiles(row["smiles"]) for row in csv.DictReader(file)]
        for name, expected in stored.items():
            found = descriptors_200(mols, canonical=name == "features_200")
            if name == "features_200":
                found = np.nan_to_num(found)
            assert np.allclose(found, expected, rtol=1e-6, atol=1e-7, equal_nan=True)
            compared += 1
    if not compared:
        pytest.skip("no set with descriptors was made with this RDKit")


def test_descriptors_of_a_molecule_do_not_depend_on_its_spelling_or_company() -> None:
    pytest.importorskip("descriptastorus", reason="the package descriptastorus is not installed")
    together = descriptors_200(MOLS)
    assert together.shape == (len(MOLS), 200) == (len(MOLS), len(descriptor_names())) and together.dtype == np.float32
    for row, mol in zip(together, MOLS, strict=True):
        other = Chem.MolFromSmiles(Chem.MolToSmiles(mol, doRandom=True))
        assert np.array_equal(descriptors_200([other])[0], row, equal_nan=True)
    assert not descriptors_200([Chem.MolFromSmiles("[H][H]")]).any()
    assert descriptors_200([]).shape == (0, 200)


def test_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("descriptastorus", reason="the package descriptastorus is not installed")
    monkeypatch.setattr(computed, "_MOLECULES_A_TASK", 2)
    assert np.array_equal(computed.computed_descriptors(MOLS, workers=2), descriptors_200(MOLS), equal_nan=True)


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("descriptastorus"):
            raise ModuleNotFoundError("No module named 'descriptastorus'", name="descriptastorus")
        return usual(name, *arguments, **options)

    descriptors._descriptastorus.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MesomerError, match=r"pip install \"mesomer\[descriptors\]\""):
        descriptors_200(MOLS)


def test_counts_and_bits_are_rdkits() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    counts, bits = count_ecfp(MOLS), ecfp_bits(MOLS)
    assert counts.shape == (len(MOLS), 2048) and bits.shape == (len(MOLS), 256) and bits.dtype == np.uint8
    for row, packed, mol in zip(counts, bits, MOLS, strict=True):
        assert dict(enumerate(row.tolist())) == dict.fromkeys(range(2048), 0) | (
            generator.GetCountFingerprint(mol).GetNonzeroElements()
        )
        assert np.flatnonzero(np.unpackbits(packed)).tolist() == list(generator.GetFingerprint(mol).GetOnBits())
    one, other = (generator.GetFingerprint(mol) for mol in MOLS[:2])
    a, b = (np.unpackbits(row) for row in bits[:2])
    assert DataStructs.TanimotoSimilarity(one, other) == (a & b).sum() / (a | b).sum()
    assert count_ecfp([Chem.MolFromSmiles("C" * 400)]).max() > 255
    assert count_ecfp([], size=64).shape == (0, 64) and ecfp_bits([], size=64).shape == (0, 8)


@pytest.mark.parametrize(
    ("smiles", "chirality", "expected"),
    [
        ("CCO", False, ""),
        ("Cc1ccccc1", False, "c1ccccc1"),
        ("O=C1CCCC1", False, "O=C1CCCC1"),
        ("C[C@H]1CCC[C@@H](c2ccccc2)C1", True, "c1ccc([C@@H]2CCCCC2)cc1"),
        ("C[C@H]1CCC[C@@H](c2ccccc2)C1", False, "c1ccc(C2CCCCC2)cc1"),
    ],
)
def test_scaffolds(smiles: str, chirality: bool, expected: str) -> None:
    found = scaffold(smiles, chirality)
    assert found == scaffold(Chem.MolFromSmiles(smiles), chirality)
    if "@" in expected:
        assert "@" in found or found == scaffold(smiles, False)  # RDKit may find that no centre is left
    else:
        assert found == Chem.CanonSmiles(expected)


def test_scaffold_of_nothing_readable() -> None:
    with pytest.raises(MesomerError, match="C1CC"):
        scaffold("C1CC", False)
