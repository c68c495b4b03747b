"""Ctrl-C stays Python's own.

Substructure matches, embedding, InChI and CIP labels of RDKit put a handler for SIGINT in the place of Python's and
some releases leave it there (rdkit issue 9381): the next Ctrl-C would do nothing, and the one after it end the process.
"""

from __future__ import annotations

import signal
import threading


def restore_interrupts() -> None:
    """Puts back the handler for SIGINT that Python believes to be there; to be called after each of those calls.

    Python allows it in the main thread only; in others nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGINT)
    if handler is not None:  # one that Python did not install cannot be put back by it
        signal.signal(signal.SIGINT, handler)
