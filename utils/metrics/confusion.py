"""Confusion matrices and accuracy from signed sums. Shapes: N events, K classes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from utils.errors import ConfigError, nearest_name
from utils.metrics.checks import FloatArray, IntArray, as_classes, as_weights, is_positive, same_length
from utils.metrics.scan import fraction_error

Normalise = Literal["true", "pred"]


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Rows are true classes, columns predicted ones.

    Attributes
    ----------
    values : (K, K). `true`: shares of each row, `pred`: of each column, None: sums of weights.
    errors : (K, K) one standard deviation of each.
    normalise : `true`, `pred` or None.
    reasons : for every class whose row or column is NaN, why.
    """

    values: FloatArray
    errors: FloatArray
    normalise: Normalise | None
    reasons: dict[int, str]


@dataclass(frozen=True)
class Accuracy:
    """The share of events that are predicted right, and one standard deviation; NaN with a `reason` where undefined."""

    value: float
    error: float
    reason: str | None = None


def confusion(
    target_N: npt.ArrayLike,
    pred_N: npt.ArrayLike,
    n_classes: int,
    weight_N: npt.ArrayLike | None = None,
    normalise: Normalise | None = "true",
) -> ConfusionMatrix:
    """Confusion matrix with uncertainties.

    Parameters
    ----------
    target_N, pred_N : true and predicted class of each event, 0 … K-1.
    weight_N : signed event weights; None counts events. Signed sums are used as they are, shares may leave [0, 1].
    normalise : `true` divides by the sum of each true class (efficiency), `pred` by that of each predicted one
        (purity). A class without events, or with weights that sum to zero or less, gives a row (or column) of NaN.
    """
    if normalise not in ("true", "pred", None):
        raise ConfigError(
            f"unknown normalisation '{normalise}'",
            nearest=nearest_name(str(normalise), ("true", "pred")),
            remedy="Choose 'true' or 'pred'.",
        )
    targets = as_classes(target_N, n_classes, "target")
    predicted = as_classes(pred_N, n_classes, "pred_class")
    same_length(targets.size, predicted, "pred_class")
    weights = as_weights(weight_N, targets.size)
    cells = targets * n_classes + predicted
    counts = _sum_cells(cells, None, n_classes)
    sums = _sum_cells(cells, weights, n_classes)
    squares = _sum_cells(cells, None if weights is None else weights**2, n_classes)
    if normalise is None:
        return ConfusionMatrix(sums, np.sqrt(squares), None, {})
    axis = 1 if normalise == "true" else 0
    totals, total_squares = sums.sum(axis=axis, keepdims=True), squares.sum(axis=axis, keepdims=True)
    usable = totals > 1e-9 * np.sqrt(total_squares)
    events = counts.sum(axis=axis)
    which = "true" if normalise == "true" else "predicted"
    reasons = {
        k: f"no events of this {which} class" if events[k] == 0 else f"its weights sum to {total:.4g}"
        for k, (total, good) in enumerate(zip(totals.ravel(), usable.ravel(), strict=True))
        if not good
    }
    safe = np.where(usable, totals, np.nan)
    shares = sums / safe
    errors = fraction_error(shares, squares, total_squares - squares, safe)
    return ConfusionMatrix(shares, errors, normalise, reasons)


def _sum_cells(cells: IntArray, weights: FloatArray | None, n_classes: int) -> FloatArray:
    sums = np.bincount(cells, weights=weights, minlength=n_classes**2)
    return sums.astype(np.float64).reshape(n_classes, n_classes)


def accuracy(target_N: npt.ArrayLike, pred_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None) -> Accuracy:
    """Σw of the events predicted right over Σw of all; under class-balanced weights the balanced accuracy."""
    is_right = np.asarray(target_N) == np.asarray(pred_N)
    same_length(np.asarray(target_N).shape[0], np.asarray(pred_N), "pred_class")
    weights = as_weights(weight_N, is_right.size)
    if weights is None:
        weights = np.ones(is_right.size)
    total = float(np.sum(weights))
    if not is_positive(total, float(np.sum(weights * weights))):
        reason = "no events" if is_right.size == 0 else f"the weights of all events sum to {total:.4g}"
        return Accuracy(float("nan"), float("nan"), reason)
    value = np.asarray(np.sum(weights[is_right]) / total)
    right2, wrong2 = np.sum(weights[is_right] ** 2), np.sum(weights[~is_right] ** 2)
    return Accuracy(float(value), float(fraction_error(value, right2, wrong2, np.asarray(total))))
