"""A study folder of which only the plan and the tables are left."""

from __future__ import annotations

from simulated_studies import add_predictions, write_study

from mesomer.report.study import write_study_report


def test_scaffold_splits_without_the_table_of_molecules(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, splits=("scaffold",), repeats=2, folds=3, molecules=150)
    add_predictions(folder, {"pretrained": 0.4, "random": 0.6}, similarity=True)
    whole = write_study_report(folder)
    (folder / "molecules.csv").unlink()
    left = write_study_report(folder)
    assert left.sentence == whole.sentence
    assert whole.verdicts["splits"]["scaffold"]["over_test_molecules_only"] is not None
    assert left.verdicts["splits"]["scaffold"]["over_test_molecules_only"] is None
    page = left.path.read_text(encoding="utf-8")
    assert "it needs molecules.csv, which is not here" in page and "Near and far molecules" in page
