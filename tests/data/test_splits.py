"""Splits: equal to the published index sets, whole, free of leaks where promised, refused where a part is empty."""

from __future__ import annotations

import csv
import functools
import json
import random

import numpy as np
import pytest
import rdkit
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.ML.Cluster import Butina

from mesomer.data.splits import (
    ALIASES,
    PARTS,
    RULES,
    Molecules,
    find_rule,
    read_splits,
    split,
    splits_for,
    write_splits,
)
from mesomer.data.splits.base import Request, group_rows, join_groups
from mesomer.data.splits.cluster import butina
from mesomer.data.splits.folds import class_indicators, deal, hold_out, stratify
from mesomer.data.splits.given import read_times
from mesomer.data.splits.published import fill_balanced, fill_deterministic, fill_random_scaffold
from mesomer.errors import MesomerError

RINGS = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccoc1", "C1CCNC1", "c1ccc2ccccc2c1", "C1CC1", "c1ccsc1", "C1COCCN1"]
TAILS = ["C", "CC", "CO", "CN", "C(=O)O", "CCl", "C#N", "OC", "CCCC"]
SMILES = [ring + tail for tail in TAILS for ring in RINGS] + ["C" * length for length in range(2, 11)]
STEREO = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "OC(=O)[C@@H](C)N", "CC(N)C(=O)O"]
FRACTIONS = (0.8, 0.1, 0.1)
PLAIN = [name for name, rule in RULES.items() if not rule.needs]


def spelt_anew(smiles: str, seed: int) -> str:
    order = list(range(Chem.MolFromSmiles(smiles).GetNumAtoms()))
    random.Random(seed).shuffle(order)
    return Chem.MolToSmiles(Chem.RenumberAtoms(Chem.MolFromSmiles(smiles), order), canonical=False)


def lists(drawn) -> list[list[int]]:
    return [part.tolist() for part in drawn.parts.values()]


# --- the published index sets -----------------------------------------------------------------------------------------


@functools.cache
def stored_sets(folder):
    """Every stored set: name, facts, arrays, the molecules of the rows that can be used, and their row numbers."""
    sets = []
    for name, facts in json.loads((folder / "info.json").read_text()).items():
        arrays = dict(np.load(folder / f"{name}.npz"))
        with open(folder / f"{name}.csv", newline="", encoding="utf-8") as handle:
            smiles = [row["smiles"] for row in csv.DictReader(handle)]
        bad = set(arrays["invalid"].tolist())
        rows = np.array([row for row in range(len(smiles)) if row not in bad])
        sets.append((name, facts, arrays, Molecules([smiles[row] for row in rows]), rows))
    return sets


def stored_rules(arrays):
    """Key, rule, seed and whether it is the variant on the SMILES as written, for all stored splits."""
    for key in sorted(key.removesuffix("/train") for key in arrays if key.endswith("/train")):
        rule, _, seed = key.partition("/")
        yield key, rule.removesuffix("_raw"), int(seed or 0), rule.endswith("_raw")


def assert_same(parts, arrays, key, rows, where):
    for part, found in zip(PARTS, parts, strict=True):
        assert set(rows[np.array(found)].tolist()) == set(arrays[f"{key}/{part}"].tolist()), f"{where} {key}/{part}"


@pytest.mark.reference
def test_published_splits_are_met_from_smiles(parity):
    other = []
    for name, facts, arrays, table, rows in stored_sets(parity("splits")):
        if rdkit.__version__ != facts["rdkit"]:
            other.append(f"{name} was made with RDKit {facts['rdkit']}")
            continue
        canonical = facts["canonical_smiles_used_for_deterministic_and_random_scaffold"]
        for key, rule, seed, raw in stored_rules(arrays):
            drawn = split(rule, table, seed, tuple(facts["fractions"]), canonical=canonical and not raw)
            assert_same(drawn.parts.values(), arrays, key, rows, name)
            assert [len(part) for part in drawn.parts.values()] == facts["sizes"][key]
    if other:
        pytest.skip(f"this is RDKit {rdkit.__version__}: " + ", ".join(other))


