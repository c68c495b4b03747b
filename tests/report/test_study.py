"""The page and the sentences of a study: honest, complete in themselves, safe with hostile names."""

from __future__ import annotations

import json
import re

import pytest
from html_pages import Page
from simulated_studies import ARMS, add_predictions, change_rows, write_rows, write_study

from mesomer.report import study_figures
from mesomer.report.study import write_study_report
from mesomer.report.study_folder import read_predictions, read_study
from mesomer.report.study_text import speech
from mesomer.report.study_verdicts import analyse

HOSTILE = "<script>alert(1)</script> $\\frac{x}$ \"q\" & 'p' {{ 7*7 }} \x07\n%s http://evil.example/x.js"


def page_of(report):
    return Page(report.path.read_text(encoding="utf-8"))


def checked(report):
    """The page, after what every page must keep."""
    page = page_of(report)
    for tag, attributes in page.seen:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base", "form"), tag
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), attributes
    style = " ".join(re.findall(r"<style>.*?</style>", report.path.read_text(encoding="utf-8"), re.S))
    assert "url(" not in style and "@import" not in style
    drawn = [attributes for tag, attributes in page.seen if tag == "svg"]
    assert drawn and all(a.get("role") == "img" and len(a["aria-label"]) > 10 for a in drawn)
    identifiers = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    text = " ".join(page.text.split())
    assert report.sentence in text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text), re.search(r".{60}(nan|None|inf)\b.{20}", text)
    return text


def full_study(folder, **changes):
    """A study that has everything."""
    write_study(folder, {"pretrained": 0.06, "ecfp_boosting": 0.05}, 0.03, label_counts=(60, 180), overlap=0.1,
                molecules=300, repeats=2, folds=3, **changes)  # fmt: skip
    add_predictions(folder, {"pretrained": 0.74, "random": 0.8}, similarity=True)
    checks = [
        {"check": "duplicates", "severity": "info", "sentence": "Two rows are one molecule.", "rows": [3, 17],
         "smiles": ["CCO", "OCC"]},
        {"check": "leaking_column", "severity": "refused", "sentence": "A column gives the target away.", "rows": [],
         "smiles": []},
        {"check": "broken", "severity": "caution", "sentence": "Cannot be read.", "rows": [4], "smiles": ["C1CC"]},
    ]  # fmt: skip
    (folder / "checks.json").write_text(json.dumps(checks))
    pilot = {"spread": 0.03, "metric": "rmse", "sentence": "The pilot sees 0.047.",
             "mde_by_design": [{"repeats": 5, "folds": 5, "mde": 0.0471, "cells": 250, "minutes": 70}]}  # fmt: skip
    (folder / "pilot.json").write_text(json.dumps(pilot))
    return folder


def test_the_full_page(tmp_path):
    report = write_study_report(full_study(tmp_path / "s"))
    text = checked(report)
    assert report.verdicts == json.loads(report.verdicts_path.read_text(encoding="utf-8"))
    for words in (
        "Does pre-training help? batmannet-1 on data.csv", "Results on scaffold splits", "Results on random splits",
        "Learning curve", "Molecules that the pre-training had seen", "10% of the test molecules", "Methods paragraph",
        "Nadeau", "Holm", "Tukey", "Where every number lies", "results.csv", "The pilot sees 0.047.", "2 x 3",
        "60, 180 labels", "3,502,081", "Refused: leaking column", "cannot be drawn", "Row 3", "Near and far molecules",
        "splits-*.csv", "(not in this folder)", "mesomer study report", "drawn from the molecules",
    ):  # fmt: skip
        assert words in text, words
    assert text.index("Refused: leaking") < text.index("Caution: broken") < text.index("For your information: dup")
    assert "secret-host" not in text
    primary = report.verdicts["splits"]["scaffold"]["primary"]
    assert f"{abs(primary['gain']):.3f}" in report.sentence
    arms = report.verdicts["splits"]["scaffold"]["arms"]
    assert all(f"{arm['mean']:.3f}" in text for arm in arms)


