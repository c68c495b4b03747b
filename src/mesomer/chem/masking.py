"""What a hidden atom or bond looks like: a code of its own, which no molecule has.

A mask is not a matter of one encoder: a batch with these codes goes through any of them. Encoders with a row for the
mask (pretrain-gnns, R-MAT) look that row up, others see an unknown element and an unknown kind of bond, without any
further field.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .graph import GraphBatch
from .schema import ATOM_BYTES, ATOM_FIELDS, BOND_BYTES, BOND_FIELDS, CHARGE_OFFSET

if TYPE_CHECKING:
    from torch import Tensor

MASK_ELEMENT = 119  # elements end at 118; pretrain-gnns has its mask in this row
MASK_BOND_TYPE = 31  # above every number in BOND_TYPES, and all that 5 bits hold

CENTRES = "hidden_centres"
"""Where a batch says which of its hidden atoms the others were hidden for: bool [A] among its extras."""

_ATOM = [0] * ATOM_BYTES
_ATOM[ATOM_FIELDS["atomic_number"].byte] = MASK_ELEMENT
_ATOM[ATOM_FIELDS["charge"].byte] = CHARGE_OFFSET
_BOND = [0] * BOND_BYTES
_BOND[BOND_FIELDS["type"].byte] = MASK_BOND_TYPE << BOND_FIELDS["type"].shift


def hide(
    batch: GraphBatch, atoms: Tensor | None = None, bonds: Tensor | None = None, centres: Tensor | None = None
) -> GraphBatch:
    """The batch with those atoms [A] and undirected bonds [E] hidden, both bool; who is bound to whom stays visible.

    `centres` [A] marks the atoms for whose sake others were hidden too. R-MAT has a channel for that.
    """
    return replace(
        batch,
        atom_codes=batch.atom_codes if atoms is None else _hidden(batch.atom_codes, atoms, _ATOM),
        bond_codes=batch.bond_codes if bonds is None else _hidden(batch.bond_codes, bonds, _BOND),
        extras=batch.extras if centres is None else {**batch.extras, CENTRES: centres},
    )


def _hidden(codes: Tensor, rows: Tensor, code: list[int]) -> Tensor:
    return codes.new_tensor(code).where(rows[:, None], codes)
