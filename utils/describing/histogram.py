"""A histogram that needs no range beforehand, and whose bins depend on the values alone.

Floating-point numbers are ordered like the integers that their bits spell. A bin is such an integer without its lowest
`level` bits: 2^(52 − level) bins per factor of two, with edges that are numbers of few bits. The level is the smallest
at which at most `MAX_BINS` bins are filled. It can only rise as values arrive, and bins merge in pairs when it does: so
the result is the same in whatever order, chunks and parts the values come, and a value far out costs one bin and not
the resolution of all others.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MAX_BINS = 2048
_MANTISSA_BITS = 52
# Enough values to guess the level from, more than MAX_BINS.
_SAMPLE = 4 * MAX_BINS
# Integers over no more than this are counted one by one.
_NARROW = 4096

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def order_keys(values: NDArray[np.generic]) -> Integers:
    """Integers in the order of the finite values, equal for −0 and +0."""
    exact = values.astype(np.float64)
    exact += 0.0
    keys = exact.view(np.int64)
    # The bits of a negative number count downwards.
    keys ^= (keys >> 63) & np.int64(np.iinfo(np.int64).max)
    return keys


def key_values(keys: Integers) -> Floats:
    """The numbers of such integers."""
    bits = keys ^ ((keys >> 63) & np.int64(np.iinfo(np.int64).max))
    return bits.view(np.float64)


@dataclass
class SparseHistogram:
    """Filled bins only: `bins` ascending, `counts` of the same length.

    Parameters
    ----------
    level : how many of the 64 bits of a value are left out.
    """

    level: int = 0
    bins: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, values: NDArray[np.generic], lowest: float, highest: float) -> None:
        """Count finite numbers of any numeric type.

        Parameters
        ----------
        lowest, highest : of these values, in their own type.
        """
        if len(values) == 0:
            return
        if values.dtype.kind in "iu" and int(highest) - int(lowest) < _NARROW:
            wide = np.int64 if values.dtype.kind == "i" else np.uint64
            first = wide(lowest)
            counts = np.bincount((values.astype(wide) - first).astype(np.intp))
            filled = np.flatnonzero(counts)
            self._merge(0, order_keys(filled.astype(wide) + first), counts[filled])
            return
        keys = order_keys(values)
        level = max(self.level, _level_for(np.sort(keys[:_SAMPLE])))
        keys >>= level
        low, high = (order_keys(np.array([lowest, highest])) >> level).tolist()
        if high - low < max(4 * len(keys), 2**16):
            keys -= low
            counts = np.bincount(keys)
            filled = np.flatnonzero(counts)
            self._merge(level, filled + low, counts[filled])
        else:
            self._merge(level, *np.unique(keys, return_counts=True))

    def merge(self, other: "SparseHistogram") -> None:
        """Add the counts of another one."""
        self._merge(other.level, other.bins, other.counts)

    def _merge(self, level: int, bins: Integers, counts: Integers) -> None:
        """Add counts at a level, which may be finer or coarser than ours."""
        if level > self.level:
            self.bins, self.counts = _coarser(self.bins, self.counts, level - self.level)
            self.level = level
        elif level < self.level:
            bins, counts = _coarser(bins, counts, self.level - level)
        if len(self.bins) and np.array_equal(bins, self.bins):
            self.counts = self.counts + counts
            return
        if len(self.bins):
            order = np.argsort(np.concatenate([self.bins, bins]), kind="stable")
            bins = np.concatenate([self.bins, bins])[order]
            counts = np.concatenate([self.counts, counts])[order]
        further = _level_for(bins)
        self.bins, self.counts = _coarser(bins, counts, further)
        self.level += further

    @property
    def n_values(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def edges(self) -> tuple[Floats, Floats]:
        """Lower and upper edges of the filled bins; of the two, the one nearer to zero belongs to the bin."""
        width = np.int64(1) << np.int64(self.level)
        first = self.bins << self.level
        lower, upper = key_values(first), key_values(first + (width - 1))
        # The next number after the last one of a bin is the edge of its neighbour.
        return np.where(self.bins < 0, np.nextafter(lower, -np.inf), lower), np.where(
            self.bins < 0, upper, np.nextafter(upper, np.inf)
        )

    def quantiles(self, fractions: tuple[float, ...]) -> tuple[float, ...]:
        """Values below which these fractions of all lie, to the precision of a bin; NaN without values.

        A bin stands for the number in it that has the fewest bits, so integers that have bins of their own are exact.
        """
        if len(self.bins) == 0:
            return (np.nan,) * len(fractions)
        reached = np.cumsum(self.counts)
        where = np.searchsorted(reached, np.ceil(np.array(fractions) * reached[-1]).clip(1))
        return tuple(float(value) for value in self.representatives()[where])

    def representatives(self) -> Floats:
        """One number of every bin: the one nearest to zero, which is the one with the fewest bits."""
        width = np.int64(1) << np.int64(self.level)
        first = self.bins << self.level
        return key_values(np.where(self.bins < 0, first + (width - 1), first))


def _level_for(ordered: Integers) -> int:
    """How many bits must go until at most MAX_BINS different integers are left, of ascending ones."""
    if len(ordered) <= MAX_BINS:
        return 0
    lowest, highest = 0, 63
    while lowest < highest:
        middle = (lowest + highest) // 2
        shifted = ordered >> middle
        if 1 + np.count_nonzero(shifted[1:] != shifted[:-1]) <= MAX_BINS:
            highest = middle
        else:
            lowest = middle + 1
    return lowest


def _coarser(bins: Integers, counts: Integers, levels: int) -> tuple[Integers, Integers]:
    """Ascending bins without their lowest bits, with equal ones added up; `levels` may be 0."""
    if len(bins) == 0:
        return bins, counts
    shifted = bins >> levels
    starts = np.flatnonzero(np.concatenate([[True], shifted[1:] != shifted[:-1]]))
    return shifted[starts], np.add.reduceat(counts, starts)
