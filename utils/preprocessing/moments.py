"""Sums that do not depend on how the input was cut into chunks.

Floating-point sums depend on their order. Here rows are summed within fixed blocks of entries of each file, and blocks
are added in order, so that any chunking of the same rows gives the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLOCK_ENTRIES = 65_536
TILE_ROWS = 4_096  # rows converted to float64 at a time: small enough for the cache

Vector = NDArray[np.float64]


class BlockSums:
    """Running sum of `reduce(rows)` over the fixed blocks of entries.

    Parameters
    ----------
    reduce : (N, F) rows of one block → a vector of sums.
    """

    def __init__(self, reduce: Callable[[NDArray[np.generic]], Vector]) -> None:
        self._reduce = reduce
        self._total: Vector | None = None
        self._open: list[NDArray[np.generic]] = []
        self._open_block: tuple[int, int] | None = None

    def add(self, file_index: int, entry_N: NDArray[np.int64], rows_NF: NDArray[np.generic]) -> None:
        """Add rows; entries of one file come in ascending order."""
        if len(rows_NF) == 0:
            return
        first, last = int(entry_N[0]) // BLOCK_ENTRIES, int(entry_N[-1]) // BLOCK_ENTRIES
        edges = np.searchsorted(entry_N, np.arange(first + 1, last + 1) * BLOCK_ENTRIES)
        starts = [0, *edges.tolist(), len(entry_N)]
        for i, block in enumerate(range(first, last + 1)):
            rows = rows_NF[starts[i] : starts[i + 1]]
            if (file_index, block) != self._open_block:
                self._close_block()
                self._open_block = (file_index, block)
            if len(rows):
                # Only the last block waits for the next chunk, and must not keep this one alive.
                self._open.append(rows.copy() if block == last else rows)

    def _close_block(self) -> None:
        if self._open:
            rows = self._open[0] if len(self._open) == 1 else np.concatenate(self._open)
            sums = self._reduce(rows)
            self._total = sums if self._total is None else self._total + sums
            self._open = []

    def total(self) -> Vector | None:
        """The sum so far, or None before any row."""
        self._close_block()
        self._open_block = None
        return self._total


@dataclass(frozen=True)
class Moments:
    """Number of rows, (F,) means, and (F, F) covariance (divided by N, not N − 1) in float64.

    Off-diagonal covariances are NaN unless they were asked for.
    """

    n_rows: int
    mean_F: Vector
    covariance_FF: NDArray[np.float64]

    @property
    def std_F(self) -> Vector:  # noqa: N802
        """(F,) standard deviations."""
        return np.sqrt(np.maximum(np.diag(self.covariance_FF), 0.0))


@dataclass
class MomentsAccumulator:
    """Moments of (N, F) features, shifted by the first tile's means against cancellation.

    Parameters
    ----------
    n_features : F.
    with_covariance : whether the off-diagonal terms are wanted (PCA); the variances always are.
    """

    n_features: int
    with_covariance: bool = False
    _shift_F: Vector | None = None
    _sums: BlockSums = field(init=False)

    def __post_init__(self) -> None:
        self._sums = BlockSums(self._reduce)

    def add(self, file_index: int, entry_N: NDArray[np.int64], features_NF: NDArray[np.float32]) -> None:
        """Add rows of finite features."""
        self._sums.add(file_index, entry_N, features_NF)

    def _reduce(self, rows_NF: NDArray[np.generic]) -> Vector:
        if self._shift_F is None:
            self._shift_F = rows_NF[:TILE_ROWS].astype(np.float64).mean(axis=0)
        n_features = self.n_features
        sums = np.zeros(1 + n_features + (n_features * n_features if self.with_covariance else n_features))
        sums[0] = len(rows_NF)
        for start in range(0, len(rows_NF), TILE_ROWS):
            tile = rows_NF[start : start + TILE_ROWS].astype(np.float64)
            tile -= self._shift_F
            sums[1 : 1 + n_features] += tile.sum(axis=0)
            squares = np.dot(tile.T, tile).ravel() if self.with_covariance else np.einsum("nf,nf->f", tile, tile)
            sums[1 + n_features :] += squares
        return sums

    def result(self) -> Moments:
        """The moments; without any row, means and covariances are zero."""
        total = self._sums.total()
        n_features = self.n_features
        if total is None or self._shift_F is None:
            return Moments(0, np.zeros(n_features), np.zeros((n_features, n_features)))
        n_rows = total[0]
        offset = total[1 : 1 + n_features] / n_rows
        second = total[1 + n_features :] / n_rows
        if self.with_covariance:
            covariance = second.reshape(n_features, n_features) - np.outer(offset, offset)
        else:
            covariance = np.full((n_features, n_features), np.nan)
            np.fill_diagonal(covariance, second - offset**2)
        return Moments(int(n_rows), self._shift_F + offset, covariance)
