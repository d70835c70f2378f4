"""Jagged columns as continuous features of a fixed number: the first L objects of every event, NaN where it has fewer.

N events, L objects at most, M objects in all events, F features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.events import Column
from utils.preprocessing.jagged import Finite, Objects, objects_of

# Rows of the matrix that are filled at a time: what a cache holds.
TILE_ROWS = 4_096
TILE_BYTES = 2**21


@dataclass(frozen=True, eq=False)
class Kept:
    """The objects of one column that are kept.

    Parameters
    ----------
    length : L, columns of the matrix.
    count_N : (N,) kept objects of every event, at most L.
    flat_M : (M,) float32, their values, one event after the other.
    n_truncated : events that had more than L.
    """

    length: int
    count_N: NDArray[np.int64]
    flat_M: NDArray[np.float32]
    n_truncated: int

    @classmethod
    def of(
        cls,
        objects: Objects,
        length: int,
        limits: tuple[float | None, float | None] = (None, None),
        finite: Finite | None = None,
        name: str = "",
    ) -> "Kept":
        """The first `length` objects of every event, clipped to `limits`, as float32.

        What float32 cannot hold is infinite; the policy for NaN and infinities applies to what is kept.
        """
        count_N = np.minimum(objects.count_N, length)
        flat_M = objects.content[objects.source(count_N)]
        if limits != (None, None):
            flat_M = np.clip(flat_M, *limits)
        with np.errstate(over="ignore"):
            flat_M = flat_M.astype(np.float32, copy=False)
        if finite is not None:
            flat_M = finite.apply(flat_M, count_N, name)
        return cls(length, count_N, flat_M, int(np.count_nonzero(objects.count_N > length)))


def pad(values: Column, length: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The first `length` values of every event, in the order of its objects.

    >>> import awkward as ak
    >>> values, mask = pad(ak.Array([[30.0, 20.0, 10.0], [50.0], []]), 2)
    >>> values
    array([[30., 20.],
           [50., nan],
           [nan, nan]], dtype=float32)
    >>> mask.tolist()
    [[False, False], [False, True], [True, True]]

    Parameters
    ----------
    values : (N, objects) jagged numbers; a NaN among them stays one, and is not masked.
    length : L.

    Returns
    -------
    values_NL : (N, L) float32, NaN where an event has fewer objects.
    mask_NL : (N, L) True there.
    """
    kept = Kept.of(objects_of(values, "values", "pad"), length)
    return filled_matrix(len(kept.count_N), [], [kept])


def filled_matrix(
    n_events: int, flat: Sequence[NDArray[Any]], padded: Sequence[Kept]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(N, F) float32 values and their mask, True where padded: a column of each `flat`, then L of each `padded`."""
    n_features = len(flat) + sum(kept.length for kept in padded)
    matrix_NF, mask_NF = np.empty((n_events, n_features), np.float32), np.empty((n_events, n_features), bool)
    fill_matrix(matrix_NF, flat, padded, mask_NF)
    return matrix_NF, mask_NF


def fill_matrix(
    matrix_NF: NDArray[np.float32],
    flat: Sequence[NDArray[Any]],
    padded: Sequence[Kept],
    mask_NF: NDArray[np.bool_] | None = None,
) -> None:
    """Fill a C-contiguous matrix, and its mask where it is wanted; see :func:`filled_matrix`.

    Every value is written once, where it belongs, while the rows around it are in the cache. Columns of one collection
    have their objects in the same places of the matrix, which are therefore looked up once.
    """
    assert matrix_NF.flags.c_contiguous
    n_rows, n_features = matrix_NF.shape
    values = matrix_NF.reshape(-1)
    masked = None if mask_NF is None else mask_NF.reshape(-1)
    jobs = []
    first = len(flat)
    for kept, places in zip(padded, _places(padded, n_features), strict=True):
        # The places are those of a column that begins where the row does.
        jobs.append((first, *places, kept.flat_M))
        first += kept.length
    tile_rows = min(TILE_ROWS, max(64, TILE_BYTES // max(4 * n_features, 1)))
    for start in range(0, n_rows, tile_rows):
        stop = min(start + tile_rows, n_rows)
        for j, column in enumerate(flat):
            matrix_NF[start:stop, j] = column[start:stop]
        matrix_NF[start:stop, len(flat) :] = np.nan
        if mask_NF is not None:
            mask_NF[start:stop, : len(flat)] = False
            mask_NF[start:stop, len(flat) :] = True
        for first, place_M, edges, flat_M in jobs:
            objects = slice(edges[start], edges[stop])
            values[first:][place_M[objects]] = flat_M[objects]
            if masked is not None:
                masked[first:][place_M[objects]] = False


Places = tuple[NDArray[np.intp], NDArray[np.int64]]


def _places(padded: Sequence[Kept], n_features: int) -> Iterator[Places]:
    """For each: (M,) numbers of the cells in the flattened matrix, and (N + 1,) where the objects of an event begin."""
    known: list[tuple[NDArray[np.int64], Places]] = []
    for kept in padded:
        found = next((places for count_N, places in known if np.array_equal(count_N, kept.count_N)), None)
        if found is None:
            edges = np.concatenate([[0], np.cumsum(kept.count_N)])
            row_N = np.arange(len(kept.count_N)) * n_features
            found = np.arange(edges[-1]) + np.repeat(row_N - edges[:-1], kept.count_N), edges
            known.append((kept.count_N, found))
        yield found