@pytest.mark.parametrize(
    ("gain", "spread", "metric", "words"),
    [
        (
            0.2,
            0.03,
            "rmse",
            ("pre-training helps by more than the 0.050 log units that count", "log units lower (95 %"),
        ),
        (
            -0.2,
            0.03,
            "rmse",
            ("pre-training hurts by more than the 0.050 log units that count", "log units higher (95 %"),
        ),
        (0.2, 0.03, "roc_auc", ("pre-training helps by more than the 0.050 that count", "ROC-AUC", " higher (95 %")),
        (0.0, 0.01, "rmse", ("makes no practical difference (the interval lies within 0.050 log units either way)",)),
        (0.02, 0.2, "rmse", ("it is undecided whether pre-training helps", "higher to ")),
    ],
)
def test_the_sentence(tmp_path, gain, spread, metric, words):
    folder = write_study(tmp_path / "s", {"pretrained": gain}, spread, metric=metric, splits=("scaffold",))
    report = write_study_report(folder)
    assert all(part in report.sentence for part in words), report.sentence
    assert report.sentence.startswith("On scaffold splits ") and report.sentence.endswith(".")
    assert "the best of 2 baselines, count ECFP" in report.sentence
    assert report.lines[0] == report.sentence and str(report.path.resolve()) in report.lines[-1]
    text = checked(report)
    assert "no difference" not in text.replace("“no difference”", "").replace("no practical difference", "")
    assert ("Undecided is not “no difference”" in text) == ("undecided" in report.sentence)


@pytest.mark.parametrize(
    ("gain", "words"),
    [(-0.3, "it beats"), (0.4, "it is worse than"), (0.1, "it makes no practical difference to")],
)
def test_the_clause_on_the_best_baseline(tmp_path, gain, words):
    gains = {"pretrained": 0.1, "ecfp_boosting": gain, "ecfp_forest": -0.5}
    sentence = write_study_report(write_study(tmp_path / "s", gains, 0.01, splits=("random",))).sentence
    assert f"; {words} the best of 2 baselines, count ECFP + boosting: " in sentence


def test_random_splits_alone_and_the_other_split(tmp_path):
    both = write_study_report(write_study(tmp_path / "both", {"pretrained": 0.2}, splits=("random", "random_scaffold")))
    assert both.sentence.startswith("On random_scaffold splits")
    assert both.lines[1].startswith("On random splits")
    alone = write_study_report(write_study(tmp_path / "alone", {"pretrained": 0.2}, splits=("random",)))
    assert alone.sentence.startswith("On random splits")


def test_an_unfinished_study_says_so_first(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, splits=("scaffold", "random"), cut=["Repeats: 5 to 3."])
    change_rows(folder, lambda row: row if row["split"] == "scaffold" and int(row["repeat"]) < 2 else None)
    report = write_study_report(folder)
    assert report.sentence.startswith("So far (10 of 25 folds) on scaffold splits pre-training helps")
    text = checked(report)
    for words in ("15 of 25 folds are missing", "Nothing was run on random splits.", "Repeats: 5 to 3."):
        assert words in text, words
    assert any("15 of 25 folds are missing" in line for line in report.lines)


def test_a_failed_arm_is_told(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, splits=("scaffold",))
    change_rows(folder, lambda row: row | ({"failed": "diverged", "value": ""} if row["arm"] == "pretrained" else {}))
    report = write_study_report(folder)
    assert "pre-training hurts" in report.sentence
    text = checked(report)
    assert "pre-trained, fine-tuned failed on 25 of 25 folds (diverged); a failed run is a result" in text
    assert "the mean predictor's score" in text and "25, 25 failed" in text
    assert "the pre-trained network is not shown to beat “training mean”" in text


def test_nothing_to_say(tmp_path):
    empty = write_study(tmp_path / "empty")
    write_rows(empty, [])
    report = write_study_report(empty)
    assert report.sentence.startswith("Nothing can be said yet")
    assert report.verdicts["verdict"] is None and report.verdicts["splits"] == {}
    page_of(report)
    lone = write_study(tmp_path / "lone", arms=[arm for arm in ARMS if arm["name"] != "random"])
    assert write_study_report(lone).sentence.startswith("This study cannot say whether pre-training helps")


def test_one_fold(tmp_path):
    folder = write_study(tmp_path / "s", splits=("scaffold",))
    change_rows(folder, lambda row: row if (row["repeat"], row["fold"]) == ("0", "0") else None)
    report = write_study_report(folder)
    assert report.sentence.startswith("Nothing can be said yet")
    checked(report)


def test_few_folds_are_told(tmp_path):
    report = write_study_report(write_study(tmp_path / "s", splits=("scaffold",), repeats=1, folds=3))
    assert "the answer rests on 3 folds" in checked(report)


