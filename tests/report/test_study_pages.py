"""What the pages say beside the figures: captions, the design at the head of a grid's page, narrow screens."""

from __future__ import annotations

import re

import pytest
from simulated_studies import write_study

from mesomer.report.page import counted, render
from mesomer.report.study import write_study_report
from mesomer.report.study_comparison import write_comparison
from mesomer.report.study_folder import read_study
from mesomer.report.study_tables import twin_table
from mesomer.report.study_verdicts import analyse


def test_a_caption_says_which_procedure_the_verdict_follows(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.06}, splits=("scaffold",))
    study = read_study(folder)
    split = analyse(study)[0]
    many = twin_table(study, split)
    assert (
        f"Intervals (Bonferroni) and p (Holm) each hold for all {len(many.rows)} comparisons together." in many.caption
    )
    assert "The verdict follows the interval; Holm's procedure is the less strict of the two" in many.caption
    del split.against_twin[1:]
    assert "Holm" not in twin_table(study, split).caption


def test_one_fold_is_no_folds(tmp_path):
    assert (counted(1, "fold"), counted(5, "fold")) == ("1 fold", "5 folds")
    folder = write_study(tmp_path / "s", {"pretrained": 0.06}, splits=("deterministic",), repeats=1, folds=1)
    report = write_study_report(folder)
    assert "mean of 1 fold" in "\n".join(report.lines)
    assert "1 folds" not in "\n".join(report.lines) + report.path.read_text(encoding="utf-8")


def test_the_page_on_several_studies_opens_with_what_they_could_see(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.06}, splits=("scaffold",), repeats=1, metric="roc_auc")
    detectable = analyse(read_study(folder))[0].primary.detectable
    page = write_comparison([folder], tmp_path / "out").path.read_text(encoding="utf-8")
    said = f"scaffold splits: 5 test scores a study, which find a difference of {detectable:.3f} in ROC-AUC"
    assert said in page and page.index(said) < page.index("Over all sets")


@pytest.mark.parametrize(("columns", "stacked"), [(4, False), (5, True)])
def test_wide_tables_are_stacked_on_narrow_screens(columns, stacked):
    head = [f"Head {at}" for at in range(columns)]
    item = {"caption": "c", "head": head, "rows": [["x"] * columns], "text": 1}
    empty = {"sentences": [], "designs": [], "notes": [], "models": [], "joined": [], "figures": [], "published": None}
    page = render("study_sets.html", empty | {"title": "t", "tables": [item], "method": "", "files": []})
    assert ('class="scroll cards"' in page) == stacked
    assert re.findall(r'<td data-label="([^"]*)"', page) == head[1:]
    assert "@media screen and (max-width: 31rem)" in page and "content: attr(data-label)" in page
