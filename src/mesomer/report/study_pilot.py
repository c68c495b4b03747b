"""What the pilot promised before a study, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesomer.report.page import duration
from mesomer.report.study_folder import Study, tidy
from mesomer.report.study_tables import Table, with_unit
from mesomer.report.study_text import promised, ranged, speech
from mesomer.report.study_verdicts import SplitVerdict


def pilot_lines(study: Study, found: Sequence[SplitVerdict]) -> list[str]:
    """What the pilot said, and for each kind of split what came of it."""
    if study.pilot is None:
        return ["No pilot was recorded: what the design could detect is known from the study itself only."]
    said = [tidy(study.pilot["sentence"])] if study.pilot.get("sentence") else []
    return [*said, *filter(None, (kept_sentence(study, split) for split in found))]


def kept_sentence(study: Study, split: SplitVerdict) -> str:
    """The promised resolution beside the one that the study's own paired differences give; empty without either."""
    expected, primary, speak = promised(study, split.split), split.primary, speech(study)
    if expected is None or primary is None or primary.low != primary.low:
        return ""
    low, high = expected
    found = primary.detectable
    words = "coarser than promised" if found > high else "finer than promised" if found < low else "as promised"
    so_far = f" so far ({split.table.missing} folds are missing)" if split.table.missing else ""
    return (
        f"On {tidy(split.split)} splits the pilot promised a smallest detectable difference of "
        f"{ranged(speak, low, high)}; by its own paired differences the study has {speak.size(found)}{so_far}, {words}."
    )


def pilot_table(study: Study) -> Table | None:
    """What the pilot said of possible designs before the study."""
    pilot = study.pilot or {}
    designs: Sequence[dict[str, Any]] = pilot.get("mde_by_design") or []
    if not designs:
        return None
    speak = speech(study)
    with_range, with_equality = "mde_low" in designs[0], "can_show_equality" in designs[0]
    rows = [
        [
            f"{row['repeats']} x {row['folds']} folds" if row["folds"] > 1 else f"{row['repeats']} drawn divisions",
            *([f"{speak.size(row['mde_low'])} to {speak.size(row['mde_high'])}"] if with_range else []),
            speak.score(float(row["mde"])),
            f"{int(row['cells']):,}",
            duration(60 * float(row["minutes"])),
            *([_yes_or_no(row["can_show_equality"])] if with_equality else []),
        ]
        for row in designs
    ]
    which = f" of the {tidy(pilot['split'])} splits" if pilot.get("split") else ""
    caption = f"What was expected before the study, from a cheap pilot on the same folds{which}."
    smallest = with_unit("Smallest detectable difference", speak.unit)
    head = ["Design", *([smallest, "Best guess"] if with_range else [smallest]), "Trainings", "Time"]
    if with_equality:
        head.append("Can show “no practical difference”")
    return Table(caption, head, rows)


def _yes_or_no(said: Any) -> str:
    """Pilots of an older version say true or false."""
    return tidy(said) if isinstance(said, str) else "yes" if said else "no"
