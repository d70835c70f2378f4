"""Which fold an event belongs to: one pure integer function, saved with the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from utils.errors import FoldError
from utils.events.identity import as_integers, salted

FoldsBy = Literal["modulo", "hash"]
IDENTITY_COLUMN = "identity"


@dataclass(frozen=True)
class FoldRule:
    """`fold = feature % n_splits`, or a hash of the event identity modulo `n_splits`.

    Parameters
    ----------
    n_splits : number of folds and of models.
    by : `modulo` takes the integer `feature` as it is, as ml-framework does; `hash` takes the hashed identity and is
        free of the parity patterns that some generators leave in event numbers.
    feature : the column the fold is computed from; `identity` for `hash`.
    """

    n_splits: int
    by: FoldsBy
    feature: str

    def __post_init__(self) -> None:
        if self.n_splits < 1:
            raise FoldError(f"n_splits is {self.n_splits}", where="n_splits", remedy="Use 1 or more.")
        if self.by not in ("modulo", "hash"):
            raise FoldError(f"'{self.by}' is no rule", where="folds.by", remedy="Use modulo or hash.")

    @property
    def column(self) -> str:
        """The column that `assign` needs."""
        return IDENTITY_COLUMN if self.by == "hash" else self.feature

    def assign(self, values_N: NDArray[np.generic], where: str = "the input") -> NDArray[np.int32]:
        """(N,) fold numbers from (N,) values of `column`. Non-integer or negative values are a FoldError."""
        if self.n_splits == 1:
            return np.zeros(len(values_N), dtype=np.int32)
        if self.by == "hash":
            hashed = salted(values_N.astype(np.uint64), "folds")
            return (hashed % np.uint64(self.n_splits)).astype(np.int32)
        integers = as_integers(values_N, self.feature, where)
        if integers.dtype.kind == "i" and len(integers) and integers.min() < 0:
            raise FoldError(
                f"xtrain_split_feature '{self.feature}' holds negative values ({int((integers < 0).sum())} events)",
                where=where,
                remedy="Name a non-negative integer branch, or use folds.by=hash.",
            )
        return (integers % self.n_splits).astype(np.int32)


def check_balance(counts: Sequence[int], tolerance: float = 0.05, max_sigmas: float = 5.0) -> str | None:
    """Compare the sizes of the folds of a training set.

    A fold that differs from the mean by more than `tolerance` and by more than `max_sigmas` standard deviations of a
    random (multinomial) split is a FoldError with the numbers; one that does only one of both gives a text to warn
    with.
    """
    total, n_folds = sum(counts), len(counts)
    if n_folds < 2 or total == 0:
        return None
    mean = total / n_folds
    sigma = float(np.sqrt(total * (1 / n_folds) * (1 - 1 / n_folds)))
    worst = max(range(n_folds), key=lambda fold: abs(counts[fold] - mean))
    difference = counts[worst] - mean
    relative, sigmas = abs(difference) / mean, abs(difference) / sigma
    text = (
        f"fold {worst} has {counts[worst]:,} events where {mean:,.0f} are expected "
        f"({difference / mean:+.1%}, {sigmas:.1f} standard deviations); folds: {list(counts)}"
    )
    if relative > tolerance and sigmas > max_sigmas:
        raise FoldError(
            text,
            where="xtrain_split_feature",
            remedy="Choose another split feature, use folds.by=hash, or raise folds.tolerance.",
        )
    return text if relative > tolerance or sigmas > max_sigmas else None
