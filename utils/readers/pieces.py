"""A file read range by range: where chunks end, what is kept from one to the next, and what it cost."""

import logging
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import awkward as ak
import numpy as np

from utils.events import Column
from utils.logs import duration, get_logger, size
from utils.readers.threads import thread_pool

logger = get_logger(__name__)

# Reading one file that takes longer is worth a line for the user [s].
LONG_READ = 2.0

Read: TypeAlias = Callable[[Sequence[str], int, int], dict[str, Column]]


def next_border(ends: Sequence[int], first: int, n_chunk: int) -> int:
    """Where a chunk that begins at `first` ends: at the last of `ends` that `n_chunk` reaches, unless that is less than
    half a chunk; else at the first beyond, unless that is more than one and a half; else anywhere."""
    beyond = bisect_right(ends, first + n_chunk)
    if beyond == len(ends) or (beyond > 0 and ends[beyond - 1] - first > n_chunk / 2):
        return ends[beyond - 1]
    return ends[beyond] if ends[beyond] - first < 1.5 * n_chunk else first + n_chunk


class Pieces:
    """Reads consecutive ranges. What a stored piece holds beyond a range is kept, so that none is read twice.

    Parameters
    ----------
    read : (names, start, stop) → columns.
    names : the columns wanted.
    offsets : column → entries at which its stored pieces end; a column without any can be read in any range.
    n_parallel : ranges that may be read side by side.
    meter : what is told of every range.
    stop : entry beyond which nothing is wanted.
    """

    def __init__(
        self,
        read: Read,
        names: Sequence[str],
        offsets: Mapping[str, Sequence[int]],
        n_parallel: int,
        meter: "Meter",
        stop: int,
    ) -> None:
        self._load = read
        self._names = names
        self._offsets = offsets
        self._n_parallel = n_parallel
        self._meter = meter
        self._stop = stop
        self._kept: dict[str, tuple[int, Column]] = {}

    def next(self, start: int, stop: int) -> dict[str, Column]:
        """The columns of [start, stop), which follows the range before it."""
        began = time.perf_counter()
        by_range: dict[tuple[int, int], list[str]] = {}
        for name in self._names:
            first = self._kept[name][0] + len(self._kept[name][1]) if name in self._kept else start
            last = self._end_of_piece(name, stop)
            if last > first or start == stop:
                by_range.setdefault((first, last), []).append(name)
        columns, n_bytes = self._read(by_range, start, stop)
        in_order = {n: columns.pop(n) if n in columns else self._cut(n, None, start, stop) for n in self._names}
        self._meter.add(start, stop, n_bytes, time.perf_counter() - began)
        return in_order

    def _read(
        self, by_range: Mapping[tuple[int, int], Sequence[str]], start: int, stop: int
    ) -> tuple[dict[str, Column], int]:
        """Those columns of [start, stop) of which something must be read, and how much that was [bytes].

        Ranges are read side by side where the format can: pieces that end at different entries would otherwise be
        decompressed, and joined with what was kept, one after the other.
        """

        def read(part: tuple[tuple[int, int], Sequence[str]]) -> tuple[dict[str, Column], int]:
            (first, last), names = part
            columns = self._load(names, first, last)
            n_bytes = sum(int(values.nbytes) for values in columns.values())
            return {name: self._cut(name, columns.pop(name), start, stop) for name in names}, n_bytes

        if len(by_range) > 1 and self._n_parallel > 1:
            with thread_pool(self._n_parallel) as pool:
                parts = list(pool.map(read, by_range.items()))
        else:
            parts = [read(part) for part in by_range.items()]
        return {name: values for columns, _ in parts for name, values in columns.items()}, sum(n for _, n in parts)

    def _end_of_piece(self, name: str, stop: int) -> int:
        """The end of the stored piece that entry `stop` − 1 lies in, as far as it is wanted at all."""
        offsets = self._offsets.get(name)
        return stop if offsets is None else min(int(offsets[bisect_left(offsets, stop)]), self._stop)

    def _cut(self, name: str, read: Column | None, start: int, stop: int) -> Column:
        """[start, stop) of what was kept and what was read; the rest is kept."""
        parts = []
        first = start
        if name in self._kept:
            first, kept = self._kept.pop(name)
            parts.append(kept[start - first :])
            first = start + len(parts[0])
        if read is not None:
            parts.append(read)
        # Only what is wanted now is copied together; the rest stays where it was read to.
        last = first + len(read) if read is not None else first
        if last > stop:
            self._kept[name] = (stop, parts[-1][len(parts[-1]) - (last - stop) :])
            parts[-1] = parts[-1][: len(parts[-1]) - (last - stop)]
        return _joined([part for part in parts if len(part) > 0] or parts[-1:])


def _joined(parts: Sequence[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else ak.concatenate(parts)


class Meter:
    """What reading one file cost, for the log: what was read, not what was waited for."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._n_events = 0
        self._n_bytes = 0
        self._seconds = 0.0
        self._n_chunks = 0

    def add(self, start: int, stop: int, n_bytes: int, seconds: float) -> None:
        logger.debug(
            "%s: entries %s to %s: %s", self._where, f"{start:,}", f"{stop:,}", _speed(stop - start, n_bytes, seconds)
        )
        self._n_events += stop - start
        self._n_bytes += n_bytes
        self._seconds += seconds
        self._n_chunks += 1

    def finish(self) -> None:
        logger.log(
            logging.INFO if self._seconds > LONG_READ else logging.DEBUG,
            "%s: read %s events, %s a chunk",
            self._where,
            _speed(self._n_events, self._n_bytes, self._seconds),
            duration(self._seconds / max(self._n_chunks, 1)),
        )


def _speed(n_events: int, n_bytes: int, seconds: float) -> str:
    """`500,000 events in 0.42 s (214 MB/s, 1,190 kHz)`."""
    per_second = 1 / max(seconds, 1e-9)
    return (
        f"{n_events:,} events in {duration(seconds)} ({size(n_bytes * per_second)}/s, "
        f"{n_events * per_second / 1000:,.3g} kHz)"
    )
