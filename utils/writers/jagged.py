"""Jagged groups and images of a skim: offsets and one dataset of values per column, appended to in bounded memory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import awkward as ak
import h5py
import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1024**2
LIST_CHUNK_BYTES = CHUNK_BYTES // 4  # a jagged column is a dataset of its own, and a small skim has whole chunks of all
OFFSETS, CELLS = "offsets", "cells"


@dataclass(frozen=True)
class ImageLayout:
    """How images are stored.

    Parameters
    ----------
    shape : (C, H, W) of one image.
    channels : names of the quantities; with several views, C is a multiple of their number.
    storage : `dense`: one (N, C, H, W) dataset; `sparse`: the numbers of the occupied cells of every event, and a
        float32 sum of each quantity.
    """

    shape: tuple[int, int, int]
    channels: tuple[str, ...]
    storage: Literal["dense", "sparse"]

    def describe(self, target: h5py.Dataset | h5py.Group) -> None:
        """Note it as attributes."""
        target.attrs["shape"] = np.array(self.shape, np.int64)
        target.attrs["channels"] = json.dumps(self.channels)

    @property
    def columns(self) -> dict[str, np.dtype[Any]]:
        """Columns of the sparse storage."""
        sums = {name: np.dtype(np.float32) for name in self.channels}
        return {CELLS: np.dtype(np.int32), **sums}


def extendable(
    group: h5py.Group,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    filters: Mapping[str, Any],
    chunk_bytes: int = CHUNK_BYTES,
) -> h5py.Dataset:
    """An empty (0, *shape) dataset that grows along its first axis."""
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape, dtype=int)))
    rows = max(1, chunk_bytes // row_bytes)
    return group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape), **filters)


class JaggedGroup:
    """Columns with the same number of values in every event; event i has [offsets[i], offsets[i + 1]) of each."""

    def __init__(self, group: h5py.Group, columns: Mapping[str, np.dtype[Any]], filters: Mapping[str, Any]) -> None:
        self._offsets = extendable(group, OFFSETS, np.dtype(np.int64), (), filters, LIST_CHUNK_BYTES)
        self._offsets.resize(1, axis=0)
        group.attrs["columns"] = json.dumps(list(columns))
        self._columns = {
            name: extendable(group, name, dtype, (), filters, LIST_CHUNK_BYTES) for name, dtype in columns.items()
        }
        self._n_values = 0

    def append(self, start: int, stop: int, columns: Mapping[str, ak.Array]) -> None:
        """Append the rows [start, stop)."""
        offsets: NDArray[np.int64] | None = None
        for name, dataset in self._columns.items():
            layout = ak.to_packed(columns[name]).layout
            own = np.asarray(layout.offsets)
            offsets = own if offsets is None else offsets
            assert np.array_equal(own, offsets), f"'{name}' has other counts than the columns before it"
            dataset.resize(self._n_values + int(own[-1]), axis=0)
            dataset[self._n_values :] = np.asarray(layout.content.data)
        assert offsets is not None and len(offsets) == stop - start + 1
        self._offsets.resize(stop + 1, axis=0)
        self._offsets[start + 1 :] = offsets[1:] + self._n_values
        self._n_values += int(offsets[-1])


class DenseImages:
    """Images with every cell."""

    def __init__(self, parent: h5py.Group, name: str, layout: ImageLayout, filters: Mapping[str, Any]) -> None:
        self._dataset = extendable(parent, name, np.dtype(np.float32), layout.shape, filters)
        layout.describe(self._dataset)

    def append(self, start: int, stop: int, images: NDArray[np.float32]) -> None:
        """Append the rows [start, stop)."""
        self._dataset.resize(stop, axis=0)
        self._dataset[start:stop] = images


def image_group(
    parent: h5py.Group, name: str, layout: ImageLayout, filters: Mapping[str, Any]
) -> "DenseImages | JaggedGroup":
    """Where images of this layout are appended."""
    if layout.storage == "dense":
        return DenseImages(parent, name, layout, filters)
    group = parent.create_group(name)
    layout.describe(group)
    return JaggedGroup(group, layout.columns, filters)