@pytest.mark.reference
def test_published_scaffold_groups_are_met(parity):
    other = []
    for name, facts, arrays, table, rows in stored_sets(parity("splits")):
        if rdkit.__version__ != facts["rdkit"]:
            other.append(f"{name} was made with RDKit {facts['rdkit']}")
            continue
        canonical = facts["canonical_smiles_used_for_deterministic_and_random_scaffold"]
        for kind, keys in (("chiral", table.scaffolds(True, canonical)), ("plain", table.scaffolds(False))):
            found = np.full(facts["rows"], -1)
            for number, group in enumerate(group_rows(keys)):
                found[rows[group]] = number
            assert np.array_equal(found, arrays[f"scaffold_id/{kind}"]), f"{name} {kind}"
    if other:
        pytest.skip(f"this is RDKit {rdkit.__version__}: " + ", ".join(other))


@pytest.mark.reference
def test_published_rules_on_stored_groups(parity):
    """The rules alone, on the stored scaffold groups: holds under every version of RDKit."""
    for name, facts, arrays, table, rows in stored_sets(parity("splits")):
        fractions, count = tuple(facts["fractions"]), len(rows)
        chiral = group_rows(arrays["scaffold_id/chiral"][rows].tolist())
        plain = group_rows(arrays["scaffold_id/plain"][rows].tolist())
        met = set()
        for key, rule, seed, raw in stored_rules(arrays):
            if raw:
                continue
            match rule:
                case "deterministic":
                    parts = fill_deterministic(chiral, count, fractions)[:3]
                case "deterministic_achiral":
                    parts = fill_deterministic(plain, count, fractions)[:3]
                case "random_scaffold":
                    parts = fill_random_scaffold(chiral, count, fractions, seed)[:3]
                case "balanced":
                    parts = fill_balanced(plain, count, fractions, seed)[:3]
                case _:
                    parts = find_rule(rule).make(Request(table, seed, fractions))[0][:3]
            assert_same(parts, arrays, key, rows, name)
            met.add(rule)
        assert met


# --- every rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_places_every_molecule_once_and_the_same_way_again(name):
    column = (
        [("train", "valid", "test")[at % 3] for at in range(len(SMILES))] if name == "column" else range(len(SMILES))
    )
    labels = [at % 3 == 0 for at in range(len(SMILES))]
    first = splits_for(name, SMILES, 2, seed=3, column=column, labels=labels)
    again = splits_for(name, [Chem.MolFromSmiles(text) for text in SMILES], 2, seed=3, column=column, labels=labels)
    for one, other in zip(first, again, strict=True):
        together = np.concatenate(lists(one))
        assert sorted(together) == list(range(len(SMILES)))
        assert all(part.size and np.array_equal(part, np.sort(part)) for part in one.parts.values())
        assert lists(one) == lists(other)
    assert len({one.seed for one in first}) == len(first)


def test_scaffold_means_balanced():
    drawn, wanted = split("scaffold", SMILES, 4), split("balanced", SMILES, 4)
    assert (drawn.name, drawn.rule) == ("scaffold", "balanced")
    assert lists(drawn) == lists(wanted)
    assert {find_rule(alias).name for alias in ALIASES} <= set(RULES)


@pytest.mark.parametrize("name", ["deterministic", "deterministic_achiral", "time"])
def test_rules_without_randomness_say_one_split_and_repeat_only_the_training_seed(name):
    drawn = splits_for(name, SMILES, 3, seed=5, column=range(len(SMILES)))
    assert lists(drawn[0]) == lists(drawn[1]) == lists(drawn[2])
    assert [one.seed for one in drawn] == [5, 6, 7]
    assert all(one.note.startswith("one split") for one in drawn)


