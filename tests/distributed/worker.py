"""One process of a training of the toy: `worker.py OUTPUT [OPTION=VALUE …]`, started by torchrun or alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from toy_training import ToyBatches, ToyTrainee

from mesomer.errors import MesomerError
from mesomer.run import Interrupted
from mesomer.training.context import Context
from mesomer.training.loop import Listener, LoopOptions, fit


class Slow(Listener):
    """Says on rank 0 that training runs, so that a test can send a signal."""

    def __init__(self, context: Context, marker: Path) -> None:
        self.context, self.marker = context, marker

    def on_step(self, report) -> None:
        if self.context.rank == 0:
            self.marker.write_text(str(report.step))


def main(output: Path, settings: dict) -> int:
    torch.set_num_threads(1)
    rank_accumulate, poison = settings.pop("accumulate", 1), settings.pop("poison", None)
    strategy = settings.pop("strategy", "ddp")
    dropout, rows, resume = settings.pop("dropout", 0.0), settings.pop("rows", 240), settings.pop("resume", False)
    options = LoopOptions(
        **{"accelerator": "cpu", "precision": "32", "max_lr": 1e-2, "warmup_epochs": 0.5, "log_steps": 4, **settings}
    )
    with Context.start(options.accelerator, options.precision, strategy) as context:
        batches = ToyBatches(rows=rows, accumulate=rank_accumulate, rank=context.rank, world=context.world)
        trainee = ToyTrainee(dropout=dropout, poison=poison)
        folder = output / "checkpoints" if resume else None
        try:
            result = fit(trainee, batches, options, folder, context=context, listener=Slow(context, output / "step"))
        except Interrupted:
            return 130
        except MesomerError as error:
            (output / f"error-{context.rank}.txt").write_text(str(error))
            return 2
        save_file(dict(trainee.module.state_dict()), output / f"weights-{context.rank}.safetensors")
        if context.rank == 0:
            rows_told = [{k: v for k, v in row.items() if isinstance(v, (int, float, str))} for row in result.history]
            told = {"steps": result.steps, "history": rows_told, "resumed_from": result.resumed_from}
            (output / "result.json").write_text(json.dumps(told))
    return 0


def exchange_threads() -> list[str]:
    """The threads of gloo that this process still has, by name; only Linux tells."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    pairs = (argument.split("=", 1) for argument in sys.argv[2:])
    status = main(Path(sys.argv[1]), {name: json.loads(value) for name, value in pairs})
    Path(sys.argv[1], f"threads-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(exchange_threads()))
    sys.exit(status)
