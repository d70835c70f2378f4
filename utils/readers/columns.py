"""The columns of a file: what is known of them, which a pattern means, and what is filled in for one it lacks."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from utils.events import Column


@dataclass(frozen=True)
class ColumnInfo:
    """One column of a file.

    Parameters
    ----------
    name : fields of a record have the record's name before theirs: `muon.pt`.
    type : of one event's value, as Awkward writes it: `float32`, `bool`, `string`, `3 * float32`, `var * float32`,
        `var * var * float32`.
    n_bytes : uncompressed [bytes]; None where the format does not say.
    n_stored : in the file [bytes]; None where the format does not say.
    compression : in the format's words; empty where there is none.
    unreadable : why it cannot be read; None where it can.
    """

    name: str
    type: str
    n_bytes: int | None = None
    n_stored: int | None = None
    compression: str = ""
    unreadable: str | None = None

    @property
    def is_flat(self) -> bool:
        """One number, bool or text per event."""
        return "*" not in self.type and self.unreadable is None

    @property
    def is_jagged(self) -> bool:
        """A number of values that differs between events."""
        return "var *" in self.type

    @property
    def is_text(self) -> bool:
        """Text per event, not numbers."""
        return self.type == "string"


class LazyColumns(Mapping[str, ColumnInfo]):
    """Names at once, descriptions when they are asked for: a NanoAOD has 1,500 branches, an analysis reads 40."""

    def __init__(self, names: Sequence[str], describe: Callable[[str], ColumnInfo]) -> None:
        self._known: dict[str, ColumnInfo | None] = dict.fromkeys(names)
        self._describe = describe

    def __getitem__(self, name: str) -> ColumnInfo:
        info = self._known[name]
        if info is None:
            info = self._known[name] = self._describe(name)
        return info

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the name, or that of a record around it: `muon` is `muon.pt` and `muon.eta`."""
    parts = name.split(".")
    outer = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(name, pattern) for name in outer for pattern in patterns)


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


def filled(type_text: str, value: Any, n_events: int) -> Column:
    """`n_events` times the value, or no values for a jagged column."""
    if "*" not in type_text:
        return np.full(n_events, value, np.dtype(object if type_text == "string" else type_text))
    return ak.Array(_filled_layout(ak.types.from_datashape(type_text, highlevel=False), value, n_events))


def _filled_layout(kind: Any, value: Any, n: int) -> Any:
    if isinstance(kind, ak.types.RegularType):
        return ak.contents.RegularArray(_filled_layout(kind.content, value, n * kind.size), kind.size, n)
    if isinstance(kind, ak.types.NumpyType):
        return ak.contents.NumpyArray(np.full(n, value, np.dtype(kind.primitive)))
    nothing = ak.forms.from_type(kind.content).length_zero_array()
    return ak.contents.ListOffsetArray(ak.index.Index64(np.zeros(n + 1, np.int64)), nothing)
