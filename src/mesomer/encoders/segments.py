"""Sums and softmax over the rows that belong together: the atoms of a molecule, the neighbours of an atom."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(rows: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Sums rows [N, ...] by their segment number [N]; an empty segment gives zeros."""
    return rows.new_zeros((segments, *rows.shape[1:])).index_add(0, segment, rows)


def segment_softmax(scores: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Softmax of scores [N, K] over the rows of each segment, column by column."""
    index = segment[:, None].expand_as(scores)
    # The maximum only keeps exp() in range; it cancels, so no gradient need pass through it.
    highest = scores.new_full((segments, scores.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, scores.detach(), "amax")
    weights = torch.exp(scores - highest[segment])
    return weights / segment_sum(weights, segment, segments)[segment]
