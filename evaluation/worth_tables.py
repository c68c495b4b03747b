"""What the cells say: `results.csv`, and the tables that go between the markers of pages.

A network's result at a seed is that of the setting with the best validation score at seed 0. Differences are paired
over seeds, oriented so that positive favours the first arm, with the corrected interval for five overlapping 80/10/10
splits (test by training size 1/8). A difference over an incomplete set of seeds is shown as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worth_cells import cell_path, read_cell_file
from worth_design import (
    ARMS,
    BATCH,
    LEAST_EPOCHS,
    MOST_EPOCHS,
    PATIENCE,
    REFERENCES,
    SETTINGS,
    SPLIT,
    STEPS,
    TEST_TO_TRAIN,
    Cell,
    Facts,
    searching,
)  # fmt: skip

from mesomer.comparison import Difference, compare
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.metrics import METRICS, mean_and_sd
from mesomer.training.finetune_results import write_csv

COLUMNS = (
    "set", "arm", "seed", "setting", "chosen", "metric", "valid", "test", "epochs", "best_epoch", "stopped",
    "parameters", "train_molecules", "valid_molecules", "test_molecules", "seconds",
)  # fmt: skip
PRETRAINED = ("pretrained", "pretrained+descriptors")
BETTER = {name: metric.better for metrics in METRICS.values() for name, metric in metrics.items()}


@dataclass
class Results:
    """The finished cells of one design."""

    sets: Sequence[str]
    arms: Sequence[str]
    seeds: Sequence[int]
    cells: dict[Cell, dict[str, Any]]
    wanted: int
    """Cells of the whole design."""

    def setting(self, name: str, arm: str) -> str | None:
        """The setting that an arm keeps: the best validation score of seed 0; None before all have been tried."""
        if ARMS[arm].kind != "network":
            return ""
        search = searching(arm, self.arms)
        tried = [(setting, self.cells.get(Cell(name, search, 0, setting))) for setting in SETTINGS]
        scores = {}
        for setting, cell in tried:
            if cell is None:
                return None
            if cell["valid"] is not None:
                scores[setting] = -cell["valid"] if BETTER[cell["metric"]] == "min" else cell["valid"]
        if not scores:
            raise MesomerError(
                f"No setting of {search} on {name} has a validation score.", "Look at its learning curves."
            )
        return max(scores, key=scores.__getitem__)

    def scores(self, name: str, arm: str) -> dict[int, float]:
        """Test scores by seed, of what is finished."""
        setting = self.setting(name, arm)
        if setting is None:
            return {}
        found = {seed: self.cells.get(Cell(name, arm, seed, setting)) for seed in self.seeds}
        return {seed: cell["test"] for seed, cell in found.items() if cell is not None and cell["test"] is not None}

    def metric(self, name: str) -> str | None:
        """The metric of a set; None while it has no cell."""
        return next((cell["metric"] for key, cell in self.cells.items() if key.set == name), None)

    def difference(self, name: str, first: str, second: str) -> Difference | None:
        """Two arms on one set, over the seeds that both have."""
        one, other, metric = self.scores(name, first), self.scores(name, second), self.metric(name)
        seeds = sorted(set(one) & set(other))
        if not seeds or metric is None:
            return None
        return compare([one[s] for s in seeds], [other[s] for s in seeds], TEST_TO_TRAIN, BETTER[metric])


def collect(folder: Path, cells: Iterable[Cell], facts: Facts) -> dict[Cell, dict[str, Any]]:
    """Those of the cells that are finished."""
    read = ((cell, read_cell_file(cell_path(folder, cell, facts))) for cell in cells)
    return {cell: found for cell, found in read if found is not None}


def write_results(path: Path, results: Results) -> None:
    """`results.csv`: a row for each finished cell."""
    rows = []
    for cell, found in sorted(results.cells.items()):
        sizes = {f"{part}_molecules": count for part, count in found["sizes"].items()}
        chosen = int(cell.setting == results.setting(cell.set, cell.arm))
        rows.append({name: (found | sizes | {"chosen": chosen}).get(name) for name in COLUMNS})
    write_csv(path, COLUMNS, rows)


def whole_text(results: Results, facts: Facts, about: Mapping[str, Any]) -> str:
    """All tables with what made them."""
    parts = [provenance(results, facts, about), "### Scores", _scores_table(results)]
    for arm in results.arms:
        if arm in PRETRAINED:
            parts += [
                f"### {ARMS[arm].label[0].upper()}{ARMS[arm].label[1:]}, against",
                differences_table(results, arm),
            ]
            parts.append(counts_text(results, arm))
    parts += ["### Settings that validation chose", _settings_table(results)]
    return "\n\n".join(parts)


def short_text(results: Results, facts: Facts, about: Mapping[str, Any]) -> str:
    """The differences and counts of the pre-trained network alone."""
    arms = [arm for arm in PRETRAINED if arm in results.arms]
    parts = []
    for arm in arms:
        parts += [f"**{ARMS[arm].label[0].upper()}{ARMS[arm].label[1:]}**, against", differences_table(results, arm)]
        parts.append(counts_text(results, arm))
    return "\n\n".join([*parts, provenance(results, facts, about)])


def provenance(results: Results, facts: Facts, about: Mapping[str, Any]) -> str:
    """What made the figures."""
    hours = sum(cell["seconds"] for cell in results.cells.values()) / 3600
    done = len(results.cells)
    state = "" if done >= results.wanted else f" **Incomplete: {done} of {results.wanted} cells are finished.**"
    seeds = f"{results.seeds[0]} to {results.seeds[-1]}" if len(results.seeds) > 1 else str(results.seeds[0])
    return (
        f"Command: `{about['command']}`. Model {about['model']} (weights {facts.weights_sha256[:12]}), `{SPLIT}` "
        f"splits, seeds {seeds}; {hours:.1f} core-hours on {about['machine']}; Mesomer {about['version']}.{state}\n\n"
        "ROC-AUC (mean over targets, higher is better) for classes, RMSE (lower is better) for numbers. Differences "
        "are gains: positive where the pre-trained network is better, whatever the metric; in brackets the 95 % "
        "interval, corrected for overlapping training parts (bold where it leaves out zero). Networks: batches of "
        f"{BATCH} in {'bfloat16' if facts.precision == 'bf16' else 'float32'}, {LEAST_EPOCHS} to {MOST_EPOCHS} epochs "
        f"(about {STEPS} steps), stopped after {PATIENCE} epochs "
        "without gain in the validation score, one of four settings chosen on the validation part of seed 0."
    )


def _scores_table(results: Results) -> str:
    head = ["set", "metric", *(ARMS[arm].label for arm in results.arms)]
    rows = []
    for name in results.sets:
        row = [f"`{name}`", results.metric(name) or ""]
        for arm in results.arms:
            values = list(results.scores(name, arm).values())
            mean, deviation = mean_and_sd(values)
            text = "" if not values else f"{mean:.3f}" if len(values) < 2 else f"{mean:.3f} ± {deviation:.3f}"
            row.append(text + (f" ({len(values)})" if 0 < len(values) < len(results.seeds) else ""))
        rows.append(row)
    return _markdown(head, rows) + (
        "\n\nMean and sample standard deviation over seeds (in brackets: how many, where some are missing)."
    )


def differences_table(results: Results, arm: str) -> str:
    """Mean paired gains of an arm over each reference."""
    references = _references(results, arm)
    rows = []
    for name in results.sets:
        row = [f"`{name}`", results.metric(name) or ""]
        for reference in references:
            found = results.difference(name, arm, reference)
            row.append("" if found is None else difference_text(found, len(results.seeds)))
        rows.append(row)
    return _markdown(["set", "metric", *(ARMS[name].label for name in references)], rows)


def difference_text(found: Difference, seeds: int) -> str:
    """`+0.020 [0.005, 0.035]`; bold where the interval leaves out zero."""
    if found.low is None or found.high is None:
        return f"{found.mean:+.3f} (1 seed)"
    text = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    text = f"**{text}**" if found.low > 0 or found.high < 0 else text
    return text if found.splits == seeds else f"{text} ({found.splits} seeds)"


def counts_text(results: Results, arm: str) -> str:
    """On how many sets the arm is ahead of each reference, by mean and by interval."""
    lines = []
    for reference in _references(results, arm):
        found = {name: results.difference(name, arm, reference) for name in results.sets}
        known = {name: gain for name, gain in found.items() if gain is not None}
        if not known:
            continue
        numbers = [name for name in known if results.metric(name) == "rmse"]
        ahead = [name for name, gain in known.items() if gain.mean > 0]
        surely = sum(gain.low is not None and gain.low > 0 for gain in known.values())
        behind = sum(gain.high is not None and gain.high < 0 for gain in known.values())
        lines.append(
            f"- ahead of *{ARMS[reference].label}* on {len(ahead)} of {len(known)} sets by mean difference "
            f"({len(set(ahead) & set(numbers))} of {len(numbers)} regressions); the whole interval is above zero on "
            f"{surely}, below zero on {behind}."
        )
    return "\n".join(lines)


def _references(results: Results, arm: str) -> list[str]:
    own = ["random+descriptors"] if arm == "pretrained+descriptors" else []
    return [name for name in (*own, *REFERENCES) if name in results.arms]


def _settings_table(results: Results) -> str:
    networks = [arm for arm in results.arms if ARMS[arm].kind == "network"]
    rows = [[f"`{name}`", *(results.setting(name, arm) or "" for arm in networks)] for name in results.sets]
    told = "; ".join(
        f"`{name}`: " + ", ".join(f"{option} {value}" for option, value in options.items())
        for name, options in SETTINGS.items()
    )
    return _markdown(["set", *(ARMS[arm].label for arm in networks)], rows) + f"\n\n{told}."


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def fill_page(path: Path, texts: Mapping[str, str]) -> bool:
    """Replaces what lies between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; False if the page has no marker."""
    page = path.read_text(encoding="utf-8")
    filled = page
    found = False
    for name, text in texts.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)}: begin -->\n).*?(<!-- {re.escape(name)}: end -->)", re.DOTALL)
        found = found or bool(pattern.search(filled))
        filled = pattern.sub(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", filled)
    if filled != page:
        with atomic_write(path) as temporary:
            temporary.write_text(filled, encoding="utf-8")
    return found
