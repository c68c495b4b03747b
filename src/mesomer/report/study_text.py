"""A study in words: the honest sentence, what it could not see, and every difference spelt out.

Decided: "undecided" is never worded as "no difference"; a sentence names direction, size, interval and both arms, and
says before all else if it speaks of unfinished work. Signs are words, as readers do not know which way a minus points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mesomer.report.page import MINUS, NONE
from mesomer.report.study_contrasts import Contrast
from mesomer.report.study_folder import Study, tidy
from mesomer.report.study_verdicts import MOST_OVERLAP, SplitVerdict
from mesomer.statistics.verdicts import EQUAL, HELPS, HURTS, NO_SPREAD, UNDECIDED

METRIC_LABELS = {
    "rmse": "RMSE", "mae": "MAE", "r2": "R²", "pearson": "Pearson r", "spearman": "Spearman rho", "roc_auc": "ROC-AUC",
    "average_precision": "average precision", "accuracy": "accuracy", "mcc": "Matthews correlation",
    "macro_f1": "macro F1", "log_loss": "log loss",
}  # fmt: skip
IN_UNITS = ("rmse", "mae")
"""Metrics in the unit of the labels."""
MOST_TIMES = 10
"""Times the molecules that there are up to which a number of needed ones is told: beyond, it says nothing."""
FEW = 5
"""Folds below which the reader is told how few they are."""


class Speech(NamedTuple):
    """How the scores of a study are said: name of the metric, unit, direction, digits."""

    metric: str
    unit: str
    """Unit of a difference, empty without one."""
    better: str
    digits: int
    labels: dict[str, str]
    """Arm -> its label."""
    mean_of_targets: int
    """Number of targets that the score is the mean over, 1 without."""

    def size(self, value: float) -> str:
        """The size of a difference, without sign and unit."""
        return f"{abs(value):,.{self.digits}f}"

    def signed(self, value: float) -> str:
        """A difference with its sign: positive where the first arm is better."""
        text = f"{value:+,.{self.digits}f}"
        return text[1:] if not text.strip("+-0.,") else text.replace("-", MINUS)

    def ends(self, low: float, high: float) -> str:
        """An interval with its signs; a dash where there is none."""
        return f"{self.signed(low)} to {self.signed(high)}" if low == low else NONE

    def score(self, value: float) -> str:
        """A score."""
        return NONE if not math.isfinite(value) else f"{value:,.{self.digits}f}".replace("-", MINUS)

    def way(self, gain: float) -> str:
        """ "higher" or "lower": where a gain of this sign moves the score."""
        return "higher" if (gain >= 0) == (self.better == "max") else "lower"

    def scored(self) -> str:
        """The metric with its unit and what it is a mean of."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.metric}{unit}" + (f", mean of {self.mean_of_targets} targets" if self.several else "")

    @property
    def several(self) -> bool:
        """Whether the score is a mean over targets."""
        return self.mean_of_targets > 1

    def interval(self, low: float, high: float) -> str:
        """An interval of a gain in words: "0.010 to 0.030", or "0.010 higher to 0.030 lower" across zero."""
        if low < 0 < high:
            return f"{self.size(low)} {self.way(low)} to {self.size(high)} {self.way(high)}"
        smaller, larger = sorted((abs(low), abs(high)))
        return f"{self.size(smaller)} to {self.size(larger)}"

    def moved(self, contrast: Contrast) -> str:
        """ "RMSE is 0.020 log units lower (95 % interval 0.005 to 0.035)"."""
        unit = f" {self.unit}" if self.unit else ""
        low, high = (
            (contrast.wide_low, contrast.wide_high) if contrast.comparisons > 1 else (contrast.low, contrast.high)
        )
        if low != low:
            return f"{self.size(contrast.gain)}{unit} {self.way(contrast.gain)} (no interval: {NO_SPREAD})"
        held = f", wide enough for {contrast.comparisons} comparisons" if contrast.comparisons > 1 else ""
        ends = self.interval(low, high)
        return f"{self.size(contrast.gain)}{unit} {self.way(contrast.gain)} (95 % interval {ends}{held})"


