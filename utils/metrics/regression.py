"""How far predicted values lie from the true ones. Shapes: N events, B bins.

>>> residuals(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 3.0])).mae
0.6666666666666666
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.metrics.checks import FloatArray, as_scores, as_weights, is_positive, same_length
from utils.metrics.histograms import Histogram, histogram
from utils.metrics.weights import effective_events

CENTRAL_68 = (0.158655, 0.841345)  # one standard deviation of a normal distribution to either side
# With fewer effective events than this in a bin, its spread is mostly chance.
_EVENTS_PER_BIN = 50


@dataclass(frozen=True)
class Residuals:
    """Residuals are predicted − true, in the unit of the target.

    Attributes
    ----------
    mse, mae, bias : weighted means of the squared, the absolute and the signed residual; `*_error` one standard
        deviation of each.
    resolution : half the width of the central 68% of the residuals.
    n_events, n_effective : events, and (Σw)² / Σw².
    reason : why all of these are NaN.
    """

    mse: float
    mae: float
    bias: float
    resolution: float
    mse_error: float
    mae_error: float
    bias_error: float
    n_events: int
    n_effective: float
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class ResponseProfile:
    """The response, predicted / true, in bins of the true value with equally many events.

    Attributes
    ----------
    edges : (B+1,) of the true value.
    median, low, high : (B,) of the response, the latter two around its central 68%; NaN where weights sum to nothing.
    error : (B,) of the median, from the width and the effective number of events.
    n_left_out : events whose true value is zero.
    """

    edges: FloatArray
    median: FloatArray
    low: FloatArray
    high: FloatArray
    error: FloatArray
    n_left_out: int


@dataclass(frozen=True, eq=False)
class Plane:
    """Signed sums of weights of two quantities.

    Attributes
    ----------
    x_edges, y_edges : (B+1,) each.
    values : (B, B), a row per bin of y; NaN where there are no events.
    outside : share of the events beyond the edges.
    """

    x_edges: FloatArray
    y_edges: FloatArray
    values: FloatArray
    outside: float


def residuals(predicted_N: npt.ArrayLike, true_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None) -> Residuals:
    """Mean squared and absolute error, bias and resolution.

    Parameters
    ----------
    predicted_N, true_N : NaN and infinities are an error.
    weight_N : signed weights; None counts events.
    """
    predicted, true, weights = _checked(predicted_N, true_N, weight_N)
    residual = predicted - true
    total, squares = float(np.sum(weights)), float(np.sum(weights**2))
    n_effective = effective_events(weights)
    if not is_positive(total, squares):
        reason = f"the weights sum to {total:.4g}" if residual.size else "no events"
        nan = float("nan")
        return Residuals(nan, nan, nan, nan, nan, nan, nan, residual.size, n_effective, reason)
    (mse, mse_error), (mae, mae_error), (bias, bias_error) = (
        _mean(values, weights, total) for values in (residual**2, np.abs(residual), residual)
    )
    low, high = weighted_quantiles(residual, weights, CENTRAL_68)
    half = (high - low) / 2
    return Residuals(mse, mae, bias, half, mse_error, mae_error, bias_error, residual.size, n_effective)


def _mean(values: FloatArray, weights: FloatArray, total: float) -> tuple[float, float]:
    """Weighted mean and its standard deviation."""
    mean = float(np.sum(weights * values)) / total
    return mean, float(np.sqrt(np.sum((weights * (values - mean)) ** 2))) / total


def residual_histogram(
    predicted_N: npt.ArrayLike, true_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None, n_bins: int = 60
) -> Histogram:
    """Density of predicted − true over the range that holds 98% of the events and zero; the rest is outside."""
    predicted, true, weights = _checked(predicted_N, true_N, weight_N)
    residual = predicted - true
    low, high = _range(residual, 0.01)
    reach = max(abs(low), abs(high))
    return histogram(residual, weights, np.linspace(-reach, reach, n_bins + 1)).density()


def response_profile(
    predicted_N: npt.ArrayLike, true_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None, max_bins: int = 20
) -> ResponseProfile:
    """Median and central 68% of predicted / true, against the true value."""
    predicted, true, weights = _checked(predicted_N, true_N, weight_N)
    usable = true != 0
    n_left_out = int(true.size - np.count_nonzero(usable))
    predicted, true, weights = predicted[usable], true[usable], weights[usable]
    n_bins = int(np.clip(effective_events(weights) / _EVENTS_PER_BIN, 1, max_bins))
    edges = np.unique(np.quantile(true, np.linspace(0, 1, n_bins + 1))) if true.size else np.array([0.0, 1.0])
    if edges.size < 2:  # one value for all
        edges = edges[0] + np.array([-0.5, 0.5])
    bin_N = np.clip(np.searchsorted(edges, true, side="right") - 1, 0, edges.size - 2)
    columns: list[list[float]] = []
    for b in range(edges.size - 1):
        inside = bin_N == b
        response, weight = predicted[inside] / true[inside], weights[inside]
        low, middle, high = weighted_quantiles(response, weight, (CENTRAL_68[0], 0.5, CENTRAL_68[1]))
        n_effective = effective_events(weight)
        # Of the median of a normal distribution: √(π/2) times that of its mean.
        error = 1.2533 * (high - low) / 2 / np.sqrt(n_effective) if n_effective > 0 else float("nan")
        columns.append([middle, low, high, error])
    median, low_B, high_B, error_B = np.array(columns, dtype=np.float64).T
    return ResponseProfile(edges, median, low_B, high_B, error_B, n_left_out)


def value_plane(
    predicted_N: npt.ArrayLike, true_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None, n_bins: int = 50
) -> Plane:
    """Sums of weights in bins of the true (x) and of the predicted value (y), over the range of 99% of the events."""
    predicted, true, weights = _checked(predicted_N, true_N, weight_N)
    edges = np.linspace(*_range(np.concatenate([predicted, true]), 0.005), n_bins + 1)
    counts, _, _ = np.histogram2d(predicted, true, bins=(edges, edges))
    sums, _, _ = np.histogram2d(predicted, true, bins=(edges, edges), weights=weights)
    outside = 1.0 - float(np.sum(counts)) / true.size if true.size else 0.0
    return Plane(edges, edges, np.where(counts > 0, sums, np.nan), outside)


def weighted_quantiles(values_N: npt.ArrayLike, weight_N: FloatArray, shares: Sequence[float]) -> list[float]:
    """The smallest values below which lie the given shares of the weight; NaN where the weights sum to nothing.

    With signed weights the sum of what lies below need not grow with the value: what counts is where it first reaches
    the share.
    """
    values = np.asarray(values_N, dtype=np.float64)
    total = float(np.sum(weight_N))
    if not is_positive(total, float(np.sum(weight_N**2))):
        return [float("nan")] * len(shares)
    order = np.argsort(values, kind="stable")
    below = np.maximum.accumulate(np.cumsum(weight_N[order]))
    wanted = np.asarray(shares) * total * (1 - 1e-12)
    found = np.minimum(np.searchsorted(below, wanted), values.size - 1)
    return [float(value) for value in values[order][found]]


def _checked(
    predicted_N: npt.ArrayLike, true_N: npt.ArrayLike, weight_N: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    predicted = as_scores(predicted_N, "predicted").astype(np.float64)
    true = as_scores(true_N, "true").astype(np.float64)
    same_length(predicted.size, true, "true")
    weights = as_weights(weight_N, predicted.size)
    return predicted, true, np.ones(predicted.size) if weights is None else weights


def _range(values: FloatArray, tail: float) -> tuple[float, float]:
    """From one quantile to the other, wider than nothing."""
    if values.size == 0:
        return (-1.0, 1.0)
    low, high = (float(edge) for edge in np.quantile(values, [tail, 1 - tail]))
    return (low, high) if high > low else (low - 0.5, high + 0.5)
