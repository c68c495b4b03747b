"""A corpus as an endless supply of batches: shuffled, of even size, the same for any division among ranks.

The batches of an epoch are a pure function of (corpus, seed, epoch, batches per step). The corpus is dealt in blocks of
4,096 molecules; each epoch puts all blocks into a new random order, joins 64 of them to a window (a quarter of a
million molecules in memory), shuffles the window's molecules, cuts it into batches of equal numbers of atoms, and
shuffles the batches. An encoder that pads asks for length buckets, from which a batch takes molecules of like size;
for the others they would only make gradients noisier. So memory does not grow with the corpus, reading is sequential in
pieces of about two megabytes, and resuming at step k costs no more than planning one window.

Decided here: a window is cut into as many batches as its atoms fill, evenly, instead of filling batches to the brim:
batches have the budget's size or a little less (and exceed it by less than one molecule), there is no rest, and how
many batches an epoch has is known from the card alone. Windows are cut so that their number is a multiple of the
batches that all ranks take in one step: every molecule comes exactly once an epoch, and no rank runs out early.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mesomer.data.corpus import Corpus
from mesomer.data.shards import Molecules, blocks_of, join
from mesomer.errors import MesomerError

if TYPE_CHECKING:
    from mesomer.chem.graph import GraphBatch

WINDOW_BLOCKS = 64
PREFETCHED_STEPS = 4
_ORDER, _WINDOW = 1, 2  # streams of random numbers


class Block(NamedTuple):
    """Consecutive molecules of one shard."""

    shard: int
    start: int
    stop: int
    atoms: int


@dataclass(frozen=True)
class EpochPlan:
    """Which blocks make up each window of an epoch, and into how many batches it is cut."""

    windows: list[np.ndarray]  # indices of blocks
    batches: np.ndarray  # int64 [windows]

    @property
    def total(self) -> int:
        """Batches of the epoch, over all ranks."""
        return int(self.batches.sum())


class CorpusBatches:
    """Batches of a corpus for the training loop (its `Batches` protocol)."""

    def __init__(
        self,
        corpus: Corpus,
        part: str = "train",
        *,
        atoms_per_batch: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        extras: Sequence[str] = (),
        window_blocks: int = WINDOW_BLOCKS,
        length_buckets: int = 1,
    ) -> None:
        """Prepares the supply; no molecule is read yet.

        Args:
            corpus: The corpus.
            part: Its part.
            atoms_per_batch: Atoms of a batch, about.
            accumulate: Batches that this rank takes in one optimiser step.
            rank: Number of this process among `world`.
            world: Processes that share the steps.
            seed: Another seed, another order.
            extras: Added columns that the batches carry.
            window_blocks: Blocks shuffled together.
            length_buckets: Groups of like size from which batches are taken; 1 mixes all sizes.
        """
        if atoms_per_batch < 1 or accumulate < 1 or not 0 <= rank < world:
            raise ValueError("atoms_per_batch and accumulate start at 1, rank runs from 0 to world - 1")
        self.corpus = Corpus.open(corpus.path, extras)
        self.part, self.atoms_per_batch, self.seed = part, atoms_per_batch, seed
        self.accumulate, self.rank, self.world = accumulate, rank, world
        self.window_blocks, self.length_buckets = window_blocks, length_buckets
        self._blocks = [
            Block(number, start, stop, atoms)
            for number, shard in enumerate(corpus.shards(part))
            for (start, stop), atoms in zip(
                blocks_of(shard["molecules"], corpus.card["block"]), shard["block_atoms"], strict=True
            )
        ]
        self._sizes = np.array([block.stop - block.start for block in self._blocks], dtype=np.int64)
        self._atoms = np.array([block.atoms for block in self._blocks], dtype=np.int64)
        if self._sizes.sum() < self.per_step:
            raise MesomerError(
                f"The corpus {corpus.path} has {self._sizes.sum()} molecules to {part.replace('_', ' ')}, "
                f"fewer than the {self.per_step} batches of one step.",
                "Use fewer processes, a smaller --accumulate, or a larger corpus.",
            )
        self.plan = lru_cache(maxsize=2)(self._plan)

    @property
    def per_step(self) -> int:
        """Batches that all ranks together take in one optimiser step."""
        return self.accumulate * self.world

    def steps(self, epoch: int) -> int:
        """Optimiser steps of an epoch, the same on each rank."""
        return self.plan(epoch).total // self.per_step

    def _plan(self, epoch: int) -> EpochPlan:
        order = self._random(epoch, _ORDER).permutation(len(self._blocks))
        windows = np.array_split(order, max(1, -(-len(order) // self.window_blocks)))
        atoms = np.array([self._atoms[window].sum() for window in windows])
        molecules = np.array([self._sizes[window].sum() for window in windows])
        batches = np.clip(-(-atoms // self.atoms_per_batch), 1, molecules)
        batches += _spread(-batches.sum() % self.per_step, molecules - batches)
        if excess := batches.sum() % self.per_step:  # not enough molecules to cut finer: cut coarser
            batches -= _spread(excess, batches - 1)
        return EpochPlan(windows, batches)

    def _random(self, epoch: int, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, *purpose])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[GraphBatch]]:
        """From step `start` on, this rank's batches of each optimiser step; made ahead in a thread of its own."""
        return _ahead(self._steps(epoch, start))

    def _steps(self, epoch: int, start: int) -> Iterator[list[GraphBatch]]:
        plan = self.plan(epoch)
        ends = np.cumsum(plan.batches)
        mine: list[GraphBatch] = []
        for number in range(int(np.searchsorted(ends, start * self.per_step, side="right")), len(plan.windows)):
            first = int(ends[number] - plan.batches[number])  # number of the window's first batch in the epoch
            wanted = [
                at
                for at in range(int(plan.batches[number]))
                if first + at >= start * self.per_step and (first + at) % self.world == self.rank
            ]
            if not wanted:
                continue
            window = _Window(self, epoch, number, plan)
            for at in wanted:
                mine.append(window.batch(at))
                if len(mine) == self.accumulate:
                    yield mine
                    mine = []

    def molecules(self, blocks: Sequence[int] | np.ndarray) -> Molecules:
        """The molecules of some blocks, side by side in memory."""
        pieces = []
        for number in blocks:
            block = self._blocks[number]
            pieces.append(self.corpus.open_shard(self.part, block.shard).molecules.slice(block.start, block.stop))
        return join(pieces)


