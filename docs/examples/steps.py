"""A step of the input pipe: log(1 + x / scale) of features that are never negative. Shapes: N events, F features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.preprocessing.moments import Moments


@dataclass(frozen=True)
class LogScale:
    """Arguments come from the config; what is learned from the training split is filled in by `fit`.

    Parameters
    ----------
    features : names of the features to transform.
    scale : where the logarithm sets in [unit of the features].
    columns : their positions, known after `fit`.
    """

    features: tuple[str, ...] = ()
    scale: float = 30.0
    columns: tuple[int, ...] = ()

    def fit(self, moments: Moments, names: Sequence[str]) -> Self:
        """`moments` has `mean_F`, `std_F` and `covariance_FF` of the training split; `names` are the features."""
        return replace(self, columns=tuple(names.index(name) for name in self.features))

    def transform(self, features_NF: NDArray[Any]) -> NDArray[Any]:
        """(N, F) → (N, F); a value below zero counts as zero."""
        values_NF = features_NF.astype(np.float64)
        values_NF[:, self.columns] = np.log1p(np.maximum(values_NF[:, self.columns], 0) / self.scale)
        return values_NF

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """One name per column that comes out."""
        return tuple(names)

    def state(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"features": list(self.features), "scale": self.scale, "columns": list(self.columns)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(tuple(state["features"]), float(state["scale"]), tuple(state["columns"]))
