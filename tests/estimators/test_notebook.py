"""What a notebook user sees: cards, drawn molecules, one line of progress, one sentence for an error."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

import mesomer
from mesomer import progress
from mesomer.errors import MesomerError
from mesomer.estimators import MolClassifier, MolEmbedder, MolRegressor


@pytest.fixture
def shown(monkeypatch):
    """A kernel that records what is displayed, and a clock that a test moves."""

    class Handle:
        def update(self, data, raw):
            lines[-1] = data["text/plain"]

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    def display(data, raw, display_id):
        assert raw and display_id
        lines.append(data["text/plain"])
        return Handle()

    lines: list[str] = []
    shell = types.SimpleNamespace(has_trait=lambda name: name == "kernel")
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return lines, clock


def test_progress_is_one_line_that_is_rewritten(shown, capsys):
    lines, clock = shown
    with progress.Progress(100, "molecules", "fine-tuning") as bar:
        clock.now = 1.0
        bar.advance(10)
        assert lines == []
        clock.now = 2.0
        bar.advance(10)
        assert lines == ["fine-tuning: 20 of 100 molecules (20%), 10 molecules/s, 8 s left"]
        clock.now = 2.1
        bar.advance(1)
        assert lines[0].startswith("fine-tuning: 20 of")  # not more than four times a second
        clock.now = 4.0
        bar.advance(19)
        assert lines == ["fine-tuning: 40 of 100 molecules (40%), 10 molecules/s, 6 s left"]
    assert lines == ["fine-tuning: 40 molecules in 4 s (10 molecules/s)"]
    assert capsys.readouterr() == ("", "")


def test_short_work_shows_nothing_in_a_notebook(shown):
    lines, clock = shown
    with progress.Progress(100, "molecules", "embedding") as bar:
        clock.now = 1.5
        bar.advance(100)
    assert lines == []


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch):
    shell = types.SimpleNamespace(has_trait=lambda name: False)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert not progress.in_notebook()


def test_an_error_is_one_sentence():
    assert MesomerError("This is wrong.", "Do that.")._render_traceback_() == ["MesomerError: This is wrong. Do that."]


def test_cards_of_models(encoder, probe, smiles, counts, tmp_path):
    card = mesomer.load(encoder)._repr_html_()
    assert "Encoder small" in card and "batmannet" in card and "Parameters" in card
    assert repr(mesomer.load(encoder)).startswith("Encoder small\n  Encoder: batmannet")
    regressor = MolRegressor(**probe)
    assert "fitted</b>" not in regressor._repr_html_()
    with pytest.warns(UserWarning):
        regressor.fit([*smiles, "C(C"], [*counts, 1.0])
    page = regressor._repr_mimebundle_()["text/html"]
    assert "MolRegressor, fitted" in page and "1 of the rows given (rejects_)" in page and "rmse" in page
    regressor.save(tmp_path / "<b>")
    assert "Predictor &lt;b&gt;" in mesomer.load(tmp_path / "<b>")._repr_html_()
    assert "60 molecules of a fit of MolRegressor" in repr(mesomer.load(tmp_path / "<b>"))
    assert "<div" in MolEmbedder(encoder)._repr_html_()


def test_drawn_molecules(encoder, probe, smiles, counts, tmp_path):
    grid = mesomer.load(encoder).draw(["CCO", "C(C", None])
    assert [item.reason for item in grid] == [None, "cannot parse", "empty"]
    assert grid._repr_html_().count("<svg") == 1 and "C(C" in grid._repr_html_()
    MolRegressor(**(probe | {"split": "cv"})).fit(smiles, counts).save(tmp_path / "n")
    (number, bad) = mesomer.load(tmp_path / "n").draw(["OCCO", "C(C"])
    assert number.lines[0].startswith("y ") and " to " in number.lines[0] and bad.lines == ()
    classes = np.array(["few", "some", "many"])[np.minimum(counts.astype(int) // 2, 2)]
    MolClassifier(**(probe | {"split": "stratified_cv"})).fit(smiles, classes).save(tmp_path / "c")
    (item,) = mesomer.load(tmp_path / "c").draw(["OCCO"])
    assert item.lines[0].split()[1] in classes and item.lines[0].endswith("%")


def test_worst_predictions_are_the_largest_errors(probe, smiles, counts, tmp_path):
    wrong = counts.copy()
    wrong[17] += 100
    regressor = MolRegressor(**(probe | {"split": "cv"}), repeats=1).fit(smiles, wrong)
    grid = regressor.worst_predictions(4)
    assert len(grid) == 4 and grid[0].smiles == smiles[17] and grid[0].lines[0] == "row 17"
    assert "<svg" in grid._repr_html_() and len(grid[:2]) == 2 and smiles[17] in repr(grid)
    words = np.where(counts > 2, "yes", "no")
    words[17] = "no" if words[17] == "yes" else "yes"
    arguments = probe | {"split": "stratified_cv"}
    worst = MolClassifier(**arguments, repeats=1).fit(smiles, words).worst_predictions(60)
    shares = [float(item.lines[1].rpartition(" ")[2].rstrip("%")) for item in worst]
    assert shares == sorted(shares) and "17" in " ".join(item.lines[0] for item in worst[:10])
    regressor.save(tmp_path / "m")
    with pytest.raises(MesomerError, match="does not know"):
        MolRegressor.load(tmp_path / "m").worst_predictions()


def test_an_estimator_that_was_not_fitted_is_one_sentence(encoder):
    questions = [
        lambda: MolRegressor(encoder).predict(["CCO"]),
        lambda: MolRegressor(encoder).predict_interval(["CCO"]),
        lambda: MolRegressor(encoder).worst_predictions(),
        lambda: MolClassifier(encoder).predict_proba(["CCO"]),
    ]
    for ask in questions:
        with pytest.raises(NotFittedError, match="instance is not fitted yet") as caught:
            ask()
        (line,) = caught.value._render_traceback_()
        assert line.endswith(".load.") and "Call fit" in line


def test_a_search_hands_on_the_sentence_alone_if_asked(probe, smiles, counts):
    wrong = MolRegressor(**(probe | {"split": "scafold"}))
    with pytest.raises(MesomerError, match="There is no split named 'scafold'"):
        cross_val_score(wrong, smiles, counts, cv=2, error_score="raise")
