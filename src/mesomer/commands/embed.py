"""`mesomer embed`: a library of molecules to a table of vectors."""

from __future__ import annotations

from typing import Any, Literal


def embed(
    input: str,
    *,
    output: str,
    model: str | None = None,
    level: Literal["molecule", "atom", "bond"] = "molecule",
    dtype: Literal["float32", "float16"] = "float32",
    smiles_column: str | None = None,
    max_atoms: int = 500,
    on_error: Literal["keep", "stop"] = "keep",
    suffix: str = "",
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    atoms_per_batch: int | None = None,
    workers: int = 0,
    threads: int | None = None,
    precision: Literal["32", "bf16"] = "32",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Turn a table of molecules into vectors, row by row, whatever its length.

    The output has the input's rows in the same order; a row that is no molecule has no vector and says why in
    mesomer_error.

    Args:
        input: Table of molecules (CSV, TSV, SMI, SDF, Parquet; .gz and .zst), a pattern such as 'parts/*.parquet', or
            the name of a benchmark set.
        output: Where to write; .parquet, or for molecule vectors also .npy, .csv, .tsv.
        model: Model folder, run folder, bundled or hub name; the bundled encoder if not given.
        level: One vector for each molecule, or for each of its atoms or bonds (in RDKit's order).
        dtype: Numbers of the vectors.
        smiles_column: Column that holds the SMILES; found by its name if not given.
        max_atoms: Molecules with more atoms are not used.
        on_error: Keep unusable rows with an empty result, or stop at the first one.
        suffix: Text added to the names of the result columns.
        accelerator: Where to compute; auto takes a GPU where there is one.
        atoms_per_batch: Atoms computed at a time; a suitable number if not given.
        workers: Processes that read SMILES; 0 works in this one. Coordinates, where the model needs them, are computed
            by as many as there are cores if this is 0.
        threads: Processor cores used for the network; all if not given.
        precision: Numbers that the network computes with; bf16 is faster where the processor has it, and rounds.
        overwrite: Replace an existing output.
    """
    from mesomer.data.tables import open_table
    from mesomer.files import check_writable
    from mesomer.inference.batches import use_threads
    from mesomer.inference.embed import Embedder
    from mesomer.inference.tables import embed_table

    check_writable(output, overwrite)
    use_threads(threads)
    table = open_table(input, smiles_column, max_atoms)
    embedder = Embedder(model, level, accelerator, atoms_per_batch, precision)
    found = embed_table(table, embedder, output, dtype, suffix, on_error, workers, overwrite)
    facts = embedder.metadata() | found | {"notes": table.notes}
    lines = [
        *table.notes,
        *(
            [f"The model has {embedder.members} members; vectors are those of the first."]
            if embedder.members > 1
            else []
        ),
        rows_sentence(found),
        *found["geometry_warnings"],
        f"Written: {output} ({_shape(level, embedder.width, dtype)}).",
    ]
    return {"text": "\n".join(lines), **facts}


def rows_sentence(found: dict[str, Any]) -> str:
    """`1,000 rows, 3 without a result (2 cannot parse, 1 empty), 1,234 molecules/s.`"""
    failed = ""
    if found["failed"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found["failures"].items())
        failed = f", {found['failed']:,} without a result ({reasons})"
    rate = found["molecules_per_second"]
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"{found['rows']:,} rows{failed}, {shown} molecules/s."


def _shape(level: str, width: int, dtype: str) -> str:
    each = "" if level == "molecule" else f" for each {level}"
    return f"{width} numbers{each}, {dtype}"
