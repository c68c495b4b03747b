"""Units of the targets, for reports alone: as given, or as the header of a column says them.

Decided: `solubility (mg/L)` and `solubility [mg/L]` say their unit if what stands in the brackets is made of words for
units only; `yield (second try)` says none. A target that is no number has no unit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mesomer.errors import MesomerError
from mesomer.training.predictor import Target

_IN_BRACKETS = re.compile(r"[(\[]([^()\[\]]*(?:\([^()\[\]]*\))?[^()\[\]]*)[)\]]\s*$")
_BETWEEN_WORDS = re.compile(r"[\s/*·.^()\[\]_+0-9\N{MINUS SIGN}-]+")
_ALONE = frozenset(
    (
        "%", "°C", "°F", "K", "M", "mM", "uM", "nM", "pM", "fM", "mol", "mmol", "umol", "nmol", "kg", "mg", "ug", "ng",
        "pg", "mL", "ml", "uL", "ul", "dL", "cm", "mm", "nm", "Å", "kJ", "kcal", "cal", "eV", "meV", "Ha", "mV", "kPa",
        "MPa", "Pa", "bar", "atm", "Da", "kDa", "Debye", "ppm", "ppb", "Hz", "MHz", "ms", "min", "sec", "hr", "hrs",
        "hour", "hours", "day", "days",
    )
)  # fmt: skip
_BESIDE_OTHERS = frozenset(("log", "ln", "lg", "g", "L", "l", "m", "um", "s", "h", "d", "J", "V", "A"))
"""Words that mean a unit beside another word only: a single `(m)` or `(log)` may mean anything."""


def units_of(targets: Sequence[Target], given: Sequence[str] | None) -> list[str]:
    """The unit of each target, empty where none is known; `given` are those of all targets, in their order."""
    if given is None:
        return [unit_in(target.name) if target.type == "regression" else "" for target in targets]
    if len(given) != len(targets):
        raise MesomerError(
            f"--units names {len(given)}, and there {'is' if len(targets) == 1 else 'are'} {len(targets)} "
            f"target{'' if len(targets) == 1 else 's'}.",
            "Give one for each target, in their order; '' for none.",
        )
    for target, unit in zip(targets, given, strict=True):
        if unit and target.type != "regression":
            raise MesomerError(
                f"{target.name} holds classes, which have no unit, and --units says {unit!r}.", "Give '' for it."
            )
    return [unit.strip() for unit in given]


def unit_in(header: str) -> str:
    """The unit in the brackets that end a header; empty if there is none."""
    found = _IN_BRACKETS.search(header)
    if found is None:
        return ""
    text = found[1].strip()
    plain = unicodedata.normalize("NFKC", text).replace("\N{GREEK SMALL LETTER MU}", "u")
    words = [word for word in _BETWEEN_WORDS.split(plain) if word]
    known = all(word in _ALONE or word in _BESIDE_OTHERS for word in words)
    tells = any(word in _ALONE for word in words) or len(words) > 1
    return text if words and known and tells else ""