@pytest.mark.parametrize("name", ["random", "balanced", "random_scaffold", "cluster", "cv", "scaffold_cv"])
def test_seeded_rules_differ_between_repeats(name):
    drawn = splits_for(name, SMILES, 2)
    half = len(drawn) // 2
    assert "one split" not in drawn[0].note
    assert [lists(one) for one in drawn[:half]] != [lists(one) for one in drawn[half:]]
    assert lists(splits_for(name, SMILES, 1, seed=1)[0]) == lists(drawn[half])


def test_a_split_does_not_change_between_versions():
    """Stored results name rule and seed; these are the draws of the rules that Mesomer itself defines."""
    for name, wanted in PINNED.items():
        drawn = splits_for(
            name,
            SMILES[:24],
            seed=2,
            folds=3 if RULES[name].folded else None,
            labels=[at % 4 == 0 for at in range(24)],
            column=["train"] * 18 + ["test"] * 6,
        )
        assert [[one.valid.tolist(), one.test.tolist()] for one in drawn] == wanted, name


def test_published_scaffold_rules_cut_no_group():
    for name in ("deterministic", "deterministic_achiral", "balanced", "random_scaffold", "scaffold_cv"):
        drawn = split(name, SMILES)
        keys = np.array(Molecules(SMILES).scaffolds(False))
        sides = [set(keys[part]) for part in drawn.parts.values()]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_chirality_is_what_separates_deterministic_from_its_achiral_variant():
    twins = Molecules(["O=C1[C@H]2CCC[C@@H]2CN1", "O=C1[C@@H]2CCC[C@H]2CN1"])
    assert len(set(twins.scaffolds(True))) == 2
    assert len(set(twins.scaffolds(False))) == 1


def test_canonical_scaffolds_do_not_depend_on_the_spelling():
    smiles = ["O=C1[C@H]2CCC[C@@H]2CN1C", *SMILES[:30]]
    plain = Molecules(smiles).scaffolds(True, canonical=True)
    anew = Molecules([spelt_anew(text, 1) for text in smiles]).scaffolds(True, canonical=True)
    assert plain == anew


def test_rdkit_prints_nothing(capfd):
    table = Molecules(["[H+].c1ccccc1C", *SMILES])
    table.scaffolds(True, canonical=True)
    split("balanced", table)
    assert capfd.readouterr().err == ""


# --- leaks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name, rule in RULES.items() if rule.guards))
@pytest.mark.parametrize("seed", range(3))
def test_duplicates_and_stereoisomers_stay_in_one_part(name, seed):
    molecules = [*SMILES, *[spelt_anew(text, seed) for text in SMILES[::3]], *STEREO]
    random.Random(seed).shuffle(molecules)
    identity = [Chem.MolToSmiles(Chem.MolFromSmiles(text), isomericSmiles=False) for text in molecules]
    for drawn in splits_for(name, molecules, seed=seed, labels=[at % 2 for at in range(len(molecules))]):
        sides = [{identity[at] for at in part} for part in drawn.parts.values()]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert "also in train" not in drawn.note


def test_duplicates_across_parts_are_counted_for_published_rules():
    molecules = SMILES + [spelt_anew(text, 0) for text in SMILES]
    drawn = split("random", molecules)
    names = Molecules(molecules).identities
    elsewhere = {names[at] for at in [*drawn.train, *drawn.valid]}
    repeated = sum(names[at] in elsewhere for at in drawn.test)
    assert repeated > 1
    assert drawn.note == f"{repeated} test molecules are also in train or valid (same canonical SMILES)"
    assert split("random", SMILES).note == ""


# --- folds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cv", "scaffold_cv", "stratified_cv"])
def test_folds_test_every_molecule_once_in_each_repeat(name):
    drawn = splits_for(name, SMILES, 2, folds=4, labels=[at % 5 == 0 for at in range(len(SMILES))])
    assert [(one.repeat, one.fold) for one in drawn] == [(repeat, fold) for repeat in range(2) for fold in range(4)]
    for repeat in range(2):
        tested = np.concatenate([one.test for one in drawn if one.repeat == repeat])
        assert sorted(tested) == list(range(len(SMILES)))
    for one in drawn:
        assert len(one.valid) == pytest.approx(0.1 * (len(one.train) + len(one.valid)), abs=3)


