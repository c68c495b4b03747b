"""Figures of the reports: matplotlib and RDKit drawings as inline SVG.

Decided here: text and axes take the page's colour (`currentColor`), so that one figure serves light, dark and print;
letters stay text (small files, searchable); identifiers are made unique in the page; more than `VECTOR_POINTS` points
of a scatter become one embedded bitmap. Every figure carries its text alternative.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mesomer.errors import MesomerError
from mesomer.metrics import average_precision, pearson, rmse, roc_auc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Medium lightness: at least 3:1 against both white and the dark page.
COLOURS = ("#2b7fc9", "#d3641c", "#1b9a77", "#a0629d", "#8d8f2a", "#7d828c")
GREY = "#868b95"
VECTOR_POINTS = 3000
_INK = "#010203"  # never used for data: replaced by currentColor in the written SVG
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mesomer",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # names of columns and models may hold dollar signs
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Figure:
    """One figure of a report: `svg` is inline markup, `alt` what a reader without sight hears."""

    title: str
    caption: str
    alt: str
    svg: str


def with_unit(label: str, unit: str | None) -> str:
    """`label (unit)`, or the label alone for a quantity without unit."""
    return f"{label} ({unit})" if unit else label


def loss_curves(title: str, arms: dict[str, Sequence[dict[str, Any]]], caption: str = "") -> Figure:
    """Training (dashed) and validation loss (solid) of every trained member against the epoch, one colour an arm."""
    from matplotlib.ticker import MaxNLocator

    with _axes() as (ax, finish):
        epochs = 0
        for (label, curves), colour in zip(arms.items(), _colours(), strict=False):
            for i, curve in enumerate(curves):
                x = np.asarray(curve["epoch"], float)
                ax.plot(x, np.asarray(curve["train_loss"], float), color=colour, lw=1, ls=(0, (4, 2)), alpha=0.8)
                valid = np.asarray(curve["valid_loss"], float)
                ax.plot(
                    x, valid, color=colour, lw=1.6, marker="o", ms=3, label=label if i == 0 and len(arms) > 1 else None
                )
                best = curve.get("best_epoch")
                if best is not None and best in x:
                    ax.plot([best], valid[x == best], "o", ms=8, mfc="none", color=colour)
                epochs = max(epochs, len(x))
        ax.set(xlabel="Epoch", ylabel="Loss (per label, scaled)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(arms) > 1:
            ax.legend()
        members = sum(len(curves) for curves in arms.values())
        caption = caption or "Solid: validation. Dashed: training. Ring: the epoch that was kept."
        return finish(
            title, caption, f"Line chart of the loss of {members} trained networks over {epochs} epochs. {caption}"
        )


def parity(
    title: str, truth: Any, prediction: Any, unit: str | None, *, colour: str = COLOURS[0], limits: Any = None
) -> Figure:
    """Prediction against truth with the diagonal; `limits` keeps several arms on one scale."""
    truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
    good = np.isfinite(truth) & np.isfinite(prediction)
    truth, prediction = truth[good], prediction[good]
    with _axes(width=4.2, height=4.0) as (ax, finish):
        low, high = limits if limits is not None else parity_limits(truth, prediction)
        ax.plot([low, high], [low, high], color=GREY, lw=1)
        _scatter(ax, truth, prediction, colour)
        ax.set(
            xlim=(low, high), ylim=(low, high), xlabel=with_unit("Measured", unit), ylabel=with_unit("Predicted", unit)
        )
        ax.set_aspect("equal")
        error = rmse(truth, prediction) if len(truth) else float("nan")
        r = pearson(truth, prediction) if len(truth) > 2 else float("nan")
        facts = (
            f"{len(truth):,} held-out values; RMSE {error:.3g}"
            + (f", Pearson r {r:.2f}" if np.isfinite(r) else "")
            + "."
        )
        return finish(title, facts, f"Scatter plot of predicted against measured values with the diagonal. {facts}")


def parity_limits(*values: Any) -> tuple[float, float]:
    """Common axis limits, 4 % wider than the finite values."""
    joined = np.concatenate([np.asarray(v, float).ravel() for v in values])
    joined = joined[np.isfinite(joined)]
    if not len(joined):
        return 0.0, 1.0
    low, high = float(joined.min()), float(joined.max())
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def roc(title: str, curves: dict[str, tuple[Any, Any]]) -> Figure:
    """ROC curves; `curves` maps a label to (truth 0/1, score)."""
    from sklearn.metrics import roc_curve

    with _axes(width=4.2, height=4.0) as (ax, finish):
        ax.plot([0, 1], [0, 1], color=GREY, lw=1)
        facts = []
        for (label, (truth, score)), colour in zip(curves.items(), _colours(), strict=False):
            truth = np.asarray(truth).astype(int)
            if len(np.unique(truth)) < 2:
                continue
            ax.plot(*roc_curve(truth, score)[:2], color=colour, lw=1.6, label=label)
            facts.append(f"{label}: area {roc_auc(truth, np.asarray(score)):.3f}")
        ax.set(xlabel="False positive rate", ylabel="True positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        if len(facts) > 1:
            ax.legend(loc="lower right")
        told = ("; ".join(facts) or "only one class occurs") + "."
        return finish(title, told, f"ROC curve. {told}")


def precision_recall(title: str, curves: dict[str, tuple[Any, Any]]) -> Figure:
    """Precision against recall; the grey line is the share of positives."""
    from sklearn.metrics import precision_recall_curve

    with _axes(width=4.2, height=4.0) as (ax, finish):
        facts = []
        for (label, (truth, score)), colour in zip(curves.items(), _colours(), strict=False):
            truth = np.asarray(truth).astype(int)
            if not truth.any():
                continue
            precision, recall, _ = precision_recall_curve(truth, score)
            ax.plot(recall, precision, color=colour, lw=1.6, label=label)
            ax.axhline(truth.mean(), color=GREY, lw=1)
            area = average_precision(truth, np.asarray(score))
            facts.append(f"{label}: average precision {area:.3f}, share of positives {truth.mean():.3f}")
        ax.set(xlabel="Recall", ylabel="Precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        if len(facts) > 1:
            ax.legend(loc="lower left")
        told = ("; ".join(facts) or "no positive occurs") + "."
        return finish(title, told, f"Precision-recall curve. {told}")


def calibration(title: str, expected: Any, observed: Any, *, xlabel: str, ylabel: str, caption: str) -> Figure:
    """Observed against expected frequency, with the diagonal of a calibrated model."""
    expected, observed = np.asarray(expected, float), np.asarray(observed, float)
    with _axes(width=4.2, height=4.0) as (ax, finish):
        ax.plot([0, 1], [0, 1], color=GREY, lw=1)
        ax.plot(expected, observed, "o-", color=COLOURS[0], ms=4, lw=1.6)
        ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        points = ", ".join(f"{e:.2f}: {o:.2f}" for e, o in zip(expected, observed, strict=True))
        return finish(title, caption, f"Calibration plot, expected and observed: {points}. {caption}")


def confusion(title: str, truth: Any, predicted: Any, classes: Sequence[str]) -> Figure:
    """Counts of true class (rows) against predicted class (columns), shaded by the share of the row."""
    truth, predicted = np.asarray(truth, int), np.asarray(predicted, int)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (truth, predicted), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with _axes(width=4.2, height=4.0) as (ax, finish):
        for i in range(len(classes)):
            for j in range(len(classes)):
                ax.add_patch(_rectangle(j, i, float(share[i, j])))
                ax.text(j, i, f"{counts[i, j]:,}", ha="center", va="center")
        ticks = range(len(classes))
        last = len(classes) - 0.5
        ax.set(xlim=(-0.5, last), ylim=(last, -0.5), xlabel="Predicted class", ylabel="True class")
        ax.set_xticks(ticks, labels=list(classes), rotation=45, ha="right")
        ax.set_yticks(ticks, labels=list(classes))
        right = float(np.trace(counts)) / max(int(counts.sum()), 1)
        told = f"{right:.0%} of {counts.sum():,} held-out values in the right class."
        return finish(title, told, f"Confusion matrix. {told}")


def applicability(title: str, similarity: Any, error: Any, ylabel: str) -> Figure:
    """Error against the similarity to the nearest training molecule, with means over fifths of the molecules."""
    similarity, error = np.asarray(similarity, float), np.asarray(error, float)
    good = np.isfinite(similarity) & np.isfinite(error)
    similarity, error = similarity[good], error[good]
    with _axes() as (ax, finish):
        _scatter(ax, similarity, error, GREY)
        told = "no molecule has a similarity and an error"
        if len(error) >= 25:
            parts = np.array_split(np.argsort(similarity, kind="stable"), 5)
            x, y = [similarity[p].mean() for p in parts], [error[p].mean() for p in parts]
            ax.plot(x, y, "o-", color=COLOURS[1], lw=1.8, ms=5)
            told = "mean error by fifths of similarity: " + ", ".join(
                f"{b:.2g} at {a:.2f}" for a, b in zip(x, y, strict=True)
            )
        elif len(error):
            told = f"{len(error)} molecules"
        ax.set(xlabel="Tanimoto similarity to the nearest training molecule", ylabel=ylabel, xlim=(-0.02, 1.02))
        ax.set_ylim(bottom=0)
        return finish(title, told[:1].upper() + told[1:] + ".", f"Scatter plot of {ylabel} against similarity; {told}.")


def paired_scores(
    title: str, labels: Sequence[str], scores: Sequence[Sequence[float]], splits: Sequence[str], xlabel: str
) -> Figure:
    """One line a split through the scores of all arms: what is compared is the slope, not the spread."""
    table = np.asarray(scores, float)
    y = np.arange(len(labels))
    with _axes(width=4.6, height=1.3 + 0.6 * len(labels)) as (ax, finish):
        for j, split in enumerate(splits):
            ax.plot(table[:, j], y, "-", color=GREY, lw=1, alpha=0.9)
            ax.plot(table[:, j], y, "o", ms=5, color=COLOURS[j % len(COLOURS)], label=split)
        ax.plot(np.nanmean(table, 1), y, "|", ms=20, mew=2.5, color=_INK)
        ax.set_yticks(y, labels=[textwrap.fill(label, 18) for label in labels])
        ax.set(xlabel=xlabel, ylim=(len(labels) - 0.5, -0.5))
        if 1 < len(splits) <= len(COLOURS):
            ax.legend(loc="best")
        means = ", ".join(f"{label} {value:.3f}" for label, value in zip(labels, np.nanmean(table, 1), strict=True))
        told = "One line is one split; the bar is the mean."
        return finish(title, told, f"Scores of {len(labels)} methods on {len(splits)} splits; means: {means}.")


def intervals(title: str, rows: Sequence[tuple[str, float, float, float, str]], xlabel: str, caption: str) -> Figure:
    """Differences with their intervals; `rows` are (label, mean, low, high, colour), top to bottom."""
    with _axes(width=4.6, height=1.1 + 0.55 * len(rows)) as (ax, finish):
        ax.axvline(0, color=GREY, lw=1)
        for i, (_, mean, low, high, colour) in enumerate(rows):
            ax.plot([low, high], [i, i], "-", color=colour, lw=2.2)
            ax.plot([mean], [i], "o", color=colour, ms=6)
        ax.set_yticks(range(len(rows)), labels=[row[0] for row in rows])
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
        told = "; ".join(f"{row[0]}: {row[1]:+.3f} ({row[2]:+.3f} to {row[3]:+.3f})" for row in rows).replace("\n", " ")
        return finish(title, caption, f"Intervals. {told}.")


def draw_molecule(smiles: str, width: int = 240, height: int = 170) -> str:
    """A molecule as inline SVG (dark ink, made for a white card)."""
    from rdkit.Chem.Draw import rdMolDraw2D

    from mesomer.chem.parse import parse_smiles

    mol, reason = parse_smiles(smiles)
    if mol is None:
        raise MesomerError(f"The molecule {smiles!r} cannot be drawn: {reason}.")
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options: Any = drawer.drawOptions()
    options.clearBackground = False
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol)
    drawer.FinishDrawing()
    svg = drawer.GetDrawingText()
    svg = svg[svg.index("<svg") :]
    body = svg[svg.index(">") + 1 :]
    alt = html.escape(f"Structure of {smiles}", quote=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    return f'{head} role="img" aria-label="{alt}">{body}'


@contextmanager
def _axes(width: float = 4.6, height: float = 3.3) -> Iterator[tuple[Axes, Callable[[str, str, str], Figure]]]:
    """One matplotlib axes in the reports' style, and `finish(title, caption, alt)` that makes it a Figure."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")

        def finish(title: str, caption: str, alt: str) -> Figure:
            text = io.StringIO()
            canvas.savefig(text, format="svg", transparent=True, dpi=150, metadata={"Date": None, "Creator": None})
            return Figure(title, caption, alt, _inline(text.getvalue(), alt))

        yield canvas.add_subplot(), finish


def logarithmic(axis: Any) -> None:
    """A logarithmic axis with numbers as text: the usual labels are formulas, which are not drawn here."""
    from matplotlib.ticker import LogFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))


def _inline(svg: str, alt: str) -> str:
    """The <svg> element alone, sized by the page, with page colours, unique identifiers and its text alternative."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    view = re.search(r'viewBox="([^"]+)"', svg)
    if view is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    body = svg[svg.index(">") + 1 :].replace(_INK, "currentColor").replace("'DejaVu Sans'", "'DejaVu Sans', Verdana")
    prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8] + "-"
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", body)
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'{head} viewBox="{view.group(1)}" role="img" aria-label="{html.escape(alt, quote=True)}">{body}'


def _scatter(ax: Axes, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    alpha = 0.75 if len(x) < 300 else 0.45 if len(x) < VECTOR_POINTS else 0.25
    ax.plot(x, y, "o", ms=3, mew=0, color=colour, alpha=alpha, rasterized=len(x) > VECTOR_POINTS)


def _rectangle(x: int, y: int, strength: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=COLOURS[0], alpha=0.08 + 0.6 * strength, lw=0)


def _colours() -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(64)]
