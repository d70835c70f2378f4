"""Objects of events as images: a grid of cells in two coordinates, a channel per quantity, sums in the cells.

Images are made, split and moved as lists of the cells that hold something; who needs every cell gets it from `dense`.

N events, M objects in all of them, V views, C channels, H × W cells of a view, K occupied cells in all events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from utils.preprocessing.jagged import Objects
from utils.preprocessing.jagged_spec import ImageSpec
from utils.readers.jagged import CELLS, dense_images


@dataclass(frozen=True, eq=False)
class Images:
    """The images of N events, and what was seen while they were made.

    Parameters
    ----------
    columns : `cells`, (N, cells) jagged int32 numbers of the occupied cells, ascending, `view · H · W + row · W +
        column`; and for each quantity its (N, cells) jagged float32 sums.
    n_objects : objects of all events, in each view.
    n_overflow : of them, those outside the range.
    n_collisions : of them, those in a cell that an earlier object of the event is in.
    """

    columns: Mapping[str, ak.Array]
    n_objects: int
    n_overflow: int
    n_collisions: int


def draw(image: ImageSpec, columns: Mapping[str, Objects]) -> Images:
    """The images of all events.

    Cells are half-open; the last one along a coordinate holds the upper end of the range as well. NaN is outside.

    Parameters
    ----------
    columns : everything that the image uses, with equal counts.
    """
    count_N = columns[image.x].count_N
    n_events = len(count_N)
    flat = {name: objects.flat for name, objects in columns.items()}
    bins = {
        axis: _bins(flat[column], *image.range[i], image.bins[i]) for i, (axis, column) in enumerate(image.axes.items())
    }
    _, height, width = image.shape
    n_cells = len(image.views) * height * width
    event_M = np.repeat(np.arange(n_events) * n_cells, count_N)
    cells, objects = [], []
    for view, (first, second) in enumerate(image.views):
        column_M, row_M = bins[first], bins[second]
        inside = np.flatnonzero((column_M >= 0) & (row_M >= 0))
        cells.append((event_M + (view * height + row_M) * width + column_M)[inside])
        objects.append(inside)
    drawn = np.concatenate(cells)
    # All objects of a cell in their order, so that a sum is the same wherever the event stands in a chunk.
    occupied_K, cell_of = np.unique(drawn, return_inverse=True)
    which = np.concatenate(objects)
    event_K, cell_K = np.divmod(occupied_K, n_cells)
    offsets = ak.index.Index64(np.searchsorted(event_K, np.arange(n_events + 1)))
    sums = {CELLS: cell_K.astype(np.int32)}
    for channel, column in image.channels.items():
        weights = None if column is None else flat[column][which].astype(np.float64)
        sums[channel] = np.bincount(cell_of, weights, len(occupied_K)).astype(np.float32)
    n_objects = len(image.views) * int(count_N.sum())
    return Images(
        {name: _lists(offsets, values) for name, values in sums.items()},
        n_objects,
        n_objects - len(drawn),
        len(drawn) - len(occupied_K),
    )


def dense(image: ImageSpec, columns: Mapping[str, ak.Array]) -> NDArray[np.float32]:
    """(N, C, H, W) with every cell; the channels of a view are together."""
    return dense_images(image.shape, tuple(image.channels), columns)


def _bins(values: NDArray[Any], low: float, high: float, n_bins: int) -> NDArray[np.int64]:
    """(M,) numbers of the bins; −1 outside."""
    values = values.astype(np.float64)
    inside = (values >= low) & (values <= high)
    place = np.where(inside, (values - low) / (high - low) * n_bins, -1.0)
    return np.minimum(place.astype(np.int64), n_bins - 1)


def _lists(offsets: Any, content: NDArray[Any]) -> ak.Array:
    return ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(content)))
