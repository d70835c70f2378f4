"""Fewer points for drawing; areas are never computed from a thinned curve. Shapes: T points."""

import dataclasses

import numpy as np
import numpy.typing as npt

from utils.errors import ConfigError
from utils.metrics.checks import FloatArray
from utils.metrics.curves import PrCurve, RocCurve


def thin_roc(curve: RocCurve, max_points: int = 2000) -> RocCurve:
    """At most `max_points` of the curve's own points, spread evenly along its length, and along log(background
    efficiency) so that the tight cuts keep theirs on a logarithmic axis."""
    fpr, tpr = curve.background_efficiency, curve.signal_efficiency
    keep = _thin(fpr, tpr, max_points)
    if keep is None:
        return curve
    fields = ("background_efficiency", "signal_efficiency", "background_error", "signal_error", "thresholds")
    return dataclasses.replace(curve, **{name: getattr(curve, name)[keep] for name in fields})


def thin_pr(curve: PrCurve, max_points: int = 2000) -> PrCurve:
    """At most `max_points` of the curve's own points, spread evenly along its length."""
    keep = _thin(curve.recall, np.nan_to_num(curve.precision), max_points)
    if keep is None:
        return curve
    fields = ("recall", "precision", "recall_error", "precision_error", "thresholds")
    return dataclasses.replace(curve, **{name: getattr(curve, name)[keep] for name in fields})


def _thin(x: FloatArray, y: FloatArray, max_points: int) -> npt.NDArray[np.intp] | None:
    """Indices to keep, or None for all: half of the points along the length, half along the logarithm of the rank."""
    if max_points < 10:
        raise ConfigError(f"a curve of {max_points} points has no shape", remedy="Ask for at least 10.")
    if x.size <= max_points:
        return None
    half = max_points // 2
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    along = np.searchsorted(length, np.linspace(0.0, length[-1], half))
    by_rank = np.geomspace(1, x.size, half - 2).astype(np.intp) - 1
    return np.unique(np.concatenate([[0], np.minimum(along, x.size - 1), by_rank, [x.size - 1]]))
