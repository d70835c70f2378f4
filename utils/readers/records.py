"""Records – leaf lists, Lorentz vectors, structs, maps – as the columns they hold.

`muon` with `pt` and `eta` is `muon.pt` and `muon.eta`, per event or per object.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import awkward as ak
import numpy as np

from utils.errors import DataError
from utils.events import Column

# What ROOT calls the members of its vectors, and what a physicist does.
COMPONENTS = {
    "fX": "px", "fY": "py", "fZ": "pz", "fE": "E", "fT": "E",
    "fPt": "pt", "fEta": "eta", "fPhi": "phi", "fM": "mass",
}  # fmt: skip
_VECTORS = ("TVector2", "TVector3", "TLorentzVector")
# Members that hold the components of a vector and mean nothing to its user.
_TRANSPARENT = ("fP", "fCoordinates")
# What Awkward marks lists with that are not lists of characters.
_LISTS = (None, "set", "sorted_map")
_LARGEST_EXACT = 2**53


def leaves(name: str, kind: Any) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The columns below a column.

    Parameters
    ----------
    name : of the column.
    kind : Awkward type of one event's value.

    Yields
    ------
    Name, type and path of fields of every column without records; the column itself, with an empty path, if it is none.
    """
    yield from _below(name, kind, "", ())


def _below(name: str, kind: Any, outer: str, path: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    if isinstance(kind, ak.types.OptionType):
        yield from _below(name, kind.content, outer, path)
    elif isinstance(kind, ak.types.RecordType) and kind.contents:
        for field, shown, content in _fields(kind):
            yield from _below(f"{name}.{shown}" if shown else name, content, outer, (*path, field))
    elif isinstance(kind, ak.types.ListType) and kind.parameters.get("__array__") in _LISTS:
        yield from _below(name, kind.content, f"{outer}var * ", path)
    elif isinstance(kind, ak.types.RegularType) and kind.parameters.get("__array__") in _LISTS:
        yield from _below(name, kind.content, f"{outer}{kind.size} * ", path)
    else:
        yield name, f"{outer}{kind}", path


def _fields(kind: Any) -> Iterator[tuple[str, str, Any]]:
    """The fields of a record: name, what the user calls it (nothing: it is passed over), and type."""
    record = str(kind.parameters.get("__record__", ""))
    is_vector = record in _VECTORS or record.startswith("ROOT::Math::")
    for i, content in enumerate(kind.contents):
        field = str(i) if kind.is_tuple else kind.fields[i]
        if field.startswith("@"):
            continue  # what uproot needs for itself, and does not give out
        if kind.is_tuple and len(kind.contents) == 2:
            yield field, ("first", "second")[i], content  # as C++ calls the members of a pair, in a map too
        elif is_vector:
            yield field, "" if field in _TRANSPARENT else COMPONENTS.get(field, field), content
        else:
            yield field, field, content


def records(name: str, column: str, path: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The records around a column that `leaves` found below `name`: their names and their paths of fields.

    >>> list(records("jet", "jet.vertex.x", ("vertex", "x")))
    [('jet', ()), ('jet.vertex', ('vertex',))]
    """
    shown = column.removeprefix(name).split(".")[1:]
    if path:
        yield name, ()
    if len(shown) == len(path):  # else a member is passed over, and the records inside have no names
        for i in range(1, len(path)):
            yield ".".join([name, *shown[:i]]), tuple(path[:i])


def pick(values: Column, path: Sequence[str]) -> Column:
    """The column at a path of fields: of one number per event as NumPy, text as objects, everything else as Awkward."""
    for field in path:
        values = values[field]
    if not isinstance(values, ak.Array):
        return np.ascontiguousarray(values)  # else it would keep the whole record in memory
    if values.ndim == 1 and values.layout.is_numpy:
        return np.ascontiguousarray(ak.to_numpy(values))
    if values.ndim == 1 and values.layout.parameter("__array__") == "string":
        return np.array(ak.to_list(values), dtype=object)
    return values


def without_missing(values: Any, where: str) -> Any:
    """An Awkward array whose missing numbers are NaN, integers as float64, and whose missing lists and texts are empty.

    The type follows from the type alone, never from whether a value happens to be missing.

    Raises
    ------
    DataError : an integer is beyond 2^53, where float64 does not have every integer, or a bool has no value.
    """
    primitive = str(ak.type(values)).rpartition("* ")[2].lstrip("?")
    for axis in range(values.ndim - 1):
        values = ak.fill_none(values, [], axis=axis)
    if primitive == "string":
        return ak.fill_none(values, "", axis=-1)
    if primitive == "bool":
        if ak.any(ak.is_none(values, axis=-1), axis=None):
            raise DataError("a bool without a value", where=where, remedy="Store numbers, or fill it in.")
        return ak.fill_none(values, False, axis=-1)
    if "int" in primitive:
        if primitive.endswith("64") and ak.any(abs(values) > _LARGEST_EXACT, axis=None):
            raise DataError(
                "integers that may be missing become float64, and one is beyond 2^53, where not every integer exists",
                where=where,
                remedy="Store the column without missing values.",
            )
        values = ak.values_astype(values, np.float64)
    return ak.fill_none(values, np.asarray(np.nan, "float32" if primitive == "float32" else "float64")[()], axis=-1)
