"""Chunks drawn from all files in proportion, with MLaaS4HEP's counts and no event lost.

Of `nevts` events, file f with N_f entries gives its first E_f = round(N_f / ΣN · nevts), and to every chunk
R_f = round(E_f / ΣE · chunk) of them; the last file tops up. What R_f is away from the exact share adds up over the
chunks: as soon as it is a whole event, a chunk holds one more or one less of that file. So every event is drawn exactly
once, the files run out together, and none but the last is ever a whole event away from its share.

MLaaS4HEP itself keeps R_f for all chunks and stops with the first file that runs out, which loses what is left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INT64_SAFE = 2**62


def drawn_entries(n_entries: Sequence[int], nevts: int) -> tuple[int, ...]:
    """How many of its first entries each file gives, `nevts` in all (-1, or more than there are: every entry).

    A file with entries gives at least one, as long as `nevts` allows.

    >>> drawn_entries([476_963, 491_653], 50_000)
    (24621, 25379)
    """
    total = sum(n_entries)
    if nevts < 0 or nevts >= total:
        return tuple(n_entries)
    drawn = [max(1, round(Fraction(n * nevts, total))) if n else 0 for n in n_entries]
    missing = nevts - sum(drawn)
    for least in (1, 0):  # only fewer events than files leave a file without any
        for file in reversed(range(len(drawn))):
            new = min(max(drawn[file] + missing, min(least, n_entries[file])), n_entries[file])
            missing -= new - drawn[file]
            drawn[file] = new
    assert missing == 0
    return tuple(drawn)


@dataclass(frozen=True)
class Mixing:
    """Which chunk every entry of every file belongs to.

    Parameters
    ----------
    entries : of each file, the number of first entries that are drawn.
    chunk_size : events of a chunk; below 1: all of them.
    """

    entries: tuple[int, ...]
    chunk_size: int

    @property
    def n_events(self) -> int:
        """ΣE."""
        return sum(self.entries)

    @property
    def n_chunks(self) -> int:
        """At least one."""
        return max(1, math.ceil(self.n_events / self._chunk))

    @property
    def _chunk(self) -> int:
        return self.chunk_size if self.chunk_size > 0 else max(1, self.n_events)

    @cached_property
    def per_chunk(self) -> tuple[int, ...]:
        """R_f: what each file gives to a chunk, before whole events of rounding are made up for.

        >>> Mixing((24_621, 25_379), 10_000).per_chunk
        (4924, 5076)
        """
        if self.n_events <= self._chunk:
            return self.entries
        shares = [round(Fraction(n * self._chunk, self.n_events)) for n in self.entries]
        rest = self._chunk - (sum(shares) - shares[self._last])
        shares[self._last] = min(max(rest, 0), self.entries[self._last])
        return tuple(shares)

    @cached_property
    def _last(self) -> int:
        """The file that tops up: the last one with entries."""
        return max((file for file, n in enumerate(self.entries) if n), default=0)

    def boundaries(self, file: int) -> NDArray[np.int64]:
        """(n_chunks + 1,) entries of a file at which chunks begin, and its end."""
        if file != self._last:
            return self._proportional(file)
        wanted = np.arange(self.n_chunks + 1) * self._chunk - self._others
        found = np.clip(np.maximum.accumulate(wanted), 0, self.entries[file])
        found[0], found[-1] = 0, self.entries[file]
        return found

    @cached_property
    def _others(self) -> NDArray[np.int64]:
        """(n_chunks + 1,) entries that all files but the last one have given when a chunk begins."""
        total = np.zeros(self.n_chunks + 1, np.int64)
        for file in range(len(self.entries)):
            if file != self._last:
                total += self._proportional(file)
        return total

    def _proportional(self, file: int) -> NDArray[np.int64]:
        n, total = self.entries[file], max(1, self.n_events)
        exact: Any = (
            np.int64 if total * (total + self._chunk) < _INT64_SAFE else object
        )  # Python's integers are endless
        given = np.arange(self.n_chunks + 1).astype(exact) * self._chunk * n
        rounded_down = self.per_chunk[file] * total <= n * self._chunk
        found = (given // total if rounded_down else -(-given // total)).astype(np.int64)
        found[-1] = n
        return found
