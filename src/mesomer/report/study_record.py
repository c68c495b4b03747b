"""verdicts.json: every comparison of a study with all its digits; null stands for a number that there is not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mesomer.machine import versions
from mesomer.report.study_contrasts import Contrast
from mesomer.report.study_folder import Study
from mesomer.report.study_text import cautions, headline, headline_split
from mesomer.report.study_verdicts import SplitVerdict
from mesomer.statistics import LEVEL
from mesomer.statistics.verdicts import FACTORS

FORMAT = 1


def verdicts_record(study: Study, found: Sequence[SplitVerdict]) -> dict[str, Any]:
    """The record as plain values. Gains are positive where `first` is better, whatever the metric."""
    chosen = headline_split(found)
    record = {
        "format": FORMAT,
        "mesomer": versions().get("mesomer"),
        "sentence": headline(study, found),
        "headline_split": None if chosen is None else chosen.split,
        "verdict": None if chosen is None or chosen.primary is None else chosen.primary.verdict,
        "metric": study.metric,
        "greater_is_better": study.better == "max",
        "target": study.headline_target,
        "zone": study.facts["zone"],
        "zones_of_verdicts": [factor * study.zone for factor in FACTORS],
        "level": LEVEL,
        "cautions": cautions(study, found),
        "splits": {split.split: _split(study, split) for split in found},
    }
    return _plain(record)


def as_json(record: Mapping[str, Any]) -> str:
    """The text of the file."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _split(study: Study, split: SplitVerdict) -> dict[str, Any]:
    table = split.table
    return {
        "test_to_train": split.ratio,
        "folds": {
            "planned": study.planned_folds(split.split),
            "counted": [{"repeat": repeat, "fold": fold} for repeat, fold in table.folds],
            "missing": table.missing,
            "metric_undefined": [{"repeat": repeat, "fold": fold} for repeat, fold in table.undefined],
            "failed": [failure._asdict() for failure in table.failures],
            "arms_left_out": table.left_out,
        },
        "arms": [
            {
                "arm": arm.arm.name,
                "label": arm.arm.label,
                "mean": arm.mean,
                "low": arm.low,
                "high": arm.high,
                "mean_outside_corpus": arm.novel,
                "mean_without_search": arm.default,
                "other_metrics": arm.others,
                "failed_folds": arm.failed,
                "cells": arm.cells,
                "seconds": arm.seconds,
                "parameters": arm.arm.parameters,
            }
            for arm in split.arms
        ],
        "primary": _contrast(split.primary),
        "primary_outside_corpus_only": split.on_novel,
        "over_test_molecules_only": split.molecules,
        "needed_to_settle": None if split.needed is None else split.needed._asdict(),
        "against_twin": [_contrast(row) for row in split.against_twin],
        "own_twins": [_contrast(row) for row in split.own_twins],
        "against_references": [_contrast(row) for row in split.against_references],
        "best_reference": None if split.best_reference is None else split.best_reference.second,
        "against_mean_predictor": _contrast(split.floor),
        "all_pairs": _pairs(split),
        "targets": [
            {"target": row.target, "mean_first": row.means[0], "mean_second": row.means[1], **_contrast(row.contrast)}
            for row in split.targets
        ],
        "targets_not_judged": split.untold,
        "corpus_overlap": {
            "share_of_test_molecules": split.overlap,
            "folds_with_others": split.novel_folds,
            "primary": _contrast(split.novel),
        },
        "learning_curve": [
            {
                "labels": point.labels,
                "all_labels": point.full,
                "folds": point.folds,
                "means": point.means,
                "gain": _contrast(point.gain),
            }
            for point in split.curve
        ],
    }


def _contrast(row: Contrast | None) -> Any:
    return None if row is None else {**asdict(row), "verdict": row.verdict}


def _pairs(split: SplitVerdict) -> dict[str, Any] | None:
    pairs = split.pairs
    if pairs is None:
        return None
    rows = [pair._asdict() for pair in pairs.pairs]
    return {"means": pairs.means, "half_width": pairs.half_width, "half_bar": pairs.half_bar, "pairs": rows}


def _plain(value: Any) -> Any:
    """The value with plain numbers only: NaN and infinity become null, as JSON has neither."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
