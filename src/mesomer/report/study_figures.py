"""The figures of a study's report: folds of the headline, intervals, all pairs, label counts, cost, similarity."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mesomer.report.figures import COLOURS, GREY, Figure, _axes, logarithmic, with_unit
from mesomer.report.page import counted, duration
from mesomer.report.study_contrasts import Contrast
from mesomer.report.study_folder import Predictions, Study
from mesomer.report.study_text import Speech, speech
from mesomer.report.study_verdicts import SplitVerdict
from mesomer.statistics import AllPairs

BETTER, WORSE = COLOURS[0], COLOURS[1]
_FIFTHS = 5


def split_figures(study: Study, split: SplitVerdict) -> list[Figure]:
    """The figures of one kind of split."""
    drawn = [paired_figure(study, split)] if _paired_arms(study, split) else []
    speak = speech(study)
    if split.against_twin:
        rows = [(speak.labels[row.first], row) for row in split.against_twin]
        drawn.append(gains_figure("Every arm against the twin", rows, study.zone, speak))
    if split.against_references:
        rows = [(speak.labels[row.second], row) for row in split.against_references]
        drawn.append(gains_figure("The pre-trained network against the baselines", rows, study.zone, speak))
    if split.pairs is not None:
        drawn.append(pairs_figure("All arms, best first", split.pairs, speak.labels, speak, "arms"))
    return drawn


def _paired_arms(study: Study, split: SplitVerdict) -> list[str]:
    """Twin, pre-trained and the best baseline, as far as they have scores."""
    if study.main is None or len(split.table.folds) < 1:
        return []
    best = split.best_reference
    wanted = [study.twins[study.main], study.main, *([best.second] if best else [])]
    found = [arm for arm in wanted if arm in split.table.scores]
    return found if study.main in found and len(found) > 1 else []


def paired_figure(study: Study, split: SplitVerdict) -> Figure:
    """One line a fold from the twin over the pre-trained network to the best baseline."""
    speak, arms = speech(study), _paired_arms(study, split)
    scores = np.stack([split.table.scores[arm] for arm in arms])
    main = arms.index(str(study.main))
    sign = 1 if study.better == "max" else -1
    with _axes(width=4.6, height=3.8) as (ax, finish):
        x = np.arange(len(arms))
        for column in scores.T:
            gained = main > 0 and sign * (column[main] - column[0]) > 0
            ax.plot(x, column, "-", color=BETTER if gained else WORSE, lw=0.9, alpha=0.7)
        ax.plot(x, scores, "o", ms=3, color=GREY, mew=0)
        for at, mean in zip(x, scores.mean(1), strict=True):
            ax.plot([at - 0.13, at + 0.13], [mean, mean], "-", color=GREY, lw=3)
        ax.set_xticks(x, labels=[wrapped(speak.labels[arm], 16) for arm in arms])
        ax.set(ylabel=with_unit(speak.metric, speak.unit or None), xlim=(-0.3, len(arms) - 0.7))
        won = int((sign * (scores[main] - scores[0]) > 0).sum()) if main > 0 else 0
        total = scores.shape[1]
        means = "; ".join(
            f"{speak.labels[arm]} {speak.score(mean)}" for arm, mean in zip(arms, scores.mean(1), strict=True)
        )
        caption = (
            f"One line is one fold: blue where the pre-trained network beats its twin ({won} of {total}), orange where "
            "not; bars are means. Folds share molecules, so they are not that many witnesses."
        )
        return finish("Fold by fold", caption, f"Slope chart of {counted(total, 'fold')}. Means: {means}. {caption}")


def gains_figure(title: str, rows: Sequence[tuple[str, Contrast]], zone: float, speak: Speech) -> Figure:
    """Gains with the intervals of the table, and the zone as a band."""
    with _axes(width=4.6, height=1.2 + 0.42 * len(rows)) as (ax, finish):
        ax.axvspan(-zone, zone, color=GREY, alpha=0.18, lw=0)
        ax.axvline(0, color=GREY, lw=1)
        for at, (_, row) in enumerate(rows):
            colour = {"helps": BETTER, "hurts": WORSE}.get(row.verdict, GREY)
            ax.plot([row.wide_low, row.wide_high], [at, at], "-", color=colour, lw=2.2)
            ax.plot([row.gain], [at], "o", color=colour, ms=6)
        ax.set_yticks(range(len(rows)), labels=[wrapped(label, 22) for label, _ in rows])
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=with_unit(f"Gain in {speak.metric}", speak.unit or None))
        told = "; ".join(
            f"{label} {speak.signed(row.gain)} ({speak.ends(row.wide_low, row.wide_high)}), {row.verdict}"
            for label, row in rows
        )
        caption = (
            f"Right of zero is better. Bars: 95 % intervals, wide enough for {len(rows)} comparisons. Band: "
            f"differences that do not count, ±{speak.size(zone)}."
        )
        if len(rows) == 1:
            caption = caption.replace(", wide enough for 1 comparisons", "")
        return finish(title, caption, f"Intervals of gains. {told}. {caption}")


def pairs_figure(title: str, pairs: AllPairs, labels: Mapping[str, str], speak: Speech, what: str) -> Figure:
    """Means with bars that overlap exactly where two of them are not shown to differ (corrected Tukey)."""
    order = sorted(pairs.means, key=lambda name: pairs.means[name], reverse=speak.better == "max")
    with _axes(width=4.6, height=1.2 + 0.42 * len(order)) as (ax, finish):
        best = pairs.means[order[0]]
        for at, name in enumerate(order):
            mean = pairs.means[name]
            apart = abs(mean - best) > pairs.half_width
            colour = GREY if apart else BETTER
            ax.plot([mean - pairs.half_bar, mean + pairs.half_bar], [at, at], "-", color=colour, lw=2.2)
            ax.plot([mean], [at], "o", color=colour, ms=6)
        edge = best - pairs.half_bar if speak.better == "max" else best + pairs.half_bar
        ax.axvline(edge, color=BETTER, lw=1, ls=(0, (4, 3)))
        ax.set_yticks(range(len(order)), labels=[wrapped(labels[name], 22) for name in order])
        ax.set(ylim=(len(order) - 0.5, -0.5), xlabel=with_unit(speak.metric, speak.unit or None))
        told = "; ".join(f"{labels[name]} {speak.score(pairs.means[name])}" for name in order)
        caption = (
            f"Two {what} differ where their bars do not overlap (Tukey, corrected for shared molecules). Blue: not "
            "shown to be worse than the best."
        )
        half = f"Half a bar is {speak.size(pairs.half_bar)}."
        return finish(title, caption, f"Means with bars: {told}. {half} {caption}")


def curve_figures(study: Study, split: SplitVerdict) -> list[Figure]:
    """Score of the main arms and gain over the twin against the number of labels."""
    if not split.curve or study.main is None:
        return []
    return [_score_curve(study, split), *([_gain_curve(study, split)] if any(p.gain for p in split.curve) else [])]


def _score_curve(study: Study, split: SplitVerdict) -> Figure:
    speak = speech(study)
    drawn = [arm for arm in study.arms if any(arm in point.means for point in split.curve)]
    with _axes(width=4.6, height=3.0 + 0.19 * len(drawn)) as (ax, finish):
        told = []
        for at, arm in enumerate(drawn):
            points = [(point.labels, point.means[arm]) for point in split.curve if arm in point.means]
            style = ("-", (0, (5, 2)), (0, (1, 1.5)))[at // len(COLOURS) % 3]
            xs, ys = zip(*points, strict=True)
            colour = COLOURS[at % len(COLOURS)]
            ax.plot(xs, ys, "o", ls=style, color=colour, lw=1.6, ms=4, label=textwrap.shorten(speak.labels[arm], 40))
            told.append(f"{speak.labels[arm]}: " + ", ".join(f"{x:,.0f} labels {speak.score(y)}" for x, y in points))
        _label_axis(ax, [point.labels for point in split.curve])
        ax.set(ylabel=with_unit(speak.metric, speak.unit or None))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)
        caption = "Mean over the folds that all arms have finished at that number of labels."
        title = f"Scores by number of labels, {split.split} splits"
        return finish(title, caption, f"Line chart. {'; '.join(told)}. {caption}")


def _gain_curve(study: Study, split: SplitVerdict) -> Figure:
    speak = speech(study)
    points = [(point.labels, point.gain) for point in split.curve if point.gain is not None]
    with _axes(width=4.6, height=3.3) as (ax, finish):
        ax.axhspan(-study.zone, study.zone, color=GREY, alpha=0.18, lw=0)
        ax.axhline(0, color=GREY, lw=1)
        for labels, gain in points:
            ax.plot([labels, labels], [gain.low, gain.high], "-", color=BETTER, lw=2.2)
        ax.plot([labels for labels, _ in points], [gain.gain for _, gain in points], "o-", color=BETTER, lw=1, ms=6)
        _label_axis(ax, [labels for labels, _ in points])
        ax.set(ylabel=with_unit(f"Gain in {speak.metric}", speak.unit or None))
        told = "; ".join(
            f"{labels:,.0f} labels {speak.signed(gain.gain)} ({speak.ends(gain.low, gain.high)})"
            for labels, gain in points
        )
        caption = f"Above zero pre-training is better. Bars: 95 % intervals. Band: ±{speak.size(study.zone)}."
        title = f"What pre-training gains, {split.split} splits"
        return finish(title, caption, f"Gain over the twin by number of labels. {told}. {caption}")


def _label_axis(ax: Any, counts: Sequence[float]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(counts, labels=[f"{count:,.0f}" for count in counts])
    ax.minorticks_off()
    ax.set_xlabel("Labelled molecules (logarithmic)")


def wrapped(label: str, width: int) -> str:
    """A label over several lines, broken between words only, at most three lines long."""
    return "\n".join(textwrap.wrap(label, width, break_on_hyphens=False, max_lines=3, placeholder=" …"))


def cost_figure(study: Study, split: SplitVerdict) -> Figure | None:
    """Score against the time of one fold; None where no arm took any time."""
    speak = speech(study)
    rows = [
        (arm.arm.label, arm.seconds / arm.cells, arm.mean)
        for arm in split.arms
        if arm.cells and arm.seconds > 0 and np.isfinite(arm.mean)
    ]
    if not rows:
        return None
    with _axes(width=4.6, height=3.0 + 0.19 * len(rows)) as (ax, finish):
        for at, (label, seconds, mean) in enumerate(rows):
            marker = "os^Dv<>"[at // len(COLOURS) % 7]
            ax.plot([seconds], [mean], marker, ms=7, color=COLOURS[at % len(COLOURS)],
                    label=textwrap.shorten(label, 40), ls="")  # fmt: skip
        logarithmic(ax.xaxis)
        ax.set(xlabel="Time of one fold (s, logarithmic)", ylabel=with_unit(speak.metric, speak.unit or None))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)
        told = "; ".join(f"{label}: {duration(seconds)}, {speak.score(mean)}" for label, seconds, mean in rows)
        caption = f"{'Upper' if study.better == 'max' else 'Lower'} left is better: a good score in little time."
        return finish(f"Score against time, {split.split} splits", caption, f"Scatter plot. {told}. {caption}")


def similarity_figure(study: Study, split: SplitVerdict, predictions: Predictions | None) -> Figure | None:
    """Error against similarity to the training fold, pre-trained and twin; None where similarities were not kept."""
    if predictions is None or predictions.similarity is None or study.main is None:
        return None
    speak, told = speech(study), []
    task = str(study.target(study.targets[0]).get("task", ""))
    if task == "regression" and len(study.targets) > 1:
        return None  # errors of targets in different units have no mean
    regression, classes = task == "regression", task == "multiclass"
    error_name = "Mean absolute error" if regression else "Mean distance of probability and label"
    error_name = "Share of wrong classes" if classes else error_name
    with _axes(width=4.6, height=3.3) as (ax, finish):
        for arm, colour in ((study.twins[study.main], WORSE), (study.main, BETTER)):
            part = predictions.where(split.split, arm)
            assert part.similarity is not None
            error = np.abs(part.truth - part.predicted)
            error = (error > 0).astype(float) if classes else error
            good = np.isfinite(error) & np.isfinite(part.similarity)
            if good.sum() < 2 * _FIFTHS:
                return None
            groups = np.array_split(np.argsort(part.similarity[good], kind="stable"), _FIFTHS)
            x = [float(part.similarity[good][group].mean()) for group in groups]
            y = [float(error[good][group].mean()) for group in groups]
            ax.plot(x, y, "o-", color=colour, lw=1.8, ms=5, label=textwrap.shorten(speak.labels[arm], 40))
            told.append(f"{speak.labels[arm]}: " + ", ".join(f"{b:.3g} at {a:.2f}" for a, b in zip(x, y, strict=True)))
        ax.set(xlabel="Tanimoto similarity to the nearest training molecule", xlim=(-0.02, 1.02))
        ax.set_ylabel(with_unit(error_name, speak.unit if regression else None))
        ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)
        caption = f"{error_name} by fifths of similarity, all test molecules."
        title = f"Near and far molecules, {split.split} splits"
        return finish(title, caption, f"Line chart. {'; '.join(told)}. {caption}")
