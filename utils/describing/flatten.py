"""The values of a column without its lists, and how long these were."""

from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError
from utils.events import Column

_TEXTS = ("string", "bytestring")


def flattened(column: Column) -> tuple[tuple[int, ...], int, NDArray[Any] | list[str], int]:
    """The largest length at every level of lists, the most values in an event, all values, and how many more are null.

    The values are a (n_values,) NumPy array, or a list of texts.

    Raises
    ------
    DataError : they are neither numbers, bool nor text.
    """
    if isinstance(column, np.ndarray):
        inner = column.shape[1:]
        values = column.reshape(-1)
        return inner, int(np.prod(inner, dtype=np.int64)) if len(column) else 0, _known(values), 0
    layout = column.layout
    lengths: list[int] = []
    n_null = 0
    # Where the values of every event begin, and the last one's end.
    starts = np.arange(len(column) + 1)
    while True:
        if layout.is_option:
            valid = ~np.asarray(layout.mask_as_bool(valid_when=False))
            n_null = len(valid) - int(np.count_nonzero(valid))
            starts = np.concatenate([[0], np.cumsum(valid)])[starts]
            layout = layout.project()
        elif layout.is_indexed:
            layout = layout.project()
        elif layout.is_list and layout.parameter("__array__") not in _TEXTS:
            offsets, layout, longest = _opened(layout)
            lengths.append(longest)
            starts = offsets[starts]
        else:
            break
    below, shape = _values(layout)
    lengths += shape
    most = int(np.diff(starts).max(initial=0)) * int(np.prod(shape, dtype=np.int64))
    return tuple(lengths), most, below, n_null


def _opened(layout: Any) -> tuple[NDArray[np.int64], Any, int]:
    """Offsets of lists from 0 on, their content, and the longest length."""
    if isinstance(layout, ak.contents.RegularArray):
        offsets = np.arange(len(layout) + 1, dtype=np.int64) * layout.size
        return offsets, layout.content[: offsets[-1]], int(layout.size)
    layout = layout.to_ListOffsetArray64(False)
    offsets = np.asarray(layout.offsets)
    content = layout.content[offsets[0] : offsets[-1]]
    return offsets - offsets[0], content, int(np.diff(offsets).max(initial=0))


def _values(layout: Any) -> tuple[NDArray[Any] | list[str], list[int]]:
    """The values below all lists, and the inner shape of fixed arrays."""
    kind = layout.parameter("__array__")
    if kind == "string":
        return ak.to_list(layout), []
    if kind == "bytestring":
        return [text.decode("utf-8", "backslashreplace") for text in ak.to_list(layout)], []
    if layout.is_numpy:
        values = np.asarray(layout.data)
        return _known(values.reshape(-1)), list(values.shape[1:])
    if layout.is_unknown:
        return np.empty(0), []
    raise DataError(f"no statistics for values of type {layout.form.type}")


def _known(values: NDArray[Any]) -> NDArray[Any] | list[str]:
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind in "OU":
        return [str(text) for text in values]
    raise DataError(f"no statistics for values of type {values.dtype}")