def test_cv_folds_are_even():
    assert {len(one.test) for one in splits_for("cv", SMILES, folds=7)} <= {len(SMILES) // 7, len(SMILES) // 7 + 1}


def test_a_group_above_half_a_fold_is_said_with_the_fold_sizes():
    molecules = ["C" * (at + 1) for at in range(40)] + SMILES[:20]
    drawn = splits_for("scaffold_cv", molecules, folds=4)
    assert "of 60 rows, more than half a fold" in drawn[0].note
    assert "fold sizes " + ", ".join(str(len(one.test)) for one in drawn) in drawn[0].note


def test_one_fold_is_what_split_gives():
    assert lists(split("cv", SMILES, folds=3, fold=2)) == lists(splits_for("cv", SMILES, folds=3)[2])
    with pytest.raises(MesomerError, match="no fold 3"):
        split("cv", SMILES, folds=3, fold=3)


GROUPS = st.lists(st.integers(1, 30), min_size=3, max_size=60)


def as_groups(sizes: list[int], seed: int) -> tuple[list[list[int]], int]:
    keys = [key for key, size in enumerate(sizes) for _ in range(size)]
    random.Random(seed).shuffle(keys)
    return group_rows(keys), len(keys)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(0, 1000))
def test_filling_cuts_no_group_and_respects_the_cut_points(sizes, seed):
    groups, count = as_groups(sizes, seed)
    for draft in (
        fill_deterministic(groups, count, FRACTIONS),
        fill_balanced(groups, count, FRACTIONS, seed),
        fill_random_scaffold(groups, count, FRACTIONS, seed),
    ):
        assert sorted([*draft.train, *draft.valid, *draft.test]) == list(range(count))
        part_of = {at: part for part in PARTS for at in getattr(draft, part)}
        assert all(len({part_of[at] for at in group}) == 1 for group in groups)
    assert len(fill_deterministic(groups, count, FRACTIONS).train) <= 0.8 * count
    assert len(fill_balanced(groups, count, FRACTIONS, seed).valid) <= 0.1 * count
    drawn = fill_random_scaffold(groups, count, FRACTIONS, seed)
    assert max(len(drawn.valid), len(drawn.test)) <= 0.1 * count


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(2, 6), st.integers(0, 1000))
def test_dealt_folds_differ_by_no_more_than_the_largest_group(sizes, folds, seed):
    groups, count = as_groups(sizes, seed)
    dealt = deal(groups, folds, seed, count)
    assert sorted(at for fold in dealt for group in fold for at in group) == list(range(count))
    held = [sum(map(len, fold)) for fold in dealt]
    assert max(held) - min(held) <= max(sizes)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(0, 1000))
