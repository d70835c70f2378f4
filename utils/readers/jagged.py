"""Jagged groups and images of a skim, any rows of them. What is inconsistent is a SkimError."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import h5py
import numpy as np
from numpy.typing import NDArray

from utils.errors import MissingColumnError, SkimError, nearest_name

OFFSETS, CELLS = "offsets", "cells"


class JaggedGroup:
    """Columns that have the same number of values in every event.

    Parameters
    ----------
    group : of the file.
    n_rows : events of the skim.
    where : for messages.
    """

    def __init__(self, group: h5py.Group, n_rows: int, where: str) -> None:
        self._offsets = group[OFFSETS]
        self._columns: Mapping[str, h5py.Dataset] = {str(n): group[n] for n in json.loads(group.attrs["columns"])}
        self._where = where
        lengths = {len(column) for column in self._columns.values()}
        ends = [int(self._offsets[0]), int(self._offsets[-1])] if len(self._offsets) else []
        if len(self._offsets) != n_rows + 1 or ends[0] != 0 or not lengths <= {ends[1]}:
            raise self._damaged()

    def _damaged(self) -> SkimError:
        return SkimError(
            "a damaged skim: its offsets do not fit its values", where=self._where, remedy="Run preprocess.py again."
        )

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Columns and their types."""
        return {name: np.dtype(str(dataset.dtype)) for name, dataset in self._columns.items()}

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Columns of the rows in [start, stop), (N, objects) each."""
        offsets = np.asarray(self._offsets[start : max(stop, start) + 1])
        first, last = int(offsets[0]), int(offsets[-1])
        if (np.diff(offsets) < 0).any():
            raise self._damaged()
        lists = ak.index.Index64(offsets - first)
        columns = {}
        for name in names:
            if name not in self._columns:
                raise MissingColumnError(
                    f"no column '{name}'",
                    where=self._where,
                    nearest=nearest_name(name, self._columns),
                    remedy="Add it to jagged_features of the preprocess config and make the skim again.",
                )
            content = ak.contents.NumpyArray(np.asarray(self._columns[name][first:last]))
            columns[name] = ak.Array(ak.contents.ListOffsetArray(lists, content))
        return columns


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images of a skim, in either storage.

    Parameters
    ----------
    shape : (C, H, W).
    channels : names of the quantities.
    storage : the (N, C, H, W) dataset, or the occupied cells.
    """

    shape: tuple[int, int, int]
    channels: tuple[str, ...]
    storage: h5py.Dataset | JaggedGroup

    @classmethod
    def open(cls, item: h5py.Dataset | h5py.Group, n_rows: int, where: str) -> "StoredImages":
        """SkimError unless they fit the skim's events."""
        channels, height, width = (int(n) for n in item.attrs["shape"])
        shape = channels, height, width
        names = tuple(json.loads(item.attrs["channels"]))
        if isinstance(item, h5py.Group):
            return cls(shape, names, JaggedGroup(item, n_rows, where))
        if item.shape != (n_rows, *shape):
            raise SkimError(
                f"a damaged skim: images of shape {item.shape} for {n_rows} events of {shape}",
                where=where,
                remedy="Run preprocess.py again.",
            )
        return cls(shape, names, item)

    def stored(self, start: int, stop: int) -> Any:
        """The rows in [start, stop) as they are stored: an (N, C, H, W) array, or columns of the occupied cells."""
        if isinstance(self.storage, JaggedGroup):
            return self.storage.read([CELLS, *self.channels], start, stop)
        return np.asarray(self.storage[start:stop])

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """(N, C, H, W) float32 of the rows in [start, stop)."""
        stored = self.stored(start, stop)
        return dense_images(self.shape, self.channels, stored) if isinstance(stored, dict) else stored


def dense_images(
    shape: tuple[int, int, int], channels: Sequence[str], columns: Mapping[str, ak.Array]
) -> NDArray[np.float32]:
    """(N, C, H, W) with every cell, from the occupied ones.

    Parameters
    ----------
    shape : (C, H, W); C is the number of channels times that of views, and the channels of a view are together.
    channels : quantities.
    columns : `cells`: (N, cells) jagged numbers `view · H · W + row · W + column`; quantity → (N, cells) sums.
    """
    n_channels, height, width = shape
    n_cells = height * width
    cells = ak.to_packed(columns[CELLS]).layout
    offsets, cell_K = np.asarray(cells.offsets), np.asarray(cells.content.data).astype(np.int64)
    images = np.zeros((len(offsets) - 1, *shape), np.float32)
    view_K, place_K = np.divmod(cell_K, n_cells)
    row_K = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    place_K += (row_K * n_channels + view_K * len(channels)) * n_cells
    for k, channel in enumerate(channels):
        sums = np.asarray(ak.to_packed(columns[channel]).layout.content.data)
        images.reshape(-1)[place_K + k * n_cells] = sums
    return images