def speech(study: Study) -> Speech:
    """How to say the scores of a study: so many digits that the zone has two."""
    digits = min(6, max(0, 1 - math.floor(math.log10(study.zone))))
    unit = ""
    if study.metric in IN_UNITS:
        said = study.target(study.targets[0]).get("unit") if len(study.targets) == 1 else "label deviations"
        unit = tidy(said) if said else ""
    label = METRIC_LABELS.get(study.metric, tidy(study.metric))
    labels = {arm.name: arm.label for arm in study.arms.values()}
    return Speech(label, unit, study.better, digits, labels, len(study.targets))


def headline_split(found: Sequence[SplitVerdict]) -> SplitVerdict | None:
    """The kind of split that the headline speaks of: scaffold if there is one with an answer, else the first with one.

    New scaffolds are what a model meets in use; a random split is the kinder question.
    """
    answered = [split for split in found if split.primary is not None]
    return next((split for split in answered if "scaffold" in split.split), answered[0] if answered else None)


def headline(study: Study, found: Sequence[SplitVerdict]) -> str:
    """The study in one honest sentence."""
    if study.main is None:
        return (
            "This study cannot say whether pre-training helps: none of its arms is a pre-trained network with a twin "
            "from random weights."
        )
    split = headline_split(found)
    if split is None and found and all(study.fixed(one.split) for one in found):
        return _fixed_sentence(study, found[0])
    if split is None:
        return (
            "Nothing can be said yet: no kind of split has two folds that the pre-trained network and its twin "
            "have both finished."
        )
    return _sentence(study, split)


def _fixed_sentence(study: Study, split: SplitVerdict) -> str:
    """What a single division of the molecules can say, which is no verdict."""
    assert study.main is not None
    speak, arms = speech(study), (study.main, study.twins[study.main])
    first, second = (split.table.mean(arm) if arm in split.table.scores else math.nan for arm in arms)
    if not math.isfinite(first) or not math.isfinite(second):
        return "Nothing can be said yet: the pre-trained network and its twin have not both finished."
    gain = (first - second) * (1 if study.better == "max" else -1)
    unit = f" {speak.unit}" if speak.unit else ""
    among = ""
    if split.molecules is not None:
        among = f" (95 % interval over its test molecules {speak.interval(*split.molecules)})"
    return (
        f"On the one division of the {tidy(split.split)} splits the {speak.metric} of the pre-trained network is "
        f"{speak.size(gain)}{unit} {speak.way(gain)} than that of the same network from random weights{among}; one "
        "division cannot say whether pre-training helps on others."
    )


def _sentence(study: Study, split: SplitVerdict) -> str:
    primary, speak = split.primary, speech(study)
    assert primary is not None
    zone = f"{speak.size(primary.zone)}{f' {speak.unit}' if speak.unit else ''}"
    start = f"on {split.split} splits "
    if split.table.missing:
        start = f"so far ({len(split.table.folds)} of {study.planned_folds(split.split)} folds) {start}"
    if split.on_novel:
        start = f"judged on molecules outside the pre-training corpus, {start}"
    words = {
        HELPS: "pre-training helps",
        HURTS: "pre-training hurts",
        EQUAL: f"pre-training makes no practical difference (the interval lies within {zone} either way)",
        UNDECIDED: "it is undecided whether pre-training helps",
    }[primary.verdict]
    if "more than the zone" in primary.verdicts[1]:
        words += f" by more than the {zone} that count"
    elif "small" in primary.verdicts[1]:
        words += ", detectably but by little"
    score = f"mean {speak.metric} over {speak.mean_of_targets} targets" if speak.several else speak.metric
    sentence = (
        f"{start}{words}: the {score} of the pre-trained network is {speak.moved(primary)} than that of the same "
        "network from random weights"
    )
    return _capital(sentence) + _against_best(split, speak) + "."


