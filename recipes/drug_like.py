"""The corpus of the bundled encoder: drug-like molecules of ZINC and, for charges, stereo and size, of ChEMBL.

    python recipes/drug_like.py drug_like.csv.gz [--zinc 190000] [--chembl ALL] [--seed 0]

Takes so many molecules at random from the set `zinc_clean_leads` and all (or so many) of `chembl_diverse`
(docs/benchmarks.md; both have to lie in the folder MESOMER_DATA), and writes one table. The sample is a function of the
seed alone.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import random
import sys
from pathlib import Path

from mesomer.data.benchmarks import load_benchmark
from mesomer.errors import MesomerError
from mesomer.files import atomic_write, check_writable


def smiles_of(name: str) -> list[str]:
    """The SMILES of a registered set, in its order."""
    with gzip.open(load_benchmark(name), "rt", encoding="utf-8", newline="") as handle:
        return [row["smiles"] for row in csv.DictReader(handle)]


def some_of(name: str, count: int | None, seed: int) -> list[str]:
    """`count` molecules of a set at random, or all of them in their order."""
    molecules = smiles_of(name)
    if count is None:
        return molecules
    if not 0 <= count <= len(molecules):
        raise MesomerError(f"{count:,} molecules of {name} are asked for, and it has {len(molecules):,}.")
    random.Random(seed).shuffle(molecules)
    return molecules[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--zinc", type=int, default=190_000, help="molecules to take from ZINC")
    parser.add_argument("--chembl", type=int, help="molecules to take from ChEMBL; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        check_writable(arguments.output)
        molecules = some_of("zinc_clean_leads", arguments.zinc, arguments.seed)
        molecules += some_of("chembl_diverse", arguments.chembl, arguments.seed)
        with (
            atomic_write(arguments.output) as temporary,
            open(temporary, "wb") as raw,
            # no time stamp: the same molecules give the same file
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
        ):
            csv.writer(text, lineterminator="\n").writerows([["smiles"], *([smiles] for smiles in molecules)])
    except MesomerError as error:
        print(f"drug_like: {error}", file=sys.stderr)
        sys.exit(2)
    corpus = Path("corpora") / Path(arguments.output.name.removesuffix(".gz")).stem
    print(
        f"Written: {arguments.output} ({len(molecules):,} molecules).\n"
        f"Next: mesomer prepare {arguments.output} --output {corpus} --add descriptors,fingerprints,inchikeys"
    )


if __name__ == "__main__":
    main()
