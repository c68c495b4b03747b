"""The report in Markdown: the very sentences and figures of the page, and nothing that a name could break."""

from __future__ import annotations

import html
import re

from simulated_studies import add_predictions, write_study

from mesomer.report.study import write_study_report
from mesomer.report.study_markdown import markdown_table, plain
from mesomer.report.study_tables import Table

HOSTILE = "<b>| *x* _y_ `z` [a](http://evil.example) &lt; $1$\n# head"


def cells_of_page(text):
    """Cells of all tables of an HTML page, in order."""
    found = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", text, re.S)
    return [" ".join(html.unescape(cell).split()) for cell in found]


def cells_of_markdown(text):
    """The same of a page in Markdown."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| :--", "| --:"))]
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    return [re.sub(r"\\(.)", r"\1", cell.strip()) for row in cells for cell in row]


def written(folder):
    report = write_study_report(folder)
    return report, report.path.read_text(encoding="utf-8"), (folder / "report.md").read_text(encoding="utf-8")


def test_both_pages_say_the_same(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.06}, 0.03, label_counts=(60, 180), overlap=0.1, molecules=300,
                         repeats=2, folds=3, unit="mg/L", cut=["Repeats: 5 to 2."])  # fmt: skip
    add_predictions(folder, {"pretrained": 0.74, "random": 0.8})
    report, page, text = written(folder)
    cells = cells_of_page(page)
    assert len(cells) > 150 and cells == cells_of_markdown(text)
    assert f"**{report.sentence}**" in text and "- Repeats: 5 to 2." in text
    heads = [" ".join(html.unescape(head).split()) for head in re.findall(r"<h2[^>]*>(.*?)</h2>", page)]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == heads
    method = html.unescape(re.search(r"Ready to paste.</p>\s*<p>(.*?)</p>", page, re.S)[1])
    assert method.replace("<", "\\<") in text
    assert "<svg" not in text and "data:image" not in text
    for words in ("RMSE (mg/L)", "Gain (mg/L)", "logS (mg/L)", "mg/L lower"):
        assert words in page and words in text, words
    assert page.count("RMSE (mg/L)") > 10  # titles of axes, too


def test_units_of_several_targets(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, targets=("logS (mM)", "pKa"), unit="mM", repeats=2)
    add_predictions(folder, {"pretrained": 0.74, "random": 0.8})  # these give the spread of the labels
    _, page, text = written(folder)
    assert cells_of_page(page) == cells_of_markdown(text)
    assert "pKa (mM)" in text and "logS (mM) (mM)" not in text.replace("regression, mM", "")
    assert "RMSE (label deviations)" in text and "Gain (unit of the target)" in text


def test_names_break_nothing(tmp_path):
    arms = [
        {"name": "pretrained", "label": HOSTILE, "kind": "network", "reference": False, "parameters": 3},
        {"name": "random", "label": "snake_case", "kind": "network", "twin_of": "pretrained", "parameters": 3},
    ]
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, arms=arms, targets=(HOSTILE,), repeats=2)
    _, page, text = written(folder)
    assert cells_of_page(page) == cells_of_markdown(text)
    assert "snake_case" in text and "<b>" not in text.replace("\\<b\\>", "") and "\n# head" not in text


def test_signs_are_escaped_where_they_mean_something():
    assert plain("a_b _c_ 2*3 < 4 | x\n# y") == r"a_b \_c\_ 2\*3 \< 4 \| x # y"
    table = Table("Caption.", ["Arm", "RMSE"], [["a|b", "0.1"]])
    assert markdown_table(table) == "Caption.\n\n| Arm | RMSE |\n| :-- | --: |\n| a\\|b | 0.1 |"
