"""The comparison of short pre-trainings: its runs, its table, going on."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_runs
from small_corpora import demo_smiles, write_table
from small_models import heteroatoms, molecules

from mesomer.data.labels import read_labels
from mesomer.data.prepare import prepare_corpus
from mesomer.data.splits import splits_for
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.training.finetune_plan import property_data

TINY = {"hidden_size": 8, "blocks": 1, "depth": 2}
RUNS = {
    "masked 60 %": {"objective": "masked_graph", "encoder": TINY},
    "motifs": {"objective": "motifs", "encoder": TINY},
    "masked 60 %, then motifs": {"objective": "motifs", "init": "masked 60 %"},
}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small corpus; the probe set is a toy."""
    rows = [f"{smiles},{heteroatoms(smiles) + 0.01 * at}\n" for at, smiles in enumerate(molecules(40))]
    table = tmp_path / "set.csv"
    table.write_text("smiles,y\n" + "".join(rows))
    labelled = read_labels(open_table(str(table)), ["y"])
    splits = [splits_for("cv", labelled.mols, 1, 0, 5), splits_for("random", labelled.mols, 1, 0)[0]]
    monkeypatch.setattr(
        small_runs, "read_probe_set", lambda name, *_: small_runs.ProbeSet(name, property_data(labelled), *splits)
    )
    monkeypatch.setattr(small_runs, "RUNS", RUNS)
    table = write_table(tmp_path / "table.csv", demo_smiles(150))
    return prepare_corpus(table, tmp_path / "corpus", workers=1, quiet=True, add=["motifs"]).corpus.path


def test_every_run_has_a_row_and_a_finished_one_is_not_run_again(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{small_runs.BEGIN}\nstale\n{small_runs.END}\nafter\n")
    words = [str(corpus), "--output", str(tmp_path / "runs"), "--steps", "2", "--page", str(page), "--runs", *RUNS]
    small_runs.main(words)
    told = page.read_text()
    assert told.startswith("before\n") and told.endswith("after\n") and "stale" not in told
    lines = [line for line in told.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]] == ["random weights", *RUNS]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert "Starting from the encoder" in (tmp_path / "runs" / "masked-60----then-motifs" / "log.txt").read_text()

    def never(*_: object) -> dict[str, float]:
        raise AssertionError("scored again")

    kept = small_runs.scored
    random_only = iter([kept])
    monkeypatch.setattr(small_runs, "scored", lambda *given: next(random_only, never)(*given))
    small_runs.main(words)
    assert page.read_text() == told


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(MesomerError, match="no place"):
        small_runs.fill(page, "table")
    assert page.read_text() == "nothing\n"
