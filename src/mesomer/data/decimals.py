"""Decimal commas: numbers such as `1,3`, as programs set to many European languages export them.

Decided: such a cell is never read as a number unless `decimal` says so for the table, since `1,300` may also be a
thousand and three hundred; and a column of them is never a column of classes unless that was said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_NUMBER = r"[+-]?(\d+,\d*|,\d+)(e[+-]?\d+)?"
_COMMA = re.compile(_NUMBER, re.IGNORECASE)
_CENSORED = re.compile(rf"[<>~≤≥=]+\s*{_NUMBER}", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
MANY = 0.1
"""The share of a column's labels from which decimal commas are no slips of single cells."""


def has_decimal_comma(text: str) -> bool:
    """Whether a text would be a number with a decimal point in place of its one comma."""
    return _COMMA.fullmatch(text) is not None


def is_censored_comma(text: str) -> bool:
    """Whether a text is a bound such as `<0,5`."""
    return _CENSORED.fullmatch(text) is not None


def are_decimal_commas(commas: int, numbers: int, count: int) -> bool:
    """Whether a column of `count` cells is one of numbers of which many have a decimal comma.

    Args:
        commas: Cells with a decimal comma.
        numbers: Other cells that are numbers, or bounds of numbers.
        count: All cells that are not empty.
    """
    return commas > 0 and commas >= MANY * count and 2 * (commas + numbers) > count


def comma_advice(commas: Sequence[str]) -> str:
    """What to do about cells with a decimal comma; of whole thousands nobody can tell them apart."""
    thousands = all(_THOUSANDS.fullmatch(text) for text in commas)
    more = "; where the commas separate thousands, leave them out" if thousands else ""
    return (
        "Write decimal points instead of decimal commas, or say --decimal , in check, finetune, predict and "
        f"study{more}"
    )


def with_point(cell: Any, decimal: str | None) -> Any:
    """A cell as it would be with a decimal point, where `decimal` says that the table has commas; else as it is."""
    if decimal == "," and isinstance(cell, str) and has_decimal_comma(cell.strip()):
        return cell.strip().replace(",", ".")
    return cell


def has_other_point(cell: Any, decimal: str | None) -> bool:
    """Whether a cell is a number with a decimal point in a table that has commas: `1.300` may be any of two numbers."""
    return decimal == "," and isinstance(cell, str) and _POINT.fullmatch(cell.strip()) is not None
