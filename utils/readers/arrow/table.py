"""Arrow's tables as columns: what Parquet and Arrow IPC share – names, types, missing values, conversion.

Missing values become what NumPy can hold: NaN for floating point numbers; an integer column with any becomes float64 in
the whole file; a missing text is empty, a missing list has no elements. A bool has no such value: its column cannot be
read. Only a record that is read as a whole (`muon`, not `muon.pt`) keeps its missing values as Awkward has them.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from utils.errors import DataError, InputFileError
from utils.events import Column
from utils.readers.columns import ColumnInfo, LazyColumns
from utils.readers.places.storage import Source
from utils.readers.reader import Reader
from utils.readers.records import leaves, pick, records

# What pandas and Dask add when they write a table.
_INDEX = re.compile(r"__index_level_\d+__|__null_dask_index__")
_LARGEST_EXACT = 2**53
_NUMBERS = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}


@dataclass(frozen=True)
class Leaf:
    """One column below a column of the file.

    Parameters
    ----------
    name : of the column we show.
    field : the column of the file.
    path : fields below it.
    type : of one event's value, as if no value were missing.
    positions : numbers of the stored columns below it, counted through the whole schema.
    may_lack_values : whether the schema allows a value to be missing.
    unreadable : why it cannot be read; None where it can.
    """

    name: str
    field: str
    path: tuple[str, ...]
    type: str
    positions: tuple[int, ...]
    may_lack_values: bool
    unreadable: str | None = None

    @property
    def value_type(self) -> str:
        """Type of a single value."""
        return self.type.rpartition("* ")[2]


class ArrowTable(Reader):
    """One table of Arrow's types. A format adds where the rows are: `_schema`, `_table`, and `_open` and `close`."""

    _schema: Any

    # --- what a format provides ---

    @abstractmethod
    def _table(self, wanted: Sequence[Leaf], start: int, stop: int) -> Any:
        """A pyarrow table of the rows in [start, stop) with (at least) the wanted leaves."""

    def _n_missing(self, leaf: Leaf) -> int | None:
        """Values that are missing in the file, empty lists included; None where the format does not say."""
        return None

    def _describe_storage(self, leaf: Leaf) -> tuple[int | None, int | None, str]:
        """Size uncompressed and stored [bytes], and the compression."""
        return None, None, ""

    # --- columns ---

    @cached_property
    def _leaves(self) -> Mapping[str, Leaf]:
        found: dict[str, Leaf] = {}
        position = 0
        for field in self._schema:
            below = list(_stored_below(field.type, (), field.nullable))
            for leaf in () if _INDEX.fullmatch(field.name) else _leaves_of(field, below, position):
                if leaf.name in found:
                    raise InputFileError(
                        f"two columns are named '{leaf.name}'", where=self.where, remedy="Rename one of them."
                    )
                found[leaf.name] = leaf
            position += len(below)
        return found

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        return LazyColumns([leaf.name for leaf in self._leaves.values()], self._describe)

    def _describe(self, name: str) -> ColumnInfo:
        leaf = self._leaves[name]
        type_text, unreadable = leaf.type, leaf.unreadable
        is_int = "int" in leaf.value_type
        if unreadable is None and (is_int or leaf.value_type == "bool"):
            try:
                lacks_values = self._lacks_values(leaf)
            except (OSError, ValueError, NotImplementedError, pa.ArrowException):
                lacks_values = False  # whoever reads the damaged entries is told so
            if lacks_values and is_int:
                type_text = leaf.type.removesuffix(leaf.value_type) + "float64"
            elif lacks_values:
                unreadable = "some of its bools have no value; fill them in, or store numbers"
        return ColumnInfo(name, type_text, *self._describe_storage(leaf), unreadable)

    def _lacks_values(self, leaf: Leaf) -> bool:
        """Whether any value of the file is missing."""
        if not leaf.may_lack_values:
            return False
        counted = self._n_missing(leaf)
        if counted == 0 or (counted is not None and "*" not in leaf.type):
            return bool(counted)
        # Only the values tell.
        pieces = pairwise(self._offsets(leaf.name))
        return any(_has_missing(_nested(self._table([leaf], *piece), leaf).layout) for piece in pieces)

    @cached_property
    def _records(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Records whose fields are columns → column of the file and fields below it."""
        return {
            name: (leaf.field, path)
            for leaf in self._leaves.values()
            for name, path in records(leaf.field, leaf.name, leaf.path)
        }

    def _is_record(self, name: str) -> bool:
        return name in self._records

    # --- values ---

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        wanted = {name: self._below(name) for name in names}
        table = self._table([leaf for group in wanted.values() for leaf in group], start, stop)
        columns: dict[str, Column] = {}
        for name in names:
            if name in self._leaves:
                columns[name] = self._column(table, self._leaves[name])
            else:
                field, path = self._records[name]
                columns[name] = pick(ak.from_arrow(_as_awkward_wrote_it(table.select([field]))), (field, *path))
        return columns

    def _below(self, name: str) -> list[Leaf]:
        """The leaves that a column or a record consists of."""
        if name in self._leaves:
            return [self._leaves[name]]
        return [leaf for leaf in self._leaves.values() if leaf.name.startswith(f"{name}.")]

    def _column(self, table: Any, leaf: Leaf) -> Column:
        stated = self._columns[leaf.name].type
        where = f"{self.where}, column '{leaf.name}'"
        if "*" in stated:
            return ak.Array(_filled(_nested(table, leaf).layout, stated != leaf.type, where))
        values = _plain_column(table, leaf.field)
        return _flat(pc.struct_field(values, list(leaf.path)) if leaf.path else values, stated != leaf.type, where)


def arrow_file(source: Source) -> Any:
    """The bytes of a file for Arrow.

    Local files are read, not mapped: a mapped file that someone shortens kills the process, and its pages count as our
    memory.
    """
    return pa.PythonFile(source.open(), mode="r") if source.local_path is None else pa.OSFile(source.local_path)


class Cursor:
    """Record batches that can only be had in order: what is read forward is decoded once.

    Parameters
    ----------
    key : what the batches are of.
    batches : from row 0 on.
    schema : of the batches; None: that of the first one.
    """

    def __init__(self, key: tuple[Any, ...], batches: Iterator[Any], schema: Any = None) -> None:
        self._key = key
        self._schema = schema
        self._batches = batches
        self._first = 0  # row
        self._batch: Any = None

    def can_read(self, key: tuple[Any, ...], start: int) -> bool:
        """Whether rows from `start` on still lie ahead."""
        return key == self._key and start >= self._first

    def read(self, start: int, stop: int) -> Any:
        """A table of the rows in [start, stop); fewer where the batches end."""
        key, self._key = self._key, ()  # nothing can go on where reading failed
        parts = []
        while True:
            if self._batch is None:
                self._batch = next(self._batches, None)
                if self._batch is None:
                    break
            end = self._first + self._batch.num_rows
            low, high = max(start, self._first), min(stop, end)
            if low < high:
                parts.append(self._batch.slice(low - self._first, high - low))
            if end > stop:
                break
            self._first, self._batch = end, None
            if end == stop:
                break
        self._key = key
        return pa.Table.from_batches(parts, self._schema)


def _stored_below(kind: Any, path: tuple[str, ...], nullable: bool) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Fields and nullability of every stored column below a type, in the order in which Parquet stores them."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _stored_below(field.type, (*path, field.name), nullable or field.nullable)
    elif pa.types.is_fixed_size_list(kind):
        yield from _stored_below(kind.value_type, path, nullable or kind.value_field.nullable)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _stored_below(kind.value_type, path, kind.value_field.nullable)
    elif pa.types.is_map(kind):
        yield from _stored_below(kind.key_type, path, False)
        yield from _stored_below(kind.item_type, path, True)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from _stored_below(kind.storage_type, path, nullable)
    else:
        yield path, nullable


def _leaves_of(field: Any, below: Sequence[tuple[tuple[str, ...], bool]], first: int) -> Iterator[Leaf]:
    try:
        kind = ak.from_arrow_schema(pa.schema([pa.field(field.name, _plain(field.type))])).type.content(field.name)
    except (NotImplementedError, TypeError, ValueError):
        reason = f"its type {field.type} has no counterpart here"
        positions = tuple(range(first, first + len(below)))
        yield Leaf(field.name, field.name, (), str(field.type).replace("*", "x"), positions, True, reason)
        return
    for name, type_text, path in leaves(field.name, kind):
        stored = [(first + i, nullable) for i, (fields, nullable) in enumerate(below) if fields[: len(path)] == path]
        positions = tuple(i for i, _ in stored)
        value = type_text.rpartition("* ")[2]
        unreadable = None
        if value not in _NUMBERS and value != "string":
            unreadable = (
                "bytes that are not marked as text" if value == "bytes" else f"{value} is neither number nor text"
            )
        yield Leaf(name, field.name, path, type_text, positions, any(n for _, n in stored), unreadable)


def _plain(kind: Any) -> Any:
    """The type without what only says how it is stored: categories, decimals, extensions."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _plain(f.type), f.nullable) for f in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.float64()
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def _plain_column(table: Any, field: str) -> Any:
    """A column of the table, in its plain type."""
    values = table.column(field)
    if isinstance(values.type, pa.BaseExtensionType):
        values = pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)
    plain = _plain(values.type)
    return values if plain == values.type else values.cast(plain)


