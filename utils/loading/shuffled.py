"""Shuffled batches for networks: every event once an epoch, in bounded memory, read ahead while the network computes.

The order is a pure function of the seed and the epoch: how the skim is read, and where a run was resumed, do not
matter. What fits into the buffer is read once and kept; beyond that, an epoch goes through the skim in windows of the
buffer's size, whose order is shuffled, and so are the events of each.

Shape suffixes: N events, F features, B events of a batch.
"""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from utils.loading.source import Batch, EventSource

AHEAD = 4


@dataclass
class WaitMeter:
    """How long the network waited for data, and how long it took in all [s]."""

    waited: float = 0.0
    total: float = 0.0

    @property
    def share(self) -> float:
        """Part of the time that was spent waiting."""
        return self.waited / self.total if self.total > 0 else 0.0


@dataclass
class ShuffledBatches:
    """Batches of a source, shuffled anew in every epoch.

    Parameters
    ----------
    source : the events.
    batch_size : B; the last batch of an epoch holds what is left.
    seed : another seed is another order.
    buffer_bytes : memory for features [bytes].
    rank, world : this process takes every `world`-th batch, from `rank` on; all take equally many.
    """

    source: EventSource
    batch_size: int
    seed: int = 0
    buffer_bytes: int = 1_000_000_000
    rank: int = 0
    world: int = 1
    meter: WaitMeter = field(default_factory=WaitMeter)
    _kept: Batch | None = None

    @property
    def window_rows(self) -> int:
        """Events that are in memory, and shuffled, together."""
        n_bytes = 4 * max(1, len(self.source.data.feature_names))
        return max(self.batch_size, self.buffer_bytes // n_bytes)

    @property
    def n_batches(self) -> int:
        """Batches of an epoch, in all processes together."""
        full, rest = divmod(self.source.n_events, self.window_rows)
        per_window = -(-self.window_rows // self.batch_size)
        return full * per_window + -(-rest // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, numbered from 0; this process' share of them."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
        stopped = threading.Event()
        thread = threading.Thread(target=self._fill, args=(number, ready, stopped), daemon=True)
        thread.start()
        began = time.perf_counter()
        try:
            while True:
                asked = time.perf_counter()
                item = ready.get()
                self.meter.waited += time.perf_counter() - asked
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.meter.total += time.perf_counter() - began
            stopped.set()
            while not ready.empty():
                ready.get_nowait()
            thread.join()

    def _fill(self, number: int, ready: "queue.Queue[Batch | BaseException | None]", stopped: threading.Event) -> None:
        try:
            for i, batch in enumerate(self._ordered(number)):
                if i % self.world != self.rank:
                    continue
                while not stopped.is_set():
                    try:
                        ready.put(batch, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if stopped.is_set():
                    return
            ready.put(None)
        except BaseException as error:  # noqa: BLE001 (it is raised where the batches are used)
            ready.put(error)

    def _ordered(self, number: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, number])
        starts = np.arange(0, self.source.n_events, self.window_rows)
        for start in rng.permutation(starts):
            window = self._window(int(start))
            order_N = rng.permutation(len(window.features_NF))
            for first in range(0, len(order_N), self.batch_size):
                rows_B = order_N[first : first + self.batch_size]
                weight_N = window.weight_N
                yield Batch(
                    window.features_NF.take(rows_B, axis=0),
                    window.target_N.take(rows_B, axis=0),
                    None if weight_N is None else weight_N.take(rows_B),
                )

    def _window(self, start: int) -> Batch:
        """The events from `start` on that are in memory together; all of them are kept where they fit."""
        if self._kept is not None:
            return self._kept
        keep_N = np.zeros(self.source.n_events, bool)
        keep_N[start : start + self.window_rows] = True
        window = self.source.take(keep_N).whole()
        if self.source.n_events <= self.window_rows:
            self._kept = window
        return window
