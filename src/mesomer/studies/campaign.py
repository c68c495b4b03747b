"""Several studies one after the other, and one page on them: what presets and grids are made of.

Decided: each study is a run folder of its own and goes on by itself; a study that the data refuse, or whose time is up,
does not stop the others, and is named at the end. The page joins what is finished; published scores stand beside it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.progress import say
from mesomer.run import TimeUp

PUBLISHED = Path(__file__).resolve().parent / "published"
PUBLISHED_NAME = "published.txt"
"""In the folder of a campaign: the name of the scores that its page shows beside its own."""


class Planned(NamedTuple):
    """One study to run: its place below the campaign's folder, and how."""

    name: str
    run: Callable[[Path], dict[str, Any]]


def run_all(
    studies: Sequence[Planned],
    folder: str | os.PathLike[str],
    published: str | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs all studies and writes the page on them; raises `TimeUp` if some ran out of time.

    `left_out` are studies that were refused before, each with the reason.
    """
    place, done, waiting, refused = Path(folder), [], [], dict(left_out or {})
    for number, study in enumerate(studies, 1):
        say(f"Study {number} of {len(studies)}: {study.name}")
        try:
            study.run(place / study.name)
        except TimeUp as error:
            say(str(error))
            waiting.append(study.name)
        except MesomerError as error:
            say(f"{study.name} is left out: {error}")
            refused[study.name] = str(error)
            continue
        done.append(place / study.name)
    if not done:
        count = len(studies) + len(left_out or {})
        raise MesomerError(
            f"None of the {count} studies could be run; the first: {next(iter(refused.values()))}",
            "Mend what it says.",
        )
    found = page_of(done, place, published)
    if waiting:
        others = "".join(f" {name} is left out: {why}" for name, why in refused.items())
        raise TimeUp(
            f"The time was up for {', '.join(waiting)}; the page in {place} is about what is finished.{others}"
        )
    return found | {"refused": refused, "state": "done"}


def page_of(folders: Sequence[Path], output: Path, published: str | None = None) -> dict[str, Any]:
    """The page on finished studies."""
    from mesomer.report.study_comparison import write_comparison

    rows = [] if published is None else read_published(published)
    made = write_comparison(folders, output, rows)
    if published is not None:
        with atomic_write(output / PUBLISHED_NAME) as temporary:
            temporary.write_text(published + "\n", encoding="utf-8")
    return {"sentences": made.sentences, "report": str(made.path), "output": str(output), "studies": len(folders)}


def published_of(folder: Path) -> str | None:
    """The published scores beside which the page of a folder was made."""
    kept = folder / PUBLISHED_NAME
    return kept.read_text(encoding="utf-8").strip() if kept.is_file() else None


def study_folders(folder: Path) -> list[Path]:
    """The study folders below a folder, in the order of their names; parts of a study are none."""
    found = sorted(path.parent for path in folder.rglob("study.json"))
    return [path for path in found if not any(part.startswith("part-") for part in path.relative_to(folder).parts)]


def read_published(name: str) -> list[Any]:
    """Published scores that come with the package."""
    from mesomer.report.study_sets import Published

    with open(PUBLISHED / f"{name}.csv", encoding="utf-8", newline="") as handle:
        return [
            Published(
                row["set"], row["method"], row["split"], row["metric"], float(row["value"]),
                float(row["deviation"]) if row["deviation"] else None, row["source"],
            )
            for row in csv.DictReader(handle)
        ]  # fmt: skip