def _as_awkward_wrote_it(table: Any) -> Any:
    """The table with what Awkward noted in its schema – names of records, tuples – as types of its columns."""
    # What ak.from_parquet does; awkward has no public name for it.
    from awkward._connect.pyarrow import convert_native_arrow_table_to_awkward

    return convert_native_arrow_table_to_awkward(table)


def _nested(table: Any, leaf: Leaf) -> Any:
    """A column of the table as an Awkward array, its missing values as options."""
    values = ak.from_arrow(_plain_column(table, leaf.field))
    for field in leaf.path:
        values = values[field]
    return values


def _flat(values: Any, as_float: bool, where: str) -> NDArray[Any]:
    """(N,) NumPy; a view of Arrow's memory where that is one piece without missing values."""
    if as_float:
        try:
            values = values.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise _inexact(where) from error
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.fill_null(values, "") if values.null_count else values
        return np.asarray(values.to_numpy(), dtype=object)
    return np.asarray(values.to_numpy())


def _filled(layout: Any, as_float: bool, where: str) -> Any:
    """An Awkward layout without options: numbers that are missing become NaN, lists and texts empty."""
    if layout.is_option:
        return _with_missing_filled(layout, as_float, where)
    if layout.is_indexed:
        return _filled(layout.project(), as_float, where)
    if layout.is_numpy:
        values = np.asarray(layout.data)
        if as_float and values.size and max(int(values.max()), -int(values.min())) > _LARGEST_EXACT:
            raise _inexact(where)
        return ak.contents.NumpyArray(values.astype(np.float64)) if as_float else layout
    if layout.parameter("__array__") == "string":
        return layout
    content = _filled(layout.content, as_float, where)
    if layout.is_regular:
        return ak.contents.RegularArray(content, layout.size, layout.length)
    if isinstance(layout, ak.contents.ListArray):
        return ak.contents.ListArray(layout.starts, layout.stops, content)
    return ak.contents.ListOffsetArray(layout.offsets, content)