def _against_best(split: SplitVerdict, speak: Speech) -> str:
    """The clause on the best baseline, empty without one."""
    best = split.best_reference
    if best is None:
        return ""
    name = speak.labels[best.second]
    among = f"the best of {best.comparisons} baselines, {name}" if best.comparisons > 1 else f"the baseline {name}"
    words = {
        HELPS: f"it beats {among}",
        HURTS: f"it is worse than {among}",
        EQUAL: f"it makes no practical difference to {among}",
        UNDECIDED: f"it is not shown to beat {among}",
    }[best.verdict]
    return f"; {words}: {speak.moved(best)}"


def detectable_sentence(study: Study, split: SplitVerdict) -> str:
    """What this design could have shown, given the spread that was seen."""
    primary, speak = split.primary, speech(study)
    if primary is None or primary.low != primary.low:
        return ""
    unit = f" {speak.unit}" if speak.unit else ""
    source = tidy(study.facts["zone"].get("source", "as given"))
    said = (
        f"With {primary.folds} paired results on {split.split} splits the smallest difference that this study finds "
        f"four times out of five is {speak.size(primary.detectable)}{unit}; what counts as a difference is "
        f"{speak.size(primary.zone)}{unit} ({source})."
    )
    if (primary.high - primary.low) / 2 > primary.zone:
        said += " It is too coarse to show that there is no practical difference."
    expected = promised(study, split.split)
    return said if expected is None else f"{said} The pilot had promised {ranged(speak, *expected)}."


def promised(study: Study, split: str) -> tuple[float, float] | None:
    """The ends of the smallest detectable difference that the pilot promised for the plan; older pilots have none."""
    said = ((study.pilot or {}).get("splits") or {}).get(split) or {}
    if "mde_low" not in said or "mde_high" not in said:
        return None
    return float(said["mde_low"]), float(said["mde_high"])


def ranged(speak: Speech, low: float, high: float) -> str:
    """A range of differences with its unit."""
    return f"{speak.size(low)} to {speak.size(high)}{f' {speak.unit}' if speak.unit else ''}"


def needed_sentence(study: Study, split: SplitVerdict) -> str:
    """What would settle an undecided headline; empty where it is decided."""
    primary, speak = split.primary, speech(study)
    if primary is not None and primary.low != primary.low:
        return (
            "Undecided is not “no difference”. Differences that are the same on every fold do not say how others would "
            "differ; more folds, repeats or molecules would."
        )
    if primary is not None and primary.verdict == UNDECIDED and primary.detectable <= primary.zone:
        return (
            "Undecided is not “no difference”. The design is fine enough for a difference that counts; chance left "
            "this one between the two answers, and more repeats or molecules would settle it."
        )
    if split.needed is None or primary is None:
        return ""
    molecules = int(study.facts["data"]["molecules"])
    ways = []
    if split.needed.repeats is not None:
        ways.append(f"{split.needed.repeats} repeats")
    if split.needed.folds is not None:
        ways.append(f"{split.needed.folds} folds")
    if split.needed.molecules is not None:
        many = split.needed.molecules > MOST_TIMES * molecules
        count = "more than ten times as many" if many else f"about {split.needed.molecules:,}"
        ways.append(f"{count} molecules (there are {molecules:,})")
    alone = ", each alone" if len(ways) > 1 else ""
    return (
        "Undecided is not “no difference”: a difference that counts and none both fit what was seen. To find one "
        f"of {speak.size(primary.zone)} four times out of five would take {' or '.join(ways)}{alone}."
    )


def cautions(study: Study, found: Sequence[SplitVerdict]) -> list[str]:
    """What the reader must know beside the headline: failures, gaps, overlap, arms left out, cuts of the plan."""
    said = [tidy(sentence) for sentence in study.facts.get("cut", [])]
    speak = speech(study)
    missing = [name for name in study.splits if name not in {split.split for split in found}]
    if missing:
        said.append(f"Nothing was run on {' and '.join(missing)} splits.")
    for at, of in study.missing_parts:
        said.append(f"Part {at} of {of} is missing: run it with --part {at}/{of}, then make this report again.")
    for split in found:
        said += _split_cautions(study, split, speak)
    if study.repeated_cells:
        said.append(f"{study.repeated_cells:,} cells stand in results.csv more than once; the first of each counts.")
    return said


