"""Contexts of atoms and bonds as GROVER names them, and vocabularies of contexts (grover.md 4.1).

An atom's context is its element with the counts of its (neighbour, bond type) pairs: `O_C-DOUBLE1`. A bond's context is
its type, stereo and direction with the counts of the other bonds at its ends. Direction and stereo are as spelt, so
that one bond can have several contexts; a corpus holds canonical SMILES, which spell a molecule in one way.

Decided here: contexts are computed from the codes of many molecules at once, and text is made only for contexts that
differ. Of the bond directions that no SMILES has (wedges and the like), the codes keep no name: all are `UNKNOWN`.

Legend: A atoms, E undirected bonds, R rows (either), N list entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem

from mesomer.chem.graph import GraphArrays
from mesomer.chem.schema import BOND_STEREO, BOND_TYPES, atom_field, bond_field
from mesomer.errors import MesomerError

PADDING, OTHER = "<pad>", "<other>"
_TYPES = {code: name for name, code in BOND_TYPES.items()}
_STEREO = {code: name for name, code in BOND_STEREO.items()}
_DIRECTIONS = ("NONE", "ENDUPRIGHT", "ENDDOWNRIGHT", "UNKNOWN")
_TYPE_SPAN, _NAME_SPAN = 32, 1024  # how many bond types, and how many bond names, a number can hold
_COUNT_SPAN = 1 << 16  # no atom has so many bonds


class Contexts(NamedTuple):
    """The contexts that occur, each once, and which of them each row has: int64 [R]."""

    tokens: list[str]
    of_row: np.ndarray

    def counts(self) -> Counter[str]:
        """How often each context occurs."""
        return Counter(
            dict(zip(self.tokens, np.bincount(self.of_row, minlength=len(self.tokens)).tolist(), strict=True))
        )


def atom_contexts(graph: GraphArrays) -> Contexts:
    """The context of every atom."""
    numbers = atom_field(graph.atoms, "atomic_number").astype(np.int64)
    ends = _absolute_ends(graph)
    types = bond_field(graph.bonds, "type").astype(np.int64)
    neighbours = numbers[ends[:, ::-1]] * _TYPE_SPAN + types[:, None]
    return _described(numbers, _symbol, ends.reshape(-1), neighbours.reshape(-1), _neighbour_name)


def bond_contexts(graph: GraphArrays) -> Contexts:
    """The context of every undirected bond, in the order of the codes."""
    ends = _absolute_ends(graph)
    names = (
        bond_field(graph.bonds, "type").astype(np.int64)
        + _TYPE_SPAN * bond_field(graph.bonds, "stereo").astype(np.int64)
        + 8 * _TYPE_SPAN * bond_field(graph.bonds, "direction").astype(np.int64)
    )
    owner, atom, other = _other_bonds(ends, len(graph.atoms))
    numbers = atom_field(graph.atoms, "atomic_number").astype(np.int64)
    return _described(names, _bond_name, owner, numbers[atom] * _NAME_SPAN + names[other], _other_name)


def _absolute_ends(graph: GraphArrays) -> np.ndarray:
    """Ends [E, 2] counted through all molecules."""
    first = np.cumsum(graph.atom_counts) - graph.atom_counts
    return graph.ends.astype(np.int64) + np.repeat(first, graph.bond_counts)[:, None]


def _other_bonds(ends: np.ndarray, atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each bond and each other bond at its ends: the bond, the shared atom, the other bond; each [N]."""
    at = ends.reshape(-1)
    bonds_at = np.argsort(at, kind="stable") // 2  # bonds, atom by atom
    degree = np.bincount(at, minlength=atoms)
    first = np.cumsum(degree) - degree
    times = degree[at]
    owner = np.repeat(np.arange(len(at)) // 2, times)
    atom = np.repeat(at, times)
    place = np.arange(len(atom)) - np.repeat(np.cumsum(times) - times, times)
    other = bonds_at[first[atom] + place]
    keep = other != owner
    return owner[keep], atom[keep], other[keep]


def _described(
    head: np.ndarray,
    head_name: Callable[[int], str],
    owner: np.ndarray,
    item: np.ndarray,
    item_name: Callable[[int], str],
) -> Contexts:
    """Contexts of rows with a head [R] each, and items [N] that belong to rows, counted and sorted by their names."""
    rows = len(head)
    distinct, which = np.unique(item, return_inverse=True)
    names = [item_name(int(number)) for number in distinct]
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    pairs, counts = np.unique(owner * max(len(names), 1) + rank[which], return_counts=True)
    owners, ranks = np.divmod(pairs, max(len(names), 1))
    sizes = np.bincount(owners, minlength=rows)
    place = np.arange(len(owners)) - (np.cumsum(sizes) - sizes)[owners]
    # one line of numbers for each row: its head, then rank and count of each item, then zeros
    lines = np.zeros((rows, 1 + int(sizes.max(initial=0))), dtype=np.int64)
    lines[:, 0] = head
    lines[owners, 1 + place] = ranks * _COUNT_SPAN + counts
    distinct_lines, of_row = np.unique(lines, axis=0, return_inverse=True)
    tokens = []
    for start, *parts in distinct_lines.tolist():
        token = head_name(start)
        for part in parts:
            if part:
                number, count = divmod(part, _COUNT_SPAN)
                token += f"_{names[order[number]]}{count}"
        tokens.append(token)
    return Contexts(tokens, of_row.reshape(-1))


def _symbol(number: int) -> str:
    return Chem.GetPeriodicTable().GetElementSymbol(number)


def _neighbour_name(item: int) -> str:
    number, kind = divmod(item, _TYPE_SPAN)
    return f"{_symbol(number)}-{_TYPES[kind]}"


def _bond_name(name: int) -> str:
    rest, kind = divmod(name, _TYPE_SPAN)
    direction, stereo = divmod(rest, 8)
    return f"({_TYPES[kind]}-{_STEREO[stereo]}-{_DIRECTIONS[direction]})"


def _other_name(item: int) -> str:
    number, name = divmod(item, _NAME_SPAN)
    return f"{_symbol(number)}-{_bond_name(name)}"


@dataclass(frozen=True)
class Vocabulary:
    """Contexts by falling count, ties by name, behind the two special ones: `<pad>` and `<other>`.

    Cut anywhere, the first part is the vocabulary of the commonest contexts.
    """

    tokens: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, counts: Mapping[str, int], min_count: int = 1, max_size: int | None = None) -> Vocabulary:
        """From the count of each context; at most `max_size` contexts besides the special ones."""
        kept = sorted((-count, token) for token, count in counts.items() if count >= max(min_count, 1))[:max_size]
        return cls((PADDING, OTHER, *(token for _, token in kept)), (0, 0, *(-count for count, _ in kept)))

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def numbers(self, tokens: Iterable[str]) -> np.ndarray:
        """The number of each context, int64; 1 for those that are not listed."""
        other = self._numbers[OTHER]
        return np.array([self._numbers.get(token, other) for token in tokens], dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored."""
        return {"tokens": list(self.tokens), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, stored: Any) -> Vocabulary:
        """The vocabulary of stored values; raises `MesomerError` if they are none."""
        try:
            tokens, counts = tuple(stored["tokens"]), tuple(stored["counts"])
        except (KeyError, TypeError) as error:
            raise MesomerError(f"A stored vocabulary lacks its {error}.") from error
        if tokens[:2] != (PADDING, OTHER) or len(tokens) != len(counts):
            raise MesomerError("A stored vocabulary does not begin with its special contexts, or lacks counts.")
        return cls(tokens, counts)


def numbered(contexts: Contexts, vocabulary: Vocabulary) -> np.ndarray:
    """The number of each row's context in a vocabulary, int64 [R]."""
    return vocabulary.numbers(contexts.tokens)[contexts.of_row]
