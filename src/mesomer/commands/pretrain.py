"""The command `mesomer pretrain`."""

from __future__ import annotations

from typing import Any, Literal


def pretrain(
    corpus: str,
    *,
    output: str,
    method: str | None = None,
    objective: str | None = None,
    size: str | None = None,
    encoder: dict[str, Any] | None = None,
    objective_options: dict[str, Any] | None = None,
    init: str | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    atoms_per_batch: int = 4096,
    accumulate: int = 1,
    schedule: Literal["exponential", "cosine", "constant", "inverse_sqrt"] = "exponential",
    init_lr: float = 1e-4,
    max_lr: float = 1e-3,
    final_lr: float = 1e-4,
    warmup_epochs: float = 0.5,
    optimizer: Literal["adam", "adamw"] = "adam",
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    patience: int | None = None,
    validate_steps: int | None = 2000,
    validate_molecules: int = 20_000,
    probe_molecules: int = 600,
    log_steps: int = 50,
    save_minutes: float = 5.0,
    precision: Literal["auto", "32", "bf16"] = "auto",
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"] = "auto",
    strategy: Literal["ddp", "fsdp"] = "ddp",
    seed: int = 0,
    threads: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Pre-train an encoder on a prepared corpus.

    The same command goes on with an unfinished run. Several processes: `torchrun --nproc_per_node 8 -m mesomer
    pretrain …`. SIGTERM, SIGUSR1 and control-C save and exit with 130.

    Args:
        corpus: Folder that `mesomer prepare` made.
        output: Run folder; holds `encoder/`, `pretraining/`, `report.html`, `metrics.csv`.
        method: The encoder, for example batmannet; that of --init if not given, or batmannet without it.
        objective: What it learns from; the method's own if not given.
        size: Named size of the encoder; its first one if not given.
        encoder: Single options of the encoder, as `--encoder.hidden_size 128`.
        objective_options: Single options of the objective, as `--objective_options.mask_ratio 0.5`.
        init: Model or run folder, or bundled name, whose encoder and weights to start from.
        epochs: Passes through the corpus; 10 if neither this nor max_steps is given.
        max_steps: Optimiser steps after which to end.
        max_minutes: Minutes of training after which to end early, with everything written.
        atoms_per_batch: Atoms that one process takes in one forward pass.
        accumulate: Forward passes of each process in one optimiser step.
        schedule: How the learning rate falls after the warm-up; inverse_sqrt with the root of the step, to final_lr.
        init_lr: Learning rate at the start.
        max_lr: Learning rate after the warm-up.
        final_lr: Learning rate at the end; the lowest one with inverse_sqrt.
        warmup_epochs: Length of the warm-up; parts of an epoch are allowed.
        optimizer: The optimiser; adamw decays weights apart from the gradient.
        weight_decay: Weight decay.
        clip: Largest norm of the gradient; null for none.
        patience: Validations without a lower loss before the training stops; null for never.
        validate_steps: Steps between validations inside an epoch; one more comes after each epoch.
        validate_molecules: Held-out molecules to measure with, at most.
        probe_molecules: Molecules of the demonstration set whose solubility is predicted from the frozen vectors at
            each validation, to see whether they become more useful; 0 for none.
        log_steps: Steps that one row of metrics.csv covers.
        save_minutes: Minutes between checkpoints.
        precision: bf16 computes in bfloat16; auto does so where the device is made for it.
        accelerator: Where to compute.
        strategy: How several processes share the weights: ddp gives each all of them, fsdp each a part, with the
            gradients and optimiser states of that part alone. One process has all of them either way.
        seed: Another seed, another order, other masks, other first weights.
        threads: Processor threads; as many as there are cores if not given.
        overwrite: Replace the run of another configuration.
    """
    given = dict(locals())
    from mesomer.report.pretrain import write_pretrain_report
    from mesomer.settings import options_from
    from mesomer.training.pretrain import PretrainOptions
    from mesomer.training.pretrain import pretrain as run

    empty = {"encoder": encoder or {}, "objective_options": objective_options or {}}
    options = options_from(PretrainOptions, given | empty)
    done = run(corpus, output, options, overwrite=overwrite, report=write_pretrain_report)
    return {"text": done.text, "output": str(done.path), "already_finished": done.already_finished, **done.summary}
