"""Which molecules stay together, and who gets fewer labels."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from small_corpora import demo_rows
from small_models import write_table

from mesomer.chem.inchi import skeleton
from mesomer.errors import MesomerError
from mesomer.studies.design import Cell
from mesomer.studies.molecules import (
    draw,
    fewer_labels,
    opened,
    read_molecules,
    splits_path,
    store_splits,
    write_molecules,
)

# One molecule to InChI: tautomers, and mirror images of one skeleton.
ALIKE = ["Cc1cnc[nH]1", "Cc1c[nH]cn1", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"]


@pytest.fixture
def study(tmp_path, request_of):
    """Real molecules with tautomers and stereoisomers among them."""
    smiles = [*ALIKE, *(row["smiles"] for row in demo_rows(45))]
    path = write_table(tmp_path / "alike.csv", {"smiles": smiles, "activity": range(50), "class": [0, 1] * 25})
    return read_molecules(request_of(path, ("activity", "class")).source)


@pytest.mark.parametrize("split", ["random", "scaffold", "stratified", "balanced", "deterministic"])
def test_no_molecule_is_on_both_sides(study, split):
    drawn = draw(study, split, 3, 4)
    together = skeleton if split in ("random", "scaffold", "stratified") else str
    for one in drawn:
        keys = [{together(study.keys[at]) for at in part} for part in (one.train, one.valid, one.test)]
        assert not keys[0] & keys[2] and not keys[1] & keys[2]
        assert sorted(np.concatenate([one.train, one.valid, one.test])) == list(range(50))


def test_tautomers_and_mirror_images_share_a_fold(study):
    assert study.keys[0] == study.keys[1]
    assert len({study.keys[at] for at in (2, 3, 4)}) == 3 and len({skeleton(study.keys[at]) for at in (2, 3, 4)}) == 1
    for one in draw(study, "random", 5, 5):
        place = {at: part for part, rows in one.parts.items() for at in rows}
        assert len({place[at] for at in (0, 1)}) == len({place[at] for at in (2, 3, 4)}) == 1


def test_a_molecule_without_inchi_is_its_own_key():
    assert skeleton("SMILES C*C-X") == "SMILES C*C-X"
    assert skeleton("QNAYBMKLOCPYGJ-REOHCLBHSA-N") == "QNAYBMKLOCPYGJ"


def test_fewer_labels_are_nested_and_keep_both_classes(study):
    split = draw(study, "random", 1, 2)[0]
    parts = {count: fewer_labels(study.data, split, count) for count in (6, 12, 20)}
    for count, one in parts.items():
        assert len(one.train) + len(one.valid) == count
        assert np.array_equal(one.test, split.test)
        assert set(one.train) <= set(split.train) and set(one.valid) <= set(split.valid)
        assert set(study.data.y[one.train, 1]) == {0.0, 1.0}
    assert set(parts[6].train) < set(parts[12].train) < set(parts[20].train)


def test_processes_read_the_very_same_splits(study):
    drawn = {"random": draw(study, "random", 2, 2)}
    store_splits(study, drawn)
    write_molecules(study.source.folder / "molecules.csv", study)
    again = opened(study.source, ("random",), False)
    assert again is not study
    for key, one in study.splits.items():
        assert all(np.array_equal(one.parts[part], again.splits[key].parts[part]) for part in one.parts)
    cell = Cell("random", 1, 0, "mean")
    assert study.split_of(cell).seed == again.split_of(cell).seed
    with open(study.source.folder / "molecules.csv", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["row", "smiles", "key", "activity", "class"] and rows[1][1] == ALIKE[0] and len(rows) == 51


def test_splits_of_other_molecules_are_refused(study):
    store_splits(study, {"random": draw(study, "random", 1, 2)})
    path = splits_path(study.source.folder, "random")
    path.write_text(path.read_text().replace(ALIKE[0], "CCCC"))
    with pytest.raises(MesomerError, match="other molecules"):
        opened(study.source, ("random",), False)
