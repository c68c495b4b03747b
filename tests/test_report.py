"""Reports are complete in themselves, escape what they are given, and draw every case that data can bring."""

from __future__ import annotations

import copy
import re

import html_pages
import numpy as np
import pytest
from small_models import molecules

from mesomer.report import comparison_report, finetune_report
from mesomer.report import finetune as drawn
from mesomer.report.figures import VECTOR_POINTS, draw_molecule, loss_curves, parity, with_unit
from mesomer.report.finetune import interval_coverage, reliability
from mesomer.report.page import MINUS, NONE, duration, number, signed, worst_molecules

COUNT = 60
SMILES = molecules(COUNT, seed=2)


class Page(html_pages.Page):
    """A page; what stands in drawings is no text of it."""

    silent = ("style", "text")


def curve(best=2):
    return {"label": "split 1, member 1", "epoch": [1, 2, 3], "train_loss": [1.0, 0.5, 0.3],
            "valid_loss": [1.1, 0.6, float("nan")], "best_epoch": best}  # fmt: skip


def common():
    return {
        "title": "Fine-tuning x on <b>y</b>.csv",
        "summary": [("Molecules", "60 used, 1 rejected")],
        "warnings": ["One row & a half."],
        "curves": [curve(), curve(None)],
        "costs": [("Training", "3 s on 2 cores")],
        "method": "We <script>alert(1)</script> trained.",
        "files": [("model/", "the model")],
        "next": ["mesomer predict NEW.csv --model runs/x/model --output pred.csv"],
    }


def target(kind="regression", **changes):
    generator = np.random.default_rng(0)
    base = {
        "name": kind, "type": kind, "unit": "mol/L" if kind == "regression" else None, "smiles": SMILES,
        "row": list(range(1, COUNT + 1)), "split": ["a", "b", "c"] * (COUNT // 3),
        "similarity": generator.uniform(size=COUNT),
    }  # fmt: skip
    if kind == "regression":
        truth = generator.normal(size=COUNT)
        base |= {"truth": truth, "prediction": truth + 0.3, "low": truth - 1, "high": truth + 1}
    elif kind == "binary":
        base |= {"truth": generator.integers(0, 2, COUNT).astype(float), "prediction": generator.uniform(size=COUNT),
                 "classes": ["no", "yes"]}  # fmt: skip
    else:
        base |= {"truth": generator.integers(0, 3, COUNT).astype(float), "classes": ["low", "middle", "high"],
                 "prediction": generator.dirichlet([1, 1, 1], COUNT)}  # fmt: skip
    return base | changes


def finetuning(*targets):
    metrics = [
        {"target": t["name"], "metric": "rmse", "mean": 0.3, "sd": None, "n": 1, "trivial": 1.2} for t in targets
    ]
    return common() | {"metrics": metrics, "targets": list(targets)}


def comparison():
    arms = [
        {"name": "a", "label": "Pre-trained", "scores": [0.5, 0.6], "seconds": 70.0, "parameters": 12345,
         "other": {"MAE": 0.3}},
        {"name": "b", "label": "Mean", "scores": [0.7, 0.8], "seconds": 0.001, "parameters": None, "other": {}},
    ]  # fmt: skip
    values = {"truth": np.arange(20.0), "prediction": np.arange(20.0) + 1}
    return common() | {
        "sentence": "The first is better by 0.2.",
        "limits": ["Two splits show little."],
        "target": {"name": "solubility", "unit": "log10 µg/mL"},
        "metric": {"key": "rmse", "label": "RMSE", "unit": None, "better": "lower"},
        "arms": arms,
        "splits": ["part 1", "part 2"],
        "differences": [{"label": "a minus b", "mean": -0.2, "low": -0.3, "high": -0.1, "boot_low": -0.25,
                         "boot_high": -0.15, "wins": "2 of 2"}],
        "curves": {"a": [curve()], "b": []},
        "predictions": {"a": values, "b": values},
        "molecules": {"smiles": SMILES[:20], "row": list(range(1, 21)), **values},
    }  # fmt: skip


PAGES = {
    "regression": lambda: finetune_report(finetuning(target())),
    "classes": lambda: finetune_report(finetuning(target("binary"), target("multiclass"))),
    "comparison": lambda: comparison_report(comparison()),
}


@pytest.fixture(scope="module", params=sorted(PAGES))
def page(request):
    return PAGES[request.param]()


def test_a_report_loads_nothing_from_elsewhere(page):
    for tag, attributes in Page(page).seen:
        assert tag not in ("script", "link", "iframe", "img", "object", "base"), tag
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:60])
    assert not re.search(r"url\((?!#)", page) and "@import" not in page
    # names of the SVG vocabulary are no addresses that a browser would ask
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_every_figure_has_a_text_alternative_and_identifiers_are_unique(page):
    parsed = Page(page)
    drawings = [attributes for tag, attributes in parsed.seen if tag == "svg"]
    assert drawings
    for attributes in drawings:
        assert attributes["role"] == "img" and len(attributes["aria-label"]) > 10
        assert "viewbox" in attributes and "width" not in attributes
    names = [attributes["id"] for _, attributes in parsed.seen if "id" in attributes]
    assert len(names) == len(set(names))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= set(names)


