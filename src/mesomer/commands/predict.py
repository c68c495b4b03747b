"""`mesomer predict`: a fine-tuned model's predictions for every row of a table."""

from __future__ import annotations

from typing import Any, Literal


def predict(
    input: str,
    *,
    model: str,
    output: str,
    smiles_column: str | None = None,
    max_atoms: int | None = None,
    decimal: Literal[".", ","] | None = None,
    on_error: Literal["keep", "stop"] = "keep",
    suffix: str = "",
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    atoms_per_batch: int | None = None,
    workers: int = 0,
    threads: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict the properties that a model was fine-tuned on, for every row of a table.

    The output has the input's rows and columns, then for each target T the columns T_pred, T_pred_std (over members)
    and, for numbers, T_pred_low and T_pred_high (90 % interval); similarity to the nearest training molecule; and
    mesomer_error, which says why a row has no prediction.

    Args:
        input: Table of molecules (CSV, TSV, SMI, SDF, Parquet; .gz and .zst), a pattern such as 'parts/*.parquet', or
            the name of a benchmark set.
        model: Model folder or run folder of mesomer finetune, or a hub name.
        output: Where to write; .csv, .tsv (also .gz, .zst) or .parquet.
        smiles_column: Column that holds the SMILES; found by its name if not given.
        max_atoms: Molecules with more atoms are not predicted; as in training if not given.
        decimal: What descriptor columns have before their decimals; a point if not given.
        on_error: Keep unusable rows with an empty result, or stop at the first one.
        suffix: Text added to the names of the result columns.
        accelerator: Where to compute; auto takes a GPU where there is one.
        atoms_per_batch: Atoms computed at a time; a suitable number if not given.
        workers: Processes that read SMILES; 0 works in this one. Coordinates, where the model needs them, are computed
            by as many as there are cores if this is 0.
        threads: Processor cores used for the network; all if not given.
        overwrite: Replace an existing output.
    """
    from mesomer.commands.embed import rows_sentence
    from mesomer.data.tables import open_table
    from mesomer.files import check_writable
    from mesomer.inference.batches import use_threads
    from mesomer.inference.predict import TablePredictor
    from mesomer.inference.tables import predict_table

    check_writable(output, overwrite)
    use_threads(threads)
    predictor = TablePredictor(model, accelerator, atoms_per_batch, suffix)
    largest = predictor.predictor.max_atoms if max_atoms is None else max_atoms
    table = open_table(input, smiles_column, largest, decimal=decimal)
    found = predict_table(table, predictor, output, on_error, workers, overwrite)
    members = len(predictor.predictor.members)
    targets = ", ".join(target.name for target in predictor.predictor.targets[:10])
    more = f" and {len(predictor.predictor.targets) - 10} more" if len(predictor.predictor.targets) > 10 else ""
    words = [target for target in predictor.predictor.targets if target.type == "binary"]
    lines = [
        *table.notes,
        f"Predicted {targets}{more} with {members} member{'s' if members > 1 else ''}.",
        *(f"{target.name}_pred is the probability of {target.classes[1]!r}." for target in words[:10]),
        rows_sentence(found),
        *found["geometry_warnings"],
        f"Written: {output}.",
    ]
    return {"text": "\n".join(lines), **found, "members": members, "notes": table.notes}
