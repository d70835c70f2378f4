"""What the numbers mean that a user's model gives, and scores made of them.

Shape suffixes: N events, F features, W outputs of the model, K classes.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError

Kind = Literal["probabilities", "log_probabilities", "logits", "features", "losses"]

_TRIED = 512
_TOLERANCE = 1e-4
TINY = 1e-12


def check_width(outputs_NW: Any, n_events: int, n_classes: int, n_features: int, is_autoencoder: bool) -> int:
    """W; ConfigError unless the model gives what is needed for `n_events`.

    One number per event, or one per class; for an autoencoder, one per feature.
    """
    shape = tuple(getattr(outputs_NW, "shape", ())) or type(outputs_NW).__name__
    if shape == (n_events,):
        shape = (n_events, 1)
    wanted = {n_features} if is_autoencoder else {n_classes, 1} if n_classes == 2 else {n_classes}
    if isinstance(shape, tuple) and len(shape) == 2 and shape[0] == n_events and shape[1] in wanted:
        return int(shape[1])
    ways = " or ".join(str((n_events, width)) for width in sorted(wanted))
    if is_autoencoder:
        raise ConfigError(
            f"without labels the model has to give back its {n_features} inputs, and it gives {shape} for {n_events} "
            "events",
            where="model_file",
            remedy=f"Give the labels (labels=labels.txt), or let the last layer have idim = {n_features} outputs.",
        )
    also = " (one of class 1, or one per class)" if n_classes == 2 else ""
    raise ConfigError(
        f"the model gives {shape} for {n_events} events of {n_classes} classes, not {ways}",
        where="model_file",
        remedy=f"Let its last layer have {' or '.join(map(str, sorted(wanted)))} outputs{also}.",
    )


def meaning(outputs_of: Callable[[NDArray[np.float32]], NDArray[Any]], n_features: int, width: int) -> Kind:
    """What a classifier's outputs are, tried out on inputs far from any data.

    Probabilities stay in [0, 1] there, and log probabilities add up to one; anything else is logits.
    """
    rng = np.random.default_rng(0)
    inputs_NF = rng.normal(size=(_TRIED, n_features)) * np.geomspace(0.1, 1000, _TRIED)[:, None]
    values_NW = np.asarray(outputs_of(inputs_NF.astype(np.float32)), np.float64).reshape(_TRIED, width)
    if ((values_NW >= -_TOLERANCE) & (values_NW <= 1 + _TOLERANCE)).all():
        return "probabilities"
    if width > 1 and np.abs(np.exp(np.minimum(values_NW, 1.0)).sum(axis=1) - 1).max() < _TOLERANCE:
        return "log_probabilities"
    return "logits"


def as_scores(outputs_NW: NDArray[Any], kind: Kind) -> NDArray[np.float32]:
    """(N, W) outputs → (N, K) float32 probabilities that add up to one."""
    values_NW = np.asarray(outputs_NW, np.float64)
    values_NW = values_NW.reshape(len(values_NW), -1)
    if values_NW.shape[1] == 1:
        positive_N1 = values_NW if kind == "probabilities" else _sigmoid(values_NW)
        positive_N1 = np.clip(positive_N1, 0, 1)
        return np.hstack([1 - positive_N1, positive_N1]).astype(np.float32)
    if kind == "probabilities":
        scores_NK = np.clip(values_NW, TINY, 1)
    else:
        scores_NK = np.exp(values_NW - values_NW.max(axis=1, keepdims=True, initial=-np.inf))
    probability_NK: NDArray[np.float32] = (scores_NK / scores_NK.sum(axis=1, keepdims=True)).astype(np.float32)
    return probability_NK


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -values))
