"""Commands made for the tests of the command line; run as a script it is `mesomer` with them added."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mesomer import cli
from mesomer.errors import MesomerError
from mesomer.files import atomic_write
from mesomer.run import Interrupted, RunFolder, stop_signals


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast.

    Attributes:
        epochs: Passes over
            the corpus.
        max_lr: Highest learning rate.
        precision: Number format.
    """

    epochs: int = 5
    max_lr: float | None = 1e-4
    precision: Literal["auto", "32", "bf16"] = "auto"


def learn(
    corpus: str,
    *,
    output: Path,
    from_: str = "scratch",
    training: Training = Training(),
    encoder: dict[str, Any] | None = None,
    targets: list[str] | None = None,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    workers: int | Literal["auto"] = "auto",
    ratio: float = 0.5,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Learn from a corpus.

    A longer description
    over two lines.

    Args:
        corpus: Where the molecules are.
        output: The run folder.
        training: Not shown: its fields are.
        targets: Columns to
            learn.
    """
    return {"text": f"learnt from {corpus}", "settings": dict(locals())}


def fail(how: str, *, output: str = "out.csv") -> dict[str, Any]:
    """Fail in one of many ways."""
    if how == "user":
        raise MesomerError("The table has no rows.", "Give another.")
    if how == "interrupted":
        raise Interrupted("Stopped by SIGTERM; the state is saved.")
    if how == "control-c":
        raise KeyboardInterrupt
    if how == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "memory":
        raise MemoryError
    if how == "fault":
        raise ZeroDivisionError("division by zero")
    if how == "missing":
        Path("no/such/file.csv").read_text()
    if how == "wait":
        with atomic_write(output) as temporary:
            temporary.write_text("half")
            print("ready", flush=True)
            time.sleep(30)
    if how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        with atomic_write(output) as temporary:
            temporary.write_text("x" * 100_000)
    if how == "noise":
        print("a library prints to stdout")
        return {"text": "done", "value": float("nan"), "path": Path("a/b")}
    if how == "long":
        return {"text": "line\n" * 100_000}
    return {"text": "done"}


def resumable(corpus: str, *, output: str, steps: int = 3, overwrite: bool = False) -> dict[str, Any]:
    """Keep a run folder."""
    with RunFolder.open(output, "resumable", dict(locals()), {"corpus": "00"}, overwrite) as run:
        if run.state == "finished":
            return run.summary | {"text": f"{output} is finished: {run.summary['text']}"}
        with stop_signals() as request:
            for step in range(steps):
                run.metric({"step": step})
                if corpus == "slow":
                    os.kill(os.getpid(), signal.SIGTERM)
                if request.requested:
                    raise Interrupted(f"Stopped by {request.signal_name}; the state is saved in {output}.")
        run.finish({"text": f"{steps} steps"})
    return {"text": f"{steps} steps in {output}"}


ADDED = {name: f"demo_commands:{name}" for name in ("learn", "fail", "resumable")}

if __name__ == "__main__":
    sys.modules["demo_commands"] = sys.modules["__main__"]
    cli.COMMANDS.update(ADDED)
    sys.exit(cli.main())
