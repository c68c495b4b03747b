"""What a model says of each task, its loss over the present labels, and raw outputs as values and probabilities.

Decided: the loss holds the loss of each head and a weight times their squared difference; the prediction is their mean
after sigmoid or softmax. Task types may be mixed in one model: each output column (or group of class columns) has its
own loss, and all present labels count alike. A missing label is NaN in the target, weight nothing.

Legend: M molecules, T tasks, T' output columns (a task of C classes takes C columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

OUTPUT_TYPES = ("regression", "binary", "multiclass")


class Output(NamedTuple):
    """What a model says about one task: its type and the number of output columns."""

    type: str  # one of OUTPUT_TYPES
    width: int = 1  # number of classes for "multiclass", else 1


def wide(rows: Tensor) -> Tensor:
    """Half-precision rows as float32: sums over many rows lose too much in eight bits of mantissa."""
    return rows.float() if rows.dtype in (torch.bfloat16, torch.float16) else rows


class OutputPlan(NamedTuple):
    """Where each type of task stands: column tasks are handled together (some sets have 617), multi-class singly."""

    regression: tuple[list[int], list[int]]  # (task numbers, output columns)
    binary: tuple[list[int], list[int]]
    multiclass: list[tuple[int, slice]]  # (task number, its columns)


def plan_outputs(outputs: Sequence[Output]) -> OutputPlan:
    """Sorts the tasks of a model by type."""
    plan = OutputPlan(([], []), ([], []), [])
    start = 0
    for number, output in enumerate(outputs):
        if output.type == "multiclass":
            plan.multiclass.append((number, slice(start, start + output.width)))
        else:
            tasks, columns = plan.regression if output.type == "regression" else plan.binary
            tasks.append(number)
            columns.append(start)
        start += output.width
    return plan


def property_loss(
    raw: list[Tensor], targets: Tensor, outputs: Sequence[Output], disagreement: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Loss summed over present labels, and their number.

    raw: [M, T'] for each head; targets [M, T]: values, 0/1 or class numbers, NaN where missing. Each entry is the sum
    over heads of its own loss plus `disagreement` times the squared difference of the raw outputs (mean over classes).
    """
    plan = plan_outputs(outputs)
    heads = [wide(head) for head in raw]
    present = ~torch.isnan(targets)
    truth = torch.where(present, targets, 0.0).to(heads[0].dtype)
    total = heads[0].new_zeros(())
    for (tasks, columns), loss in (
        (plan.regression, functional.mse_loss),
        (plan.binary, functional.binary_cross_entropy_with_logits),
    ):
        if tasks:
            entries = sum(loss(head[:, columns], truth[:, tasks], reduction="none") for head in heads)
            if disagreement and len(heads) == 2:
                entries = entries + disagreement * (heads[0][:, columns] - heads[1][:, columns]).square()
            total = total + (entries * present[:, tasks]).sum()
    for number, place in plan.multiclass:
        classes = truth[:, number].long()
        entries = sum(functional.cross_entropy(head[:, place], classes, reduction="none") for head in heads)
        if disagreement and len(heads) == 2:
            entries = entries + disagreement * (heads[0][:, place] - heads[1][:, place]).square().mean(1)
        total = total + (entries * present[:, number]).sum()
    return total, present.sum()


def final_outputs(raw: list[Tensor], outputs: Sequence[Output]) -> Tensor:
    """Mean over heads after sigmoid (binary) or softmax (multi-class): [M, T'], float32."""
    plan = plan_outputs(outputs)
    heads = []
    for head in raw:
        final = wide(head).clone()
        if plan.binary[1]:
            final[:, plan.binary[1]] = torch.sigmoid(final[:, plan.binary[1]])
        for _, columns in plan.multiclass:
            final[:, columns] = torch.softmax(final[:, columns], 1)
        heads.append(final)
    return torch.stack(heads).mean(0)
