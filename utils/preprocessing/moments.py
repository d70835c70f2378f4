"""Sums that do not depend on how the input was cut into chunks.

Floating-point sums depend on their order. Here rows are summed within fixed blocks of entries of each file, and blocks
are added in order, so that any chunking of the same rows gives the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLOCK_ENTRIES = 65_536
TILE_ROWS = 4_096  # rows converted to float64 at a time: small enough for the cache …
TILE_BYTES = 2**22  # … of wide matrices fewer

Vector = NDArray[np.float64]


def _added(first: Vector, second: Vector) -> Vector:
    return first + second


class BlockSums:
    """Running sum of `reduce(rows)` over the fixed blocks of entries.

    Parameters
    ----------
    reduce : (N, F) rows of one block → a vector of sums.
    combine : the sums of the blocks so far and those of the next one → the sums of both.
    keep_blocks : also keep the sums of every block in `blocks`, for work on part of a file: what `add_sums` is given
        them in order has the same total as who saw all rows, if parts begin at multiples of BLOCK_ENTRIES.
    """

    def __init__(
        self,
        reduce: Callable[[NDArray[np.generic]], Vector],
        combine: Callable[[Vector, Vector], Vector] = _added,
        *,
        keep_blocks: bool = False,
    ) -> None:
        self._reduce = reduce
        self._combine = combine
        self._total: Vector | None = None
        self._open: list[NDArray[np.generic]] = []
        self._open_block: tuple[int, int] | None = None
        self._blocks: list[Vector] | None = [] if keep_blocks else None

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
            self._open = []
            self.add_sums([self._reduce(rows)])

    def add_sums(self, blocks: Sequence[Vector]) -> None:
        """Add the sums of whole blocks, in order."""
        for sums in blocks:
            self._total = sums if self._total is None else self._combine(self._total, sums)
            if self._blocks is not None:
                self._blocks.append(sums)

    def total(self) -> Vector | None:
        """The sum so far, or None before any row."""
        self._close_block()
        self._open_block = None
        return self._total

    @property
    def blocks(self) -> list[Vector]:
        """The sums of every block, in order; needs `keep_blocks`."""
        self.total()
        assert self._blocks is not None
        return self._blocks


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of (N, F) features in float64; a feature that an event does not have (NaN) does not count in it.

    Parameters
    ----------
    n_rows : N.
    mean_F : (F,) means.
    covariance_FF : (F, F) covariances (divided by N, not N − 1); off the diagonal NaN unless they were asked for.
    minimum_F, maximum_F : (F,) extreme values.
    count_F : (F,) events that have the feature; where there is none, everything else of it is zero.
    """

    n_rows: int
    mean_F: Vector
    covariance_FF: NDArray[np.float64]
    minimum_F: Vector
    maximum_F: Vector
    count_F: Vector

    @property
    def std_F(self) -> Vector:  # noqa: N802
        """(F,) standard deviations."""
        return np.sqrt(np.maximum(np.diag(self.covariance_FF), 0.0))

    def shifted_and_scaled(self, shift_F: Vector, scale_F: Vector) -> "Moments":
        """Moments of (x − shift) / scale, for positive scales."""
        return Moments(
            self.n_rows,
            (self.mean_F - shift_F) / scale_F,
            self.covariance_FF / np.outer(scale_F, scale_F),
            (self.minimum_F - shift_F) / scale_F,
            (self.maximum_F - shift_F) / scale_F,
            self.count_F,
        )


