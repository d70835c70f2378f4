"""Event weights for evaluation. Shapes: N events, K classes."""

import numpy as np
import numpy.typing as npt

from utils.errors import ConfigError, WeightError, nearest_name
from utils.metrics.checks import FloatArray, as_classes, as_weights

METRIC_WEIGHTS = ("class", "event", "both", "none")


def effective_events(weight_N: npt.ArrayLike) -> float:
    """How many unweighted events would fluctuate as much: (Σw)² / Σw² (Kish 1965); 0 for no events or no weight.

    With signed weights it can fall below one, where the sum is within its own uncertainty of zero.
    """
    weights = np.asarray(weight_N, dtype=np.float64)
    # Divided by the largest first: weights of 1e-200 or 1e200 would leave the range of a double when squared.
    scale = float(np.max(np.abs(weights), initial=0.0))
    if scale == 0.0:
        return 0.0
    scaled = weights / scale
    return float(np.sum(scaled)) ** 2 / float(np.sum(scaled * scaled))


def class_balanced_weights(target_N: npt.ArrayLike, n_classes: int | None = None) -> FloatArray:
    """w = N / N_class for every event, so that each class present sums to N (ml-framework's `w_class_imbalance`).

    Parameters
    ----------
    target_N : class number of each event, 0 … K-1.
    n_classes : K; by default the largest number found plus one.
    """
    targets = np.asarray(target_N)
    if targets.size == 0:
        return np.zeros(0)
    classes = as_classes(targets, n_classes if n_classes is not None else int(targets.max()) + 1, "target")
    counts_K = np.bincount(classes)
    return np.asarray((classes.size / np.maximum(counts_K, 1))[classes], dtype=np.float64)


def evaluation_weights(
    scheme: str, target_N: npt.ArrayLike, event_weight_N: npt.ArrayLike | None = None, n_classes: int | None = None
) -> FloatArray:
    """The weights behind curves, areas and confusion, by the config key `metric_weights`.

    Parameters
    ----------
    scheme : `class`: N / N_class, event weights are not used. `event`: the event weights. `both`: the event weights
        times one factor per class, so that the signed sums of the classes are equal and their total is kept.
        `none`: one.
    target_N : class number of each event, 0 … K-1.
    event_weight_N : signed event weights; needed for `event` and `both`.
    n_classes : K; by default the largest number found plus one.

    Returns
    -------
    weight_N : float64. Under `both`, a class whose event weights sum to zero or less cannot be scaled to the others:
        its events weigh 0, so that its metrics are undefined and the other classes' are those without it.
    """
    if scheme not in METRIC_WEIGHTS:
        raise ConfigError(
            f"unknown weight scheme '{scheme}'",
            where="metric_weights",
            nearest=nearest_name(scheme, METRIC_WEIGHTS),
            remedy=f"Choose one of {', '.join(METRIC_WEIGHTS)}.",
        )
    targets = np.asarray(target_N)
    if scheme == "none":
        return np.ones(targets.size)
    if scheme == "class":
        return class_balanced_weights(targets, n_classes)
    weights = as_weights(event_weight_N, targets.size, "event weight")
    if weights is None:
        raise WeightError(
            f"metric_weights: {scheme} needs event weights, and the predictions have none",
            where="metric_weights",
            remedy="Add the weight branch to misc_features, or choose 'class' or 'none'.",
        )
    if scheme == "event" or targets.size == 0:
        return weights.copy()
    classes = as_classes(targets, n_classes if n_classes is not None else int(targets.max()) + 1, "target")
    sums_K = np.bincount(classes, weights=weights)
    usable_K = sums_K > 1e-9 * np.sqrt(np.bincount(classes, weights=weights**2))
    if not np.any(usable_K):
        return np.zeros(classes.size)
    share = float(np.sum(sums_K[usable_K])) / int(np.count_nonzero(usable_K))
    factors_K = np.where(usable_K, share / np.where(usable_K, sums_K, 1.0), 0.0)
    return np.asarray(weights * factors_K[classes], dtype=np.float64)
