"""The methods paragraph of a study, ready to paste, and where every number lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesomer.machine import versions
from mesomer.report.study_balance import size_ratio
from mesomer.report.study_folder import Study, tidy
from mesomer.report.study_molecules import MOST_DRAWS
from mesomer.report.study_text import listed, speech
from mesomer.report.study_verdicts import SplitVerdict

FILES = [
    (
        "results.csv",
        "every score: one row for each split, repeat, fold, arm, label count, target and metric, with the score on "
        "molecules outside the pre-training corpus, sizes, seconds, the setting that the search chose, and why a run "
        "failed",
    ),
    ("predictions.csv.gz or .csv", "measured and predicted value of every molecule while it was held out"),
    ("splits.csv", "which molecule was in which part of which fold"),
    ("verdicts.json", "every comparison of this page with all its digits"),
    ("checks.json", "what was found in the data before training"),
    ("pilot.json", "the spread that the pilot saw and what each design could detect"),
    ("study.json", "plan, arms, versions, checksums of data and model, command"),
    ("report.html", "this page"),
]
NOT_HERE = "not in this folder"


def method_paragraph(study: Study, found: Sequence[SplitVerdict]) -> str:
    """What was done, in the past tense, with the sources of the statistics."""
    facts, speak = study.facts, speech(study)
    data, design, model = facts["data"], facts["design"], facts["model"]
    targets = listed(study.targets)
    said = [
        f"{len(study.arms)} arms were compared on {int(data['molecules']):,} molecules of {tidy(data['file'])} "
        f"({_checksum(data)}; {_targets_word(study)}: {targets}) by {design['repeats']} x {design['folds']} repeated "
        f"cross-validation on {_and(study.splits)} splits, all arms on the same folds.",
        f"The arms were: {'; '.join(_arm_words(study, name) for name in study.arms)}.",
    ]
    if study.main is not None:
        said.append(
            f"The pre-trained network was {tidy(model['name'])} ({_checksum(model)}"
            + (f", {int(model['parameters']):,} parameters" if model.get("parameters") else "")
            + "); its twin differed from it in the first weights of the encoder only, and shared folds, inner "
            "validation part, seeds, budget and search."
        )
    if design.get("trials"):
        said.append(
            f"Every arm that has settings was given {design['trials']} trial{'s' if design['trials'] != 1 else ''} "
            "inside the training part of each fold."
        )
    if design.get("budget"):
        said.append(f"Budget: {_budget(design['budget'])}.")
    if study.label_counts:
        counts = ", ".join(f"{count:,}" for count in study.label_counts)
        said.append(f"For the learning curve the training parts were cut to {counts} labels.")
    said.append(_statistics_words(study, found, speak.metric, speak.size(study.zone), speak.unit))
    said.append(f"Software: {_versions(facts.get('versions'))}; statistics by Mesomer {_own_version()}.")
    return " ".join(said)


def _statistics_words(study: Study, found: Sequence[SplitVerdict], metric: str, zone: str, unit: str) -> str:
    ratios = ", ".join(f"{split.split} {size_ratio(study, split.split):.3f}" for split in found)
    molecules = (
        f" The interval over test molecules is a percentile bootstrap of at most {MOST_DRAWS:,} draws, the same "
        "molecules in all repeats."
        if any(split.molecules for split in found)
        else ""
    )
    return (
        f"Differences in {metric} were judged by the corrected resampled t (C. Nadeau, Y. Bengio, Machine Learning "
        f"52, 239, 2003) with the ratio of test to training size ({ratios or 'none yet'}), its 95 % interval, and its "
        "Bayesian reading (G. Corani, A. Benavoli, Machine Learning 100, 285, 2015); comparisons of a table were "
        "adjusted by Holm, their intervals by Bonferroni; all pairs by Tukey's studentised range with the same "
        f"correction. A difference counts from {zone}{f' {unit}' if unit else ''}. Failed runs count with the score of "
        "the mean predictor."
        f"{molecules}"
    )


def _checksum(facts: Mapping[str, Any]) -> str:
    return f"SHA-256 {tidy(facts['sha256'])[:16]}…" if facts.get("sha256") else "no checksum recorded"


def _arm_words(study: Study, name: str) -> str:
    arm = study.arms[name]
    parameters = f" ({arm.parameters:,} trained parameters)" if arm.parameters else ""
    return f"{arm.label}{parameters}"


def _targets_word(study: Study) -> str:
    kinds = list(dict.fromkeys(str(target.get("task", "")) for target in study.facts["data"]["targets"]))
    return f"{' and '.join(filter(None, kinds))} target{'s' if len(study.targets) > 1 else ''}".strip()


def _budget(budget: Any) -> str:
    if isinstance(budget, Mapping):
        return ", ".join(f"{tidy(name).replace('_', ' ')} {tidy(value)}" for name, value in budget.items())
    return tidy(budget)


def _versions(found: Any) -> str:
    pairs = found if isinstance(found, Mapping) else versions()
    return ", ".join(f"{tidy(name)} {tidy(version)}" for name, version in pairs.items())


def _own_version() -> str:
    return versions().get("mesomer", "from source")


def _and(words: Sequence[str]) -> str:
    return " and ".join(tidy(word) for word in words)


def files_here(study: Study) -> list[tuple[str, str]]:
    """The files of the folder and what each holds; files that are not there are said to be absent."""
    made = ("verdicts.json", "report.html")
    rows = []
    for name, words in FILES:
        names = ("predictions.csv.gz", "predictions.csv") if name.startswith("predictions") else (name,)
        here = name in made or any((study.folder / each).is_file() for each in names)
        rows.append((name, words if here else f"{words} ({NOT_HERE})"))
    return rows
