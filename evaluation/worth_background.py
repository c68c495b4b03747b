"""What no cell keeps: which molecules of a set the pre-training has seen, and what the mean of the labels is worth.

Nothing is trained. A molecule counts as seen if its skeleton (the InChIKey without stereo) is among the keys of the
corpus that the model carries, as in `mesomer study`. Scores of the unseen ones are computed anew from the predictions
that the cells keep with seven digits, so that ties can move a ROC-AUC by some 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from labelled_sets import part_score
from numpy.typing import NDArray
from worth_cells import SplitSet, split_set
from worth_design import Cell
from worth_results import Background, Outside

from mesomer.baselines import BASELINES, run_baseline
from mesomer.chem.inchi import inchi_keys, skeleton
from mesomer.data.corpus_keys import CorpusKeys
from mesomer.metrics import PRIMARY
from mesomer.training.checkpoint import load_model
from mesomer.training.model_keys import keys_of


def corpus_keys(model: str) -> CorpusKeys | None:
    """The keys of its corpus that a model carries; None if it has none."""
    folder = load_model(model)
    return keys_of(folder.path, folder.config)


def background_of(name: str, cells: Mapping[Cell, dict[str, Any]], keys: CorpusKeys | None) -> Background:
    """What is known of a set; `cells` are the finished ones of all sets."""
    chosen = split_set(name)
    means = mean_scores(chosen)
    if keys is None:
        return Background(len(chosen.labelled), means)
    names = inchi_keys(chosen.labelled.mols, chosen.labelled.canonical)
    seen = keys.contains("skeleton", [skeleton(text) for text in names])
    own = {cell: found for cell, found in cells.items() if cell.set == name}
    outside = {cell: outside_score(chosen, seen, found) for cell, found in own.items()}
    return Background(
        len(chosen.labelled),
        means,
        int(keys.contains("exact", names).sum()),
        int(seen.sum()),
        {cell: found for cell, found in outside.items() if not math.isnan(found.score)},
    )


def mean_scores(chosen: SplitSet) -> dict[int, float]:
    """By seed the test score of the mean of the training labels; empty for classes, where a constant ranks nothing."""
    if chosen.data.targets[0].type != "regression":
        return {}
    features = BASELINES["mean"].features(chosen.labelled.mols)
    found = run_baseline("mean", features, chosen.data.y, chosen.data.targets, chosen.splits).predicted
    metric = PRIMARY["regression"]
    return {
        seed: part_score(chosen.data, split.test, predicted, metric)
        for seed, (split, predicted) in enumerate(zip(chosen.splits, found, strict=True))
    }


def outside_score(chosen: SplitSet, seen: NDArray[np.bool_], cell: Mapping[str, Any]) -> Outside:
    """The score of a finished cell on test molecules that are not `seen` [M]; NaN if there is none."""
    at = {row: position for position, row in enumerate(chosen.data.rows)}
    positions = np.array([at[row] for row in cell["rows"]["test"]], np.int64)
    new = ~seen[positions]
    if not new.any():
        return Outside(0, math.nan)
    predicted = np.array(cell["predicted"]["test"])[new]
    return Outside(int(new.sum()), part_score(chosen.data, positions[new], predicted, cell["metric"]))
