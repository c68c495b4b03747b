"""Writing what several studies say together: `sets.html`, `sets.csv`, `sets.json`, and `contrasts.csv`.

The last one is there where several models were studied on the same folds: the points of a grid.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesomer.files import atomic_write
from mesomer.report.study_sets import BASELINE, TWIN, Joined, Published, SetResult, collect, join
from mesomer.report.study_sets_page import TABLE, sentences, sets_page
from mesomer.report.study_sets_points import compare_models, join_points
from mesomer.report.study_sets_points_page import CONTRASTS, contrast_rows, model_sentences

PAGE, RECORD = "sets.html", "sets.json"


@dataclass(frozen=True)
class SetsReport:
    """What was written, and what it says."""

    path: Path
    sentences: list[str]
    joined: list[Joined]
    results: list[SetResult]


def write_comparison(
    folders: Iterable[str | Path], output: str | Path, published: Sequence[Published] = ()
) -> SetsReport:
    """Joins study folders: writes `sets.html`, `sets.csv`, `sets.json` and `contrasts.csv` into the folder `output`.

    `published` scores stand in a table of their own beside ours. Raises `MesomerError` for broken folders, for a set
    that is given twice, and where no study has results.
    """
    output = Path(output)
    results = collect(folders)
    joined = join(results)
    compared = compare_models(results)
    said = [*model_sentences(compared), *sentences(joined)]
    _write_table(output / TABLE, _rows(results))
    if compared:
        _write_table(output / CONTRASTS, contrast_rows(compared))
    else:
        (output / CONTRASTS).unlink(missing_ok=True)
    with atomic_write(output / RECORD) as temporary:
        text = json.dumps([_record(one) for one in joined], indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_write(output / PAGE) as temporary:
        page = sets_page(results, joined, published, compared, join_points(compared))
        temporary.write_text(page, encoding="utf-8")
    return SetsReport(output / PAGE, said, joined, results)


def _write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """A table with an empty cell for every number that there is not."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        told = (["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
        csv.writer(handle).writerows(told)


def _rows(results: Sequence[SetResult]) -> list[list[Any]]:
    """sets.csv: one row for each set, kind of split and question, in the unit of the metric."""
    rows: list[list[Any]] = [
        ["set", "model", "split", "metric", "molecules", "folds", "question", "first", "second", "mean_first",
         "mean_second", "gain", "low", "high", "error", "zone", "verdict", "divided_by", "overlap", "folder"]
    ]  # fmt: skip
    for result in results:
        means = {arm.arm.name: arm.mean for arm in result.split.arms}
        for question in (TWIN, BASELINE):
            found = result.contrast(question)
            if found is not None:
                rows.append([
                    result.set, result.model, result.split.split, result.study.metric,
                    result.study.facts["data"]["molecules"], found.folds, question, found.first, found.second,
                    means[found.first], means[found.second], found.gain, found.low, found.high, found.error, found.zone,
                    found.verdict, result.scale, result.split.overlap, result.study.folder,
                ])  # fmt: skip
    return rows


def _record(joined: Joined) -> dict[str, Any]:
    found = joined.found
    return {
        "model": joined.model,
        "split": joined.split,
        "metric": joined.metric,
        "question": joined.question,
        "sets": [member.set for member in joined.members],
        "not_joined": joined.left_out,
        "zone": joined.zone if joined.members else None,
        "verdict": None if joined.verdict is None else str(joined.verdict),
        "meta_analysis": None if found is None else found._asdict(),
        "p_wilcoxon": joined.p_wilcoxon,
    }
