"""What one pass over a column tells: counts, range, lengths, a histogram; bounded, and mergeable in any order."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.describing.flatten import flattened
from utils.describing.histogram import SparseHistogram
from utils.events import Column

# Different texts that are counted; of more, only their number being larger is known.
MAX_TEXTS = 1000

Number = int | float


@dataclass
class ColumnStatistics:
    """Statistics of one column. Nothing here depends on the order of events, on chunks or on files.

    Parameters
    ----------
    with_histogram : whether a histogram is kept.
    n_events, n_values : events, and values in them (as many for a flat column).
    n_nan, n_infinite, n_zero : among the values; nulls count as NaN.
    minimum, maximum : of the finite values, integers exactly; None where there are none.
    lengths : the largest number of items at every level of lists, outermost first; empty for a flat column.
    max_values : most values in one event.
    histogram : of the finite values; empty for text and bool.
    texts : how often every text occurs; None where there are more than `MAX_TEXTS` different ones.
    longest : of the texts [characters].
    """

    with_histogram: bool = True
    n_events: int = 0
    n_values: int = 0
    n_nan: int = 0
    n_infinite: int = 0
    n_zero: int = 0
    minimum: Number | None = None
    maximum: Number | None = None
    lengths: tuple[int, ...] = ()
    max_values: int = 0
    histogram: SparseHistogram = field(default_factory=SparseHistogram)
    texts: Counter[str] | None = field(default_factory=Counter)
    longest: int = 0

    def add(self, column: Column) -> None:
        """Add the events of a chunk.

        Raises
        ------
        DataError : the values are neither numbers, bool nor text.
        """
        lengths, max_values, values, n_null = flattened(column)
        self._count(len(column), len(values), lengths, max_values)
        self.n_nan += n_null
        if isinstance(values, list):
            self._add_texts(Counter(values))
        else:
            self._add_numbers(values)

    def merge(self, other: Self) -> None:
        """Add the statistics of other events of the same column."""
        self._count(other.n_events, other.n_values, other.lengths, other.max_values)
        self.n_nan += other.n_nan
        self.n_infinite += other.n_infinite
        self.n_zero += other.n_zero
        if other.minimum is not None and other.maximum is not None:
            self._extend(other.minimum, other.maximum)
        self.histogram.merge(other.histogram)
        self._add_texts(other.texts, other.longest)

    def _count(self, n_events: int, n_values: int, lengths: Iterable[int], max_values: int) -> None:
        ours, theirs = list(self.lengths), list(lengths)
        levels = max(len(ours), len(theirs))
        ours += [0] * (levels - len(ours))
        theirs += [0] * (levels - len(theirs))
        self.lengths = tuple(max(pair) for pair in zip(ours, theirs, strict=True))
        self.max_values = max(self.max_values, max_values)
        self.n_events += n_events
        self.n_values += n_values

    def _extend(self, lowest: Number, highest: Number) -> None:
        self.minimum = lowest if self.minimum is None else min(self.minimum, lowest)
        self.maximum = highest if self.maximum is None else max(self.maximum, highest)

    def _add_numbers(self, values: NDArray[Any]) -> None:
        if len(values) == 0:
            return
        if values.dtype.kind == "b":
            n_true = int(np.count_nonzero(values))
            self.n_zero += len(values) - n_true
            self._extend(int(n_true == len(values)), int(n_true > 0))
            return
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        # NaN and infinities show in the extremes.
        lowest, highest = values.min(), values.max()
        if values.dtype.kind == "f" and not (np.isfinite(lowest) and np.isfinite(highest)):
            n_nan = int(np.count_nonzero(np.isnan(values)))
            finite = values[np.isfinite(values)]
            self.n_nan += n_nan
            self.n_infinite += len(values) - n_nan - len(finite)
            if len(finite) == 0:
                return
            values, lowest, highest = finite, finite.min(), finite.max()
        self.n_zero += int(np.count_nonzero(values == 0))
        self._extend(lowest.item(), highest.item())
        if self.with_histogram:
            self.histogram.add(values, lowest, highest)

    def _add_texts(self, texts: Counter[str] | None, longest: int = 0) -> None:
        self.longest = max([self.longest, longest, *map(len, texts or ())])
        if texts is None or self.texts is None:
            self.texts = None
            return
        self.texts.update(texts)
        if len(self.texts) > MAX_TEXTS:
            self.texts = None
