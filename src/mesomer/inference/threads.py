"""Processor cores for a while: what a caller asks for holds during the work, and what was set before comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Limits the processor cores that torch uses; None leaves them as they are."""
    if threads is None:
        yield
        return
    import torch

    from mesomer.inference.batches import use_threads

    before = torch.get_num_threads()
    use_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
