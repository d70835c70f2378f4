"""Event weights in training: what negative ones mean, and one scale for all."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from utils.errors import WeightError

NegativeWeights = Literal["error", "abs", "zero", "drop"]


@dataclass(frozen=True)
class WeightReport:
    """What the policy changed: number of negative weights, and their share of the sum of absolute weights."""

    policy: NegativeWeights
    n_negative: int
    negative_share: float


def training_weights(
    weight_N: NDArray[np.float64], policy: NegativeWeights, name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], WeightReport]:
    """Weights to train with, and which events may be trained on.

    Parameters
    ----------
    weight_N : (N,) signed weights; NaN and infinities are a WeightError.
    policy : what a negative weight becomes: an `error`, its `abs`olute value, `zero`, or the event is `drop`ped from
        training (never from prediction or evaluation).
    name : of the weight, for messages.
    """
    if not np.isfinite(weight_N).all():
        n_bad = int((~np.isfinite(weight_N)).sum())
        raise WeightError(
            f"weight '{name}' is NaN or infinite for {n_bad:,} events", where="weight_name", remedy="Repair it."
        )
    negative_N = weight_N < 0
    n_negative = int(negative_N.sum())
    share = float(-weight_N[negative_N].sum() / np.abs(weight_N).sum()) if n_negative else 0.0
    report = WeightReport(policy, n_negative, share)
    may_train_N = np.ones(len(weight_N), bool)
    if n_negative == 0:
        return weight_N, may_train_N, report
    if policy == "error":
        raise WeightError(
            f"weight '{name}' is negative for {n_negative:,} of {len(weight_N):,} events "
            f"({share:.1%} of the sum of absolute weights)",
            where="negative_weights",
            remedy="Choose what they mean in training: negative_weights=abs, zero or drop.",
        )
    if policy == "abs":
        return np.abs(weight_N), may_train_N, report
    if policy == "drop":
        may_train_N = ~negative_N
    return np.where(negative_N, 0.0, weight_N), may_train_N, report
