"""Weighted histograms that lose nothing. Shapes: N events, B bins."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.errors import DataError
from utils.metrics.checks import FloatArray, as_scores, as_weights, is_positive


@dataclass(frozen=True, eq=False)
class Histogram:
    """Signed sums of weights per bin, with √Σw².

    Attributes
    ----------
    values, errors : (B,) Σw and √Σw²; for a density, these divided by the total and the bin width.
    edges : (B+1,) ascending. A bin holds its lower edge; the last one holds its upper edge, too, so that a score of
        exactly 1 is inside.
    underflow, overflow : Σw (or the share) outside.
    n_events : number of entries, inside or not.
    """

    values: FloatArray
    errors: FloatArray
    edges: FloatArray
    underflow: float
    overflow: float
    n_events: int

    @property
    def total(self) -> float:
        """Σw of everything, under- and overflow included."""
        return float(np.sum(self.values)) + self.underflow + self.overflow

    def density(self) -> "Histogram":
        """Scaled to an area of one, under- and overflow included; NaN where the total is zero or negative."""
        total = self.total
        usable = is_positive(total, float(np.sum(self.errors**2)))
        scale = 1.0 / total if usable else float("nan")
        widths = np.diff(self.edges)
        return Histogram(
            self.values * scale / widths,
            self.errors * scale / widths,
            self.edges,
            self.underflow * scale,
            self.overflow * scale,
            self.n_events,
        )


def histogram(values_N: npt.ArrayLike, weight_N: npt.ArrayLike | None, edges: npt.ArrayLike) -> Histogram:
    """Fill a histogram of any binning.

    Parameters
    ----------
    values_N : NaN and infinities are an error.
    weight_N : signed weights; None counts events.
    edges : (B+1,) strictly ascending.
    """
    values = as_scores(values_N, "values")
    weights = as_weights(weight_N, values.size)
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or bounds.size < 2 or not np.all(np.diff(bounds) > 0):
        raise DataError("bin edges must be two or more ascending numbers", where="edges")
    # The edges in the values' own precision: a float32 score that was printed as an edge belongs to that edge's bin.
    own_bounds = bounds.astype(values.dtype)
    index = np.searchsorted(own_bounds, values, side="right")
    index[values == own_bounds[-1]] = bounds.size - 1
    sums = np.bincount(index, weights=weights, minlength=bounds.size + 1).astype(np.float64)
    squares = sums if weights is None else np.bincount(index, weights=weights**2, minlength=bounds.size + 1)
    return Histogram(sums[1:-1], np.sqrt(squares[1:-1]), bounds, float(sums[0]), float(sums[-1]), int(values.size))
