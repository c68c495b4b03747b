"""R-MAT through every command with molecules that are hard to place in space: rings that cannot be, more than 200
atoms, metals, salts, coordinates that cannot be meant. Each has its verdict; none costs another row anything.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from small_models import molecules, read_table, write_table

from mesomer import cli
from mesomer.chem import conformers
from mesomer.chem.conformers import DRAWN, LATE, OUTCOMES

IMPOSSIBLE = ["C1C[C@@H]2CC[C@@H]1C2", "CN1[C@H]2CC[C@H]1CC2"]
LARGE = "C(=O)NC" * 52 + "O"  # 209 atoms
METALS = ["[Fe+3]", "N[Pt](N)(Cl)Cl", "c1ccccc1[Hg]Cl", "[NH3]->[Cu+2]"]
SALTS = ["CC(=O)[O-].[Na+]", "[Na+].[Cl-]", "CN(C)CCO.OC(=O)C=CC(=O)O"]
HARD = [*IMPOSSIBLE, LARGE, *METALS, *SALTS]
SMALL = ("--encoder.hidden_size", "8", "--encoder.heads", "2", "--encoder.blocks", "1", "--encoder.ffn_hidden", "8")
QUICK = ("--accelerator", "cpu", "--precision", "32")
LIMIT = 2.0
CROWDED = "with atoms on top of each other (fragments, mostly)"


@pytest.fixture(autouse=True)
def one_process_and_little_time(monkeypatch):
    """Time is short for the large one, so that the tests are; the impossible ones must not need it."""
    monkeypatch.setattr("mesomer.data.geometry.available_cores", lambda: 1)
    monkeypatch.setattr(conformers.conformer, "__defaults__", (conformers.SEED, LIMIT))


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Easy molecules, the hard ones, one that is no molecule and one that is too large."""
    smiles = [*molecules(30), *HARD, "C1CC", "C" * 501]
    columns = {"smiles": smiles, "y": [round(len(text) % 7 + 0.5, 1) for text in smiles]}
    return write_table(tmp_path_factory.mktemp("table") / "a.csv", columns)


@pytest.fixture(scope="module")
def pretrained(table, tmp_path_factory) -> tuple[Path, Path]:
    """Corpus and run of `prepare` and `pretrain`, which have to succeed on the table."""
    folder = tmp_path_factory.mktemp("runs")
    corpus, run = folder / "corpus", folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformers.conformer, "__defaults__", (conformers.SEED, LIMIT))
        prepare = (
            "prepare",
            str(table),
            "--output",
            str(corpus),
            "--add",
            "atom_contexts,conformers",
            "--workers",
            "1",
        )
        assert cli.main(list(prepare)) == 0
    pretrain = ("pretrain", str(corpus), "--method", "rmat", *SMALL, "--output", str(run), "--max_steps", "2")
    assert cli.main([*pretrain, "--threads", "1", "--probe_molecules", "0", *QUICK]) == 0
    return corpus, run


def reasons(rows: list[dict[str, str]]) -> list[str]:
    return [row["mesomer_error"] for row in rows]


REFUSED = {"C1CC": "cannot parse", "C" * 501: "more than 500 atoms"}


def test_prepare_and_pretrain(pretrained):
    corpus, run = pretrained
    card = json.loads((corpus / "corpus.json").read_text())
    assert card["molecules"] == 30 + len(HARD)
    counts = card["additions"]["conformers"]["counts"]
    assert counts[OUTCOMES[DRAWN]] >= len(IMPOSSIBLE) and counts[CROWDED] == len(SALTS)
    assert counts[LATE] <= 1  # none but the large one
    assert sum(counts[words] for words in OUTCOMES.values()) == card["molecules"]
    with open(corpus / "rejects.csv", newline="") as handle:
        assert [row["reason"] for row in csv.DictReader(handle)] == list(REFUSED.values())
    losses = [float(row["loss"]) for row in read_table(run / "metrics.csv") if row["loss"]]
    assert losses and np.isfinite(losses).all()


