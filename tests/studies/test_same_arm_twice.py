"""A/A: a real arm enters a whole study twice under different seeds, on real molecules, and must not beat itself.

`test_truth.py` and `tests/statistics/test_simulation.py` have the numbers to measure the level; this looks at the arms
that users run, through search, cells, tables and verdicts; the pilot, which decides nothing here, is left out for time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rdkit.Chem import MolFromSmiles
from small_corpora import demo_rows
from small_models import write_table

from mesomer.report.study_folder import read_study
from mesomer.report.study_verdicts import analyse
from mesomer.studies import run as running
from mesomer.studies.arms import ARMS
from mesomer.studies.arms.base import Arm, Job, Predicted
from mesomer.studies.design import StudyOptions
from mesomer.studies.results import write_tables
from mesomer.studies.run import run_study

MOLECULES = 70
STUDIES, MOST_CALLED = 8, 2
"""Of each arm; with the promised 5 %, three wrong calls or more come with P = 0.006."""
OPTIONS = StudyOptions(
    splits=("random",), repeats=2, folds=5, epochs=2, batch_size=16, label_shares=(), minutes=None, zone=1e-9,
)  # fmt: skip


class Again(Arm):
    """A real arm with the seed of each fold moved by `shift`; a blind one learns from labels in a wrong order."""

    kind = "network"

    def __init__(self, name: str, arm: Arm, shift: int, twin_of: str | None = None, blind: bool = False) -> None:
        self.name, self.label, self.arm, self.shift, self.twin_of, self.blind = name, name, arm, shift, twin_of, blind
        self.settings = arm.settings

    def fit(self, job: Job, setting, trial: int) -> Predicted:
        if self.blind:
            data = job.study.data
            wrong = data.y[np.random.default_rng(0).permutation(len(data.y))]
            job = replace(job, study=replace(job.study, data=replace(data, y=wrong)))
        return self.arm.fit(replace(job, split=replace(job.split, seed=job.split.seed + self.shift)), setting, trial)

    def prepare(self, job: Job) -> None:
        self.arm.prepare(job)


@pytest.fixture
def primary_of(tmp_path, request_of, monkeypatch):
    """The headline of a study in which `arm` is held against itself, on the molecules of one part of the set."""
    rows = demo_rows(MOLECULES * STUDIES)

    def run(arm: Arm, part: int = 0, molecules: int = MOLECULES, blind: bool = False, labels=None):
        monkeypatch.setitem(ARMS, "one", Again("one", arm, 1_000_003))
        monkeypatch.setitem(ARMS, "same", Again("same", arm, 0, twin_of="one", blind=blind))
        monkeypatch.setattr(running, "report_of", _tables_only)
        monkeypatch.setattr(running, "_pilot", lambda *_: None)
        own = rows[part * molecules : (part + 1) * molecules]
        columns = {name: [row[name] for row in own] for name in ("smiles", "activity")}
        columns |= {} if labels is None else {"activity": [labels(text) for text in columns["smiles"]]}
        folder = tmp_path / f"{arm.name}{part}{blind}"
        request = request_of(write_table(tmp_path / f"{folder.name}.csv", columns), output=str(folder), seed=part)
        trials = 1 if arm.kind == "network" else 2
        run_study(request, replace(OPTIONS, arms=("one", "same"), seed=part, trials=trials))
        (split,) = analyse(read_study(folder))
        assert split.primary is not None and len(split.table.folds) == 10
        return split.primary

    return run


def _tables_only(folder):
    facts = write_tables(folder)
    return {"sentence": "", "lines": [], "report": None, "cells": facts["cells"], "cut": facts["cut"]}


@pytest.mark.long
@pytest.mark.parametrize("name", ["ecfp_forest", "random", "frozen_random_linear"])
def test_an_arm_does_not_beat_itself(name, primary_of):
    found = [primary_of(ARMS[name], part) for part in range(STUDIES)]
    assert all(one.spread > 0 for one in found), "the seeds change nothing"
    called = [one.verdict for one in found if one.verdict in ("helps", "hurts")]
    assert len(called) <= MOST_CALLED, [(one.gain, one.p) for one in found]
    assert np.median([one.p for one in found]) > 0.1


@pytest.mark.long
def test_an_arm_beats_itself_without_labels(primary_of):
    """The same study says so if the two are not alike; the labels are easy ones, as a few solubilities teach little."""

    def heavy_atoms(smiles: str) -> int:
        return MolFromSmiles(smiles).GetNumAtoms()

    found = primary_of(ARMS["ecfp_forest"], molecules=4 * MOLECULES, blind=True, labels=heavy_atoms)
    assert found.verdict == "helps"
