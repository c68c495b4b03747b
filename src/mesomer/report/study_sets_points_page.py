"""What the page on several studies says of models on the same folds: sentence, tables, figures, `contrasts.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesomer.report.figures import Figure
from mesomer.report.page import counted, signed
from mesomer.report.study_contrasts import Contrast
from mesomer.report.study_figures import gains_figure, pairs_figure
from mesomer.report.study_sets_points import BASE, MOST_POINTS, JoinedPoint, Models
from mesomer.report.study_tables import Table, contrast_table, holds_together
from mesomer.report.study_text import METRIC_LABELS, Speech, listed, speech
from mesomer.statistics import Pair, verdict
from mesomer.statistics.verdicts import EQUAL, HELPS, HURTS, UNDECIDED

CONTRASTS = "contrasts.csv"
HEAD = (
    "set", "split", "metric", "family", "first", "second", "mean_first", "mean_second", "gain", "low", "high", "p",
    "joint_low", "joint_high", "joint_p", "comparisons", "zone", "verdict", "folds", "folds_won",
)  # fmt: skip
AGAINST_BASE, ALL_PAIRS = "against the base (Holm, Bonferroni)", "all pairs (Tukey)"
_WORDS = {HELPS: "better", HURTS: "worse", EQUAL: EQUAL, UNDECIDED: UNDECIDED}
_SHOWN_PAIRS, _NAMED = 15, 4
LUCK = (
    "Every model is one pre-training with one seed, so that no interval here holds the luck of the pre-training: "
    "another seed may move a model by as much as its setting does."
)


def model_sentences(compared: Sequence[Models]) -> list[str]:
    """One sentence on the points against the base of a grid, and one on pairs of models where there is no base."""
    grids = [one for one in compared if one.against_base]
    others = [one for one in compared if not one.against_base and one.pairs is not None]
    rows = [(f"{row.first} on {_where(one, grids)}", row.verdict) for one in grids for row in one.against_base]
    pairs = [
        (f"{pair.first} against {pair.second} on {_where(one, others)}", _pair_verdict(one, pair).name)
        for one in others for pair in one.pairs.pairs  # type: ignore[union-attr]
    ]  # fmt: skip
    said = []
    if rows:
        said.append(
            f"On the same folds, of {counted(len(rows), 'comparison')} of a point with the base {_counts(rows)}"
        )
    if pairs:
        said.append(f"On the same folds, of {counted(len(pairs), 'pair')} of models {_counts(pairs)}")
    together = "intervals hold for all comparisons of one set and kind of split together, and not for the luck of the "
    return [f"{text}; {together}pre-training, as each model was pre-trained once." for text in said]


def _where(one: Models, among: Sequence[Models]) -> str:
    several = len({other.split for other in among if other.set == one.set}) > 1
    return f"{one.set}, {one.split} splits" if several else one.set


def _counts(rows: Sequence[tuple[str, str]]) -> str:
    """ "1 is better (infomax on esol), none worse, …"."""
    parts = []
    for name in (HELPS, HURTS, EQUAL, UNDECIDED):
        found = [label for label, verdict in rows if verdict == name]
        told = ""
        if name in (HELPS, HURTS) and found:
            told = f" ({listed(found, _NAMED)})"
        verb = {HELPS: "better", HURTS: "worse", EQUAL: "without practical difference", UNDECIDED: UNDECIDED}[name]
        parts.append(f"{len(found) or 'none'} {'is' if len(found) < 2 else 'are'} {verb}{told}")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def model_notes(compared: Sequence[Models]) -> list[str]:
    """Models that are not compared, and why."""
    notes = []
    for one in compared:
        where = f"{one.set}, {one.split} splits"
        notes += [f"{where}: {model} is not compared with the others: {why}." for model, why in one.left_out.items()]
        if one.not_in_pairs:
            notes.append(f"{where}: not among all pairs, as they lack folds of the others: {listed(one.not_in_pairs)}.")
        for model, count in one.failed.items():
            notes.append(f"{where}: {model} failed on {counted(count, 'fold')}, which count with the mean predictor's.")
        if len(one.against_base) >= MOST_POINTS:
            notes.append(f"{where}: all pairs are compared up to {MOST_POINTS} models, and here are more.")
    return notes


def model_tables(compared: Sequence[Models], joined: Sequence[JoinedPoint]) -> list[Table]:
    """Points against the base set by set and joined over sets; the clearest of all pairs."""
    tables = [_against_table(one) for one in compared if one.against_base]
    tables += [_joined_table(joined)] if joined else []
    return [*tables, *(_pairs_table(one) for one in compared if _has_more_pairs(one))]


def _has_more_pairs(one: Models) -> bool:
    """Whether there are pairs beside the comparisons with a base; two models without a base are a pair."""
    return one.pairs is not None and len(one.pairs.means) > (2 if one.against_base else 1)


def _against_table(one: Models) -> Table:
    speak = _speech(one)
    caption = (
        f"{one.set}, {one.split} splits: gain in {speak.scored()} of each point's pre-trained network over that of the "
        f"base, on the same folds; positive is better. {holds_together(len(one.against_base), 'comparisons')} "
        f"Better, equal, worse: probability of a difference by more than {speak.size(one.zone)}, within it, below it."
    )
    found = contrast_table(caption, "Point", [(row.first, row) for row in one.against_base], speak)
    return found._replace(rows=[[row[0], _said(row[1]), *row[2:]] for row in found.rows])


def _said(words: str) -> str:
    """A verdict on a model: "helps" is said of pre-training."""
    name, bracket, rest = words.partition(" (")
    return f"{_WORDS.get(name, name)}{bracket}{rest}"


def _joined_table(joined: Sequence[JoinedPoint]) -> Table:
    rows = [
        [
            one.model,
            _said(str(one.verdict)),
            f"{one.split}, {METRIC_LABELS.get(one.metric, one.metric)}",
            f"{len(one.sets)}",
            signed(one.found.mean),
            f"{signed(one.found.low)} to {signed(one.found.high)}",
            "< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}",
        ]
        for one in joined
    ]
    caption = (
        "Over the sets: mean gain of each point over the base (random-effects meta-analysis; errors in standard "
        "deviations of each set's labels). Intervals (Bonferroni) and p (Holm) hold for all points of one kind of "
        "split and metric together. With two or three sets the intervals are very wide."
    )
    return Table(caption, ["Point", "Verdict", "Split, metric", "Sets", "Mean gain", "95 % interval", "p"], rows, 3)


def _pairs_table(one: Models) -> Table:
    speak, pairs = _speech(one), one.pairs
    assert pairs is not None
    order = sorted(pairs.pairs, key=lambda pair: -abs(pair.difference))
    shown = [_better_first(pair) for pair in order[:_SHOWN_PAIRS]]
    rows = [
        [
            f"{pair.first} against {pair.second}",
            _said(str(_pair_verdict(one, pair))),
            speak.signed(pair.difference),
            speak.ends(pair.low, pair.high),
            "< 0.001" if pair.p < 0.001 else f"{pair.p:.3f}",
        ]
        for pair in shown
    ]
    more = f" The {len(shown)} largest of {len(order)}; all stand in {CONTRASTS}." if len(shown) < len(order) else ""
    caption = (
        f"{one.set}, {one.split} splits: all pairs on {counted(one.paired, 'fold')}, gain in {speak.scored()} of the "
        "first over the second. Intervals and p (Tukey's range, corrected for shared molecules) hold for all pairs "
        f"together.{more}"
    )
    head = ["Pair", "Verdict", "Gain" + (f" ({speak.unit})" if speak.unit else ""), "95 % interval", "p"]
    return Table(caption, head, rows, 2)


def _better_first(pair: Pair) -> Pair:
    """The pair so that its difference is not below zero."""
    if pair.difference >= 0:
        return pair
    return Pair(pair.second, pair.first, -pair.difference, -pair.high, -pair.low, pair.p)


def model_figures(compared: Sequence[Models]) -> list[Figure]:
    """Gains over the base, and all models with bars that overlap where they are not shown to differ."""
    drawn = []
    for one in compared:
        speak, where = _speech(one), f"{one.set}, {one.split} splits"
        if one.against_base:
            rows = [(row.first, row) for row in one.against_base]
            drawn.append(gains_figure(f"Points against the base, {where}", rows, one.zone, speak))
        if one.pairs is not None and _has_more_pairs(one):
            labels = {name: name for name in one.pairs.means}
            drawn.append(pairs_figure(f"All models, {where}", one.pairs, labels, speak, "models"))
    return drawn


def contrast_rows(compared: Sequence[Models]) -> list[list[Any]]:
    """contrasts.csv: each comparison with all digits, in the unit of the metric; an empty cell where there is none."""
    rows: list[list[Any]] = [list(HEAD)]
    for one in compared:
        start = [one.set, one.split, one.study.metric]
        rows += [[*start, AGAINST_BASE, *_row(one, contrast)] for contrast in one.against_base]
        if one.pairs is None:
            continue
        for pair in one.pairs.pairs:
            rows.append([
                *start, ALL_PAIRS, pair.first, pair.second, one.pairs.means[pair.first], one.pairs.means[pair.second],
                pair.difference, "", "", "", pair.low, pair.high, pair.p, len(one.pairs.pairs), one.zone,
                _said(str(_pair_verdict(one, pair))), one.paired, "",
            ])  # fmt: skip
    return rows


def _row(one: Models, row: Contrast) -> list[Any]:
    alone, joint = (row.p, row.p_holm) if row.wide_low == row.wide_low else ("", "")
    return [
        row.first, row.second, *one.base_means[row.first], row.gain, row.low, row.high, alone, row.wide_low,
        row.wide_high, joint, row.comparisons, row.zone, _said(row.verdicts[1]), row.folds, row.folds_won,
    ]  # fmt: skip


def _pair_verdict(one: Models, pair: Pair) -> Any:
    return verdict(pair.low, pair.high, one.zone)


def _speech(one: Models) -> Speech:
    return speech(one.study)


def model_method(compared: Sequence[Models]) -> str:
    """The paragraph on how models were compared; empty where none were."""
    if not compared:
        return ""
    base = any(one.against_base for one in compared)
    against = (
        f"Points against the point “{BASE}”: corrected resampled t on the folds of both (p by Holm, intervals of "
        "Bonferroni width, over all points of a set and kind of split); a point of another kind of split is tested on "
        "other molecules and not compared. "
    )
    return (
        f"Models were compared by the scores of their fine-tuned networks on the same folds, on all test molecules. "
        f"{against if base else ''}All pairs: Tukey's studentised range over folds as blocks, its variance corrected "
        f"for overlapping training parts. {LUCK}"
    )