def test_undefined_folds_and_much_overlap_are_told(tmp_path):
    folder = write_study(tmp_path / "s", {"pretrained": 0.2}, metric="roc_auc", overlap=0.8, splits=("scaffold",))
    change_rows(folder, lambda row: row | ({"value": ""} if row["fold"] == "0" else {}))
    report = write_study_report(folder)
    assert report.sentence.startswith("Judged on molecules outside the pre-training corpus, on scaffold splits")
    text = checked(report)
    assert "ROC-AUC is not defined on 5 folds (one class only)" in text
    assert "80% of the test molecules are in the pre-training corpus; the headline uses the others only" in text


def test_unknown_overlap_and_missing_files_are_told(tmp_path):
    report = write_study_report(write_study(tmp_path / "s", splits=("random",)))
    text = checked(report)
    assert "it was not looked up which test molecules" in text and "No pilot was recorded" in text
    assert "No data checks were recorded" in text and "Only the full training part was tried" in text


def test_many_targets(tmp_path):
    names = tuple(f"assay {at}" for at in range(60))
    folder = write_study(tmp_path / "s", {"pretrained": 0.1}, metric="roc_auc", targets=names, splits=("random",),
                         repeats=1, zone=0.02)  # fmt: skip
    report = write_study_report(folder)
    text = checked(report)
    assert "the mean ROC-AUC over 60 targets" in report.sentence
    assert "The 50 clearest of 60; all stand in verdicts.json." in text and "and 52 more" in text
    assert len(report.verdicts["splits"]["random"]["targets"]) == 60


def test_hostile_names(tmp_path):
    arms = [arm | {"label": f"{arm['name']} {HOSTILE}"} for arm in ARMS]
    folder = full_study(tmp_path / "s", arms=arms, unit=HOSTILE, cut=[HOSTILE], command=HOSTILE, targets=(HOSTILE,))
    plan = json.loads((folder / "study.json").read_text())
    plan["model"] |= {"name": HOSTILE, "corpus": HOSTILE}
    plan["data"]["file"] = plan["zone"]["source"] = HOSTILE
    plan["machine"] = plan["versions"] = {HOSTILE: HOSTILE}
    (folder / "study.json").write_text(json.dumps(plan))
    (folder / "checks.json").write_text(json.dumps(
        [{"check": HOSTILE, "severity": HOSTILE, "sentence": HOSTILE, "rows": [1, 2], "smiles": [HOSTILE, "CCO"]}]
    ))  # fmt: skip
    report = write_study_report(folder)
    page = page_of(report)
    assert "Does pre-training help?" in page.text
    assert not any(tag == "script" for tag, _ in page.seen)
    assert page.text.count("<script>alert(1)</script>") > 10 and "{{ 7*7 }}" in page.text
    assert "\x07" not in report.path.read_text(encoding="utf-8")
    for _, attributes in page.seen:
        assert not attributes.get("href", "#").startswith("http")


def test_figures_tell_their_numbers_in_words(tmp_path):
    folder = full_study(tmp_path / "s", splits=("scaffold",))
    study = read_study(folder)
    split = analyse(study)[0]
    speak = speech(study)
    drawn = study_figures.split_figures(study, split)
    assert [figure.title for figure in drawn] == [
        "Fold by fold", "Every arm against the twin", "The pre-trained network against the baselines",
        "All arms, best first",
    ]  # fmt: skip
    row = next(row for row in split.against_twin if row.first == "pretrained")
    assert f"pre-trained, fine-tuned {speak.signed(row.gain)} ({speak.signed(row.wide_low)} to" in drawn[1].alt
    assert "RMSE (log units)" in drawn[0].svg and "Gain in RMSE (log units)" in drawn[1].svg
    assert len(study_figures.curve_figures(study, split)) == 2
    cost = study_figures.cost_figure(study, split)
    assert "1.6 min" in cost.alt and "mathdefault" not in cost.svg and ">0.01<" in cost.svg
    assert study_figures.similarity_figure(study, split, read_predictions(folder, ["random", "pretrained"])) is not None


def test_the_same_folder_gives_the_same_page(tmp_path):
    folder = full_study(tmp_path / "s", splits=("scaffold",))
    first = write_study_report(folder).path.read_text(encoding="utf-8")
    assert write_study_report(folder).path.read_text(encoding="utf-8") == first
