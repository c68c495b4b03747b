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
    ("splits-*.csv", "which molecule was in which part of which fold"),
    ("molecules.csv", "row, SMILES, InChIKey and labels of every molecule used"),
    ("overlap.json", "rows of the molecules that are in the pre-training corpus: exact, without stereo, by scaffold"),
    ("verdicts.json", "every comparison of this page with all its digits"),
    ("checks.json", "what was found in the data before training"),
    ("pilot.json", "the spread that the pilot saw and what each design could detect"),
    ("study.json", "plan, arms, versions, checksums of data and model, command"),
    ("report.html", "the report with its figures and molecules drawn"),
    ("report.md", "the same sentences and tables as text in Markdown"),
]
NOT_HERE = "not in this folder"


def method_paragraph(study: Study, found: Sequence[SplitVerdict]) -> str:
    """What was done, in the past tense, with the sources of the statistics."""
    facts, speak = study.facts, speech(study)
    data, design, model = facts["data"], facts["design"], facts["model"]
    targets = listed([study.named(name) for name in study.targets])
    said = [
        f"{len(study.arms)} arms were compared on {int(data['molecules']):,} molecules of {tidy(data['file'])} "
        f"({_checksum(data)}; {_targets_word(study)}: {targets}) on "
        + " and ".join(f"{tidy(split)} splits ({study.divisions(split)})" for split in study.splits)
        + ", all arms on the same ones.",
        f"The arms were: {'; '.join(_arm_words(study, name) for name in study.arms)}.",
    ]
    if data.get("descriptors"):
        said.append(
            f"All arms were given these columns as well: {listed([tidy(name) for name in data['descriptors']])}."
        )
    if study.main is not None:
        said.append(
            f"The pre-trained network was {tidy(model['name'])} ({_checksum(model)}"
            + (f", {int(model['parameters']):,} parameters" if model.get("parameters") else "")
            + "); its twin differed from it in the first weights of the encoder only, and shared folds, inner "
            "validation part, seeds, budget and search."
        )
    if design.get("trials"):
        said.append(
            f"Every arm was given at most {design['trials']} setting{'s' if design['trials'] != 1 else ''} to try "
            "inside the training part of each fold."
        )
    if design.get("settings"):
        tried = "; ".join(f"rate {one['max_lr']:g}, dropout {one['dropout']:g}" for one in design["settings"])
        said.append(f"Networks tried, in this order: {tried}.")
    budget = _budget(design)
    if budget:
        said.append(f"Budget: {budget}.")
    if study.label_counts:
        counts = ", ".join(f"{count:,}" for count in study.label_counts)
        said.append(f"For the learning curve the training parts were cut to {counts} labels.")
    if design.get("precision"):
        said.append(_precision_words(study, str(design["precision"])))
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


def _precision_words(study: Study, precision: str) -> str:
    """In which numbers the networks were trained, and what was computed in float32 all the same."""
    if precision != "bf16":
        return "All arms were computed in float32."
    return (
        "All networks were trained with products in bfloat16, parameters and optimiser in float32, the pre-trained "
        "network and its twin alike; their predictions, frozen vectors and all other arms were computed in float32."
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


def _budget(design: Mapping[str, Any]) -> str:
    """The plain values of the budget, and how long a network was trained."""
    words = {"epochs": "at most {} epochs", "batch_size": "batches of {}", "patience": "patience of {} epochs"}
    said = [text.format(tidy(design[key])) for key, text in words.items() if design.get(key)]
    for name, value in (design.get("budget") or {}).items():
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            shown = f"{value:.4g}" if isinstance(value, float) else tidy(value)
            said.append(f"{tidy(name).replace('_', ' ')} {shown}")
    return ", ".join(said)


def _versions(found: Any) -> str:
    pairs = found if isinstance(found, Mapping) else versions()
    return ", ".join(f"{tidy(name)} {tidy(version)}" for name, version in pairs.items())


def _own_version() -> str:
    return versions().get("mesomer", "from source")


def files_here(study: Study) -> list[tuple[str, str]]:
    """The files of the folder and what each holds; files that are not there are said to be absent."""
    made = ("verdicts.json", "report.html", "report.md")
    rows = []
    for name, words in FILES:
        names = ("predictions.csv.gz", "predictions.csv") if name.startswith("predictions") else (name,)
        here = name in made or any(any(study.folder.glob(each)) for each in names)
        rows.append((name, words if here else f"{words} ({NOT_HERE})"))
    return rows