def test_the_page_reads_on_a_phone_on_paper_and_in_the_dark(page):
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page and "@media print" in page
    assert "currentColor" in page and "#010203" not in page
    assert '<html lang="en">' in page


def test_what_a_user_named_is_text_never_markup(page):
    assert "<b>y</b>" not in page and "<script>" not in page
    assert "&lt;script&gt;" in page and "One row &amp; a half." in page


def test_a_comparison_opens_with_its_sentence():
    text = Page(comparison_report(comparison())).text
    assert text.index("better by 0.2") < text.index("Two splits show little") < text.index("Results")
    assert f"{MINUS}0.300 to {MINUS}0.100" in text and "12,345" in text and "< 0.1 s" in text


def test_a_fine_tuning_shows_figures_for_each_type():
    regression = finetune_report(finetuning(target()))
    for words in ("Prediction against truth", "Calibration of intervals", "Applicability domain", "largest errors",
                  "Without a model", "Measured (mol/L)"):  # fmt: skip
        assert words in regression
    classes = finetune_report(finetuning(target("binary"), target("multiclass")))
    for words in ("ROC curve", "Precision and recall", "Confusion matrix", "Calibration of probabilities"):
        assert words in classes


@pytest.mark.parametrize(
    "make", [lambda: (finetune_report, finetuning(target())), lambda: (comparison_report, comparison())]
)
def test_a_misspelt_or_missing_key_is_told(make):
    report, data = make()
    with pytest.raises(ValueError, match=r"unknown.*warnigns"):
        report(data | {"warnigns": []})
    broken = copy.copy(data)
    del broken["method"]
    with pytest.raises(ValueError, match=r"missing.*method"):
        report(broken)


@pytest.mark.parametrize(
    "changes",
    [
        {"truth": np.full(COUNT, np.nan)},
        {"truth": np.where(np.arange(COUNT) < 57, np.nan, 1.0)},
        {"truth": np.ones(COUNT)},
        {"prediction": np.ones(COUNT)},
        {"prediction": np.full(COUNT, np.nan)},
        {"similarity": None, "split": ["only"] * COUNT},
        {"unit": "a & b <c>"},
        {"truth": np.linspace(0, 1e7, COUNT), "prediction": np.linspace(0, 1e7, COUNT)},
    ],
)
def test_odd_regression_data_still_gives_a_page(changes):
    Page(finetune_report(finetuning(target(**changes))))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("truth", [np.zeros(COUNT), np.ones(COUNT), np.full(COUNT, np.nan)])
