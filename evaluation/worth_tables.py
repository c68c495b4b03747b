"""The tables of the comparison, as Markdown between the markers of pages: nothing in them is written by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    Facts,
    epochs_for,
)  # fmt: skip
from worth_results import Results

from mesomer.comparison import Difference
from mesomer.files import atomic_write
from mesomer.metrics import mean_and_sd

NEAR = 0.01
"""A mean difference below this, in RMSE or ROC-AUC, is told as a near tie."""


def whole_text(results: Results, facts: Facts, about: Mapping[str, Any]) -> str:
    """All tables with what made them."""
    parts = [provenance(results, facts, about), "### Scores", _scores_table(results)]
    for arm in _compared(results):
        parts += [f"### {_capital(ARMS[arm].label)}, against", *_differences(results, arm)]
    parts.append(chance_text(results))
    if _networks(results):
        parts += ["### How the trainings ended", ended_table(results), twin_text(results)]
    if _learns_from_a_corpus(results):
        parts += ["### Molecules that the pre-training has seen", seen_text(results, about.get("corpus"))]
    if _networks(results):
        parts += ["### Settings that validation chose", _settings_table(results)]
    return "\n\n".join(part for part in parts if part)


def short_text(results: Results, facts: Facts, about: Mapping[str, Any]) -> str:
    """The differences and counts of the pre-trained network alone."""
    parts = []
    for arm in _compared(results):
        parts += [f"**{_capital(ARMS[arm].label)}**, against", *_differences(results, arm)]
    parts += [chance_text(results), provenance(results, facts, about)]
    return "\n\n".join(part for part in parts if part)


def provenance(results: Results, facts: Facts, about: Mapping[str, Any]) -> str:
    """What made the figures, and how they are to be read."""
    hours = sum(cell["seconds"] for cell in results.cells.values()) / 3600
    done = len(results.cells)
    state = "" if done >= results.wanted else f" **Incomplete: {done} of {results.wanted} cells are finished.**"
    seeds = f"{results.seeds[0]} to {results.seeds[-1]}" if len(results.seeds) > 1 else str(results.seeds[0])
    encoder = any(ARMS[cell.arm].kind != "baseline" for cell in results.cells)
    model = f"Model {about['model']} (weights {facts.weights_sha256[:12]}), " if encoder else ""
    parts = ["ROC-AUC (mean over targets, higher is better) for classes, RMSE (lower is better) for numbers."]
    if _compared(results):
        parts.append(
            "Differences are gains: positive where the pre-trained network is better, whatever the metric; in brackets "
            "the 95 % interval, corrected for overlapping training parts (bold where it leaves out zero)."
        )
    if _networks(results):
        parts.append(
            f"Networks: batches of {BATCH} in {'bfloat16' if facts.precision == 'bf16' else 'float32'}, "
            f"{LEAST_EPOCHS} to {MOST_EPOCHS} epochs (about {STEPS} steps), stopped after {PATIENCE} epochs without "
            "gain in the validation score, one of four settings chosen on the validation part of seed 0."
        )
    return (
        f"Command: `{about['command']}`. {model}`{SPLIT}` splits, seeds {seeds}; {hours:.1f} core-hours on "
        f"{about['machine']}; Mesomer {about['version']}.{state}\n\n{' '.join(parts)}"
    )


def _scores_table(results: Results) -> str:
    means = {
        name: [known.mean_scores[seed] for seed in results.seeds if seed in known.mean_scores]
        for name, known in results.background.items()
    }
    head = ["set", "metric", *(ARMS[arm].label for arm in results.arms)]
    rows = []
    for name in results.sets:
        row = [f"`{name}`", results.metric(name) or ""]
        row += [_score_text(list(results.scores(name, arm).values()), len(results.seeds)) for arm in results.arms]
        rows.append(row)
    told = "Mean and sample standard deviation over seeds (in brackets: how many, where some are missing)."
    if any(means.values()):
        head.append("mean of the training labels")
        rows = [[*row, _score_text(means.get(name, []), 0)] for row, name in zip(rows, results.sets, strict=True)]
        told += " The mean of the training labels needs no model; for classes it ranks nothing."
    return f"{_markdown(head, rows)}\n\n{told}"


def _score_text(values: Sequence[float], seeds: int) -> str:
    if not values:
        return ""
    mean, deviation = mean_and_sd(values)
    text = f"{mean:.3f}" if len(values) < 2 else f"{mean:.3f} ± {deviation:.3f}"
    return f"{text} ({len(values)})" if len(values) < seeds else text


def _differences(results: Results, arm: str) -> list[str]:
    """The table of one arm with its counts, and what it does not show."""
    parts = [differences_table(results, arm), counts_text(results, arm)]
    if "random+descriptors" in REFERENCES[arm] and "random+descriptors" not in results.arms:
        parts.append(
            "Random weights with descriptors were not run (`random+descriptors`), so this table says nothing about "
            "pre-training: beside random weights without them, what descriptors give and what pre-training gives could "
            "not be told apart."
        )
    return parts


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
        near = sum(known[name].mean < NEAR for name in ahead)
        surely = sum(gain.low is not None and gain.low > 0 for gain in known.values())
        behind = sum(gain.high is not None and gain.high < 0 for gain in known.values())
        lines.append(
            f"- ahead of *{ARMS[reference].label}* on {len(ahead)} of {len(known)} sets by mean difference "
            f"({len(set(ahead) & set(numbers))} of {len(numbers)} regressions), on {near} of them by less than {NEAR}; "
            f"the whole interval is above zero on {surely}, below zero on {behind}."
        )
    return "\n".join(lines)


def chance_text(results: Results) -> str:
    """How many intervals there are, and how many would leave out zero if no difference was real."""
    found = [
        results.difference(name, arm, reference)
        for arm in _compared(results)
        for reference in _references(results, arm)
        for name in results.sets
    ]
    ends = [(gain.low, gain.high) for gain in found if gain is not None and gain.low is not None]
    if not ends:
        return ""
    clear = sum(low > 0 or high < 0 for low, high in ends if high is not None)
    return (
        f"These are {len(ends)} intervals at 95 %, not corrected for their number: if no difference were real, about "
        f"{0.05 * len(ends):.1f} of them would leave out zero by chance; {clear} do."
    )


def ended_table(results: Results) -> str:
    """How many trainings the bound on epochs ended, by set and network."""
    networks = _networks(results)
    every: dict[str, list[Mapping[str, Any]]] = {arm: [] for arm in networks}
    rows = []
    for name in results.sets:
        found = {arm: [results.cells[cell] for cell in results.chosen(name, arm).values()] for arm in networks}
        for arm, cells in found.items():
            every[arm] += cells
        bounds = sorted({_most_epochs(cell) for cells in found.values() for cell in cells})
        rows.append([f"`{name}`", ", ".join(map(str, bounds)), *map(_ended_text, found.values())])
    rows.append(["all", "", *map(_ended_text, every.values())])
    return _markdown(["set", "most epochs", *(ARMS[arm].label for arm in networks)], rows) + (
        "\n\nTrainings that the bound on epochs ended before patience would have, of those whose scores count; in "
        "brackets those whose best epoch was the last one allowed. More epochs might have served them better."
    )


def _ended_text(cells: Sequence[Mapping[str, Any]]) -> str:
    """`4 of 5 (2)`: cut short, all, best at the bound."""
    cut = sum(cell["stopped"] == "done" and cell["epochs"] - (cell["best_epoch"] or 0) < PATIENCE for cell in cells)
    last = sum(cell["best_epoch"] == _most_epochs(cell) for cell in cells)
    return f"{cut} of {len(cells)} ({last})" if cells else ""


def _most_epochs(cell: Mapping[str, Any]) -> int:
    return epochs_for(cell["sizes"]["train"])


def twin_text(results: Results) -> str:
    """On which sets training the network of random weights leaves it behind a linear model on its first vectors."""
    behind, known = [], 0
    for name in results.sets:
        found = results.difference(name, "random", "frozen_random_linear")
        known += found is not None
        if found is not None and found.mean < 0:
            behind.append(f"`{name}`")
    if not behind:
        return ""
    return (
        f"On {len(behind)} of {known} sets ({', '.join(behind)}) *{ARMS['random'].label}* is after its training worse "
        f"on the mean than *{ARMS['frozen_random_linear'].label}*: it may be starved of training, and what the "
        "pre-trained network gains over it may look larger than it is."
    )


def seen_text(results: Results, corpus: Mapping[str, Any] | None) -> str:
    """How much of each set lies in the corpus of the pre-training, and the gain on what does not."""
    if corpus is None:
        return "The model carries no keys of its corpus, so it is not known which of these molecules it has seen."
    gains = {"pretrained", "random"} <= set(results.arms)
    head = ["set", "molecules", "in the corpus", "stereo aside"]
    if gains:
        head += ["metric", "gain on all test molecules", "on those outside the corpus"]
    rows = []
    for name, known in results.background.items():
        shares = [(known.exact or 0) / known.molecules, (known.skeleton or 0) / known.molecules]
        row = [f"`{name}`", f"{known.molecules:,}", *(f"{100 * share:.1f} %" for share in shares)]
        if gains:
            pairs = [results.difference(name, "pretrained", "random", outside) for outside in (False, True)]
            row += [results.metric(name) or "", *("" if pair is None else f"{pair.mean:+.3f}" for pair in pairs)]
        rows.append(row)
    told = (
        f"By the keys that the model carries, of {corpus['molecules']:,} molecules, those held out in pre-training "
        "among them. It has seen their structures and what is computed from these, no label of these sets."
    )
    if corpus["unknown"]:
        told += f" It started from {', '.join(corpus['unknown'])}, whose corpus is not known."
    if gains:
        told += (
            f" Gains: mean paired difference of *{ARMS['pretrained'].label}* to *{ARMS['random'].label}*; outside the "
            "corpus are molecules that it does not have with other stereo either."
        )
    return f"{_markdown(head, rows)}\n\n{told}"


def _settings_table(results: Results) -> str:
    networks = _networks(results)
    rows = [[f"`{name}`", *(results.setting(name, arm) or "" for arm in networks)] for name in results.sets]
    told = "; ".join(
        f"`{name}`: " + ", ".join(f"{option} {value}" for option, value in options.items())
        for name, options in SETTINGS.items()
    )
    return _markdown(["set", *(ARMS[arm].label for arm in networks)], rows) + f"\n\n{told}."


def _compared(results: Results) -> list[str]:
    """The pre-trained arms that are run, if there is something to compare them with."""
    return [arm for arm in REFERENCES if arm in results.arms and _references(results, arm)]


def _references(results: Results, arm: str) -> list[str]:
    return [name for name in REFERENCES[arm] if name in results.arms]


def _networks(results: Results) -> list[str]:
    """The arms of which some training is finished."""
    trained = {cell.arm for cell in results.cells}
    return [arm for arm in results.arms if ARMS[arm].kind == "network" and arm in trained]


def _learns_from_a_corpus(results: Results) -> bool:
    """Whether something that ran starts from the weights of the model."""
    return any(ARMS[cell.arm].kind != "baseline" and not ARMS[cell.arm].scratch for cell in results.cells)


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def fill_page(path: Path, texts: Mapping[str, str]) -> set[str]:
    """Replaces what lies between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; gives the names that it found."""
    page = path.read_text(encoding="utf-8")
    filled = page
    found = set()
    for name, text in texts.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)}: begin -->\n).*?(<!-- {re.escape(name)}: end -->)", re.DOTALL)
        if pattern.search(filled):
            found.add(name)
        filled = pattern.sub(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", filled)
    if filled != page:
        with atomic_write(path) as temporary:
            temporary.write_text(filled, encoding="utf-8")
    return found