def test_embed(pretrained, table, mesomer):
    told = mesomer("embed", str(table), "--model", str(pretrained[1]), "--output", "v.npy")
    assert told.code == 0 and f"molecules {CROWDED}" in told.out + told.err
    vectors, readable = np.load("v.npy"), 30 + len(HARD)
    assert vectors.shape == (readable + 2, 8) and np.isfinite(vectors[:readable]).all()
    assert np.isnan(vectors[readable:]).all()


def test_finetune_and_predict(pretrained, table, mesomer):
    words = (
        "finetune",
        str(table),
        "--targets",
        "y",
        "--model",
        str(pretrained[1]),
        "--output",
        "run",
        "--repeats",
        "1",
    )
    done = mesomer(*words, "--split", "random", "--epochs", "1", "--ffn_hidden", "8", *QUICK)
    assert done.code == 0, done.err
    assert "molecules in two dimensions" in done.err and f"molecules {CROWDED}" in done.err
    rejected = read_table(Path("run/rejects.csv"))
    assert [row["reason"] for row in rejected] == list(REFUSED.values())
    done = mesomer("predict", str(table), "--model", "run", "--output", "p.csv")
    assert done.code == 0 and f"molecules {CROWDED}" in done.out + done.err
    rows = read_table(Path("p.csv"))
    assert reasons(rows) == [""] * (30 + len(HARD)) + list(REFUSED.values())
    assert all(np.isfinite(float(row["y_pred"])) for row in rows[:-2]) and rows[-1]["y_pred"] == ""


WRONG = {"CCOCCO": 200.0, "CCNCCN": 0.0, "[Na+].[Cl-]": 0.0}
"""By what a structure's coordinates were multiplied."""


def structures(path: Path) -> Path:
    """Records of molecules in space, of which the last three cannot be meant."""
    with Chem.SDWriter(str(path)) as writer:
        for at, text in enumerate([*molecules(14), *WRONG]):
            mol = Chem.MolFromSmiles(text)
            shape = Chem.Conformer(mol.GetNumAtoms())
            factor = WRONG.get(text, 1.0)
            for atom in range(mol.GetNumAtoms()):
                shape.SetAtomPosition(atom, [factor * 1.5 * atom, factor * (atom % 2), 1.0])
            shape.Set3D(True)
            mol.AddConformer(shape)
            mol.SetProp("y", str(at % 5 + 0.5))
            writer.write(mol)
    return path


def test_coordinates_that_cannot_be_meant_are_refused_by_every_command(pretrained, mesomer, tmp_path):
    """With the line of the record; they are not replaced by computed ones."""
    path = str(structures(tmp_path / "a.sdf"))
    bad = ["coordinates beyond all measure", "two atoms at the same place", "two atoms at the same place"]
    record_lines = [at for at, text in enumerate(Path(path).read_text().splitlines()) if text.startswith("$$$$")]
    lines = [str(at + 2) for at in record_lines[13:16]]
    for words in (
        ("prepare", path, "--output", "corpus", "--workers", "1"),
        ("finetune", path, "--targets", "y", "--model", str(pretrained[1]), "--output", "run", "--repeats", "1",
         "--split", "random", "--epochs", "1", "--ffn_hidden", "8", *QUICK),
    ):  # fmt: skip
        assert mesomer(*words).code == 0
        rejected = read_table(Path(words[words.index("--output") + 1]) / "rejects.csv")
        assert [row["reason"] for row in rejected] == bad and [row["line"] for row in rejected] == lines
    for name, model in (("predict", "run"), ("embed", str(pretrained[1]))):
        assert mesomer(name, path, "--model", model, "--output", f"{name}.csv").code == 0
        assert reasons(read_table(Path(f"{name}.csv"))) == [""] * 14 + bad
    checked = mesomer("check", path)
    assert checked.code == 0 and "two atoms at the same place" in checked.out
