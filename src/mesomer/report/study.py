"""The report of a study: `verdicts.json`, and one page twice: `report.html` and, without its pictures, `report.md`.

Nothing is trained or guessed here; both pages are written from the same values. They open with one sentence, then what
the study could not see, tables and figures for each kind of split, the learning curve, the overlap with the
pre-training corpus, the data, the costs, a methods paragraph, and where every number lies. Interrupted studies are
reported as far as they got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mesomer.chem.parse import parse_smiles
from mesomer.files import atomic_write, writing_inside
from mesomer.report import study_figures as fig
from mesomer.report import study_tables as tables
from mesomer.report.figures import draw_molecule
from mesomer.report.page import MINUS, counted, duration, render
from mesomer.report.study_folder import Study, read_predictions, read_study, tidy
from mesomer.report.study_markdown import markdown_page
from mesomer.report.study_method import files_here, method_paragraph
from mesomer.report.study_molecules import lacks_molecules
from mesomer.report.study_pilot import pilot_lines, pilot_table
from mesomer.report.study_record import as_json, verdicts_record
from mesomer.report.study_text import (
    cautions,
    detectable_sentence,
    headline,
    headline_split,
    needed_sentence,
    other_splits,
    speech,
    target_words,
)
from mesomer.report.study_verdicts import SplitVerdict, analyse, headline_arms

REPORT, TEXT, VERDICTS = "report.html", "report.md", "verdicts.json"
MOST_TARGETS = 20
"""Targets described in the facts of the data."""
DRAWN = 12
"""Molecules drawn for each data check."""
_SEVERITIES = {"refused": "Refused", "caution": "Caution", "info": "For your information"}


@dataclass(frozen=True)
class StudyReport:
    """What was written, and what it says."""

    path: Path
    """The page."""
    verdicts_path: Path
    sentence: str
    verdicts: dict[str, Any]
    """The contents of verdicts.json."""
    lines: list[str]
    """The short summary for the console."""


def write_study_report(folder: str | Path) -> StudyReport:
    """Writes `verdicts.json`, `report.html` and `report.md` of a study from its folder, and returns what they say.

    Raises `MesomerError` where the folder is not a study's, or where a file in it is broken.
    """
    study = read_study(folder)
    found = analyse(study)
    record = verdicts_record(study, found)
    values = page_values(study, found)
    report, verdicts = study.folder / REPORT, study.folder / VERDICTS
    texts = {
        verdicts: as_json(record),
        report: render("study.html", values),
        study.folder / TEXT: markdown_page(values),
    }
    with writing_inside(study.folder):
        for path, text in texts.items():
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    return StudyReport(report, verdicts, record["sentence"], record, summary_lines(study, found))


def summary_lines(study: Study, found: Sequence[SplitVerdict]) -> list[str]:
    """The study for the console: the sentence, what could be seen, a small table for each kind of split, the files."""
    speak, chosen = speech(study), headline_split(found)
    lines = [headline(study, found), *other_splits(study, found)]
    if chosen is not None:
        lines += filter(None, [detectable_sentence(study, chosen), needed_sentence(study, chosen)])
    width = max((len(label) for label in speak.labels.values()), default=0)
    for split in found:
        lines += ["", f"{speak.scored()}, {split.split} splits, mean of {counted(len(split.table.folds), 'fold')}"]
        gains = {row.first: row for row in split.against_twin}
        for arm in tables.best_first(split, speak.better):
            gain = gains.get(arm.arm.name)
            ends = "" if gain is None else f"  {speak.ends(gain.wide_low, gain.wide_high)}"
            words = "" if gain is None else f"  {speak.signed(gain.gain)} over the twin{ends}"
            time = duration(arm.seconds) if arm.cells else "not run"
            lines.append(f"  {arm.arm.label:<{width}}  {speak.score(arm.mean):>8}  {time:>9}{words}")
    said = cautions(study, found)
    if said:
        lines += ["", "Note:", *(f"  {line}" for line in said)]
    return [*lines, "", f"Report: {(study.folder / REPORT).resolve()}"]


def page_values(study: Study, found: Sequence[SplitVerdict]) -> dict[str, Any]:
    """What the pages say, as text, tables and figures."""
    chosen = headline_split(found)
    below = other_splits(study, found)
    if chosen is not None:
        below += filter(None, [detectable_sentence(study, chosen), needed_sentence(study, chosen)])
    predictions = read_predictions(study.folder, headline_arms(study))
    order = [*([chosen] if chosen else []), *(split for split in found if split is not chosen)]
    curves = [
        {
            "title": f"{_capital(split.split)} splits",
            "table": tables.curve_table(study, split),
            "figures": fig.curve_figures(study, split),
        }
        for split in order
        if split.curve
    ]
    similar = {split.split: fig.similarity_figure(study, split, predictions) for split in order}
    model, data = (_short(study.facts[key][name]) for key, name in (("model", "name"), ("data", "file")))
    return {
        "title": f"Does pre-training help? {model} on {data}",
        "sentence": headline(study, found),
        "below": below,
        "cautions": cautions(study, found),
        "splits": [_split_values(study, split, similar[split.split]) for split in order],
        "curves": curves,
        "no_curve": "Only the full training part was tried, so this study does not say what fewer labels would change.",
        "overlap_lines": _overlap_lines(study, order),
        "overlap_tables": [tables.novel_table(study, split) for split in order],
        "data": _data_facts(study),
        "overlap_checks": [_check(entry) for entry in study.checks or [] if _is_overlap(entry)],
        "checks": None
        if study.checks is None
        else [_check(entry) for entry in _by_severity(study.checks) if not _is_overlap(entry)],
        "no_checks": "No data checks were recorded in this folder.",
        "nothing_found": "The checks found nothing.",
        "costs": _costs(study),
        "cost_figures": [figure for split in order if (figure := fig.cost_figure(study, split))],
        "pilot_lines": pilot_lines(study, order),
        "pilot": pilot_table(study),
        "method": method_paragraph(study, found),
        "files": files_here(study),
        "next": [f"mesomer study report {study.folder}    # makes this page again, without training"],
    }


def _split_values(study: Study, split: SplitVerdict, similar: Any) -> dict[str, Any]:
    speak = speech(study)
    notes = []
    if split.molecules is not None:
        low, high = split.molecules
        notes.append(
            f"If only the test molecules were others, and the trained models these, the gain over the twin would lie "
            f"between {speak.signed(low)} and {speak.signed(high)} (95 % interval, drawn from the molecules; scores of "
            "the pooled predictions of each repeat). It misses the luck in the training part, so it does not replace "
            "the interval above."
        )
    elif lacks_molecules(study, split.split) and split.primary is not None:
        notes.append("The interval over test molecules alone was not made: it needs molecules.csv, which is not here.")
    if split.primary is not None:
        size = split.primary.effect_size
        steady = "" if size is None else f"; d_z, the gain by its spread between folds, is {size:+.2f}"
        steady = steady.replace("-", MINUS)
        notes.append(
            f"The gains of the headline spread by {speak.size(split.primary.spread)} between folds{steady}; test by "
            f"training size is {split.ratio:.3f}."
        )
    return {
        "title": f"Results on {tidy(split.split)} splits",
        "arms": tables.arms_table(study, split),
        "twin": tables.twin_table(study, split),
        "references": tables.references_table(study, split),
        "own_twins": tables.own_twins_table(study, split),
        "targets": tables.targets_table(study, split),
        "others": tables.others_table(study, split),
        "zones": tables.zones_table(study, split),
        "figures": [*fig.split_figures(study, split), *([similar] if similar else [])],
        "notes": notes,
    }


def _overlap_lines(study: Study, found: Sequence[SplitVerdict]) -> list[str]:
    speak, lines = speech(study), []
    corpus = study.facts["model"].get("corpus")
    named = f" ({tidy(corpus)})" if corpus else ""
    for split in found:
        start = f"{_capital(split.split)} splits: "
        if split.overlap is None:
            lines.append(
                f"{start}it was not looked up which test molecules are in the pre-training corpus{named}, so a part of "
                "the gain, if there is one, may be memory."
            )
        elif split.overlap == 0:
            lines.append(f"{start}no test molecule is in the pre-training corpus{named}.")
        elif split.novel is None:
            lines.append(
                f"{start}{split.overlap:.0%} of the test molecules are in the pre-training corpus{named}; too few "
                "folds have others to compare on those."
            )
        else:
            lines.append(
                f"{start}{split.overlap:.0%} of the test molecules are in the pre-training corpus{named}. Without them "
                f"the verdict is “{split.novel.verdicts[1]}”: the {speak.metric} of the pre-trained network is "
                f"{speak.moved(split.novel)} than that of its twin."
            )
    return lines


def _data_facts(study: Study) -> list[tuple[str, str]]:
    data = study.facts["data"]
    rejected = data.get("rejected")
    count = len(rejected) if isinstance(rejected, list) else rejected
    facts = [
        ("File", tidy(data["file"])),
        ("SHA-256", tidy(data.get("sha256") or "not recorded")),
        ("Molecules", f"{int(data['molecules']):,}" + (f", {int(count):,} rejected" if count else "")),
        *(("Target", target_words(target)) for target in data["targets"][:MOST_TARGETS]),
    ]
    return facts


def _is_overlap(entry: Mapping[str, Any]) -> bool:
    return str(entry["check"]).startswith("overlap")


def _by_severity(checks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    order = list(_SEVERITIES)
    return sorted(checks, key=lambda c: order.index(c["severity"]) if c.get("severity") in order else len(order))


def _check(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One data check with the first of its molecules drawn."""
    smiles, rows = list(entry.get("smiles") or []), list(entry.get("rows") or [])
    severity = _SEVERITIES.get(str(entry.get("severity")), tidy(entry.get("severity", "")))
    molecules = []
    for at, text in enumerate(smiles[:DRAWN]):
        lines = [f"Row {rows[at]:,}" if at < len(rows) and isinstance(rows[at], int) else "", tidy(text)[:60]]
        drawable = parse_smiles(str(text))[0] is not None
        svg = draw_molecule(str(text)) if drawable else ""
        molecules.append({"svg": svg, "lines": [*filter(None, lines), *([] if drawable else ["cannot be drawn"])]})
    hidden = max(len(smiles), len(rows)) - len(molecules)
    return {
        "heading": f"{severity}: {tidy(entry['check']).replace('_', ' ')}",
        "sentence": tidy(entry["sentence"]),
        "molecules": molecules,
        "more": f"{hidden:,} more rows stand in checks.json." if hidden > 0 else "",
    }


def _costs(study: Study) -> list[tuple[str, str]]:
    seconds = sum(run.seconds for run in study.runs.values() if run.seconds == run.seconds)
    machine = study.facts.get("machine") or {}
    words = [
        f"{', '.join(map(tidy, value)) if isinstance(value, list) else tidy(value)}" + (f" {unit}" if unit else "")
        for key, unit in (("processor", ""), ("cores", "cores"), ("memory_gb", "GB"), ("gpus", ""), ("system", ""))
        if (value := machine.get(key))
    ]
    return [
        ("Trainings", f"{len(study.runs):,}, of which {sum(bool(run.failed) for run in study.runs.values()):,} failed"),
        ("Time of all trainings", duration(seconds)),
        ("Machine", ", ".join(words) or "not recorded"),
        ("Command", tidy(study.facts.get("command") or "not recorded")),
    ]


def _short(name: Any) -> str:
    """The last part of a path; the methods paragraph and the facts have all of it."""
    return PurePath(tidy(name)).name or tidy(name)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
