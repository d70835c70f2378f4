"""Metrics for events with weights that may be negative: signed sums as they are, with uncertainties that know them.

>>> import numpy as np
>>> roc(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False])).auc
0.75

Only NumPy is used. Every function is vectorised and takes samples of ten million events; none looks at the order of the
events. What cannot be computed from the events given (a class without events, weights that sum to nothing) is NaN, and
the result says why in `reason`; what the user must mend (NaN scores, lengths that differ) is an error.
"""

from utils.metrics.comparison import KsResult, weighted_ks
from utils.metrics.confusion import Accuracy, ConfusionMatrix, accuracy, confusion
from utils.metrics.curves import PrCurve, RocCurve, pr_from_scan, precision_recall, roc, roc_from_scan
from utils.metrics.histograms import Histogram, histogram
from utils.metrics.regression import (
    Plane,
    Residuals,
    ResponseProfile,
    residual_histogram,
    residuals,
    response_profile,
    value_plane,
)
from utils.metrics.scan import ScoreScan, scan_scores
from utils.metrics.thinning import thin_pr, thin_roc
from utils.metrics.weights import METRIC_WEIGHTS, class_balanced_weights, effective_events, evaluation_weights

__all__ = [
    "METRIC_WEIGHTS",
    "Accuracy",
    "ConfusionMatrix",
    "Histogram",
    "KsResult",
    "Plane",
    "PrCurve",
    "Residuals",
    "ResponseProfile",
    "RocCurve",
    "ScoreScan",
    "accuracy",
    "class_balanced_weights",
    "confusion",
    "effective_events",
    "evaluation_weights",
    "histogram",
    "pr_from_scan",
    "precision_recall",
    "residual_histogram",
    "residuals",
    "response_profile",
    "roc",
    "roc_from_scan",
    "scan_scores",
    "thin_pr",
    "thin_roc",
    "value_plane",
    "weighted_ks",
]