def _split_cautions(study: Study, split: SplitVerdict, speak: Speech) -> list[str]:
    table, name, said = split.table, split.split, []
    planned = study.planned_folds(name)
    if table.missing:
        how = "" if study.missing_parts else " The same command goes on with them."
        said.append(
            f"{_capital(name)} splits: {table.missing} of {planned} folds are missing; only folds that all "
            f"compared arms have finished are counted.{how}"
        )
    for arm, folds in table.left_out.items():
        ran = "was not run" if not folds else f"has only {folds} of {planned} folds"
        said.append(f"{_capital(name)} splits: {speak.labels[arm]} {ran} and is not compared.")
    for arm in dict.fromkeys(failure.arm for failure in table.failures):
        mine = [failure for failure in table.failures if failure.arm == arm]
        reasons = ", ".join(dict.fromkeys(failure.reason for failure in mine))
        said.append(
            f"{_capital(name)} splits: {speak.labels[arm]} failed on {len(mine)} of {len(table.folds)} folds "
            f"({reasons}); a failed run is a result and counts with {mine[0].counted_with}."
        )
    if split.floor is not None and not split.floor.low > 0:
        floor = speak.labels[split.floor.second]
        said.append(
            f"{_capital(name)} splits: the pre-trained network is not shown to beat “{floor}”: "
            f"{speak.moved(split.floor)}. It may have learnt nothing that could help or hurt."
        )
    if study.fixed(name):
        said.append(
            f"{_capital(name)} splits are one and the same division: repeats differ in the training alone, and no "
            "interval over them says anything of other test molecules, so there is none."
        )
    if split.primary is not None and split.primary.folds < FEW:
        said.append(
            f"{_capital(name)} splits: the answer rests on {split.primary.folds} folds, and the spread of so few is "
            "itself known roughly only."
        )
    if table.undefined:
        said.append(
            f"{_capital(name)} splits: {speak.metric} is not defined on {len(table.undefined)} folds (one class only), "
            "which are left out for all arms alike."
        )
    if split.overlap is not None and split.overlap > MOST_OVERLAP:
        where = "the headline uses the others only" if split.on_novel else "too few others are left to use only those"
        said.append(
            f"{_capital(name)} splits: {split.overlap:.0%} of the test molecules are in the pre-training corpus; "
            f"{where}."
        )
    together = next((row for row in split.against_twin if row.first == study.main), None)
    if split.primary and together and not split.on_novel and together.verdict != split.primary.verdict:
        said.append(
            f"{_capital(name)} splits: asked alone the verdict is “{split.primary.verdict}”; among all "
            f"{together.comparisons} comparisons with the twin, whose intervals are wider, it is “{together.verdict}”."
        )
    return said


def other_splits(study: Study, found: Sequence[SplitVerdict]) -> list[str]:
    """The same sentence for the kinds of split that the headline does not speak of."""
    chosen = headline_split(found)
    return [_sentence(study, split) for split in found if split is not chosen and split.primary is not None]


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a row; of many the first, and how many more."""
    shown = ", ".join(tidy(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def target_words(target: Mapping[str, Any]) -> str:
    """What a target was read as: `toxic: binary, 16 of 200 are “yes”`."""
    said = [str(target.get("task", ""))]
    counts, classes = target.get("class_counts") or [], target.get("classes") or []
    if len(counts) == 2:
        said.append(f"{counts[1]:,} of {sum(counts):,} are “{classes[1]}”")
    elif counts:
        said.append(listed([f"{count:,} are “{name}”" for name, count in zip(classes, counts, strict=True)]))
    elif target.get("labels") is not None:
        said.append(f"{target['labels']:,} labels")
    return f"{tidy(target['name'])}: {tidy(', '.join(filter(None, [*said, str(target.get('unit') or '')])))}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