def test_held_out_groups_fit_or_are_the_smallest(sizes, seed):
    groups, count = as_groups(sizes, seed)
    kept, held = hold_out(groups, 0.1, random.Random(seed))
    assert sorted(kept + held) == list(range(count))
    assert len(held) <= max(1, round(0.1 * count)) or len(held) == min(sizes)
    assert held or 2 * min(sizes) >= count


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, None]), min_size=20, max_size=200),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_stratified_parts_have_their_share_of_every_class(values, folds, seed):
    if all(value is None for value in values):
        return
    indicators, _ = class_indicators(values, len(values))
    shares = np.full(folds, 1 / folds)
    part_of = stratify(indicators, np.ones(len(values), dtype=int), shares, random.Random(seed))
    for one in indicators.T:
        counts = np.bincount(part_of[one > 0], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert part_of.min() >= 0


def test_stratified_cv_spreads_a_rare_class_over_several_tasks_and_bins_of_numbers():
    count = len(SMILES)
    labels = np.zeros((count, 2))
    labels[:10, 0] = 1
    labels[20:25, 1] = 1
    labels[30:60, 1] = np.nan
    for one in splits_for("stratified_cv", SMILES, labels=labels):
        assert labels[one.test, 0].sum() == 2
        assert np.nansum(labels[one.test, 1]) == 1
    values = np.random.RandomState(0).randn(count)
    means = [values[one.test].mean() for one in splits_for("stratified_cv", SMILES, labels=values)]
    assert np.ptp(means) < 0.25
    words = ["a" if at < 3 else "b" for at in range(count)]
    drawn = splits_for("stratified_cv", SMILES, labels=words)
    assert drawn[0].note == "fewer molecules than folds have class a"


# --- given by a column, by time ---------------------------------------------------------------------------------------


def test_column_words_in_any_case():
    words = ["Train", " training", "VALID", "val", "validation", "dev", "Test", "testing"]
    drawn = split("column", SMILES[:8], column=words)
    assert lists(drawn) == [[0, 1], [2, 3, 4, 5], [6, 7]]
    assert drawn.note == "one split"


def test_column_without_validation_draws_a_tenth_of_train_by_the_seed():
    molecules = [*SMILES[:60], *[spelt_anew(text, 2) for text in SMILES[:20]], *SMILES[60:80]]
    column = ["train"] * 80 + ["test"] * 20
    drawn = splits_for("column", molecules, 3, column=column)
    assert all(one.test.tolist() == list(range(80, 100)) and len(one.valid) == 8 for one in drawn)
    assert len({tuple(one.valid) for one in drawn}) == 3
    names = Molecules(molecules).identities
    for one in drawn:
        assert not {names[at] for at in one.valid} & {names[at] for at in one.train}
    assert drawn[0].note.startswith("one test part; validation: 8 of the 80 training molecules")
    assert lists(split("predefined", molecules, column=column)) == lists(drawn[0])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["train"] * 5 + ["tset"] * 3, r"3 of 8 differ: 'tset' in molecule 6"),
        (["train"] * 7 + [None], r"1 of 8 differ: nothing in molecule 8"),
        (["train"] * 8, r"no molecule into test"),
        (["test"] * 8, r"no molecule into train"),
        (None, r"needs a column"),
    ],
)
def test_column_refusals(column, said):
    with pytest.raises(MesomerError, match=said) as caught:
        split("column", SMILES[:8], column=column, column_name="part")
    assert "--split_column" in caught.value.hint


