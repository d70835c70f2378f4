"""What every metric asks of its arrays, checked once and said in the same words. Shapes: N events."""

from typing import Any

import numpy as np
import numpy.typing as npt

from utils.errors import DataError, WeightError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]


def as_scores(values: npt.ArrayLike, name: str) -> AnyArray:
    """One-dimensional numbers without NaN or infinity, in the precision they came in."""
    values_N = np.asarray(values)
    if values_N.ndim != 1:
        raise DataError(f"{name} must have one dimension, got shape {values_N.shape}", remedy="Pass one column.")
    if values_N.dtype.kind != "f":
        values_N = values_N.astype(np.float64)
    n_bad = values_N.size - int(np.count_nonzero(np.isfinite(values_N)))
    if n_bad:
        raise DataError(
            f"{n_bad} of {values_N.size} values are NaN or infinite",
            where=name,
            remedy="Mask the unscored events first.",
        )
    return values_N


def as_weights(weight_N: npt.ArrayLike | None, n_events: int, name: str = "weight") -> FloatArray | None:
    """Finite float64 weights of the right length; None stays None and means one for every event."""
    if weight_N is None:
        return None
    weights = np.asarray(weight_N, dtype=np.float64)
    if weights.shape != (n_events,):
        raise WeightError(f"{n_events} events but weights of shape {weights.shape}", where=name)
    n_bad = weights.size - int(np.count_nonzero(np.isfinite(weights)))
    if n_bad:
        raise WeightError(f"{n_bad} of {weights.size} weights are NaN or infinite", where=name)
    return weights


def as_classes(values: npt.ArrayLike, n_classes: int, name: str) -> IntArray:
    """Class numbers 0 … n_classes-1; whole numbers stored as floats are accepted."""
    values_N = np.asarray(values)
    if values_N.ndim != 1:
        raise DataError(f"{name} must have one dimension, got shape {values_N.shape}", remedy="Pass one column.")
    # Compared before the cast: 0.5 would become a class otherwise, and NaN any number at all.
    with np.errstate(invalid="ignore"):
        classes_N = values_N.astype(np.int64)
    bad = (classes_N != values_N) | (classes_N < 0) | (classes_N >= n_classes)
    if np.any(bad):
        raise DataError(
            f"{int(np.count_nonzero(bad))} events have a class outside 0 … {n_classes - 1}, the first is "
            f"{values_N[bad][0]}",
            where=name,
            remedy="Compare class_to_info with the classes of the skim.",
        )
    return classes_N


def is_positive(total: float, squares: float) -> bool:
    """Whether a sum of weights can normalise anything: above zero by more than its own rounding."""
    return total > 1e-9 * float(np.sqrt(squares))


def same_length(n_events: int, other: AnyArray, name: str) -> None:
    """Raise where `other` does not belong to the same events."""
    if other.shape[0] != n_events:
        raise DataError(f"{n_events} scores but {other.shape[0]} entries", where=name)
