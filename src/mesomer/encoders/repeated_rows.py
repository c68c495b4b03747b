"""Rows of which most are equal, each kind stored once: the input columns of atoms and bonds.

A batch of 32 molecules has some 700 atoms of 50 kinds and 1,600 directed bonds of 80. What is done row by row, such as
a linear layer, is therefore done to the kinds and looked up for the rows; its gradient is summed for each kind before
it reaches the weights. Kinds are told apart by the bits of the code that the columns depend on.

The search for kinds takes longer than it saves where there are few rows; and on other devices than a CPU the program
would have to wait for its result. There every row is stored as it is.

Shapes: `R` rows, `K` kinds, `W` columns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mesomer.chem.graph import GraphBatch
from mesomer.encoders.rows import offsets_of

FEW_ROWS = 512  # directed bonds, of some ten molecules


class Columns(Protocol):
    """Columns of codes: uint8 [R, bytes] -> [R, W]; `used` uint8 [bytes] has the bits that they depend on."""

    @property
    def used(self) -> Tensor: ...

    def __call__(self, codes: Tensor) -> Tensor: ...


class _Places:
    """Which kind each row is of: `kind` [R], and the rows of each of `kinds` kinds as a list with offsets."""

    def __init__(self, kind: Tensor, kinds: int) -> None:
        self.kind, self.kinds = kind, kinds

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """The rows of each kind: a list of rows [R] and offsets [K + 1]."""
        return torch.argsort(self.kind), offsets_of(self.kind, self.kinds)


class RepeatedRows:
    """Rows [R, W], of which the kinds [K, W] are stored; without `places` every row is a kind of its own."""

    def __init__(self, kinds: Tensor, places: _Places | None = None) -> None:
        self.kinds, self._places = kinds, places

    @classmethod
    def of(cls, kinds: Tensor, kind: Tensor) -> RepeatedRows:
        """Rows of these kinds: row r is `kinds[kind[r]]`."""
        return cls(kinds, _Places(kind, kinds.shape[0]))

    def __len__(self) -> int:
        return (self.kinds if self._places is None else self._places.kind).shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> RepeatedRows:
        """The same function of each row; what it gives behind the kinds that it takes is left out."""
        return RepeatedRows(function(self.kinds), self._places)

    def select(self, chosen: Tensor) -> RepeatedRows:
        """The chosen rows, by number or by a mask [R]."""
        if self._places is None:
            return RepeatedRows(self.kinds[chosen])
        return RepeatedRows.of(self.kinds, self._places.kind[chosen])

    def below(self, padding: int) -> RepeatedRows:
        """The rows below `padding` rows of zeros."""
        if padding == 0:
            return self
        zeros = self.kinds.new_zeros(padding if self._places is None else 1, self.kinds.shape[1])
        kinds = torch.cat([zeros, self.kinds])
        if self._places is None:
            return RepeatedRows(kinds)
        return RepeatedRows.of(kinds, F.pad(self._places.kind + 1, (padding, 0)))

    def dense(self, length: int | None = None) -> Tensor:
        """All rows [R, W], with any rows behind them up to `length` if it is given."""
        behind = 0 if length is None else length - len(self)
        if self._places is None:
            return F.pad(self.kinds, (0, 0, 0, behind)) if behind else self.kinds
        kind = F.pad(self._places.kind, (0, behind)) if behind else self._places.kind
        if not (self.kinds.requires_grad and torch.is_grad_enabled()):
            return self.kinds.index_select(0, kind)
        return _LookUp.apply(self.kinds, kind, *self._places.rows)


class _LookUp(torch.autograd.Function):
    """Kinds [K, W] for rows [R, W]; the gradient is summed kind by kind, in bfloat16 without rounding in between."""

    @staticmethod
    def forward(ctx: Any, kinds: Tensor, kind: Tensor, rows: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(rows, offsets)
        ctx.behind = kinds.shape[0] + 1 - offsets.numel()
        return kinds.index_select(0, kind)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        rows, offsets = ctx.saved_tensors
        if rows.numel() == 0:
            summed = gradient.new_zeros(offsets.numel() - 1, gradient.shape[1])
        else:
            summed = F.embedding_bag(rows, gradient.contiguous(), offsets, mode="sum", include_last_offset=True)
        return F.pad(summed, (0, 0, 0, ctx.behind)) if ctx.behind else summed, None, None, None


def input_columns(batch: GraphBatch, atoms: Columns, bonds: Columns) -> tuple[RepeatedRows, RepeatedRows]:
    """Columns of all atoms and of all directed bonds; a directed bond has those of its source atom, then its own."""
    if batch.atom_codes.device.type != "cpu" or batch.num_bonds < FEW_ROWS:
        return every_row(batch, atoms, bonds)
    return each_kind(batch, atoms, bonds)


def each_kind(batch: GraphBatch, atoms: Columns, bonds: Columns) -> tuple[RepeatedRows, RepeatedRows]:
    """The same with each kind stored once."""
    atom_first, atom_kind = _kinds(_numbers(batch.atom_codes, atoms.used))
    source = atom_kind.index_select(0, batch.source)
    own = _numbers(batch.bond_codes, bonds.used).repeat_interleave(2)
    bond_first, bond_kind = _kinds(_joined(source, own))
    atom_columns = atoms(batch.atom_codes.index_select(0, atom_first))
    bond_columns = torch.cat(
        [
            atom_columns.index_select(0, source.index_select(0, bond_first)),
            bonds(batch.bond_codes.index_select(0, bond_first >> 1)),
        ],
        dim=1,
    )
    return RepeatedRows.of(atom_columns, atom_kind), RepeatedRows.of(bond_columns, bond_kind)


def every_row(batch: GraphBatch, atoms: Columns, bonds: Columns) -> tuple[RepeatedRows, RepeatedRows]:
    """The same with every row stored."""
    atom_columns = atoms(batch.atom_codes)
    own = bonds(batch.bond_codes).repeat_interleave(2, dim=0)
    bond_columns = torch.cat([atom_columns.index_select(0, batch.source), own], dim=1)
    return RepeatedRows(atom_columns), RepeatedRows(bond_columns)


def _numbers(codes: Tensor, used: Tensor) -> Tensor:
    """A number [R] for each row of codes [R, bytes], the same for those that agree in the bits used; below 2^32 for
    codes of 4 bytes or fewer.
    """
    bits = codes & used[: codes.shape[1]]
    words = F.pad(bits, (0, -codes.shape[1] % 4)).view(torch.int32).long() & 0xFFFFFFFF
    number = words[:, 0]
    for place in range(1, words.shape[1]):
        number = _joined(number if place == 1 else _kinds(number)[1], words[:, place])
    return number


def _joined(number: Tensor, word: Tensor) -> Tensor:
    """One number for two, both of 32 bits."""
    return number << 32 | word


def _kinds(number: Tensor) -> tuple[Tensor, Tensor]:
    """A row of each kind [K], and each row's kind [R]."""
    values, kind = torch.unique(number, return_inverse=True)
    row = torch.arange(number.numel(), device=number.device)
    return torch.empty_like(values).scatter_(0, kind, row), kind
