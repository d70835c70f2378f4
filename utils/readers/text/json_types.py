"""The types below a JSON record: a tree of what all values have in common, in whatever blocks they come."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from utils.readers.text.blocks import memory_of

# Where a value lies: the names of fields; `[]` stands for the values of a list.
Path = tuple[str, ...]
ITEM = "[]"
_MAX_INT64 = 2.0**63


class Conflict(Exception):  # noqa: N818 (never reaches a user: the line is still to be found)
    """Values at one place that have no type in common, or records with other keys than before."""


@dataclass
class Node:
    """What is known of the values at one place.

    Parameters
    ----------
    path : the place.
    kind : number, text, bool, list or record; empty while all values are missing.
    offset : of the block in which the kind was first seen [bytes].
    has_null : whether a value is missing where its list or record is not.
    has_uint : whether there are integers beyond int64, and what follows for them.
    odd_line : line of an integer that fits into neither int64 nor uint64; 0: none.
    n_bytes : memory that the values take [bytes].
    below : the fields of a record, the values of a list (under `ITEM`).
    """

    path: Path = ()
    kind: str = ""
    offset: int = 0
    has_null: bool = False
    has_float: bool = False
    has_uint: bool = False
    has_negative: bool = False
    odd_line: int = 0
    n_bytes: int = 0
    below: dict[str, "Node"] = field(default_factory=dict)

    def learn(self, values: pa.Array, n_outer: int, offset: int, look: "Look") -> int:
        """Add a block's values, and return how many are missing, here and below.

        Parameters
        ----------
        values : what is there, records and lists that are missing not counted for what is below them.
        n_outer : how many are missing because the record around them is.
        offset : of the block [bytes].
        look : finds integers that pyarrow takes for floating point numbers, by their place.

        Raises
        ------
        Conflict : they do not fit to what was seen before.
        """
        n_missing = int(values.null_count) - n_outer
        self.has_null |= n_missing > 0
        kind = kind_of(values.type)
        if kind not in ("list", "record"):
            self.n_bytes += memory_of(values)
        if values.null_count == len(values):
            return n_missing
        if self.kind not in ("", kind):
            raise Conflict
        if not self.kind:
            self.kind, self.offset = kind, offset
            self.below = {name: Node((*self.path, name)) for name in _names_below(values.type)}
        if kind == "record":
            names = _names_below(values.type)
            if set(names) != set(self.below):
                raise Conflict
            for name, inner in zip(names, values.flatten(), strict=True):
                n_missing += self.below[name].learn(inner, int(values.null_count), offset, look)
        elif kind == "list":
            self.n_bytes += 8 * len(values)
            n_missing += self.below[ITEM].learn(values.flatten(), 0, offset, look)
        else:
            self._learn_numbers(values, look)
        return n_missing

    def _learn_numbers(self, values: pa.Array, look: "Look") -> None:
        if pa.types.is_integer(values.type):
            self.has_uint |= pa.types.is_uint64(values.type)
            self.has_negative |= pc.min(values).as_py() < 0
        elif pa.types.is_floating(values.type) and not self.has_float:
            ends = pc.min_max(values).as_py()
            # pyarrow takes integers beyond int64 for floating point numbers, which would round an event's number.
            if _MAX_INT64 <= max(ends["max"], -ends["min"]) < float("inf"):
                seen = look(self.path)
                self.has_float, self.has_uint = seen.has_float, self.has_uint or seen.has_uint
                self.has_negative |= seen.has_negative
                self.odd_line = self.odd_line or seen.odd_line
            else:
                self.has_float = True

    def offset_at(self, path: Path) -> int:
        """Offset of the block that showed the kind of value at a place; that of this node's where none has."""
        below = self.below.get(path[0]) if path else None
        return self.offset if below is None or not below.kind else below.offset_at(path[1:])

    def all(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        for node in self.below.values():
            yield from node.all()

    @property
    def type(self) -> pa.DataType:
        """The type of the values so far; that of numbers where none is known, and for missing integers too."""
        if self.kind == "record":
            return pa.struct([node.as_field(name) for name, node in self.below.items()])
        if self.kind == "list":
            return pa.list_(self.below[ITEM].as_field("item"))
        if self.kind == "text":
            return pa.string()
        if self.kind == "bool":
            return pa.bool_()
        if self.has_float or not self.kind:
            return pa.float64()
        return pa.uint64() if self.has_uint else pa.int64()

    def as_field(self, name: str) -> pa.Field:
        """The type under a name, nullable where values are missing."""
        return pa.field(name, self.type, self.has_null)


@dataclass
class BigIntegers:
    """What is at one place of a block whose numbers are beyond int64."""

    has_float: bool = False
    has_uint: bool = False
    has_negative: bool = False
    odd_line: int = 0

    def add(self, value: object, line: int) -> None:
        """Add one value."""
        if isinstance(value, float):
            self.has_float = True
        elif isinstance(value, int):
            self.has_negative |= value < 0
            self.has_uint |= value >= 2**63
            if not -(2**63) <= value < 2**64:
                self.odd_line = self.odd_line or line


Look = Callable[[Path], BigIntegers]


def kind_of(kind: pa.DataType) -> str:
    """The kind of a type: number, text, bool, list or record; empty for no type."""
    if pa.types.is_struct(kind):
        return "record"
    if pa.types.is_list(kind):
        return "list"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "" if pa.types.is_null(kind) else "text"


def settled(kind: pa.DataType) -> pa.DataType:
    """A type that pyarrow infers, as it is safe to ask for: dates are text, and what is not known is a number."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(inner.name, settled(inner.type)) for inner in kind])
    if pa.types.is_list(kind):
        return pa.list_(settled(kind.value_type))
    name = kind_of(kind)
    return {"text": pa.string(), "": pa.float64()}.get(name, kind)


def reduced(kind: pa.DataType, paths: Sequence[Path]) -> pa.DataType:
    """A type with only the fields at the paths (through lists without mention), all of them nullable."""
    if pa.types.is_list(kind):
        return pa.list_(reduced(kind.value_type, paths))
    if not pa.types.is_struct(kind):
        return kind
    below = {inner.name: [path[1:] for path in paths if path[:1] == (inner.name,)] for inner in kind}
    return pa.struct(
        [pa.field(inner.name, reduced(inner.type, below[inner.name])) for inner in kind if below[inner.name]]
    )


def values_at(values: pa.Array, path: Path) -> pa.Array:
    """The values at a place below records and lists; none where a block is too empty to have the place."""
    for name in path:
        if name not in _names_below(values.type):
            return values.slice(0, 0)
        values = values.flatten() if name == ITEM else values.flatten()[values.type.get_field_index(name)]
    return values


def _names_below(kind: pa.DataType) -> list[str]:
    if pa.types.is_struct(kind):
        return [inner.name for inner in kind]
    return [ITEM] if pa.types.is_list(kind) else []
