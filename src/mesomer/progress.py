"""Progress of long work on stderr: rate, percent, time left.

On a terminal one live line, in a notebook one that is rewritten below the cell; elsewhere a plain line every 30
seconds. Work of less than two seconds shows nothing, and in a distributed run only the first process speaks.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

QUIET_SECONDS = 2.0
LINE_SECONDS = 30.0


def process_rank() -> int:
    """This process's number in a distributed run (torchrun, SLURM or Lightning's own launcher); 0 when alone."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        return int(os.environ["SLURM_PROCID"])
    return int(os.environ.get("LOCAL_RANK", "0"))


def duration(seconds: float) -> str:
    """A time span for people: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def say(text: str) -> None:
    """A line to stderr; work goes on if nobody listens any more (a closed pipe or terminal)."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    found = None if shell is None else shell.get_ipython()
    return found is not None and found.has_trait("kernel")


class _NotebookLine:
    """One line below a notebook's cell, rewritten at most four times a second."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = -1.0

    def update(self, text: str, last: bool = False) -> None:
        """Shows `text` in place of what was there."""
        now = time.monotonic()
        if not last and now - self._drawn < 0.25:
            return
        self._drawn = now
        shown = {"text/plain": text}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


class Progress:
    """Counts finished units: `with Progress(len(rows), "molecules", "embedding") as bar: bar.advance(n)`."""

    def __init__(self, total: int | None, unit: str, label: str, quiet: bool = False) -> None:
        self.total, self.unit, self.label = total, unit, label
        self.done = 0
        self._text = ""
        self._shown = not quiet and process_rank() == 0
        self._live: Any = None
        self._notebook = _NotebookLine() if self._shown and in_notebook() else None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        return self

    def advance(self, n: int = 1) -> None:
        """Adds `n` finished units."""
        self.done += n
        self._show()

    def note(self, text: str) -> None:
        """A short text behind the figures, for example the current loss."""
        self._text = text
        self._show()

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def line(self) -> str:
        """The present state as one plain line."""
        parts = [f"{self.label}: {self.done:,}"]
        if self.total:
            parts[0] += f" of {self.total:,} {self.unit} ({100 * self.done / self.total:.0f}%)"
        else:
            parts[0] += f" {self.unit}"
        rate = self.rate
        parts.append(f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.2g} {self.unit}/s")
        if self.total and self.done and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        if self._text:
            parts.append(self._text)
        return ", ".join(parts)

    def _show(self) -> None:
        if not self._shown:
            return
        now = time.monotonic()
        if self._notebook is not None:
            if now - self._started >= QUIET_SECONDS:
                self._last_line = now
                self._notebook.update(self.line())
        elif not sys.stderr.isatty():
            if now - self._last_line >= LINE_SECONDS:
                self._last_line = now
                say(self.line())
        elif self._live is not None:
            self._live.update(self.line())
        elif now - self._started >= QUIET_SECONDS:
            from rich.console import Console
            from rich.status import Status

            self._live = Status(self.line(), console=Console(stderr=True, highlight=False), refresh_per_second=4)
            self._live.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        spoke = self._live is not None or self._last_line > self._started
        if self._shown and spoke and kind is None:
            took = duration(time.monotonic() - self._started)
            rate = f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
            text = f"{self.label}: {self.done:,} {self.unit} in {took} ({rate} {self.unit}/s)"
            if self._notebook is not None:
                self._notebook.update(text, last=True)
            else:
                say(text)
