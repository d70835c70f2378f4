"""Shuffled batches for networks: every event once an epoch, in bounded memory, read ahead while the network computes.

The order is a pure function of the seed and of the epoch's number, so that a training that was interrupted goes on
exactly where it was. A skim that fits into the buffer is read once and kept, and any such buffer gives the same order.
A larger one is cut into blocks of consecutive events. Every epoch puts the blocks into another order, and shuffles
together the events of as many as fill half of the buffer, while the other half is being read. So there the order
depends on the size of the buffer as well, and a batch mixes events of the whole skim, however that is sorted.

Shape suffixes: N events, F features, B events of a batch.
"""

import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError
from utils.loading.inputs import NetworkInputs
from utils.loading.source import Batch, EventSource, SkimData

AHEAD = 4
BLOCK_ROWS = 65_536
BLOCKS_PER_WINDOW = 16
_POLL_SECONDS = 0.1

Block = tuple[int, int]


@dataclass
class WaitMeter:
    """How long the network waited for data, and how long it took in all [s]."""

    waited: float = 0.0
    total: float = 0.0

    @property
    def share(self) -> float:
        """Part of the time that was spent waiting."""
        return self.waited / self.total if self.total > 0 else 0.0


def row_bytes(data: SkimData) -> int:
    """Memory of one event in a buffer: features, target, weight, and its place in the order."""
    return 4 * len(data.feature_names) + 16