@dataclass
class MomentsAccumulator:
    """Moments of (N, F) features; those of a block are shifted by the means of its first tile against cancellation.

    Parameters
    ----------
    n_features : F.
    with_covariance : whether the off-diagonal terms are wanted (PCA); the variances always are.
    n_padded : that many features, the last ones, may be NaN in events that do not have them.
    keep_blocks : as in :class:`BlockSums`.
    """

    n_features: int
    with_covariance: bool = False
    n_padded: int = 0
    keep_blocks: bool = False
    sums: BlockSums = field(init=False)

    def __post_init__(self) -> None:
        assert not (self.with_covariance and self.n_padded)
        self.sums = BlockSums(self._reduce, self._combine, keep_blocks=self.keep_blocks)

    def add(self, file_index: int, entry_N: NDArray[np.int64], features_NF: NDArray[np.float32]) -> None:
        """Add rows of features, finite where they are not padded."""
        self.sums.add(file_index, entry_N, features_NF)

    # A block's sums are one vector: N, and (F,) each of counts, minima, maxima, means, and the sums of squared (or, for
    # the covariance, (F, F) of multiplied) differences from the means.

    def _reduce(self, rows_NF: NDArray[np.generic]) -> Vector:
        n_rows, n_features = rows_NF.shape
        first_padded = n_features - self.n_padded
        tile_rows = min(TILE_ROWS, max(64, TILE_BYTES // (8 * max(n_features, 1))))
        count_F = np.full(n_features, float(n_rows))
        count_F[first_padded:] = 0.0
        shift_F = _means(rows_NF[:tile_rows])
        sum_F, square_F = np.zeros(n_features), np.zeros(n_features)
        minimum_F, maximum_F = np.full(n_features, np.nan), np.full(n_features, np.nan)
        products = np.zeros((n_features, n_features) if self.with_covariance else (0, 0))
        for start in range(0, n_rows, tile_rows):
            rows = rows_NF[start : start + tile_rows]
            np.fmin(minimum_F, _extreme(np.fmin, rows), out=minimum_F)
            np.fmax(maximum_F, _extreme(np.fmax, rows), out=maximum_F)
            tile = rows.astype(np.float64)
            tile -= shift_F
            if self.n_padded:
                padded = tile[:, first_padded:]
                present = padded == padded
                count_F[first_padded:] += present.sum(axis=0)
                tile[:, first_padded:] = np.where(present, padded, 0.0)
            sum_F += tile.sum(axis=0)
            if self.with_covariance:
                products += np.dot(tile.T, tile)
            else:
                square_F += np.einsum("nf,nf->f", tile, tile)
        offset_F = sum_F / np.maximum(count_F, 1.0)
        if self.with_covariance:
            spread = (products - n_rows * np.outer(offset_F, offset_F)).ravel()
        else:
            spread = square_F - sum_F * offset_F
        return np.concatenate([[n_rows], count_F, minimum_F, maximum_F, shift_F + offset_F, spread])

    def _combine(self, first: Vector, second: Vector) -> Vector:
        """Sums of both; a feature that one of them lacks is that of the other."""
        n_rows = first[:1] + second[:1]
        one, other = self._parts(first), self._parts(second)
        count_F = one[0] + other[0]
        share_F = other[0] / np.maximum(count_F, 1.0)
        step_F = np.where(one[0] * other[0] > 0, other[3] - one[3], 0.0)
        mean_F = np.where(one[0] > 0, one[3] + step_F * share_F, other[3])
        if self.with_covariance:
            between = (np.outer(step_F, step_F) * (one[0] * share_F)[:, None]).ravel()
        else:
            between = step_F**2 * one[0] * share_F
        extremes = np.fmin(one[1], other[1]), np.fmax(one[2], other[2])
        return np.concatenate([n_rows, count_F, *extremes, mean_F, one[4] + other[4] + between])

    def _parts(self, sums: Vector) -> list[Vector]:
        n = self.n_features
        return np.split(sums[1:], [n, 2 * n, 3 * n, 4 * n])

    def result(self) -> Moments:
        """The moments; of what no event has, they are zero."""
        total = self.sums.total()
        n_features = self.n_features
        if total is None:
            zeros = np.zeros(n_features)
            return Moments(0, zeros, np.zeros((n_features, n_features)), zeros, zeros, zeros)
        count_F, minimum_F, maximum_F, mean_F, spread = self._parts(total)
        if self.with_covariance:
            covariance = spread.reshape(n_features, n_features) / max(total[0], 1.0)
        else:
            covariance = np.full((n_features, n_features), np.nan)
            np.fill_diagonal(covariance, spread / np.maximum(count_F, 1.0))
        missing = count_F == 0
        return Moments(
            int(total[0]),
            mean_F,
            covariance,
            np.where(missing, 0.0, minimum_F),
            np.where(missing, 0.0, maximum_F),
            count_F,
        )


def _means(rows_NF: NDArray[np.generic]) -> Vector:
    """(F,) means of what is not NaN; zero where everything is."""
    rows = rows_NF.astype(np.float64)
    present = rows == rows
    means: Vector = np.where(present, rows, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return means


def _extreme(of_two: np.ufunc, rows_NF: NDArray[np.generic]) -> NDArray[np.generic]:
    """(F,) least or greatest values, NaN left out: by halves, which is many times faster than `of_two.reduce`."""
    while len(rows_NF) > 1:
        half = len(rows_NF) // 2
        rest = rows_NF[2 * half :]
        rows_NF = of_two(rows_NF[:half], rows_NF[half : 2 * half])
        if len(rest):
            rows_NF[:1] = of_two(rows_NF[:1], rest)
    extreme: NDArray[np.generic] = rows_NF[0]
    return extreme
