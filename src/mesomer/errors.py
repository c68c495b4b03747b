"""Every error that a user can cause or mend is a `MesomerError`: one sentence, one hint, exit code 2."""

from __future__ import annotations

from collections.abc import Iterable


class MesomerError(Exception):
    """A user's error.

    `message` says what is wrong and where, in one sentence; `hint` says what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: the mistake is in what was asked, not in the code."""
        return [f"{type(self).__name__}: {self}"]


class InputError(MesomerError, ValueError):
    """Data that nothing can be made of: one sentence for people, and the ValueError that scikit-learn expects."""


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> MesomerError:
    """The error for a name that is not in a registry, with the nearest known one."""
    import difflib

    known = sorted(choices)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
    return MesomerError(f"There is no {kind} named {name!r}.", hint)
