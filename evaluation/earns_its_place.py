"""Does the bundled encoder earn its place? Fine-tuned on eight public sets against what costs less.

    MESOMER_DATA=folder python evaluation/earns_its_place.py --jobs 2 [--minutes 90]

Arms: the bundled encoder fine-tuned (with and without the 200 descriptors), the same network from random weights,
frozen vectors with a linear model, count-ECFP with a forest, descriptors with boosting; balanced scaffold splits, seeds
0 to 4. `worth_design.py` says what is compared, `worth_cells.py` runs a cell, `worth_results.py` and
`worth_background.py` say what came out, `worth_tables.py` makes the tables.

The work is cut into cells (set, arm, seed, setting), each one process with one thread and one file. Whatever stops the
command, the same command goes on; with other weights only the cells that depend on them are run anew. Cells that need
no network come first, then one setting after the other of seed 0, then seed after seed, each over all sets, so that an
interrupted run has all sets and arms equally far. `--table` makes the tables from what is finished, and beside a page
that has place for all of them a CSV with a row for each cell.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries of the processes that are started

from worth_background import background_of, corpus_keys
from worth_cells import Task, run_cell, split_set, stored_descriptors
from worth_design import (
    ARMS,
    DEFAULT_ARMS,
    SEEDS,
    SETS,
    SETTINGS,
    Cell,
    Facts,
    fixed_cells,
    later_seeds,
    search_cells,
    work_of,
)
from worth_results import Results, collect, write_results
from worth_tables import fill_page, short_text, whole_text

from mesomer import __version__
from mesomer.data.benchmarks import load_benchmark
from mesomer.errors import MesomerError
from mesomer.files import sha256_of
from mesomer.machine import machine
from mesomer.progress import Progress, duration, say
from mesomer.training.checkpoint import default_model, load_model
from mesomer.training.context import PRECISIONS, Context
from mesomer.training.finetune_plan import check_parts

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = (REPOSITORY / "docs" / "worth.md", REPOSITORY / "README.md")
"""Filled where nothing is left out, so that the command which they tell is short."""
SECONDS_PER_MOLECULE = 1 / 60
"""What is assumed before a cell has been timed."""


class Plan:
    """Which cells there are, which are finished, and which is next."""

    def __init__(
        self, folder: Path, facts: Facts, sets: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
    ) -> None:
        self.folder, self.facts = folder, facts
        self.sets = sorted(sets, key=lambda name: facts.sizes[name][0])
        self.arms, self.seeds = arms, sorted(seeds)
        self.results = Results(self.sets, arms, self.seeds, {}, 0)
        self.first = [*fixed_cells(self.sets, arms, self.seeds), *search_cells(self.sets, arms)]
        self.later = later_seeds(self.sets, arms, self.seeds)
        self.results.wanted = len(self.first) + len(self.later)
        every = [cell._replace(setting=setting) for cell in self.later for setting in SETTINGS]
        self.results.cells = collect(folder, [*self.first, *every], facts)
        self._drop_other_settings()

    def _drop_other_settings(self) -> None:
        """Cells whose setting is no longer the chosen one (the search was repeated) count for nothing."""
        cells, searched = self.results.cells, set(self.first)
        for cell in [key for key in cells if key.setting and key not in searched]:
            if self.results.setting(cell.set, cell.arm) != cell.setting:
                del cells[cell]

    def remaining(self) -> list[Cell]:
        """Unfinished cells in order; the setting of later seeds is empty until it is chosen."""
        later = [cell._replace(setting=self.results.setting(cell.set, cell.arm) or "") for cell in self.later]
        return [cell for cell in [*self.first, *later] if cell not in self.results.cells]

    def next(self, under_way: set[Cell]) -> Cell | None:
        """The first cell that can start now."""
        for cell in self.remaining():
            ready = ARMS[cell.arm].kind != "network" or bool(cell.setting)
            if ready and cell not in under_way:
                return cell
        return None

    def work(self, cells: Sequence[Cell]) -> int:
        """Work of these cells."""
        return round(sum(work_of(cell, self.facts) for cell in cells))

    def expected_seconds(self, cell: Cell) -> float:
        """How long a cell will take at most, by the rate of the finished ones of its kind."""
        kind = ARMS[cell.arm].kind
        timed = [(key, found["seconds"]) for key, found in self.results.cells.items() if ARMS[key.arm].kind == kind]
        rate = sum(seconds for _, seconds in timed) / self.work([key for key, _ in timed]) if timed else None
        return work_of(cell, self.facts) * (SECONDS_PER_MOLECULE if rate is None else rate)


def facts_of(model: str, sets: Sequence[str], precision: str = "32") -> Facts:
    """Reads what results depend on; says what is to be known about the sets."""
    folder = load_model(model)
    sizes, sums = {}, {}
    for name in sets:
        chosen = split_set(name)
        for warning in check_parts(chosen.data, chosen.splits)[:1]:
            say(f"{name}: {warning}")
        sizes[name] = [len(split.train) for split in chosen.splits]
        sums[name] = sha256_of(load_benchmark(name))
    with Context.start("cpu", precision) as context:
        return Facts(model, folder.sha256, folder.config["encoder"], sums, sizes, context.precision)


def run_plan(plan: Plan, jobs: int, minutes: float | None) -> None:
    """Runs cells until none is left or the time is up."""
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    missing = plan.remaining()
    say(f"{len(plan.results.cells)} of {plan.results.wanted} cells are finished, {len(missing)} remain.")
    wanting = list(dict.fromkeys(cell.set for cell in missing if ARMS[cell.arm].descriptors))
    with Progress(sum(len(split_set(name).labelled) for name in wanting), "molecules", "descriptors") as bar:
        for name in wanting:
            stored_descriptors(split_set(name), plan.facts.data_sha256[name], plan.folder, max(1, jobs))
            bar.advance(len(split_set(name).labelled))
    with Progress(plan.work(missing), "molecules", "cells") as bar:
        for found in _in_processes(plan, jobs, deadline) if jobs else _here(plan, deadline):
            cell = Cell(found["set"], found["arm"], found["seed"], found["setting"])
            plan.results.cells[cell] = found
            bar.note(f"{len(plan.remaining())} cells left")
            bar.advance(plan.work([cell]))
            valid = "" if found["valid"] is None else f": validation {found['metric']} {found['valid']:.4f}"
            say(f"{' '.join(map(str, filter(lambda part: part != '', cell)))}{valid} ({duration(found['seconds'])})")


def _fits(plan: Plan, cell: Cell, deadline: float | None) -> bool:
    return deadline is None or time.monotonic() + plan.expected_seconds(cell) <= deadline


def _here(plan: Plan, deadline: float | None) -> Iterator[dict[str, Any]]:
    """One cell after the other in this process."""
    while (cell := plan.next(set())) is not None and _fits(plan, cell, deadline):
        yield run_cell(Task(cell, plan.facts, plan.folder))


def _in_processes(plan: Plan, jobs: int, deadline: float | None) -> Iterator[dict[str, Any]]:
    """Several cells at a time, each in a process of its own thread."""
    under_way: dict[Future[dict[str, Any]], Cell] = {}
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (os.getpid(),))
    try:
        while True:
            while len(under_way) < jobs and (cell := plan.next(set(under_way.values()))) is not None:
                if not _fits(plan, cell, deadline):
                    break
                under_way[pool.submit(run_cell, Task(cell, plan.facts, plan.folder))] = cell
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                del under_way[future]
                yield future.result()
    except BrokenProcessPool as error:
        raise MesomerError(
            "A process died while it ran a cell.", "If memory ran out, give fewer --jobs; the same command goes on."
        ) from error
    finally:
        if under_way:
            for process in active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    """One thread; Ctrl-C is the parent's affair; a worker whose parent died stops."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_tables(plan: Plan, command: str, pages: Sequence[Path]) -> None:
    """`results.csv` in the run folder, the tables in the pages, and the same CSV beside a page with all tables."""
    here = machine()
    keys = corpus_keys(plan.facts.model)
    about = {
        "command": command, "model": Path(plan.facts.model).name, "version": __version__,
        "machine": f"{here['processor']}, {here['cores']} cores",
        "corpus": None if keys is None else {"molecules": keys.molecules, "unknown": keys.unknown},
    }  # fmt: skip
    plan.results.background = {name: background_of(name, plan.results.cells, keys) for name in plan.sets}
    write_results(plan.folder / "results.csv", plan.results)
    texts: dict[str, Callable[..., str]] = {"worth": whole_text, "worth in short": short_text}
    made = {name: make(plan.results, plan.facts, about) for name, make in texts.items()}
    for page in pages:
        filled = fill_page(page, made) if page.is_file() else set()
        if not filled:
            raise MesomerError(
                f"{page} has no place for the tables.",
                "It needs the lines <!-- worth: begin --> and <!-- worth: end -->.",
            )
        if "worth" in filled:
            write_results(page.with_suffix(".csv"), plan.results)
    print(made["worth"])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/worth"), help="folder of the cells")
    parser.add_argument("--model", help="bundled name, run folder or model folder; the bundled one if not given")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="SET")
    parser.add_argument("--arms", nargs="+", default=list(DEFAULT_ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS, metavar="SEED")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each; 0: in this process")
    parser.add_argument(
        "--precision", default="auto", choices=PRECISIONS, help="of training; auto: bf16 where the processor has it"
    )
    parser.add_argument("--minutes", type=float, help="start no cell that would end later than this")
    parser.add_argument("--table", action="store_true", help="only make the tables")
    parser.add_argument(
        "--pages",
        nargs="*",
        type=Path,
        help="pages whose markers are filled; docs/worth.md and README.md, if nothing is left out",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = parse(arguments)
    arms = [name for name in ARMS if name in given.arms]
    facts = facts_of(given.model or default_model(), given.sets, given.precision)
    plan = Plan(given.output, facts, given.sets, arms, given.seeds)
    if not given.table:
        run_plan(plan, given.jobs, given.minutes)
    whole = set(plan.sets) == set(SETS) and set(arms) >= set(DEFAULT_ARMS) and plan.seeds == list(SEEDS)
    pages = (PAGES if whole else ()) if given.pages is None else given.pages
    words = sys.argv[1:] if arguments is None else arguments
    write_tables(plan, shlex.join(["python", "evaluation/earns_its_place.py", *words]), pages)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main()
    except MesomerError as error:
        say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say("Stopped; the same command goes on.")
        sys.exit(130)