def test_time_trains_on_the_oldest_and_keeps_one_time_together():
    years = [2000 + at // 4 for at in range(40)]
    order = list(range(40))
    random.Random(0).shuffle(order)
    shuffled = [years[at] for at in order]
    drawn = split("time", SMILES[:40], column=shuffled)
    found = [{shuffled[at] for at in part} for part in drawn.parts.values()]
    assert found == [set(range(2000, 2008)), {2008}, {2009}]
    assert drawn.note == "one split; train up to 2007, test from 2009"


def test_time_takes_the_nearest_change_of_time():
    column = [1] * 5 + [2] * 24 + [3] * 6 + [4] * 5
    assert [len(part) for part in split("time", SMILES[:40], column=column).parts.values()] == [29, 6, 5]
    assert [len(part) for part in split("time", SMILES[:40], column=[3] * 38 + [4, 5]).parts.values()] == [38, 1, 1]


def nth(at: int) -> str:
    return f"molecule {at + 1}"


def test_messages_name_the_rows_of_the_table():
    with pytest.raises(MesomerError, match=r"'tset' in row 9\."):
        split("column", SMILES[:3], column=["train", "tset", "test"], rows=[4, 9, 11])
    with pytest.raises(MesomerError, match=r"nothing in row 11\."):
        split("time", SMILES[:3], column=[1, 2, None], rows=[4, 9, 11])


def test_times_are_numbers_or_iso_dates():
    assert read_times(["2.5", 1, " 3 "], "t", nth) == [2.5, 1.0, 3.0]
    dates = read_times(["2020-05-31", "2019-12-01T12:00:00", "2020-05-31T00:00:00+02:00"], "t", nth)
    assert dates[1] < dates[2] < dates[0]
    with pytest.raises(MesomerError, match=r"1 of 3 do not: 'soon' in molecule 2"):
        read_times(["2020-05-31", "soon", "2020-06-01"], "when", nth)
    with pytest.raises(MesomerError, match=r"1 of 3 do not: nothing in molecule 3"):
        read_times([1.0, 2.0, float("nan")], "when", nth)
    with pytest.raises(MesomerError, match=r"2 different times"):
        split("time", SMILES[:8], column=[1, 1, 1, 1, 2, 2, 2, 2])


# --- clusters ---------------------------------------------------------------------------------------------------------


def test_clusters_are_those_of_rdkits_butina():
    from rdkit.DataStructs import BulkTanimotoSimilarity

    prints = Molecules(SMILES + STEREO).fingerprints
    distances = [1 - s for at in range(1, len(prints)) for s in BulkTanimotoSimilarity(prints[at], prints[:at])]
    wanted = Butina.ClusterData(distances, len(prints), 0.6, isDistData=True)
    assert sorted(map(sorted, wanted)) == butina(prints)
    assert split("cluster", SMILES).note.startswith(f"{len(butina(Molecules(SMILES).fingerprints))} clusters")


def test_groups_join_where_they_overlap():
    assert join_groups([[0, 3], [1], [2], [4]], [[0], [1, 3], [2, 4]], 5) == [[0, 1, 3], [2, 4]]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(MesomerError, match="no split named 'scafold'") as caught:
        split("scafold", SMILES)
    assert caught.value.hint == "Did you mean scaffold?"


@pytest.mark.parametrize("name", PLAIN)
def test_too_few_molecules_are_refused_with_advice(name):
    with pytest.raises(MesomerError) as caught:
        split(name, ["C", "CC"])
    assert caught.value.hint
    with pytest.raises(MesomerError, match="no molecules"):
        split(name, [])


@pytest.mark.parametrize("name", ["scaffold", "deterministic", "random_scaffold", "cluster"])
def test_one_scaffold_for_all_is_refused_with_the_way_out(name):
    with pytest.raises(MesomerError, match=r"leaves none for the (train|valid) part") as caught:
        split(name, ["c1ccccc1C"] * 30)
    assert "--split random" in caught.value.hint


def test_arguments_that_make_no_sense():
    for arguments, said in (
        ({"folds": 3}, "has no folds"),
        ({"seed": -1}, "seed must lie"),
        ({"fractions": (0.9, 0.1, 0.1)}, "three positive shares"),
        ({"fractions": (1.0, 0.0, 0.0)}, "three positive shares"),
    ):
        with pytest.raises(MesomerError, match=said):
            split("random", SMILES, **arguments)
    with pytest.raises(MesomerError, match="2 or more"):
        split("cv", SMILES, folds=1)
    with pytest.raises(MesomerError, match="1 or more"):
        splits_for("cv", SMILES, 0)
    with pytest.raises(MesomerError, match="needs labels"):
        split("stratified_cv", SMILES)
    with pytest.raises(MesomerError, match="9 different molecules are too few for 10 folds") as caught:
        split("cv", SMILES[:9], folds=10)
    assert "up to 9" in caught.value.hint
    with pytest.raises(MesomerError, match="Molecule 2 of those to be split cannot be read: cannot parse"):
        split("scaffold", ["CCO", "C(C", "CCC"])


# --- splits.csv -------------------------------------------------------------------------------------------------------


def test_stored_splits_come_back(tmp_path):
    rows = [3 * at + 2 for at in range(len(SMILES))]
    drawn = splits_for("cv", SMILES, 2, folds=3)
    write_splits(tmp_path / "splits.csv", drawn, rows, SMILES)
    stored = read_splits(tmp_path / "splits.csv")
    assert (stored.rows, stored.smiles) == (rows, SMILES)
    assert [(one.repeat, one.fold, *lists(one)) for one in stored.splits] == [
        (one.repeat, one.fold, *lists(one)) for one in drawn
    ]
    with open(tmp_path / "splits.csv") as handle:
        assert next(handle).strip() == "row,smiles,repeat,fold,part"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda lines: ["row,smiles,part", *lines[1:]], "columns are not"),
        (lambda lines: [], "columns are not"),
        (lambda lines: lines[:1], "holds no split"),
        (lambda lines: lines[:-2], "fold 1 has 28 rows where others have 30"),
        (lambda lines: [*lines, lines[-1]], "line 62 places row 30 a second time"),
        (lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",tset"], "'tset' instead of train"),
        (lambda lines: [*lines[:-1], "x" + lines[-1]], "no whole numbers"),
        (lambda lines: [*lines[:-1], lines[-1] + ",1"], "6 cells instead of 5"),
        (lambda lines: [*lines[:-1], lines[-1].replace(lines[-1].split(",")[1], "O", 1)], "another SMILES"),
        (lambda lines: [line.replace(",valid", ",train") for line in lines], "no row in valid"),
    ],
)
def test_damaged_splits_are_refused(tmp_path, edit, said):
    path = tmp_path / "splits.csv"
    write_splits(path, splits_for("cv", SMILES[:30], folds=2), range(1, 31), SMILES[:30])
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    with pytest.raises(MesomerError, match=said):
        read_splits(path)


