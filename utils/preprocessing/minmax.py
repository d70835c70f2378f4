"""Two element-wise steps of the input pipe: MLaaS4HEP's normalisation by branch, and a value in place of padding."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, nearest_name
from utils.logs import get_logger
from utils.preprocessing.moments import Moments

logger = get_logger(__name__)

Limits = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class MinMax:
    """(x − min) / (max − min) with the extremes of the feature's branch; as it is where both are equal. NaN stays NaN.

    Parameters
    ----------
    branches : feature → branch, for padded features, which share the extremes of all positions.
    limits : branch → (min, max); None: those of the training split.
    minimum, maximum : of every feature, once it is fitted.
    """

    branches: Mapping[str, str] = field(default_factory=dict)
    limits: Limits | None = None
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()

    def fit(self, moments: Moments, names: Sequence[str]) -> "MinMax":
        """Take the extremes from the limits, or from the moments."""
        of = {name: self.branches.get(name, name) for name in names}
        limits = _seen(moments, list(of.values())) if self.limits is None else known(self.limits, of.values())
        lows, highs = zip(*(limits[branch] for branch in of.values()), strict=True) if of else ((), ())
        return MinMax(minimum=tuple(lows), maximum=tuple(highs))

    @property
    def _shift_and_scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = np.asarray(self.minimum), np.asarray(self.maximum)
        return np.where(high > low, low, 0.0), np.where(high > low, high - low, 1.0)

    def transform(self, features_NF: NDArray[Any]) -> NDArray[Any]:
        """(N, F) → (N, F) float64."""
        shift, scale = self._shift_and_scale
        scaled: NDArray[np.float64] = (features_NF - shift) / scale
        return scaled

    def propagate(self, moments: Moments) -> Moments:
        """Moments of the transformed features."""
        return moments.shifted_and_scaled(*self._shift_and_scale)

    def outside(self, features_NF: NDArray[Any]) -> NDArray[np.int64]:
        """(F,) values below the minimum or above the maximum; none where both are equal."""
        low, high = np.asarray(self.minimum), np.asarray(self.maximum)
        beyond = (features_NF < low) | (features_NF > high)
        return np.where(high > low, beyond.sum(axis=0), 0)

    def restricted(self, columns: Sequence[int]) -> "MinMax":
        """The step of some of the features."""
        return replace(
            self,
            minimum=tuple(self.minimum[i] for i in columns),
            maximum=tuple(self.maximum[i] for i in columns),
        )

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The same names."""
        return tuple(names)

    def state(self) -> dict[str, Any]:
        """Numbers only."""
        return {"minimum": list(self.minimum), "maximum": list(self.maximum)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "MinMax":
        """The inverse of `state`."""
        return cls(minimum=tuple(state["minimum"]), maximum=tuple(state["maximum"]))


@dataclass(frozen=True)
class FillPadding:
    """`value` where an event has no such object. Always the last step."""

    value: float = 0.0

    def fit(self, moments: Moments, names: Sequence[str]) -> "FillPadding":
        """There is nothing to learn."""
        return self

    def transform(self, features_NF: NDArray[Any]) -> NDArray[Any]:
        """(N, F) → (N, F) without NaN."""
        return np.where(np.isnan(features_NF), features_NF.dtype.type(self.value), features_NF)

    def restricted(self, columns: Sequence[int]) -> "FillPadding":
        """The same for some of the features."""
        return self

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The same names."""
        return tuple(names)

    def state(self) -> dict[str, Any]:
        """The value."""
        return {"value": self.value}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "FillPadding":
        """The inverse of `state`."""
        return cls(float(state["value"]))


def _seen(moments: Moments, branches: Sequence[str]) -> Limits:
    """The extremes of every branch in the training split; (0, 0) of one without values."""
    limits: dict[str, tuple[float, float]] = {}
    for i, branch in enumerate(branches):
        if moments.count_F[i]:
            low, high = limits.get(branch, (np.inf, -np.inf))
            limits[branch] = min(low, float(moments.minimum_F[i])), max(high, float(moments.maximum_F[i]))
    return {branch: limits.get(branch, (0.0, 0.0)) for branch in branches}


def known(limits: Limits, branches: Iterable[str], where: str = "minmax.specs") -> Limits:
    for branch in branches:
        low, high = limits.get(branch, (np.nan, np.nan))
        if not low <= high:
            raise ConfigError(
                f"the specs have no minimum and maximum of '{branch}'",
                where=where,
                nearest=None if branch in limits else nearest_name(branch, limits),
                remedy="Write them with describe.py from the same files, or use minmax: {specs: null}.",
            )
    return limits
