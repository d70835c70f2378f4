"""What evaluation works on: scores with their truth. Shapes: N events, K classes, T targets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.errors import DataError
from utils.metrics.checks import as_classes, as_weights

ScoreArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Predictions of one dataset, one row per event.

    Parameters
    ----------
    scores_NK : (N, K) probabilities, K >= 2, finite wherever the event is valid.
    target_N : true class, 0 … K-1, of valid events.
    event_weight_N : signed event weights, finite, or None.
    fold_N : the fold each event belongs to, or None.
    is_valid_N : False for events without a score; None where all have one. They are counted and left out.
    """

    scores_NK: ScoreArray
    target_N: npt.NDArray[np.integer]
    event_weight_N: npt.NDArray[np.floating] | None = None
    fold_N: npt.NDArray[np.integer] | None = None
    is_valid_N: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.scores_NK.ndim != 2 or self.scores_NK.shape[1] < 2:
            raise DataError(
                f"scores have shape {self.scores_NK.shape}, not (events, classes) with two classes or more",
                where="scores",
                remedy="Give a binary model two columns, 1 - p and p.",
            )
        for name in ("target_N", "event_weight_N", "fold_N", "is_valid_N"):
            column = getattr(self, name)
            if column is not None and np.asarray(column).shape != (self.n_events,):
                raise DataError(
                    f"{self.n_events} scores but {name} of shape {np.asarray(column).shape}", where="scores"
                )

    @property
    def n_events(self) -> int:
        """N, unscored events included."""
        return int(self.scores_NK.shape[0])

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.scores_NK.shape[1])

    def valid(self) -> "ScoreTable":
        """Only the events that have a score, checked: finite scores and weights, classes within 0 … K-1."""
        table = self if self.is_valid_N is None else self.select(np.asarray(self.is_valid_N, dtype=np.bool_))
        bad = int(np.count_nonzero(~np.isfinite(table.scores_NK).all(axis=1)))
        if bad:
            raise DataError(
                f"{bad} of {table.n_events} events have scores that are NaN or infinite",
                where="scores",
                remedy="Mark events that no model could score as invalid.",
            )
        as_classes(table.target_N, table.n_classes, "target")
        as_weights(table.event_weight_N, table.n_events, "event weight")
        return table

    def select(self, mask_N: npt.NDArray[np.bool_]) -> "ScoreTable":
        """The events where `mask_N` holds, all of them regarded as valid."""
        return ScoreTable(
            self.scores_NK[mask_N],
            self.target_N[mask_N],
            None if self.event_weight_N is None else self.event_weight_N[mask_N],
            None if self.fold_N is None else self.fold_N[mask_N],
        )


@dataclass(frozen=True, eq=False)
class FoldScores:
    """What model i says about the events it trained on, and about fold i, which it never saw."""

    fold: int
    train: ScoreTable
    held_out: ScoreTable


@dataclass(frozen=True, eq=False)
class ValueTable:
    """Values that a regression predicts for one dataset, one row per event.

    Parameters
    ----------
    predicted_NT, true_NT : (N, T) in the targets' own units, finite.
    event_weight_N : signed event weights, or None.
    fold_N : the fold each event belongs to.
    """

    predicted_NT: ScoreArray
    true_NT: ScoreArray
    event_weight_N: npt.NDArray[np.float64] | None
    fold_N: npt.NDArray[np.integer]

    @property
    def n_events(self) -> int:
        """N."""
        return len(self.fold_N)


@dataclass(frozen=True, eq=False)
class LossTable:
    """Losses of an autoencoder for one dataset, one row per event.

    Parameters
    ----------
    loss_N : finite.
    target_N : class, 0 … K-1, of the skim.
    event_weight_N : signed event weights, or None.
    """

    loss_N: ScoreArray
    target_N: npt.NDArray[np.integer]
    event_weight_N: npt.NDArray[np.float64] | None
