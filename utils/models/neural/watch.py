"""What is looked at after every epoch: the whole validation set, and which epoch is the one to keep."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.metrics import class_balanced_weights, roc
from utils.models.neural.plan import BestBy


def macro_auc(scores_NK: NDArray[np.float32], target_N: NDArray[np.int32]) -> float:
    """Mean over the classes of the area of one against all others, classes balanced; NaN where a class is absent."""
    weight_N = class_balanced_weights(target_N, scores_NK.shape[1])
    return float(np.mean([roc(scores_NK[:, k], target_N == k, weight_N).auc for k in range(scores_NK.shape[1])]))


@dataclass
class BestEpoch:
    """Remembers the best value so far, and how long ago that was.

    Parameters
    ----------
    by : `loss`, the smaller the better, or `auc`, the larger the better.
    patience : epochs without an improvement after which training ends; None: never.
    """

    by: BestBy
    patience: int | None
    epoch: int = 0
    value: float = float("nan")
    since: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Whether this epoch is the best so far. NaN never is, unless nothing else ever came."""
        sign = 1.0 if self.by == "auc" else -1.0
        if self.epoch == 0 or sign * value > sign * self.value or (np.isnan(self.value) and not np.isnan(value)):
            self.epoch, self.value, self.since = epoch, float(value), 0
            return True
        self.since += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether training ends here."""
        return self.patience is not None and self.since >= self.patience

    def state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(**state)
