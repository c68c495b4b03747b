"""The tables of a study's report, as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mesomer.report.figures import with_unit
from mesomer.report.page import NONE, counted, duration, number
from mesomer.report.study_contrasts import Contrast
from mesomer.report.study_folder import Study, tidy
from mesomer.report.study_text import IN_UNITS, METRIC_LABELS, Speech, listed, speech
from mesomer.report.study_verdicts import ArmFigures, SplitVerdict
from mesomer.statistics.verdicts import FACTORS

MOST_TARGETS = 50


class Table(NamedTuple):
    """A table of the page: `text` is the number of leading columns that are text."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    text: int = 1


def arms_table(study: Study, split: SplitVerdict) -> Table:
    """Scores of every arm with intervals, failures, time and parameters; the best first."""
    speak = speech(study)
    searched = any(arm.default == arm.default for arm in split.arms)
    rows = [
        [
            figures.arm.label,
            speak.score(figures.mean),
            f"{speak.score(figures.low)} to {speak.score(figures.high)}" if figures.low == figures.low else NONE,
            *([speak.score(figures.default)] if searched else []),
            f"{figures.cells}" + (f", {figures.failed} failed" if figures.failed else ""),
            duration(figures.seconds) if figures.cells else NONE,
            NONE if figures.arm.parameters is None else f"{figures.arm.parameters:,}",
        ]
        for figures in best_first(split, study.better)
    ]
    caption = (
        f"{speak.scored()} on held-out molecules, {'higher' if study.better == 'max' else 'lower'} is better, best "
        f"first; mean of the {counted(len(split.table.folds), 'fold')} that all arms here have finished. "
        "Time: all folds together."
    )
    if searched:
        caption += " Without search: the first of the settings that were tried."
    head = [
        "Arm",
        with_unit(speak.metric, speak.unit),
        "95 % interval",
        *(["Without search"] if searched else []),
        "Folds run",
        "Time",
    ]
    return Table(caption, [*head, "Trained parameters"], rows)


def best_first(split: SplitVerdict, better: str) -> list[ArmFigures]:
    """The arms by their mean score; those without one last."""
    return sorted(split.arms, key=lambda arm: (arm.mean != arm.mean, -arm.mean if better == "max" else arm.mean))


def others_table(study: Study, split: SplitVerdict) -> Table | None:
    """Further metrics; None where there are none."""
    metrics = sorted({metric for arm in split.arms for metric in arm.others})
    if not metrics:
        return None
    rows = [
        [figures.arm.label, *(number(figures.others.get(metric)) for metric in metrics)]
        for figures in best_first(split, study.better)
    ]
    caption = "Further metrics, mean over the folds that each arm has finished; no verdict is drawn from them."
    unit = speech(study).unit
    names = [
        with_unit(METRIC_LABELS.get(metric, tidy(metric)), unit if metric in IN_UNITS else None) for metric in metrics
    ]
    return Table(caption, ["Arm", *names], rows)


def twin_table(study: Study, split: SplitVerdict) -> Table | None:
    """Every arm against the twin."""
    if not split.against_twin or study.main is None:
        return None
    speak = speech(study)
    caption = (
        f"Gain in {speak.scored()} over “{speak.labels[study.twins[study.main]]}”, the twin; positive is better "
        f"whatever the metric. {holds_together(len(split.against_twin), 'comparisons')} "
        f"Better, equal, worse: probability of a difference by more than {speak.size(study.zone)}, within it, below it."
    )
    return contrast_table(caption, "Arm", [(speak.labels[row.first], row) for row in split.against_twin], speak)


def references_table(study: Study, split: SplitVerdict) -> Table | None:
    """The pre-trained arm against every baseline."""
    if not split.against_references or study.main is None:
        return None
    speak = speech(study)
    where = " Judged on molecules outside the pre-training corpus." if split.on_novel else ""
    caption = (
        f"Gain in {speak.scored()} of “{speak.labels[study.main]}” over each baseline; positive: pre-training is "
        f"better. {holds_together(len(split.against_references), 'comparisons')}{where}"
    )
    rows = [(speak.labels[row.second], row) for row in split.against_references]
    return contrast_table(caption, "Against", rows, speak)


