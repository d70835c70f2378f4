"""The histogram that is shown: some hundred bins over the range where the values are.

Made from the many fine bins of :mod:`utils.describing.histogram`. A −999 that stands for "none", or a few events at
1e30, would leave everything else in one bin: such values are counted as below or above the range instead.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from utils.describing.histogram import Floats, Integers, SparseHistogram

N_BINS = 100
# Single values so much farther from all others than those are from each other stand beside the histogram …
_ISOLATED = 2.0
# … which then shows the central part of the values, and so much of its width on both sides.
_TAILS = 0.01
_MARGIN = 1.0
# Positive values spread over more than this are shown on a logarithmic axis.
_DECADES = 1e3
_LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True, eq=False)
class Binned:
    """Counts between `edges`, which are one more, and what lies outside.

    Parameters
    ----------
    scale : of the axis; `value`: every bin is one integer.
    """

    edges: Floats
    counts: Integers
    below: int
    above: int
    scale: Literal["linear", "log", "value"]


def binned(histogram: SparseHistogram, lowest: float, highest: float, is_integer: bool) -> Binned | None:
    """The histogram to show, or None where there are no values.

    Parameters
    ----------
    lowest, highest : the extreme values, more exact than their bins.
    is_integer : whether all values are integers.
    """
    if len(histogram.bins) == 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # values may be as large as numbers get
        return _binned(histogram, lowest, highest, is_integer)


def _binned(histogram: SparseHistogram, lowest: float, highest: float, is_integer: bool) -> Binned:
    values, counts = histogram.representatives(), histogram.counts
    all_fit = is_integer and highest - lowest < N_BINS
    first, last = (0, len(values) - 1) if all_fit else _window(values, counts)
    low = lowest if first == 0 else float(values[first])
    high = highest if last == len(values) - 1 else float(values[last])
    inside = slice(first, last + 1)
    below, above = int(counts[:first].sum()), int(counts[last + 1 :].sum())
    if is_integer and high - low < N_BINS and _finest(histogram, inside) <= 1:
        edges = np.arange(np.floor(low), np.floor(high) + 2)
        scale: Literal["linear", "log", "value"] = "value"
    elif _is_wide(values[inside], counts[inside]):
        edges, scale = _factors(low, high), "log"
    else:
        edges, scale = _steps(low, high, _finest(histogram, inside)), "linear"
    edges = np.unique(edges.clip(-_LARGEST, _LARGEST))
    place = np.searchsorted(edges, values[inside], side="right") - 1
    # The last edge belongs to its bin.
    place = place.clip(0, len(edges) - 2)
    shown = np.bincount(place, weights=counts[inside], minlength=len(edges) - 1).astype(np.int64)
    return Binned(edges, shown, below, above, scale)


def _window(values: Floats, counts: Integers) -> tuple[int, int]:
    """First and last bin that are shown."""
    first, last = 0, len(values) - 1
    # Up to three values at either end: −999 and −99 are often in one branch.
    for _ in range(3):
        if last - first > 1 and values[first + 1] - values[first] > _ISOLATED * (values[last] - values[first + 1]):
            first += 1
        if last - first > 1 and values[last] - values[last - 1] > _ISOLATED * (values[last - 1] - values[first]):
            last -= 1
    reached = np.cumsum(counts[first : last + 1])
    tails = np.searchsorted(reached, np.array([_TAILS, 1 - _TAILS]) * reached[-1])
    low, high = values[first : last + 1][tails]
    margin = _MARGIN * (high - low)
    if margin > 0:
        inside = np.flatnonzero((values >= low - margin) & (values <= high + margin))
        first, last = max(first, int(inside[0])), min(last, int(inside[-1]))
    return first, last


def _finest(histogram: SparseHistogram, inside: slice) -> float:
    """The width of the widest of the fine bins."""
    lower, upper = histogram.edges()
    return float((upper[inside] / 2 - lower[inside] / 2).clip(max=_LARGEST / 4).max()) * 2


def _is_wide(values: Floats, counts: Integers) -> bool:
    if values[0] <= 0:
        return False
    reached = np.cumsum(counts)
    low, high = values[np.searchsorted(reached, np.array([0.1, 0.9]) * reached[-1])]
    return bool(high / low > _DECADES)


def _steps(low: float, high: float, finest: float) -> Floats:
    """Edges at multiples of a power of two, around [low, high]."""
    if not high > low:
        width = max(abs(low), 1.0) * 2.0**-3
        return np.array([low - width, low + width])
    width = max(2.0 ** np.ceil(np.log2(high / N_BINS - low / N_BINS)), finest)
    edges: Floats = np.arange(np.floor(low / width), np.floor(high / width) + 2) * width
    return edges


def _factors(low: float, high: float) -> Floats:
    """Edges at equal factors, which are roots or powers of two, around [low, high]."""
    low, high = np.log2(low), np.log2(high)
    step = max(2.0 ** np.ceil(np.log2((high - low) / N_BINS)), 2.0**-4)
    edges: Floats = 2.0 ** (np.arange(np.floor(low / step), np.floor(high / step) + 2) * step)
    return edges
