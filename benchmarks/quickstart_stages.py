"""Wall time of `make quickstart`, stage by stage: `python benchmarks/quickstart_stages.py`. Installing is not timed."""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import by_turns, facts, product, read_molecules


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--model", help="encoder; the bundled one if not given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    import torch

    from mesomer import quickstart

    design = quickstart.QuickstartOptions(
        molecules=options.molecules, folds=options.folds, epochs=options.epochs, seed=options.seed
    )
    print(facts(None, read_molecules(None, options.molecules, options.seed), options.seed))
    run, needed = product(torch.float32)
    peak = needed / by_turns({"peak": run}, 5)["peak"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        quickstart.quickstart(Path(folder) / "run", model=options.model, options=design)
        whole = time.perf_counter() - started
        log = (Path(folder) / "run" / "log.txt").read_text(encoding="utf-8")
    for line in log.splitlines():
        seconds = re.search(r": ([\d.]+) s$", line)
        print(line + (f" ({float(seconds[1]) / whole:.0%} of the whole)" if seconds else ""))
    print(f"whole: {whole:.1f} s; float32 matrix products at {peak / 1e9:,.0f} GFLOP/s beforehand")


if __name__ == "__main__":
    main()
