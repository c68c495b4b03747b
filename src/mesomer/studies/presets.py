"""Named collections of public sets for one model: `mesomer study --preset NAME`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesomer.errors import unknown_name
from mesomer.studies.campaign import Planned, run_all


@dataclass(frozen=True)
class Preset:
    """Public sets, and the published scores that stand beside ours."""

    sets: tuple[str, ...]
    larger: tuple[str, ...]
    """Sets that belong to it, too, and are run when they are named."""
    published: str | None


PRESETS = {
    "moleculenet": Preset(
        ("freesolv", "esol", "sider", "clintox", "bace", "bbbp", "lipo", "tox21"),
        ("toxcast", "muv", "hiv", "qm7", "qm8"), "moleculenet",
    ),
}  # fmt: skip


def sets_of(name: str, sets: Sequence[str]) -> list[str]:
    """The sets of a preset that are named, or its usual ones, smallest first."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    preset = PRESETS[name]
    for one in sets:
        if one not in (*preset.sets, *preset.larger):
            raise unknown_name(f"set in the preset {name}", one, (*preset.sets, *preset.larger))
    return [one for one in (*preset.sets, *preset.larger) if (one in sets if sets else one in preset.sets)]


def run_preset(
    name: str, sets: Sequence[str], output: str, study: Callable[[str, Path], dict[str, Any]]
) -> dict[str, Any]:
    """Runs a study on every set (those named, or the usual ones), smallest first, and writes the page on them."""
    chosen = sets_of(name, sets)

    def planned(one: str) -> Planned:
        return Planned(one, lambda folder: study(one, folder))

    return run_all([planned(one) for one in chosen], output, PRESETS[name].published)