def _with_missing_filled(layout: Any, as_float: bool, where: str) -> Any:
    present = np.asarray(layout.mask_as_bool(valid_when=True))
    if present.all() and not layout.is_indexed:
        return _filled(layout.content[: layout.length], as_float, where)
    indexed = layout.to_IndexedOptionArray64()
    index = np.asarray(indexed.index.data)
    if present.all():
        return _filled(indexed.project(), as_float, where)
    # What lies under the mask is nobody's value, and might be any number.
    content = _filled(indexed.project(), as_float, where)
    if content.is_numpy or content.is_regular:
        known = ak.to_numpy(ak.Array(content))
        values = np.full((len(index), *known.shape[1:]), np.nan, known.dtype)
        values[present] = known
        return ak.to_layout(ak.from_numpy(values, regulararray=True))
    packed = content.to_ListOffsetArray64(True)
    offsets = np.asarray(packed.offsets.data)
    counts = np.zeros(len(index), np.int64)
    counts[present] = np.diff(offsets)
    ends = ak.index.Index64(np.concatenate([[0], np.cumsum(counts)]))
    return ak.contents.ListOffsetArray(ends, packed.content, parameters=packed.parameters)


def _has_missing(layout: Any) -> bool:
    """Whether a number or a bool is missing; missing lists are empty lists."""
    if layout.is_option:
        inner = layout.content
        is_value = inner.is_numpy or inner.is_regular
        return bool(is_value and np.asarray(layout.mask_as_bool(valid_when=False)).any()) or _has_missing(
            layout.project()
        )
    if layout.is_numpy:
        return False
    return _has_missing(layout.content)


def _inexact(where: str) -> DataError:
    return DataError(
        "integers with missing values become float64, and one is beyond 2^53, where not every integer exists",
        where=where,
        remedy="Fill the missing values in the file, or store the column without them.",
    )
