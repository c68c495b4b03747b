"""The comparison of short pre-trainings: its runs, its table, going on."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_runs
import torch
import yaml
from small_corpora import demo_smiles, write_table
from small_models import heteroatoms, molecules

from mesomer.data.labels import read_labels
from mesomer.data.prepare import prepare_corpus
from mesomer.data.splits import splits_for
from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.training.checkpoint import load_model
from mesomer.training.finetune_plan import property_data

TINY = {"hidden_size": 8, "blocks": 1, "depth": 2}
RUNS = {
    "motifs, summary": {"objective": "motifs", "encoder": {**TINY, "summary": 8}},
    "masked 60 %": {"objective": "masked_graph", "encoder": TINY},
    "motifs": {"objective": "motifs", "encoder": TINY},
    "masked 60 %, then motifs": {"objective": "motifs", "init": "masked 60 %"},
}
RANDOM = ["random weights", "random weights, with a summary"]


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
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]] == [*RANDOM, *RUNS]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    passes = {cells[0].removeprefix("| "): int(cells[1]) for cells in (line.split(" | ") for line in lines[1:])}
    assert passes["masked 60 %, then motifs"] == passes["masked 60 %"] + passes["motifs"] > 0
    assert "Starting from the encoder" in (tmp_path / "runs" / "masked-60----then-motifs" / "log.txt").read_text()

    def never(*_: object) -> dict[str, float]:
        raise AssertionError("scored again")

    kept = small_runs.scored
    random_only = iter([kept] * len(RANDOM))
    monkeypatch.setattr(small_runs, "scored", lambda *given: next(random_only, never)(*given))
    small_runs.main(words)
    assert page.read_text() == told


def test_a_run_that_goes_on_costs_what_both_cost(corpus: Path, tmp_path: Path) -> None:
    words = [str(corpus), "--output", str(tmp_path / "runs"), "--steps", "2", "--runs", "masked 60 %, then motifs"]
    small_runs.main(words)
    own = {
        name: _cost(small_runs.folder_of(name, tmp_path / "runs"))
        for name in ("masked 60 %", "masked 60 %, then motifs")
    }
    passes, seconds = small_runs.cost_of("masked 60 %, then motifs", tmp_path / "runs")
    assert passes == sum(count for count, _ in own.values()) > max(count for count, _ in own.values())
    assert seconds == pytest.approx(sum(time for _, time in own.values()))
    assert small_runs.cost_of("masked 60 %", tmp_path / "runs") == own["masked 60 %"]


def _cost(folder: Path) -> tuple[int, float]:
    facts = load_model(str(folder)).config["training"]
    return facts["molecule_passes"], facts["seconds"]


def test_the_twin_of_a_run_with_a_summary_has_one(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(small_runs, "scored", lambda encoder, *_: seen.append(encoder) or {"biogen_hlm": 0.5})
    words = [str(corpus), "--output", str(tmp_path / "runs"), "--steps", "2", "--sets", "biogen_hlm", "--runs"]
    small_runs.main([*words, "motifs, summary", "motifs"])
    trained, plain, twin, own = seen[0], seen[1], seen[3], seen[2]
    assert plain.summary is None and own.summary is None and trained.config() == twin.config()
    assert twin.summary is not None and not torch.equal(twin.summary.linear.weight, trained.summary.linear.weight)


def test_what_ships_is_among_the_runs_and_older_runs_keep_their_folders() -> None:
    rates = {
        options.get("max_lr")
        for options in small_runs.RUNS.values()
        if options["objective"] == "descriptors+fingerprints"
    }
    recipe = yaml.safe_load((Path(__file__).resolve().parents[2] / "recipes" / "batmannet-2.yaml").read_text())
    assert recipe["max_lr"] in rates and recipe["objective"] == "descriptors+fingerprints"
    folders = [small_runs.folder_of(name, Path("runs")) for name in small_runs.RUNS]
    assert len(set(folders)) == len(folders)
    assert small_runs.folder_of("masked 60 %, rate 0.0003", Path("runs")) == Path("runs/masked-60----rate-0-0003")


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(MesomerError, match="no place"):
        small_runs.fill(page, "table")
    assert page.read_text() == "nothing\n"
