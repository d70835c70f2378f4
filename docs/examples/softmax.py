"""Multinomial logistic regression, with categories one-hot. Shapes: N events, F features, K classes, G columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.loading import EventSource
from utils.models.estimator import Monitor


class SoftmaxRegression:
    """Gradient descent over all training events at once.

    Parameters
    ----------
    params : `n_epochs` and `learning_rate`.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.n_epochs = int(params.get("n_epochs", 200))
        self.learning_rate = float(params.get("learning_rate", 0.5))
        self.n_cat = self.n_values = 0
        self.weight_GK: NDArray[np.float64] = np.empty((0, 0))

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor) -> None:
        """A model that need not have all events in memory would loop over `train.batches()` instead."""
        events, watched = train.whole(), valid.whole()
        self.n_cat = len(train.data.categorical_indices)
        if self.n_cat:
            self.n_values = int(events.features_NF[:, -self.n_cat :].max()) + 1
        weight_N = np.ones(train.n_events) if events.weight_N is None else events.weight_N.astype(np.float64)
        truth_NK = np.eye(train.data.n_classes)[events.target_N]
        x_NG = self._columns(events.features_NF)
        self.weight_GK = np.zeros((x_NG.shape[1], train.data.n_classes))
        for epoch in range(1, self.n_epochs + 1):
            miss_NK = weight_N[:, None] * (_softmax(x_NG @ self.weight_GK) - truth_NK)
            self.weight_GK -= self.learning_rate * x_NG.T @ miss_NK / weight_N.sum()
            right_N = self.predict(watched.features_NF)[np.arange(valid.n_events), watched.target_N]
            if valid.n_events:
                monitor(epoch, {"valid-logloss": float(-np.log(np.maximum(right_N, 1e-15)).mean())})

    def _columns(self, features_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, G): continuous features, one column per value of each categorical one (the last ones), and a constant."""
        n_cont = features_NF.shape[1] - self.n_cat
        codes_N = [features_NF[:, n_cont + i, None] for i in range(self.n_cat)]
        one_hot = [(codes == np.arange(self.n_values)).astype(np.float64) for codes in codes_N]
        return np.hstack([features_NF[:, :n_cont].astype(np.float64), *one_hot, np.ones((len(features_NF), 1))])

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) probabilities."""
        return _softmax(self._columns(features_NF) @ self.weight_GK).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Numbers only."""
        numbers = [self.n_epochs, self.n_cat, self.n_values]
        np.savez(folder / "model.npz", weight_GK=self.weight_GK, numbers=numbers)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        loaded = cls({})
        with np.load(folder / "model.npz") as saved:
            loaded.n_epochs, loaded.n_cat, loaded.n_values = saved["numbers"].tolist()
            loaded.weight_GK = saved["weight_GK"]
        return loaded

    @property
    def libraries(self) -> tuple[str, ...]:
        """What `load` and `predict` need, as pip names it."""
        return ("numpy",)

    @property
    def n_iterations(self) -> int | None:
        """Epochs."""
        return self.n_epochs

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """None."""
        return {}


def _softmax(score_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    exp_NK = np.exp(score_NK - score_NK.max(axis=1, keepdims=True))
    shares_NK: NDArray[np.float64] = exp_NK / exp_NK.sum(axis=1, keepdims=True)
    return shares_NK
