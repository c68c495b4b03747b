"""`mesomer quickstart`: the main job on an embedded set, with the comparison that says whether pre-training helped."""

from __future__ import annotations

import time
from typing import Any


def quickstart(
    *,
    output: str = "runs/quickstart",
    model: str | None = None,
    molecules: int = 1000,
    folds: int = 3,
    epochs: int = 4,
    batch_size: int = 16,
    max_lr: float = 3e-4,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fine-tune the bundled encoder on a small real set and say honestly whether pre-training helped.

    Trains it on measured solubilities that come with the package, beside the same network from random weights and a
    random forest on counted fragments, all on the same folds; writes a report, a predictor and all figures. Takes
    minutes on two cores.

    Args:
        output: Run folder.
        model: Pre-trained encoder to judge: a model folder, a run folder, a bundled or a hub name.
        molecules: How many molecules of the set to use; all 2,172 take more than twice the time.
        folds: Parts of the cross-validation; each is held out once.
        epochs: Passes through the training part, for both networks.
        batch_size: Molecules in a training step.
        max_lr: Highest learning rate.
        seed: Seed of the draw of molecules, the folds, the weights and the batches.
        workers: Networks that are trained side by side; as many as there are cores if not given.
        overwrite: Replace another run in the output folder.
    """
    begun = time.perf_counter()
    from mesomer import quickstart as comparison

    options = comparison.QuickstartOptions(
        molecules=molecules, folds=folds, epochs=epochs, batch_size=batch_size, max_lr=max_lr, seed=seed
    )
    found = comparison.quickstart(
        output, model=model, options=options, workers=workers, overwrite=overwrite, begun=begun
    )
    if found["state"] == "finished":
        said = f"{output} holds this very quickstart, finished; nothing was done (--overwrite repeats it)."
        found["text"] = f"{said}\n\n{found['text']}"
    return found
