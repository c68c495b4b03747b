"""The stream: each molecule once an epoch, equal steps, the same batches for any division among ranks, exact resume."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import demo_smiles, make_small, write_table

from mesomer.data.corpus import Corpus
from mesomer.data.prepare import prepare_corpus
from mesomer.data.stream import CorpusBatches, ValidationBatches, _ahead, _spread, bucket_order, even_cuts
from mesomer.errors import MesomerError

BUDGET = 150


def prepared(folder, count: int) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        table = write_table(folder / "table.csv", demo_smiles(count))
        return prepare_corpus(table, folder / "corpus", workers=1, quiet=True, add=["motifs"]).corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return prepared(tmp_path_factory.mktemp("stream"), 500)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Corpus:
    return prepared(tmp_path_factory.mktemp("tiny"), 22)


def stream(corpus: Corpus, **options) -> CorpusBatches:
    return CorpusBatches(corpus, **{"atoms_per_batch": BUDGET, "window_blocks": 5, **options})


def keys(steps) -> list[list[list[int]]]:
    return [[batch.key.tolist() for batch in step] for step in steps]


def flat(nested) -> list[int]:
    return [key for step in nested for batch in step for key in batch]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (3, 2), (1, 7)])
def test_every_molecule_once_an_epoch_in_equal_steps(corpus, world, accumulate):
    for epoch in range(2):
        found = []
        for rank in range(world):
            batches = stream(corpus, world=world, rank=rank, accumulate=accumulate)
            mine = keys(batches.epoch(epoch))
            assert len(mine) == batches.steps(epoch)
            assert all(len(step) == accumulate for step in mine)
            found += flat(mine)
        assert len(stream(corpus).plan(epoch).windows) > 3
        assert len(found) == len(set(found)) == corpus.num_train
        assert set(found) == set(corpus.batch("train", np.arange(corpus.num_train)).key.tolist())


def test_ranks_share_the_steps_of_one_process(corpus):
    for world, accumulate in ((2, 1), (2, 2), (4, 1)):
        alone = keys(stream(corpus, accumulate=world * accumulate).epoch(3))
        ranks = [keys(stream(corpus, world=world, rank=r, accumulate=accumulate).epoch(3)) for r in range(world)]
        for step, together in enumerate(alone):
            shared = [batch for rank in ranks for batch in rank[step]]
            assert sorted(shared) == sorted(together)


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 100), world=st.integers(1, 3), accumulate=st.integers(1, 3), data=st.data())
def test_resumes_at_any_step(corpus, start, world, accumulate, data):
    batches = stream(corpus, world=world, rank=data.draw(st.integers(0, world - 1)), accumulate=accumulate)
    start %= batches.steps(1) + 1
    assert keys(batches.epoch(1, start)) == keys(batches.epoch(1))[start:]


def test_depends_on_seed_and_epoch_alone(corpus):
    first = keys(stream(corpus).epoch(0))
    assert first == keys(stream(Corpus.open(corpus.path)).epoch(0))
    assert first != keys(stream(corpus).epoch(1))
    assert first != keys(stream(corpus, seed=1).epoch(0))


def test_batches_are_even_and_near_the_budget(corpus):
    largest = corpus.sizes("train").max()
    atoms = np.array([batch.num_atoms for step in stream(corpus).epoch(0) for batch in step])
    assert atoms.max() < BUDGET + largest
    assert BUDGET * 0.8 < atoms.mean() <= BUDGET


def test_batches_hold_molecules_of_similar_size(corpus):
    def spread(batches) -> float:
        return float(np.mean([np.diff(batch.atom_offsets.numpy()).std() for batch in batches]))

    ordered = spread(batch for step in stream(corpus, window_blocks=40, length_buckets=8).epoch(0) for batch in step)
    random = np.random.default_rng(0).permutation(corpus.num_train)
    assert ordered < 0.5 * spread(corpus.batch("train", part) for part in np.array_split(random, 60))


def test_sizes_come_in_random_order(corpus):
    mean = [np.diff(b.atom_offsets.numpy()).mean() for step in stream(corpus, window_blocks=40).epoch(0) for b in step]
    assert abs(np.corrcoef(mean, np.arange(len(mean)))[0, 1]) < 0.4


def test_neighbours_in_the_corpus_are_parted(corpus):
    order = np.array(flat(keys(stream(corpus).epoch(0))))
    assert (np.abs(np.diff(order)) == 1).mean() < 0.05


def test_batches_carry_the_columns_asked_for(corpus):
    step = next(iter(stream(corpus, extras=["motifs"]).epoch(0)))
    assert step[0].extras["motifs"].shape == (step[0].num_molecules, 85)
    assert not next(iter(stream(corpus).epoch(0)))[0].extras


def test_few_molecules(tiny):
    assert keys(stream(tiny, atoms_per_batch=10**6).epoch(0)) != keys(stream(tiny, atoms_per_batch=10**6).epoch(1))
    assert stream(tiny, atoms_per_batch=10**6).steps(0) == 1
    assert len(flat(keys(stream(tiny, atoms_per_batch=10**6, accumulate=3).epoch(0)))) == tiny.num_train
    one_each = stream(tiny, atoms_per_batch=1)
    assert one_each.steps(0) == tiny.num_train
    assert stream(tiny, atoms_per_batch=1, world=tiny.num_train).steps(0) == 1
    with pytest.raises(MesomerError, match=r"fewer than the 50 batches"):
        stream(tiny, world=50)


def test_one_step_short_of_molecules(tiny):
    # As many batches as molecules, and no multiple of the ranks: some batches must take two.
    per_step = tiny.num_train // 2 + 1
    found = flat(keys(stream(tiny, atoms_per_batch=1, accumulate=per_step).epoch(0)))
    assert sorted(found) == sorted(tiny.batch("train", np.arange(tiny.num_train)).key.tolist())


def test_world_may_change_between_epochs(corpus):
    seen = flat(keys(stream(corpus, world=1).epoch(0)))
    for rank in range(2):
        seen += flat(keys(stream(corpus, world=2, rank=rank).epoch(1)))
    assert (np.unique(seen, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize("world", [1, 2, 5])
def test_validation_sees_each_molecule_once_in_a_fixed_order(corpus, world):
    found, count = [], 0
    for rank in range(world):
        batches = ValidationBatches(corpus, atoms_per_batch=BUDGET, rank=rank, world=world)
        mine = [batch.key.tolist() for batch in batches]
        assert mine == [batch.key.tolist() for batch in batches]
        assert len(batches) == len(mine)
        found += [key for batch in mine for key in batch]
        count += len(mine)
    assert sorted(found) == sorted(corpus.batch("held_out", np.arange(corpus.num_held_out)).key.tolist())
    assert count > 1


def test_validation_on_fewer(corpus):
    spread = [int(key) for b in ValidationBatches(corpus, atoms_per_batch=BUDGET, limit=7) for key in b.key]
    every = [int(key) for b in ValidationBatches(corpus, atoms_per_batch=BUDGET) for key in b.key]
    assert spread == [every[i * len(every) // 7] for i in range(7)]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=80), share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1)
)
def test_cuts_are_even_and_leave_no_batch_empty(sizes, share, seed):
    sizes = np.array(sizes)
    batches = 1 + int(share * (len(sizes) - 1))
    cuts = even_cuts(sizes, batches)
    assert cuts[0] == 0 and cuts[-1] == len(sizes) and (np.diff(cuts) > 0).all() and len(cuts) == batches + 1
    target = sizes.sum() / batches
    if sizes.max() < target / 2:
        filled = np.add.reduceat(sizes, cuts[:-1])
        assert (np.abs(filled - target) <= sizes.max()).all()
    order = bucket_order(sizes, np.random.default_rng(seed), 8)
    assert sorted(order) == list(range(len(sizes)))


def test_buckets_bring_like_sizes_together_and_one_bucket_mixes_them() -> None:
    sizes = np.random.default_rng(0).integers(5, 60, 4000)
    spread = {}
    for buckets in (1, 8):
        order = bucket_order(sizes, np.random.default_rng(1), buckets)
        spread[buckets] = np.mean([part.std() for part in np.split(sizes[order], 40)])
    assert spread[1] > 0.9 * sizes.std() and spread[8] < 0.2 * sizes.std()


@given(room=st.lists(st.integers(0, 9), min_size=1, max_size=20), count=st.integers(0, 300))
def test_spread_gives_all_that_there_is_room_for(room, count):
    given_out = _spread(count, np.array(room))
    assert (given_out <= room).all() and given_out.sum() == min(count, sum(room))
    unfilled = given_out[given_out < room]
    assert not len(unfilled) or given_out.max() - unfilled.min() <= 1


def test_an_error_in_the_thread_reaches_the_loop():
    def items():
        yield 1
        raise MesomerError("lost")

    found = []
    with pytest.raises(MesomerError, match="lost"):
        for item in _ahead(items()):
            found.append(item)
    assert found == [1]


def test_a_loop_that_stops_early_ends_the_thread(corpus):
    steps = stream(corpus).epoch(0)
    next(steps)
    steps.close()
    limit = time.monotonic() + 5
    while any(thread.name == "batches" for thread in threading.enumerate()):
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_wrong_settings(corpus):
    for options in ({"atoms_per_batch": 0}, {"rank": 1}, {"accumulate": 0}):
        with pytest.raises(ValueError, match="start"):
            stream(corpus, **options)
    with pytest.raises(MesomerError, match="no added column"):
        stream(corpus, extras=["descriptors"])
