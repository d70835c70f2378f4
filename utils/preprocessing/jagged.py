"""The objects of events as plain arrays: where each event's values are, without copying them.

N events, M objects in all of them.
"""

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError
from utils.events import Column
from utils.preprocessing.spec import NonFinite


@dataclass(frozen=True, eq=False)
class Objects:
    """One jagged column: event i has `content[start_N[i] : start_N[i] + count_N[i]]`.

    Parameters
    ----------
    start_N, count_N : (N,) int64.
    content : numbers, of any length; what no event points to is of no account.
    """

    start_N: NDArray[np.int64]
    count_N: NDArray[np.int64]
    content: NDArray[Any]

    def source(self, kept_N: NDArray[np.int64]) -> NDArray[np.intp] | slice:
        """Positions in `content` of the first `kept_N` objects of every event, one event after the other."""
        edges = np.concatenate([[0], np.cumsum(kept_N)])
        if len(kept_N) and (self.start_N - self.start_N[0] == edges[:-1]).all():
            return slice(int(self.start_N[0]), int(self.start_N[0] + edges[-1]))
        position: NDArray[np.intp] = np.arange(edges[-1]) + np.repeat(self.start_N - edges[:-1], kept_N)
        return position

    @property
    def flat(self) -> NDArray[Any]:
        """(M,) values, one event after the other."""
        return self.content[self.source(self.count_N)]

    def with_flat(self, flat: NDArray[Any]) -> "Objects":
        """The same objects with other values, one event after the other."""
        return Objects(np.cumsum(self.count_N) - self.count_N, self.count_N, flat)

    def stored(self) -> "Objects":
        """As a skim has them: floating point numbers as float32, integers as they are, conditions as 0 and 1."""
        flat = self.flat
        kind = flat.dtype.kind
        with np.errstate(over="ignore"):
            return self.with_flat(flat.astype({"f": np.float32, "b": np.uint8}.get(kind, flat.dtype), copy=False))

    def to_awkward(self) -> ak.Array:
        """As an Awkward array."""
        offsets = np.concatenate([[0], np.cumsum(self.count_N)])
        layout = ak.contents.ListOffsetArray(ak.index.Index64(offsets), ak.contents.NumpyArray(self.flat))
        return ak.Array(layout)


def objects_of(values: Column, name: str, where: str) -> Objects:
    """The objects behind a column with one list of numbers per event; anything else is a DataError.

    `where` names the file. Lists of a fixed length are lists, too.
    """
    if isinstance(values, np.ndarray):
        if values.ndim == 1:
            raise DataError(
                f"'{name}' has one value per event, not a list of them",
                where=where,
                remedy="List it under cont_features; only jagged columns are padded, kept jagged, or drawn.",
            )
        values = ak.from_numpy(values, regulararray=True)
    layout = _without_index(values.layout)
    if layout.is_regular:
        layout = layout.to_ListOffsetArray64()
    content = _without_index(layout.content) if layout.is_list else layout
    if content.is_list and content.parameter("__array__") is None:
        raise DataError(
            f"'{name}' has a list of values for each object",
            where=where,
            remedy="Reduce the inner lists in new_variables, for example with sum(…) or max(…).",
        )
    if content.is_option:
        content = ak.fill_none(ak.Array(content), np.nan, axis=0, highlevel=False)
        content = _without_index(ak.to_packed(content, highlevel=False))
    if content.is_unknown:
        content = ak.contents.NumpyArray(np.empty(0, np.float64))
    is_lists = layout.is_list and layout.parameter("__array__") is None and content.is_numpy
    if not is_lists or content.dtype.kind not in "iufb" or content.purelist_depth != 1:
        raise DataError(
            f"'{name}' is {values.type.content}, not a list of numbers per event",
            where=where,
            remedy="Leave it out, or choose one of its fields.",
        )
    start_N = np.asarray(layout.starts, dtype=np.int64)
    return Objects(start_N, np.asarray(layout.stops) - start_N, np.asarray(content.data))


def value_dtype(values: ak.Array) -> np.dtype[Any]:
    """The type of the numbers in (N, objects) values."""
    dtype: np.dtype[Any] = values.layout.content.dtype
    return dtype


def _without_index(layout: Any) -> Any:
    while layout.is_indexed and not layout.is_option:
        layout = layout.project()
    return layout


def check_same_counts(columns: dict[str, Objects], entry_R: NDArray[np.int64], what: str, where: str) -> None:
    """DataError with two columns and the first entry, where events do not have as many objects in one as in the other.

    `what` is the group or image that the columns belong to.
    """
    (first, objects), *others = columns.items()
    for name, other in others:
        differs_R = objects.count_N != other.count_N
        if differs_R.any():
            row = int(np.argmax(differs_R))
            raise DataError(
                f"entry {entry_R[row]:,} has {objects.count_N[row]} values of '{first}', but {other.count_N[row]} of "
                f"'{name}'; {what} needs as many of both",
                where=where,
                remedy="Use columns of one collection, or the same cut on the objects of both.",
            )


@dataclass(eq=False)
class Finite:
    """The policy for NaN and infinities, for values of objects; rows to be dropped are collected.

    Parameters
    ----------
    policy : of the config.
    entry_R : (R,) entries, for messages.
    where : the file, for messages.
    dropped_R : (R,) True for events to be dropped; None while there are none.
    """

    policy: NonFinite
    entry_R: NDArray[np.int64]
    where: str
    dropped_R: NDArray[np.bool_] | None = None

    def apply(self, flat: NDArray[Any], count_R: NDArray[np.int64], name: str) -> NDArray[Any]:
        """(M,) values of the objects, of which event i has `count_R[i]`, as the policy leaves them."""
        if flat.dtype.kind != "f":
            return flat
        bad = ~np.isfinite(flat)
        if not bad.any():
            return flat
        row = np.searchsorted(np.cumsum(count_R), np.flatnonzero(bad), side="right")
        if self.policy.policy == "error":
            raise DataError(
                f"{len(row):,} NaN or infinite values of '{name}', the first in entry {self.entry_R[row[0]]:,}",
                where=self.where,
                remedy="Cut these events or objects away, or set non_finite to drop or to {fill: VALUE}.",
            )
        if self.policy.policy == "fill":
            return np.where(bad, flat.dtype.type(self.policy.value), flat)
        if self.dropped_R is None:
            self.dropped_R = np.zeros(len(self.entry_R), bool)
        self.dropped_R[row] = True
        return flat

    def applied(self, objects: Objects, name: str) -> Objects:
        """The same for all values of a column."""
        return objects.with_flat(self.apply(objects.flat, objects.count_N, name))
