"""The page on several studies: one sentence for each question, forest plots, a table of sets, published scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mesomer.report.figures import COLOURS, GREY, Figure, _axes
from mesomer.report.page import NONE, number, render, signed
from mesomer.report.study_figures import BETTER, WORSE, wrapped
from mesomer.report.study_folder import tidy
from mesomer.report.study_sets import BASELINE, TWIN, Joined, Published, SetResult
from mesomer.report.study_sets_points import JoinedPoint, Models
from mesomer.report.study_sets_points_page import (
    CONTRASTS,
    model_figures,
    model_method,
    model_notes,
    model_sentences,
    model_tables,
)
from mesomer.report.study_tables import Table
from mesomer.report.study_text import METRIC_LABELS, listed, speech
from mesomer.statistics.verdicts import EQUAL, HELPS, HURTS, UNDECIDED

TABLE = "sets.csv"
_RIVALS = {TWIN: "the same network from random weights", BASELINE: "the best baseline of each set"}


def sentences(joined: Sequence[Joined]) -> list[str]:
    """One honest sentence for each question that two sets or more answer, else why there is none."""
    said = [_sentence(one) for one in joined if one.found is not None]
    return said or ["Fewer than two sets can be joined, so nothing is said of pre-training in general."]


def _sentence(one: Joined) -> str:
    found = one.found
    assert found is not None and one.verdict is not None
    rival = _RIVALS[one.question]
    words = {
        HELPS: f"{one.model} is better on average than {rival}",
        HURTS: f"{one.model} is worse on average than {rival}",
        EQUAL: f"{one.model} makes no practical difference on average to {rival}",
        UNDECIDED: f"it is undecided whether {one.model} is better on average than {rival}",
    }[one.verdict.name]
    unit = _unit(one.metric)
    said = (
        f"Over {found.sets} sets on {one.split} splits {words}: gain in {_metric(one.metric)} "
        f"{signed(found.mean)}{unit} (95 % interval {signed(found.low)} to {signed(found.high)})"
    )
    if found.predicted is not None:
        low, high = found.predicted
        said += f"; on a next set of this kind it may lie between {signed(low)} and {signed(high)}"
    counts = Counter(contrast.verdict for member in one.members if (contrast := member.contrast(one.question)))
    alone = ", ".join(f"{name} {counts[name]}" for name in (HELPS, HURTS, EQUAL, UNDECIDED) if counts[name])
    return f"{said}; set by set: {alone}."


def sets_page(
    results: Sequence[SetResult],
    joined: Sequence[Joined],
    published: Sequence[Published],
    compared: Sequence[Models] = (),
    points: Sequence[JoinedPoint] = (),
) -> str:
    """The page as HTML."""
    notes = model_notes(compared)
    for one in joined:
        if one.left_out:
            notes.append(
                f"{one.model}, {one.split} splits, against {_RIVALS[one.question]}: not joined "
                f"are {listed(one.left_out)} (no answer yet, unknown spread of labels, or no spread of differences)."
            )
    values = {
        "title": f"Does pre-training help in general? {len({result.set for result in results})} data sets",
        "sentences": [*model_sentences(compared), *sentences(joined)],
        "designs": design_lines(results),
        "notes": notes,
        "joined": [joined_table(joined)] if any(one.found for one in joined) else [],
        "figures": [forest_figure(one) for one in joined if one.members],
        "models": model_tables(compared, points),
        "model_figures": model_figures(compared),
        "tables": [sets_table(results), *arms_tables(results)],
        "published": published_table(results, published),
        "method": " ".join(filter(None, [_method(joined), model_method(compared)])),
        "files": [
            (TABLE, "every difference of every set, one row each, in the unit of its metric"),
            ("sets.json", "the joined figures with all their digits"),
            *([(CONTRASTS, "every comparison of two models on the same folds, one row each")] if compared else []),
            *((str(folder), f"the study on {name}") for folder, name in _folders(results).items()),
        ],
    }
    return render("study_sets.html", values)


def _folders(results: Sequence[SetResult]) -> dict[Any, str]:
    return {result.study.folder: result.set for result in results}


def design_lines(results: Sequence[SetResult]) -> list[str]:
    """What the studies of each set and kind of split could have seen, over all models."""
    groups: dict[tuple[str, str, str], list[SetResult]] = {}
    for result in results:
        primary = result.split.primary
        if primary is not None and primary.low == primary.low:
            groups.setdefault((result.set, result.split.split, result.study.metric), []).append(result)
    lines = []
    for (name, split, _), members in groups.items():
        found = [member.split.primary for member in members if member.split.primary is not None]
        speak = speech(members[0].study)
        scores = _span([f"{count}" for count in sorted({one.folds for one in found})])
        seen = _span([speak.size(value) for value in sorted(one.detectable for one in found)])
        unit = f" {speak.unit}" if speak.unit else ""
        lines.append(
            f"{name}, {split} splits: {scores} test scores a study, which find a difference of {seen}{unit} in "
            f"{speak.metric} four times out of five; {speak.size(found[0].zone)}{unit} counts as a difference."
        )
    return lines


def _span(ordered: Sequence[str]) -> str:
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def joined_table(joined: Sequence[Joined]) -> Table:
    """The meta-analyses."""
    rows = []
    for one in joined:
        found = one.found
        if found is None:
            continue
        ahead = NONE if found.predicted is None else f"{signed(found.predicted[0])} to {signed(found.predicted[1])}"
        rows.append(
            [
                f"{one.model} against {_RIVALS[one.question]}",
                f"{one.split}, {_metric(one.metric)}",
                str(one.verdict),
                f"{found.sets}",
                f"{signed(found.mean)}{_unit(one.metric)}",
                f"{signed(found.low)} to {signed(found.high)}",
                ahead,
                number(found.tau),
                f"{found.heterogeneity:.0%}",
                NONE if one.p_wilcoxon is None else f"{one.p_wilcoxon:.3f}",
            ]
        )
    caption = (
        "Random-effects meta-analysis: mean gain over such sets, where it may lie, and where the gain on a next set "
        "may lie (too narrow with few sets). Positive: pre-training is better. Errors are in standard "
        "deviations of each set's labels. p: Wilcoxon's signed ranks over the sets."
    )
    head = ["Question", "Split, metric", "Verdict", "Sets", "Mean gain", "95 % interval", "Next set",
            "Spread between sets", "I²", "p (ranks)"]  # fmt: skip
    return Table(caption, head, rows, 3)


def sets_table(results: Sequence[SetResult]) -> Table:
    """Every set with its design, the headline and the best baseline."""
    rows = []
    for result in results:
        speak, primary, best = speech(result.study), result.split.primary, result.split.best_reference
        rows.append(
            [
                result.set,
                f"{result.model}, {result.split.split}",
                NONE if primary is None else primary.verdicts[1],
                f"{int(result.study.facts['data']['molecules']):,}",
                result.study.divisions(result.split.split)
                + (f", {result.split.table.missing} missing" if result.split.table.missing else ""),
                speak.scored(),
                NONE if primary is None else speak.signed(primary.gain),
                NONE if primary is None else speak.ends(primary.low, primary.high),
                NONE if best is None else speak.signed(best.gain),
                NONE if best is None else speak.labels[best.second],
                NONE if result.split.overlap is None else f"{result.split.overlap:.0%}",
            ]
        )
    caption = (
        "Set by set, in the unit of the metric: gain over the twin with its 95 % interval, and over the best baseline."
    )
    head = ["Set", "Model, split", "Verdict", "Molecules", "Design that ran", "Metric", "Gain over the twin",
            "95 % interval", "Over the best baseline", "Best baseline", "Test molecules in the corpus"]  # fmt: skip
    return Table(caption, head, rows, 3)


def arms_tables(results: Sequence[SetResult]) -> list[Table]:
    """Mean scores of all arms over the sets, one table for each kind of split: a row for each set and model."""
    tables = []
    for split in dict.fromkeys(result.split.split for result in results):
        here = [result for result in results if result.split.split == split]
        arms: dict[str, str] = {}
        for result in here:
            for arm in result.study.arms.values():
                arms.setdefault(arm.name, arm.label)
        rows = []
        for result in here:
            means = {figures.arm.name: figures.mean for figures in result.split.arms}
            scores = [speech(result.study).score(means.get(name, float("nan"))) for name in arms]
            rows.append([result.set, result.model, *scores])
        metrics = ", ".join(dict.fromkeys(speech(result.study).metric for result in here))
        caption = f"Mean scores ({metrics}) on {tidy(split)} splits."
        tables.append(Table(caption, ["Set", "Model", *arms.values()], rows, 2))
    return tables


def published_table(results: Sequence[SetResult], published: Sequence[Published]) -> Table | None:
    """Published scores beside ours of the same set and metric, each with its own kind of split."""
    rows = []
    for result in results:
        speak, main = speech(result.study), result.study.main
        for entry in published:
            if main is None or entry.set != result.set or entry.metric != result.study.metric:
                continue
            means = {figures.arm.name: figures.mean for figures in result.split.arms}
            spread = "" if entry.deviation is None else f" ± {speak.size(entry.deviation)}"
            rows.append(
                [
                    result.set,
                    f"{result.model}, {result.split.split}",
                    speak.score(means[main]),
                    speak.score(means[result.study.twins[main]]),
                    f"{speak.score(entry.value)}{spread}",
                    tidy(entry.method),
                    tidy(entry.split),
                    tidy(entry.source),
                ]
            )
    if not rows:
        return None
    caption = (
        "Published scores beside ours. Splits, sizes and searches differ, and most published deviations are over seeds "
        "on one split, so this tells whether ours are of the usual size and nothing finer."
    )
    head = [
        "Set",
        "Ours: model, split",
        "Ours: pre-trained",
        "Ours: twin",
        "Published",
        "Method",
        "Its split",
        "Source",
    ]
    return Table(caption, head, rows, 2)


def forest_figure(one: Joined) -> Figure:
    """The gain of every set with its interval, the mean over sets, and where the next set may lie."""
    rows: list[tuple[str, float, float, float, str]] = []
    for member in one.members:
        contrast, scale = member.contrast(one.question), member.scale
        assert contrast is not None and scale is not None
        colour = {HELPS: BETTER, HURTS: WORSE}.get(contrast.verdict, GREY)
        rows.append((member.set, contrast.gain / scale, contrast.low / scale, contrast.high / scale, colour))
    if one.found is not None:
        rows.append(("all sets", one.found.mean, one.found.low, one.found.high, COLOURS[2]))
        if one.found.predicted is not None:
            rows.append(("a next set", one.found.mean, *one.found.predicted, COLOURS[3]))
    with _axes(width=4.6, height=1.2 + 0.36 * len(rows)) as (ax, finish):
        ax.axvspan(-one.zone, one.zone, color=GREY, alpha=0.18, lw=0)
        ax.axvline(0, color=GREY, lw=1)
        for at, (_, mean, low, high, colour) in enumerate(rows):
            ax.plot([low, high], [at, at], "-", color=colour, lw=2.2)
            ax.plot([mean], [at], "D" if at >= len(one.members) else "o", color=colour, ms=6)
        if one.found is not None:
            ax.axhline(len(one.members) - 0.5, color=GREY, lw=0.8)
        ax.set_yticks(range(len(rows)), labels=[wrapped(row[0], 22) for row in rows])
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"Gain in {_metric(one.metric)}{_unit(one.metric, brackets=True)}")
        told = "; ".join(
            f"{name} {signed(mean)} ({signed(low)} to {signed(high)})" for name, mean, low, high, _ in rows
        )
        caption = f"Right of zero pre-training is better. Bars: 95 % intervals. Band: ±{number(one.zone)}."
        title = f"{one.model} against {_RIVALS[one.question]}, {one.split} splits"
        return finish(title, caption, f"Forest plot. {told}. {caption}")


def _method(joined: Sequence[Joined]) -> str:
    models = listed(list(dict.fromkeys(one.model for one in joined)))
    return (
        f"For every data set the difference between {models} and its twin from random weights was estimated with "
        "its corrected standard error (C. Nadeau, Y. Bengio, Machine Learning 52, 239, 2003); errors were divided by "
        "the standard deviation of the labels. Sets were joined by a random-effects meta-analysis (variance between "
        "sets by Paule and Mandel, interval by Knapp and Hartung with a factor of at least one, prediction interval by "
        "Higgins), for each kind of split and metric apart. The best baseline of a set was chosen on the same folds; "
        "its interval is not widened for that choice here, which favours the baseline."
    )


def _metric(metric: str) -> str:
    return METRIC_LABELS.get(metric, tidy(metric))


def _unit(metric: str, brackets: bool = False) -> str:
    if metric not in ("rmse", "mae"):
        return ""
    return " (label deviations)" if brackets else " label deviations"
