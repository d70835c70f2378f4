"""Records – leaf lists, Lorentz vectors, structs – as the columns they hold.

`muon` with `pt` and `eta` is `muon.pt` and `muon.eta`, per event or per object.
"""

from collections.abc import Iterator
from typing import Any

import awkward as ak

from utils.events import Column

# What ROOT calls the members of its vectors, and what a physicist does.
_COMPONENTS = {"fX": "px", "fY": "py", "fZ": "pz", "fE": "E"}
_FOUR_VECTORS = ("TLorentzVector",)


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
    elif isinstance(kind, ak.types.RecordType) and kind.fields and not kind.is_tuple:
        is_four_vector = kind.parameters.get("__record__") in _FOUR_VECTORS
        for field, content in zip(kind.fields, kind.contents, strict=True):
            inner = name if is_four_vector and field == "fP" else f"{name}.{_COMPONENTS.get(field, field)}"
            yield from _below(inner, content, outer, (*path, field))
    elif isinstance(kind, ak.types.ListType) and "__array__" not in kind.parameters:
        yield from _below(name, kind.content, f"{outer}var * ", path)
    elif isinstance(kind, ak.types.RegularType) and "__array__" not in kind.parameters:
        yield from _below(name, kind.content, f"{outer}{kind.size} * ", path)
    else:
        yield name, f"{outer}{kind}", path


def pick(values: Column, path: tuple[str, ...]) -> Column:
    """The column at a path of fields; a structured NumPy array stays one of NumPy."""
    for field in path:
        values = values[field]
    return values