def test_one_class_or_none_still_gives_a_page(kind, truth):
    Page(finetune_report(finetuning(target(kind, truth=truth))))


def test_many_targets_keep_the_page_small_and_say_so(monkeypatch):
    monkeypatch.setattr(drawn, "FIGURED_TARGETS", 1)
    page = Page(finetune_report(finetuning(*(target(name=f"t{at}") for at in range(3)))))
    assert "first 1 of 3 targets" in page.text
    assert "largest errors of t0" in page.text and "largest errors of t1" not in page.text and "t2" in page.text


def test_no_epochs_no_warnings_no_next_steps():
    Page(finetune_report(finetuning(target()) | {"curves": [], "warnings": [], "next": []}))
    data = comparison() | {"curves": {}, "warnings": [], "next": []}
    del data["molecules"]
    data["differences"][0] |= {"low": None, "high": None}
    assert "Loss during training" not in comparison_report(data)


def test_many_points_become_one_bitmap():
    few, many = (np.random.default_rng(0).normal(size=n) for n in (100, VECTOR_POINTS + 1))
    assert "data:image/png" not in parity("p", few, few, None).svg
    drawn = parity("p", many, many, None).svg
    assert "data:image/png" in drawn and len(drawn) < 300_000


def test_the_same_data_gives_the_same_figure():
    assert loss_curves("t", {"a": [curve()]}) == loss_curves("t", {"a": [curve()]})


def test_each_molecule_is_among_the_worst_once_and_by_its_largest_error():
    errors = [0.1, 3.0, float("nan"), 2.0, 5.0]
    worst = worst_molecules(SMILES[:5], [1, 2, 3, 2, 4], errors, [[f"e{at}"] for at in range(5)], count=3)
    assert [item["lines"] for item in worst] == [["Row 4", "e4"], ["Row 2", "e1"], ["Row 1", "e0"]]


def test_coverage_of_intervals_is_judged_on_other_splits():
    generator = np.random.default_rng(0)
    residuals = np.concatenate([generator.normal(size=4000), 3 * generator.normal(size=4000)])
    splits = np.repeat(["a", "b"], 4000)
    fair, _ = interval_coverage(residuals[:4000], np.tile(["a", "b"], 2000))
    assert fair == pytest.approx(np.arange(0.1, 0.96, 0.1), abs=0.03)
    unlike, _ = interval_coverage(residuals, splits)
    assert unlike[-1] < 0.75  # intervals of the narrow split do not hold in the wide one


def test_reliability_of_a_calibrated_model_lies_on_the_diagonal():
    generator = np.random.default_rng(0)
    probability = generator.uniform(size=20000)
    expected, observed = reliability((generator.uniform(size=20000) < probability).astype(float), probability)
    assert len(expected) == 10 and observed == pytest.approx(expected, abs=0.05)


def test_numbers_as_text():
    assert [number(x) for x in (0.5, -0.25, None, float("nan"), 0, 123456.7, 1e-7)] == [
        "0.500", f"{MINUS}0.250", NONE, NONE, "0.000", "1.23e+05", f"1e{MINUS}07",
    ]  # fmt: skip
    assert [signed(x) for x in (0.5, -0.25, 0.0001, -0.0001, None)] == [
        "+0.500", f"{MINUS}0.250", "0.000", "0.000", NONE,
    ]  # fmt: skip
    assert [duration(x) for x in (0.01, 3.21, 70, 600, 10000)] == ["< 0.1 s", "3.2 s", "70 s", "10.0 min", "2.8 h"]
    assert with_unit("a", None) == "a" and with_unit("a", "m") == "a (m)"


def test_a_molecule_is_drawn_with_its_smiles_as_alternative():
    svg = draw_molecule("CC(=O)Oc1ccccc1C(=O)O")
    assert svg.startswith("<svg") and "Structure of CC(=O)Oc1ccccc1C(=O)O" in svg and "FFFFFF" not in svg
