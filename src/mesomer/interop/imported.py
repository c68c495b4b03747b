"""What an adapter makes of a foreign checkpoint; the same for every source.

An adapter is a module with `convert(checkpoint, architecture) -> Imported`, `ARCHITECTURES` (official arguments by a
short name) and `largest_difference(path, imported)` to the published outputs that lie beside the file. One with
`TAKES_VOCABULARIES` can be given `vocabularies`, the names of the rows of vocabulary heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import nn

from mesomer.encoders.base import Encoder


class Imported(NamedTuple):
    """A converted checkpoint: `module` is an objective, a `PropertyModel` or an encoder alone, as `kind` says; `what`
    says in words what the file is.
    """

    kind: str
    module: nn.Module
    encoder: Encoder
    used: set[str]
    left_out: dict[str, str]
    assumed: list[str]
    arguments: dict[str, Any]
    notes: tuple[str, ...]
    what: str
    extra: Mapping[str, Any] = MappingProxyType({})
    """Further JSON files of the model folder, by their stem."""