def own_twins_table(study: Study, split: SplitVerdict) -> Table | None:
    """Every pre-trained arm against its own twin; None with one pair only, which the headline tells."""
    if len(split.own_twins) < 2:
        return None
    speak = speech(study)
    caption = (
        f"Gain in {speak.scored()} of every pre-trained arm over its own twin with random weights. "
        f"{holds_together(len(split.own_twins), 'comparisons')}"
    )
    rows = [(f"{speak.labels[row.first]} against {speak.labels[row.second]}", row) for row in split.own_twins]
    return contrast_table(caption, "Pair", rows, speak)


def targets_table(study: Study, split: SplitVerdict) -> Table | None:
    """The headline question for each target, the clearest first; the first `MOST_TARGETS` where there are more."""
    if not split.targets:
        return None
    speak = speech(study)
    order = sorted(split.targets, key=lambda row: row.contrast.p)
    shown = order[:MOST_TARGETS]
    more = f" The {len(shown)} clearest of {len(order)}; all stand in verdicts.json." if len(shown) < len(order) else ""
    untold = f" Not judged one by one: {listed(split.untold)}." if split.untold else ""
    caption = (
        f"Gain in {speak.metric} of the pre-trained network over its twin, target by target, the clearest first. "
        f"{holds_together(len(order), 'targets')}{more}{untold}"
    )
    own = speak._replace(unit="unit of the target" if speak.unit else "")
    return contrast_table(caption, "Target", [(study.named(row.target), row.contrast) for row in shown], own)


def zones_table(study: Study, split: SplitVerdict) -> Table | None:
    """The headline's verdict for half the zone, the zone and twice the zone."""
    if split.primary is None:
        return None
    speak = speech(study)
    unit = f" {speak.unit}" if speak.unit else ""
    rows = [
        [f"{factor * study.zone:.{speak.digits + 1}f}{unit}", words]
        for factor, words in zip(FACTORS, split.primary.verdicts, strict=True)
    ]
    return Table("The verdict of the headline, if a difference counts from …", ["Zone", "Verdict"], rows, 2)


def novel_table(study: Study, split: SplitVerdict) -> Table | None:
    """Scores on all test molecules and on those outside the pre-training corpus."""
    if not split.overlap:
        return None
    speak = speech(study)
    rows = [
        [figures.arm.label, speak.score(figures.mean), speak.score(figures.novel)]
        for figures in split.arms
        if figures.mean == figures.mean
    ]
    caption = (
        f"{speak.scored()} on {split.split} splits. {split.overlap:.0%} of the test molecules are in the pre-training "
        f"corpus; the last column leaves them out ({counted(split.novel_folds, 'fold')})."
    )
    return Table(caption, ["Arm", "All test molecules", "Outside the corpus"], rows)


def curve_table(study: Study, split: SplitVerdict) -> Table | None:
    """Gain over the twin by number of labels."""
    if not split.curve:
        return None
    speak = speech(study)
    rows = [
        [
            f"{point.labels:,.0f}" + (" (all)" if point.full else ""),
            f"{point.folds}",
            speak.signed(point.gain.gain) if point.gain else NONE,
            speak.ends(point.gain.low, point.gain.high) if point.gain else NONE,
        ]
        for point in split.curve
    ]
    caption = (
        f"Gain in {speak.scored()} over the twin by number of labelled molecules; positive: pre-training is better."
    )
    return Table(caption, ["Labels", "Folds", with_unit("Gain", speak.unit), "95 % interval"], rows)


def holds_together(count: int, what: str) -> str:
    """How intervals and p allow for the size of a table, and which of the two its verdicts follow."""
    if count == 1:
        return "The verdict follows the interval."
    return (
        f"Intervals (Bonferroni) and p (Holm) each hold for all {count} {what} together. The verdict follows the "
        "interval; Holm's procedure is the less strict of the two, so p may be below 0.05 where the interval holds "
        "zero."
    )


def contrast_table(caption: str, first: str, rows: Sequence[tuple[str, Contrast]], speak: Speech) -> Table:
    """The verdict stands second, so that a phone shows it without scrolling."""
    head = [
        first,
        "Verdict",
        with_unit("Gain", speak.unit),
        "95 % interval",
        "p",
        "Better / equal / worse",
        "Folds won",
    ]
    cells = [
        [
            label,
            row.verdicts[1],
            speak.signed(row.gain),
            speak.ends(row.wide_low, row.wide_high),
            NONE if row.wide_low != row.wide_low else "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
            f"{row.better:.2f} / {row.equal:.2f} / {row.worse:.2f}" if row.better == row.better else NONE,
            f"{row.folds_won} of {row.folds}",
        ]
        for label, row in rows
    ]
    return Table(caption, head, cells, text=2)