def _spread(count: int, room: np.ndarray) -> np.ndarray:
    """`count` units dealt over places that take at most `room`, as evenly as they come; fewer if there is no room."""
    given = np.zeros_like(room)
    while count > 0 and (open_places := np.flatnonzero(room > given)).size:
        chosen = open_places[:count]
        given[chosen] += 1
        count -= len(chosen)
    return given


class _Window:
    """One window of an epoch, in memory, cut into batches."""

    def __init__(self, owner: CorpusBatches, epoch: int, number: int, plan: EpochPlan) -> None:
        self._molecules = owner.molecules(plan.windows[number])
        random = owner._random(epoch, _WINDOW, number)
        batches = int(plan.batches[number])
        sizes = np.diff(self._molecules.atom_offsets)
        self._order = bucket_order(sizes, random, owner.length_buckets)
        self._cuts = even_cuts(sizes[self._order], batches)
        self._shuffled = random.permutation(batches)

    def batch(self, at: int) -> GraphBatch:
        which = self._shuffled[at]
        return self._molecules.take(self._order[self._cuts[which] : self._cuts[which + 1]]).batch()


def bucket_order(sizes: np.ndarray, random: np.random.Generator, buckets: int) -> np.ndarray:
    """A random order of the molecules in which those of similar size come together: `buckets` of them, equally full."""
    shuffled = random.permutation(len(sizes))
    limits = np.quantile(sizes, np.arange(1, buckets) / buckets)
    bucket = np.searchsorted(limits, sizes[shuffled], side="left").astype(np.uint8)
    return shuffled[np.argsort(bucket, kind="stable")]


def even_cuts(sizes: np.ndarray, batches: int) -> np.ndarray:
    """Where to cut molecules in this order into batches of equal atoms, none of them empty: int64 [batches + 1]."""
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])
    wanted = ends[-1] * np.arange(batches + 1) / batches
    cuts = np.searchsorted(ends, wanted, side="left")
    number = np.arange(batches + 1)
    cuts = np.maximum.accumulate(cuts - number) + number  # a molecule larger than a batch must not leave one empty
    return np.minimum(cuts, len(sizes) - batches + number)


class ValidationBatches:
    """The held-out molecules in a fixed order, each exactly once over all ranks."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        atoms_per_batch: int,
        rank: int = 0,
        world: int = 1,
        extras: Sequence[str] = (),
        part: str = "held_out",
        limit: int | None = None,
    ) -> None:
        """Prepares the supply; with `limit` only so many molecules, evenly spread over the part.

        The first ones would not do: a corpus made of several sources has them one after the other.
        """
        self.corpus = Corpus.open(corpus.path, extras)
        self.part, self.rank, self.world = part, rank, world
        count = corpus.count(part)
        self.molecules = min(count, count if limit is None else limit)
        self._chosen = np.arange(self.molecules, dtype=np.int64) * count // max(self.molecules, 1)
        ends = np.cumsum(corpus.sizes(part)[self._chosen], dtype=np.int64)
        batch = (ends - 1) // atoms_per_batch
        self._starts = np.flatnonzero(np.diff(batch, prepend=-1))

    def __len__(self) -> int:
        """Batches of this rank; ranks may differ by one."""
        return len(range(self.rank, len(self._starts), self.world))

    def __iter__(self) -> Iterator[GraphBatch]:
        return _ahead(self._batches())

    def _batches(self) -> Iterator[GraphBatch]:
        stops = np.append(self._starts[1:], self.molecules)
        for number in range(self.rank, len(self._starts), self.world):
            yield self.corpus.batch(self.part, self._chosen[self._starts[number] : stops[number]])


class _Failure(NamedTuple):
    error: BaseException


def _ahead(items: Iterator, depth: int = PREFETCHED_STEPS) -> Iterator:
    """The items, made in a thread up to `depth` ahead; the thread ends with the loop that reads them."""
    ready: queue.Queue = queue.Queue(depth)
    closed = threading.Event()

    def put(item: object) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # handed to the reader, who raises it
            put(_Failure(error))

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        closed.set()
        thread.join()


_END = object()
