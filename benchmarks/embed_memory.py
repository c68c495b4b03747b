"""Peak memory of `mesomer embed` at two lengths of table.

    python benchmarks/embed_memory.py [--data FILE] [--rows 10000 1000000]

Takes the first rows of the data, and repeats them only where there are fewer than asked for. Each length runs in a
process of its own, whose largest resident set the system reports. It should not depend on the number of rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import torch
from measure import by_turns, facts, product

from mesomer.data.tables import open_table
from mesomer.errors import MesomerError
from mesomer.quickstart.design import DEMO


def first_rows(data: str | None, count: int) -> list[str]:
    """The SMILES of the first rows that have one."""
    table = open_table(str(DEMO) if data is None else data)
    cells = (text for chunk in table.chunks() for text in chunk.smiles if text)
    return list(islice(cells, count))


def peak(folder: Path, texts: Sequence[str], rows: int, model: str | None, threads: int) -> tuple[float, float]:
    """Peak memory in megabytes and seconds of one `mesomer embed`."""
    table, output = folder / f"{rows}.csv", folder / f"{rows}.parquet"
    with open(table, "w", encoding="utf-8") as handle:
        handle.write("smiles\n")
        handle.writelines(f"{text}\n" for text in islice(cycle(texts), rows))
    command = [sys.executable, "-m", "mesomer", "embed", str(table), "--output", str(output), "--threads", str(threads)]
    command += ["--model", model] if model else []
    started = time.perf_counter()
    process = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise MesomerError(f"mesomer embed of {rows:,} rows failed.")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return usage.ru_maxrss / unit, time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="table of molecules; the demonstration set if not given")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--model", help="model to embed with; the bundled encoder if not given")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    texts = first_rows(options.data, max(options.rows))
    torch.set_num_threads(options.threads)
    print(f"{facts(options.data, texts)} {len(set(texts)):,} of them differ.")
    run, needed = product(torch.float32)
    rate = needed / by_turns({"product": run}, 5)["product"]
    print(f"float32 matrix products at {rate / 1e9:,.0f} GFLOP/s beforehand")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            megabytes, seconds = peak(Path(folder), texts, rows, options.model, options.threads)
            found.append(megabytes)
            print(f"{rows:,} rows: peak {megabytes:,.0f} MB, {rows / seconds:,.0f} molecules/s, start included")
    print(f"largest / smallest peak: {max(found) / min(found):.3f}")


if __name__ == "__main__":
    main()