@dataclass
class ShuffledBatches:
    """Batches of a source, shuffled anew in every epoch.

    Parameters
    ----------
    source : the events.
    batch_size : B; the last batch of an epoch holds what is left.
    seed : another seed is another order.
    buffer_bytes : memory for events [bytes].
    rank, world : one of several processes that share the events. Every event goes to one of them, and all make equally
        many batches, whose sizes may differ by a few events.
    """

    source: EventSource
    batch_size: int
    seed: int = 0
    buffer_bytes: int = 1_000_000_000
    rank: int = 0
    world: int = 1
    meter: WaitMeter = field(default_factory=WaitMeter)
    _kept: Batch | None = None

    def __post_init__(self) -> None:
        if self.world > 1 and min(self.batch_size, self.source.n_events // self.world) < 2:
            raise ConfigError(
                f"{self.source.n_events:,} events by {self.batch_size} are too few for {self.world} processes",
                where="model_param.batch_size",
                remedy="Use larger batches, or fewer processes.",
            )

    @cached_property
    def inputs(self) -> NetworkInputs:
        """The columns of the features."""
        return NetworkInputs.of(self.source.data)

    @cached_property
    def fits(self) -> bool:
        """Whether this process' events are all kept in memory."""
        return -(-self.source.n_events // self.world) * row_bytes(self.source.data) <= self.buffer_bytes

    @cached_property
    def window_rows(self) -> int:
        """Events that are shuffled together."""
        if self.fits:
            return -(-self.source.n_events // self.world)
        return max(self.batch_size, self.buffer_bytes // (2 * row_bytes(self.source.data)))

    @cached_property
    def blocks(self) -> list[Block]:
        """This process' [first, last) events of the source that are read together; equally many for each process."""
        n_events, n_rows = self.source.n_events, max(1, min(BLOCK_ROWS, self.window_rows // BLOCKS_PER_WINDOW))
        n_blocks = self.world * -(-n_events // (self.world * n_rows))
        edges = [n_events * i // max(1, n_blocks) for i in range(n_blocks + 1)]
        return list(pairwise(edges))[self.rank :: self.world]

    @cached_property
    def n_events(self) -> int:
        """Events of this process."""
        return sum(b - a for a, b in self.blocks)

    @cached_property
    def _of_all(self) -> list[int]:
        """Events of every process."""
        return [replace(self, rank=rank).n_events for rank in range(self.world)]

    @cached_property
    def n_batches(self) -> int:
        """Batches of an epoch: the steps of every process."""
        return -(-max(self._of_all) // self.batch_size)

    def _edges_of(self, n_events: int) -> NDArray[np.int64]:
        """Where the batches of a process with so many events begin and end in its order."""
        number = np.arange(self.n_batches + 1)
        # Every batch has an event even where another process has a few more of them.
        return np.minimum(number * self.batch_size, n_events - (self.n_batches - number))

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        """Those of this process."""
        return self._edges_of(self.n_events)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Size of every batch over the mean of its step's in all processes."""
        sizes = np.array([np.diff(self._edges_of(n_events)) for n_events in self._of_all])
        return np.asarray(sizes[self.rank] / sizes.mean(axis=0))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, numbered from 0."""
        before = time.perf_counter()

        def clock() -> None:
            nonlocal before
            now = time.perf_counter()
            self.meter.total, before = self.meter.total + now - before, now

        batches = read_ahead(self._ordered(number), self.meter)
        try:
            for batch in batches:
                yield batch
                clock()
        finally:
            batches.close()
            clock()

    def _ordered(self, number: int) -> Iterator[Batch]:
        # Two streams, so that the number of blocks does not matter where all of them are in memory.
        blocks, rows = (np.random.default_rng([self.seed, number, self.rank, stream]) for stream in (0, 1))
        edges, position, done = self._edges, 0, 0
        left: Batch | None = None
        for window, is_last in self._windows(blocks):
            if left is not None:
                _put(window, 0, left)
            order_N = rows.permutation(len(window.features_NF))
            first = 0
            while done < len(edges) - 1:
                size = int(edges[done + 1]) - position
                if first + size > len(order_N) and not is_last:
                    break
                yield self._checked(_picked(window, order_N[first : first + size]), number, done)
                first, position, done = first + size, position + size, done + 1
            left = _picked(window, order_N[first:]) if first < len(order_N) else None

    @property
    def _own(self) -> EventSource:
        """The events of this process."""
        if self.world == 1:
            return self.source
        return self.source.take(np.concatenate([np.arange(a, b) for a, b in self.blocks]))

    def _checked(self, batch: Batch, epoch: int, number: int) -> Batch:
        features_BF, mask_BF = self.inputs.checked(batch.features_NF, f"batch {number + 1} of epoch {epoch + 1}")
        return replace(batch, features_NF=features_BF, mask_NF=mask_BF, share=float(self._shares[number]))

    def _windows(self, rng: np.random.Generator) -> Iterator[tuple[Batch, bool]]:
        """The windows of an epoch, each with room at its front for what the one before leaves over."""
        if self.fits:
            if self._kept is None:
                self._kept = self._own.whole()
            yield self._kept, True
            return
        plans: list[tuple[int, list[Block]]] = []
        n_read, left, chosen = 0, 0, list[Block]()
        order = [self.blocks[i] for i in rng.permutation(len(self.blocks))]
        for i, block in enumerate(order):
            chosen.append(block)
            n_rows = sum(b - a for a, b in chosen)
            if i + 1 == len(order) or left + n_rows + self.blocks[0][1] - self.blocks[0][0] > self.window_rows:
                plans.append((left, chosen))
                n_read, chosen = n_read + n_rows, []
                left = n_read - int(self._edges[np.searchsorted(self._edges, n_read, side="right") - 1])
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._load, *plans[0])
            for number in range(len(plans)):
                window = ahead.result()
                is_last = number + 1 == len(plans)
                if not is_last:
                    ahead = reader.submit(self._load, *plans[number + 1])
                yield window, is_last
                del window  # or three of them would be in memory while the next one is read

    def _load(self, room: int, blocks: list[Block]) -> Batch:
        """The events of some blocks, after `room` for others."""
        size, window = room + sum(b - a for a, b in blocks), None
        for first, last in blocks:
            part = self.source.take(slice(first, last)).whole()
            if window is None:
                window, position = _empty_like(part, size), room
            _put(window, position, part)
            position += last - first
        assert window is not None
        return window


@dataclass
class OrderedBatches:
    """All events of a source in the order of the skim, for watching a training; kept in memory where they fit.

    Parameters
    ----------
    source : the events.
    batch_size : largest batch.
    keep_bytes : memory for them [bytes]; what does not fit is read anew each time.
    """

    source: EventSource
    batch_size: int
    keep_bytes: int = 0
    _kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            return iter(self._kept)
        if self.source.n_events * row_bytes(self.source.data) <= self.keep_bytes:
            self._kept = list(self._read())
            return iter(self._kept)
        return read_ahead(self._read(), WaitMeter())

    def _read(self) -> Iterator[Batch]:
        inputs, n_seen = NetworkInputs.of(self.source.data), 0
        for part in self.source.batches(BLOCK_ROWS):
            what = f"validation events {n_seen + 1:,} to {n_seen + len(part.features_NF):,}"
            features_NF, mask_NF = inputs.checked(part.features_NF, what)
            n_seen += len(features_NF)
            part = replace(part, features_NF=features_NF, mask_NF=mask_NF)
            for first in range(0, len(features_NF), self.batch_size):
                yield _picked(part, slice(first, first + self.batch_size))


def few_events(source: EventSource, n_events: int, pieces: int = 8) -> EventSource:
    """About `n_events` of a source, in a few places of the skim, to try something out."""
    if source.n_events <= n_events:
        return source
    size = -(-n_events // pieces)
    starts = np.linspace(0, source.n_events - size, pieces).astype(np.int64)
    rows_N = np.unique(np.concatenate([np.arange(start, start + size) for start in starts]))
    return source.take(rows_N[:n_events])


def read_ahead(items: Iterable[Batch], meter: WaitMeter, depth: int = AHEAD) -> Generator[Batch]:
    """The items, made in a thread of their own; what goes wrong there is raised here."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 (it is raised where the items are used)
            put(error)
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            asked = time.perf_counter()
            item = ready.get()
            meter.waited += time.perf_counter() - asked
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _picked(batch: Batch, rows: "slice | NDArray[np.int64]") -> Batch:
    """Some events of a batch."""

    def of(values: Any) -> Any:
        if values is None or isinstance(rows, slice):
            return None if values is None else values[rows]
        return values.take(rows, axis=0)

    return Batch(of(batch.features_NF), of(batch.target_N), of(batch.weight_N), of(batch.mask_NF))


def _empty_like(batch: Batch, size: int) -> Batch:
    def of(values: Any) -> Any:
        return None if values is None else np.empty((size, *values.shape[1:]), values.dtype)

    return Batch(of(batch.features_NF), of(batch.target_N), of(batch.weight_N))


def _put(window: Batch, position: int, part: Batch) -> None:
    """Write the events of `part` into a window."""
    stop = position + len(part.features_NF)
    window.features_NF[position:stop] = part.features_NF
    for into, values in ((window.target_N, part.target_N), (window.weight_N, part.weight_N)):
        if into is not None and values is not None:
            into[position:stop] = values