def test_a_file_that_is_no_table_or_not_there_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(MesomerError, match="not a file of splits"):
        read_splits(tmp_path / "binary")
    with pytest.raises(MesomerError, match="No such file"):
        read_splits(tmp_path / "absent.csv")


def test_nothing_half_written(tmp_path):
    drawn = splits_for("cv", SMILES, folds=3)
    with pytest.raises(ValueError, match="SMILES"):
        write_splits(tmp_path / "splits.csv", drawn, range(5), SMILES)
    with pytest.raises(IndexError):
        write_splits(tmp_path / "splits.csv", drawn, range(5), SMILES[:5])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(MesomerError, match="Cannot write"):
        write_splits(tmp_path / "file" / "splits.csv", drawn, range(len(SMILES)), SMILES)


PINNED = {
    "cv": [
        [[0, 16], [4, 9, 12, 15, 20, 21, 22, 23]],
        [[3, 20], [2, 5, 6, 7, 10, 13, 14, 19]],
        [[5, 6], [0, 1, 3, 8, 11, 16, 17, 18]],
    ],
    "scaffold_cv": [
        [[6, 15], [3, 7, 8, 12, 16, 17, 21]],
        [[7, 16], [1, 5, 6, 10, 14, 15, 19, 23]],
        [[7, 16], [0, 2, 4, 9, 11, 13, 18, 20, 22]],
    ],
    "stratified_cv": [
        [[22], [1, 2, 4, 5, 7, 9, 12, 14]],
        [[5], [6, 8, 13, 16, 17, 18, 21, 22]],
        [[22], [0, 3, 10, 11, 15, 19, 20, 23]],
    ],
    "cluster": [[[9], [1, 10, 18, 19]]],
    "column": [[[14, 17], [18, 19, 20, 21, 22, 23]]],
}


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.needs != "column"])
def test_rows_of_one_molecule_stay_together_on_demand(name: str):
    rows = [text for text in SMILES for _ in range(3)]
    order = random.Random(4).sample(range(len(rows)), len(rows))
    smiles = [rows[at] for at in order]
    labels = np.arange(len(smiles)) % 2
    for drawn in splits_for(name, smiles, repeats=2, folds=3 if find_rule(name).folded else None, labels=labels,
                            together=True):  # fmt: skip
        found = [{smiles[at] for at in part} for part in drawn.parts.values()]
        assert sum(map(len, found)) == len(set(SMILES))
        assert sum(map(len, drawn.parts.values())) == len(smiles)
        assert "also in train" not in drawn.note
        assert ("stay together" in drawn.note) != find_rule(name).guards


def test_without_repeats_together_changes_nothing():
    for name in ("random", "balanced"):
        one, other = split(name, SMILES, seed=3), splits_for(name, SMILES, seed=3, together=True)[0]
        assert all(np.array_equal(one.parts[part], other.parts[part]) for part in PARTS) and one.note == other.note
