"""`mesomer finetune`: labels to a predictor, with its quality measured on molecules that it has not seen."""

from __future__ import annotations

from typing import Any, Literal


def finetune(
    data: str,
    *,
    output: str,
    targets: list[str] | None = None,
    model: str | None = None,
    task: Literal["regression", "binary", "multiclass"] | None = None,
    split: str = "scaffold",
    split_column: str = "split",
    folds: int | None = None,
    repeats: int = 3,
    ensemble: int = 1,
    probe: bool = False,
    scratch: bool = False,
    epochs: int = 40,
    batch_size: int = 32,
    max_lr: float = 3e-4,
    warmup_epochs: float = 2.0,
    schedule: Literal["exponential", "cosine", "constant", "inverse_sqrt"] = "exponential",
    encoder_lr_scale: float = 1.0,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    patience: int | None = None,
    select: Literal["metric", "loss", "last"] = "metric",
    freeze: Literal["none", "encoder"] = "none",
    unfreeze_after: int | None = None,
    descriptors: list[str] | None = None,
    readout: Literal["mean", "mean_sum", "sum", "max", "gate", "set2set2", "attention"] = "mean",
    attn_hidden: int = 128,
    attn_out: int = 4,
    ffn_hidden: int = 200,
    ffn_layers: int = 2,
    dropout: float = 0.1,
    activation: Literal["ReLU", "LeakyReLU", "PReLU", "tanh", "SELU", "ELU"] = "ReLU",
    disagreement: float = 0.1,
    standardize: bool = True,
    head_start: Literal["random", "linear"] = "random",
    smiles_column: str | None = None,
    max_atoms: int = 500,
    decimal: Literal[".", ","] | None = None,
    seed: int = 0,
    precision: Literal["auto", "32", "bf16"] = "32",
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    threads: int | None = None,
    save_minutes: float = 5.0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train a predictor on your labels, starting from a pre-trained encoder.

    The run folder gets model/ (for mesomer predict), metrics.csv, predictions.csv (of molecules not used in training),
    splits.csv and report.html. The same command goes on with an interrupted run.

    Args:
        data: Table with SMILES and labels (CSV, TSV, SDF, Parquet; .gz and .zst), or the name of a benchmark set.
        output: Run folder.
        targets: Columns that hold the labels; empty cells are missing labels. A benchmark set knows its own.
        model: Pre-trained model (folder, run, bundled or hub name); the bundled encoder if not given.
        task: What the targets are; inferred for each if not given.
        split: How molecules are divided, for example scaffold, random, cv, scaffold_cv, column, time.
        split_column: Column that says train, valid or test (split column), or the time (split time).
        folds: Folds of cv, scaffold_cv and stratified_cv.
        repeats: How often to split and train anew, with the next seeds.
        ensemble: Networks trained on each split; their mean predicts.
        probe: Train only a linear model on the frozen molecule vectors (takes seconds; try it beside, with few labels
            above all).
        scratch: Start from random weights instead of the pre-trained ones, to see what pre-training gives.
        epochs: Passes over the training part.
        batch_size: Molecules in a training step.
        max_lr: Highest learning rate; training starts and ends at a tenth of it (inverse_sqrt starts from 0).
        warmup_epochs: Epochs in which the rate rises.
        schedule: How the rate falls afterwards.
        encoder_lr_scale: Factor on the rate of the encoder.
        weight_decay: L2 penalty of the optimiser.
        clip: Largest norm of the gradient.
        patience: Stop after so many epochs without a better validation figure; never if not given.
        select: Keep the epoch with the best validation metric or the lowest validation loss, or the last one.
        freeze: Never train the encoder (encoder), or train all (none).
        unfreeze_after: Train the encoder only after so many epochs.
        descriptors: Extra features, names of numeric columns; rdkit_2d_normalized means 200 computed descriptors.
        readout: How atoms and bonds become one vector: mean, with their scaled sum beside it (mean_sum), sum, max, or
            learnt: weighted means (attention, gate), questions asked twice (set2set2).
        attn_hidden: Hidden width of the attention readout.
        attn_out: Weighted means of the attention readout.
        ffn_hidden: Width of the heads.
        ffn_layers: Layers of the heads.
        dropout: Dropout in the heads.
        activation: Activation in the heads.
        disagreement: Weight of the squared difference between the two heads in the loss; there is but one head, and no
            effect, with an encoder that has a summary.
        standardize: Give the heads standardised vectors (published models did not; much slower to train without).
        head_start: Heads start from random weights, or as linear models fitted to the encoder's vectors as they are.
        smiles_column: Column that holds the SMILES; found by its name if not given.
        max_atoms: Molecules with more atoms are rejected.
        decimal: What labels and descriptors have before their decimals; a point if not given.
        seed: Start of all random numbers.
        precision: Of the training; bf16 is faster where the device computes in it, and auto takes it there.
        accelerator: Where to compute; auto takes a GPU where there is one.
        threads: Processor cores to use; all if not given.
        save_minutes: Minutes between checkpoints.
        overwrite: Replace another run in the output folder.
    """
    given = dict(locals())
    from mesomer.data.benchmarks import labelled_table, uses_canonical_scaffolds
    from mesomer.data.tables import refuse_frame
    from mesomer.inference.batches import use_threads
    from mesomer.report import finetune_report
    from mesomer.settings import options_from
    from mesomer.training.checkpoint import default_model
    from mesomer.training.finetune import finetune as train
    from mesomer.training.finetune_plan import FinetuneOptions

    options = options_from(FinetuneOptions, given | {"descriptors": tuple(descriptors or ())})
    refuse_frame(data, "finetune")
    use_threads(threads)
    model = model or default_model()
    path, targets = labelled_table(data, targets, smiles_column)
    config = given | {"targets": list(targets), "model": model}
    del config["overwrite"]
    found, _ = train(
        path, targets=targets, output=output, model=model, task=task, smiles_column=smiles_column, split=split,
        split_column=split_column, folds=folds, repeats=repeats, max_atoms=max_atoms, decimal=decimal, options=options,
        overwrite=overwrite, data_name=data, canonical_scaffolds=uses_canonical_scaffolds(data), config=config,
        write_report=finetune_report,
    )  # fmt: skip
    return {"text": _text(found), **found}


def _text(found: dict[str, Any]) -> str:
    """What the run gave and what to do next."""
    rejected = found["rejected"]
    rejects = f", rejects.csv with {rejected:,} row{'s' if rejected > 1 else ''} not used" if rejected else ""
    head = "This run was finished before; nothing was done." if found["state"] == "finished" else "Done."
    return "\n".join(
        [
            head,
            f"On molecules not used in training ({found['split']}):",
            *(f"  {line}" for line in found["figures"].splitlines()),
            f"Written: {found['output']} (model/, metrics.csv, predictions.csv, splits.csv, report.html{rejects}).",
            f"Next: mesomer predict NEW.csv --model {found['model']} --output pred.csv",
        ]
    )
