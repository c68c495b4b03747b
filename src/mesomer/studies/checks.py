"""What is wrong, or to be known, about the data and the design: refused in one sentence, or noted for the report.

Refused, with the largest design that works: too few molecules for the folds, a class that is missing from a fold, a
scaffold that holds half of the molecules, labels that are all equal, a feature column that is the label in disguise, a
test molecule that is trained on. Everything else is a note: `info`, or `caution` where it weakens the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesomer.chem.inchi import skeleton
from mesomer.data.splits import Split, find_rule
from mesomer.errors import MesomerError
from mesomer.metrics import roc_auc, spearman
from mesomer.statistics import cross_validation, smallest_detectable
from mesomer.studies.design import StudyOptions, rule_of
from mesomer.studies.molecules import StudyData, draw
from mesomer.studies.scoring import Labels, can_judge
from mesomer.training.predictor import RDKIT_DESCRIPTORS, Target

LEAST_IN_FOLD = 10
LEAST_IN_TEST = 5
"""Of a drawn or uneven division; below it nothing is judged."""
FEW_TO_JUDGE, FEW_TO_CHOOSE = 30, 10
LEAST_OF_CLASS = 2
RARE = 0.05
DISGUISED = 0.99
LEAST_TO_TELL = 5
"""Molecules of a class of several: one or two stand at the end of some column by chance."""
SHOWN = 20
"""Molecules that a note names at most."""


@dataclass(frozen=True)
class Check:
    """One note."""

    check: str
    severity: str
    """info or caution"""
    sentence: str
    rows: tuple[int, ...] = ()
    smiles: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `checks.json` has it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def require_molecules(study: StudyData, options: StudyOptions, repeats: int) -> None:
    """Stops where the molecules are too few for the folds, or there is nothing to learn."""
    for at, target in enumerate(study.data.targets):
        labels = study.data.y[:, at]
        if len(np.unique(labels[~np.isnan(labels)])) < 2:
            raise MesomerError(
                f"All labels of {target.name!r} are equal: there is nothing to learn.", "Leave this target out."
            )
    count = len({skeleton(key) for key in study.keys})
    folds = most_folds(study, count)
    if options.folds <= folds or not any(find_rule(rule_of(split)).folded for split in options.splits):
        return
    rarest = _rarest(study)
    what = f"{count} different molecules"
    if rarest is not None and rarest[1] // LEAST_OF_CLASS < count // LEAST_IN_FOLD:
        what += f" with only {rarest[1]} of the class {rarest[0]!r}"
    if folds < 2:
        of_class = "" if rarest is None else f", and {2 * LEAST_OF_CLASS} of each class"
        raise MesomerError(
            f"{what} are too few for a study.", f"It needs {2 * LEAST_IN_FOLD} molecules and more{of_class}."
        )
    seen = smallest_detectable(1.0, cross_validation(repeats, folds))
    raise MesomerError(
        f"{what} are too few for {options.folds} folds.",
        f"The largest design that works is --folds {folds}: it detects a difference of {seen:.1f} times the spread "
        "between folds.",
    )


def most_folds(study: StudyData, count: int) -> int:
    """Folds that leave enough molecules, and enough of each class of a single target, in each."""
    rarest = _rarest(study)
    return min(count // LEAST_IN_FOLD, *([] if rarest is None else [rarest[1] // LEAST_OF_CLASS]), 10**6)


def _rarest(study: StudyData) -> tuple[str, int] | None:
    """The rarest class of a single binary target and its molecules; of several targets any may be absent somewhere."""
    if len(study.data.targets) > 1 or study.data.targets[0].type != "binary":
        return None
    target, labels = study.data.targets[0], study.data.y[:, 0]
    counts = {name: int((labels == at).sum()) for at, name in enumerate(target.classes)}
    name = min(counts, key=counts.__getitem__)
    return name, counts[name]


def check_columns(study: StudyData) -> None:
    """Stops at a feature column that orders the molecules as a target does."""
    if study.data.descriptors is None:
        return
    for column, name in enumerate(study.data.descriptor_names):
        if name == RDKIT_DESCRIPTORS:
            continue
        values = study.data.descriptors[:, column]
        for at, target in enumerate(study.data.targets):
            both = ~np.isnan(values) & ~np.isnan(study.data.y[:, at])
            if both.sum() < LEAST_IN_FOLD:
                continue
            labels = study.data.y[both, at]
            found, words = _disguise(target, labels, values[both])
            if found > DISGUISED:
                raise MesomerError(
                    f"The feature column {name!r} is the target {target.name!r} in disguise ({words} {found:.3f}).",
                    "Leave it out of --descriptors: it will not be known for new molecules.",
                )


def _disguise(target: Target, labels: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, str]:
    """How well the values tell the labels, and the words for it; of several classes the one best told from the rest."""
    found = [(abs(spearman(labels, values)), "|Spearman|")]
    present = np.unique(labels)
    if target.type == "binary" and len(present) == 2:  # ranks of two values correlate 0.87 at most
        found.append((abs(2 * roc_auc(labels, values) - 1), "|2 AUC - 1|"))
    if target.type == "multiclass" and len(present) > 1:  # numbers of classes are their alphabet, not an order
        for at in present:
            mine = labels == at
            if LEAST_TO_TELL <= mine.sum() <= len(labels) - LEAST_TO_TELL:
                words = f"|2 AUC - 1| {target.classes[int(at)]!r} against the rest"
                found.append((abs(2 * roc_auc(mine, values) - 1), words))
    return max(found, key=lambda one: -1.0 if one[0] != one[0] else one[0])


def check_splits(study: StudyData, split: str, drawn: Sequence[Split], repeats: int, folds: int) -> list[Check]:
    """Stops at divisions that could neither teach nor judge; notes on the others."""
    for one in drawn:
        require_apart(study, split, one)
    smallest = min(len(one.test) for one in drawn)
    if smallest < LEAST_IN_TEST:
        raise MesomerError(
            f"A test part of the {split} splits has {smallest} molecules, too few to judge by.",
            "Use --splits random, whose folds are of one size, or more molecules.",
        )
    notes = _scaffold_notes(study, split, drawn, folds)
    problem = next((text for one in drawn if (text := missing_class(study, one, one.train, one.test))), None)
    if problem is not None:
        raise MesomerError(f"With the {split} splits {problem}.", _largest(study, split, repeats, folds))
    notes += _single_notes(split) + _size_notes(split, drawn) + _small_notes(split, drawn)
    return notes + _absent_notes(study, split, drawn) + _unjudged_notes(study, split, drawn)


def require_apart(study: StudyData, split: str, one: Split) -> None:
    """Stops where a test molecule is trained on."""
    learnt = {study.keys[at] for part in (one.train, one.valid) for at in part}
    both = [study.data.rows[at] for at in one.test if study.keys[at] in learnt]
    if both:
        raise MesomerError(
            f"In the {split} splits, repeat {one.repeat}, fold {one.fold}, {len(both)} test molecules are in the "
            f"training part as well (rows {', '.join(map(str, both[:5]))}{', …' if len(both) > 5 else ''}).",
            "Their scores would be those of memory: draw the splits anew in another --output.",
        )


def missing_class(study: StudyData, one: Split, *parts: NDArray[np.integer]) -> str | None:
    """What to say of a fold in which no target can be learnt, or none can be judged."""
    for name, rows in zip(("training", "test"), parts, strict=True):
        texts = []
        for at, target in enumerate(study.data.targets):
            labels = study.data.y[rows, at]
            present = np.unique(labels[~np.isnan(labels)])
            lone = target.type == "binary" or (target.type == "multiclass" and name == "training")
            if len(present) == 0:
                texts.append(f"has no label of {target.name}")
            elif len(present) == 1 and lone:
                texts.append(f"has only the class {target.classes[int(present[0])]!r} of {target.name}")
        if len(texts) == len(study.data.targets):
            return f"the {name} part of repeat {one.repeat}, fold {one.fold} {texts[0]}"
    return None


def _largest(study: StudyData, split: str, repeats: int, folds: int) -> str:
    """The largest design without the problem, as a hint."""
    tried = [(split, fewer) for fewer in range(folds - 1, 1, -1)] if find_rule(rule_of(split)).folded else []
    tried = [*([("stratified", folds)] if split != "stratified" else []), *tried]
    works = []
    for kind, count in tried:
        drawn = draw(study, kind, repeats, count)
        if all(missing_class(study, one, one.train, one.test) is None for one in drawn):
            works.append((kind, count))
    if not works:
        return "No number of folds works: more molecules of the rare class are needed."
    ways = " or ".join(f"--splits {kind} --folds {count}" for kind, count in works[:2])
    return f"The largest design that works is {ways}."


def require_scaffolds(study: StudyData, splits: Sequence[str]) -> None:
    """Stops at one scaffold in half of the molecules, before scaffold splits are drawn that cannot differ."""
    if "scaffold_cv" not in map(rule_of, splits):
        return
    shown, most = _largest_scaffold(study)[1:]
    if 2 * most > len(study.keys):
        raise MesomerError(
            f"{most:,} of {len(study.keys):,} molecules have {shown}: scaffold splits would hardly differ from one "
            "another.",
            "Use --splits random.",
        )


def _largest_scaffold(study: StudyData) -> tuple[str, str, int]:
    """The most frequent scaffold, what to call it, and how many molecules have it."""
    name, most = Counter(study.molecules.scaffolds(False)).most_common(1)[0]
    return name, f"the scaffold {name}" if name else "no ring at all", most


def _scaffold_notes(study: StudyData, split: str, drawn: Sequence[Split], folds: int) -> list[Check]:
    """A note on a scaffold that fills half a fold."""
    if rule_of(split) != "scaffold_cv":
        return []
    name, shown, most = _largest_scaffold(study)
    count = len(study.keys)
    if 2 * most * folds <= count:
        return []
    rows = tuple(study.data.rows[at] for at, text in enumerate(study.molecules.scaffolds(False)) if text == name)
    sizes = sorted(len(one.test) for one in drawn)
    return [
        Check(
            "dominating scaffold", "caution",
            f"{most:,} of {count:,} molecules have {shown} and lie in one scaffold fold together (fold sizes "
            f"{sizes[0]} to {sizes[-1]}): its score weighs as much as that of any other fold.",
            rows[:SHOWN], tuple(_smiles(study, rows[:4])),
        )
    ]  # fmt: skip


def _single_notes(split: str) -> list[Check]:
    """Rules without randomness give one division, whatever number of repeats is asked for."""
    if find_rule(rule_of(split)).seeded:
        return []
    return [
        Check(
            "one division", "caution",
            f"The {split} splits are one and the same division: repeats change the training alone, and no interval "
            "over them says anything of other test molecules.",
        )
    ]  # fmt: skip


def _size_notes(split: str, drawn: Sequence[Split]) -> list[Check]:
    sizes = sorted(len(one.test) for one in drawn)
    if sizes[-1] <= 1.5 * sizes[0]:
        return []
    return [
        Check("uneven folds", "info", f"Test parts of the {split} splits have {sizes[0]} to {sizes[-1]} molecules.")
    ]


def _small_notes(split: str, drawn: Sequence[Split]) -> list[Check]:
    """Parts so small that a score over them is itself a matter of luck."""
    test, valid = (min(len(one.parts[part]) for one in drawn) for part in ("test", "valid"))
    if test >= FEW_TO_JUDGE and valid >= FEW_TO_CHOOSE:
        return []
    return [
        Check(
            "small parts", "caution",
            f"The smallest test part of the {split} splits has {test} molecules, the smallest validation part, which "
            f"chooses setting and epoch, {valid}: a score over so few is itself known roughly only.",
        )
    ]  # fmt: skip


def _unjudged_notes(study: StudyData, split: str, drawn: Sequence[Split]) -> list[Check]:
    """Validation parts in which the metric is not defined for any target."""
    labels = Labels(study.data.targets, study.data.y)
    poor = sum(not can_judge(labels, one.valid) for one in drawn)
    if not poor:
        return []
    return [
        Check(
            "validation without a score", "caution",
            f"In {poor} of {len(drawn)} {split} folds the validation part has one class only: there no setting is "
            "searched, and the loss chooses the epoch, for all arms alike. Consider --splits stratified.",
        )
    ]  # fmt: skip


def _absent_notes(study: StudyData, split: str, drawn: Sequence[Split]) -> list[Check]:
    """Targets of several that cannot be judged in some fold."""
    poor: Counter[str] = Counter()
    for one in drawn:
        for at, target in enumerate(study.data.targets):
            labels = study.data.y[one.test, at]
            if len(np.unique(labels[~np.isnan(labels)])) < (2 if target.type == "binary" else 1):
                poor[target.name] += 1
    if not poor:
        return []
    named = ", ".join(f"{name} ({count})" for name, count in poor.most_common(5)) + (", …" if len(poor) > 5 else "")
    return [
        Check(
            "undefined scores", "caution",
            f"In some of the {len(drawn)} {split} folds these targets have one class only and are left out of the mean "
            f"(in how many): {named}.",
        )
    ]  # fmt: skip


def data_checks(study: StudyData) -> list[Check]:
    """Notes on the table: rejected rows, duplicates, conflicts, rare classes."""
    labelled, data = study.labelled, study.data
    notes = [Check("labels", "caution", text) for text in labelled.warnings]
    if labelled.rejects.total:
        bad = labelled.rejects.items[:SHOWN]
        sentence = f"{labelled.rejects.total:,} rows are not used: {labelled.rejects.summary()}."
        notes.append(Check("rejected rows", "info", sentence, tuple(item.row for item in bad)))
    repeated = [(rows[0], at) for at, rows in enumerate(labelled.all_rows) if len(rows) > 1]
    if repeated:
        sentence = f"{labelled.merged:,} repeated rows were merged into {len(repeated):,} molecules."
        rows = tuple(row for row, _ in repeated[:SHOWN])
        notes.append(Check("duplicates", "info", sentence, rows, tuple(_smiles(study, rows[:4]))))
    groups = Counter(skeleton(key) for key in study.keys)
    alike = tuple(data.rows[at] for at, key in enumerate(study.keys) if groups[skeleton(key)] > 1)
    if alike:
        sentence = (
            f"{len(alike):,} molecules differ from another one only in stereo, isotopes or the place of a proton; "
            "splits into folds keep them together, published rules need not."
        )
        notes.append(Check("same skeleton", "info", sentence, alike[:SHOWN], tuple(_smiles(study, alike[:4]))))
    return notes + _rare_classes(study)


def _rare_classes(study: StudyData) -> list[Check]:
    notes = []
    for at, target in enumerate(study.data.targets):
        labels = study.data.y[:, at]
        labels = labels[~np.isnan(labels)]
        if target.type == "regression" or not len(labels):
            continue
        counts = {name: int((labels == number).sum()) for number, name in enumerate(target.classes)}
        name = min(counts, key=counts.__getitem__)
        if counts[name] < RARE * len(labels):
            notes.append(
                Check(
                    "rare class", "caution",
                    f"{target.name}: only {counts[name]:,} of {len(labels):,} molecules are {name!r}; read the average "
                    "precision beside the ROC-AUC, and consider --splits stratified.",
                )
            )  # fmt: skip
    return notes


def _smiles(study: StudyData, rows: Sequence[int]) -> list[str]:
    place = {row: at for at, row in enumerate(study.data.rows)}
    return [study.data.smiles[place[row]] for row in rows]
