"""JSON lines, plain or compressed: a record per line, nested as deeply as one likes.

Records become columns (`muon.pt`), lists of numbers jagged columns. Every record has the same keys; null is a value
that is missing: NaN, an empty text, a list without elements. Integers are floating point numbers in a column where any
number is. Dates are text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from utils.errors import InputFileError
from utils.readers.arrow.table import ArrowTable, Leaf
from utils.readers.reader import short_text
from utils.readers.text.blocks import BOM, Block, TextReader
from utils.readers.text.json_faults import Seen, describe, find_fault, lines, look_at
from utils.readers.text.json_types import ITEM, Conflict, Node, Path, reduced, settled, values_at

_ONE_PER_LINE = "Write one record per line, for example: jq -c '.[]' OLD > NEW."


@dataclass(frozen=True)
class _Expected:
    """The types so far, and the places where they are only a guess."""

    schema: pa.Schema
    unknown: tuple[Path, ...]


class JsonLines(TextReader, ArrowTable):
    """One file of JSON lines, indexed when it is opened.

    Raises
    ------
    InputFileError : a line that is no record, keys that change, values at one place of several kinds; with the lines.
    DataError : a column is read that has integers beyond 2^53 beside missing values.
    """

    # A block is parsed by one thread, and several blocks at once. pyarrow could divide a block among threads itself,
    # but then it loses values, or crashes, where a kind of value changes from part to part (as of pyarrow 25).
    block_bytes: ClassVar[int] = 4 << 20
    longest_row: ClassVar[int] = 64

    def _begin(self, head: bytes) -> tuple[int, int]:
        start = len(BOM) if head.startswith(BOM) else 0
        if head[start:].lstrip().startswith(b"["):
            raise self._bad("one JSON array, which would have to be read as a whole", remedy=_ONE_PER_LINE)
        self._root = Node()
        self._expected: _Expected | None = None
        return start, 1

    def _cut(self, data: bytes) -> int:
        return data.rfind(b"\n") + 1

    # --- types ---

    def _examine(self, data: bytes) -> pa.Table | Exception:
        """The parsed block, or what keeps it from being parsed."""
        try:
            if not data.isascii():
                data.decode()
            return self._parsed(data)
        except (UnicodeDecodeError, pa.ArrowException, NotImplementedError) as error:
            return error

    def _parsed(self, data: bytes) -> pa.Table:
        if data.isspace():
            return pa.table({})
        expected = self._expected
        if expected is not None:
            try:
                table = _read_json(data, expected.schema, "error")
            except (pa.ArrowException, NotImplementedError):
                pass
            else:
                values = _records(table)
                if not any(_has_values(values_at(values, path)) for path in expected.unknown):
                    return table
        # What pyarrow infers is right, but the values that come with it lack nulls in lists (as of pyarrow 25).
        inferred = _read_json(data)
        return _read_json(data, pa.schema(list(settled(pa.struct(list(inferred.schema))))), "error")

    def _learn(self, data: bytes, examined: Any, block: Block) -> int:
        if isinstance(examined, Exception):
            raise self._fault(data, block) or self._refused(data, block) from examined
        table: pa.Table = examined
        n_rows = int(table.num_rows)
        n_lines = _n_lines(data, n_rows)
        if n_lines == 0:
            return 0
        if n_rows != n_lines or table.num_columns == 0:
            raise self._fault(data, block) or self._bad(f"the records from line {block.line:,} on have no keys")
        values = _records(table)
        try:
            n_missing = self._root.learn(values, 0, block.offset, lambda path: look_at(data, block.line, path))
        except Conflict:
            raise self._fault(data, block) or self._refused(data, block) from None
        # A key that is not there looks like null. If every null is written, none is missing.
        if n_missing > 0 and (n_missing != data.count(b"null") or self._has_null_in_text(values)):
            fault = self._fault(data, block)
            if fault is not None:
                raise fault
        unknown = tuple(node.path for node in self._root.all() if not node.kind)
        self._expected = _Expected(pa.schema(list(settled(self._root.type))), unknown)
        return n_rows

    def _has_null_in_text(self, values: pa.Array) -> bool:
        """Whether the four letters stand elsewhere than for a value that is missing."""
        if any("null" in name for node in self._root.all() for name in node.path):
            return True
        texts = (values_at(values, node.path) for node in self._root.all() if node.kind == "text")
        return any(pa.types.is_string(t.type) and pc.any(pc.match_substring(t, "null")).as_py() for t in texts)

    def _finish(self) -> None:
        if not self._blocks:
            raise self._bad("there is no record in it, and so no column", remedy="Produce the file again.")
        for node in self._root.all():
            if "" in node.path:
                raise self._bad("a key without a name", remedy="Give every key a name.")
            if node.has_float:
                continue
            if node.odd_line:
                raise self._bad(
                    f"'{describe(node.path)}' in line {node.odd_line:,} is an integer that does not fit into 64 bits",
                    remedy="Write it as text.",
                )
            if node.has_uint and node.has_negative:
                raise self._bad(
                    f"'{describe(node.path)}' has integers below 0 and others of 2^63 and more: no type holds both",
                    remedy="Write them as text.",
                )
        self._schema = pa.schema(list(self._root.type))

    # --- what Arrow's tables ask for ---

    def _lacks_values(self, leaf: Leaf) -> bool:
        return leaf.may_lack_values

    def _describe_storage(self, leaf: Leaf) -> tuple[int | None, int | None, str]:
        node, n_bytes = self._root, 0
        for name in (leaf.field, *leaf.path, None):
            while node.kind == "list":
                n_bytes += node.n_bytes
                node = node.below[ITEM]
            node = node if name is None else node.below[name]
        return n_bytes + node.n_bytes, None, self.compression

    def _table(self, wanted: Sequence[Leaf], start: int, stop: int) -> pa.Table:
        kind = reduced(pa.struct(list(self._schema)), [(leaf.field, *leaf.path) for leaf in wanted])
        schema = pa.schema(list(kind))
        return self._rows(
            lambda data: _read_json(data, schema, "ignore") if data else schema.empty_table(), start, stop
        )

    # --- what is wrong with a block ---

    def _fault(self, data: bytes, block: Block) -> InputFileError | None:
        """The first line that is no record, or does not fit to those before it; with the line that it differs from."""
        fault = find_fault([(data, block.line)], Seen.of(self._root))
        if fault is not None and fault.path is not None:
            offset = self._root.offset_at(fault.path)
            before = [(self._bytes(b.offset, b.n_bytes), b.line) for b in self._blocks if b.offset == offset]
            fault = find_fault([*before, (data, block.line)], Seen()) or fault
        return None if fault is None else self._bad(fault.what, remedy=fault.remedy)

    def _refused(self, data: bytes, block: Block) -> InputFileError:
        """The first line that pyarrow alone finds wrong."""
        for line, text in lines(data, block.line):
            try:
                _read_json(text)
            except (pa.ArrowException, NotImplementedError) as error:
                return self._bad(f"line {line:,} cannot be read ({short_text(error)})")
        return self._bad(f"the lines from {block.line:,} on cannot be read together")


def _read_json(data: bytes, schema: pa.Schema | None = None, other_keys: str = "infer") -> pa.Table:
    """A block as a table: with the types of a schema, or with those that pyarrow infers."""
    return pa.json.read_json(
        pa.BufferReader(data),
        pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=other_keys),
    )


def _records(table: pa.Table) -> pa.Array:
    """A table as one array of records."""
    return pa.StructArray.from_arrays([values.combine_chunks() for values in table.columns], fields=list(table.schema))


def _has_values(values: pa.Array) -> bool:
    return bool(values.null_count < len(values))


def _n_lines(data: bytes, n_expected: int) -> int:
    """Number of lines that are not empty."""
    n_lines = data.count(b"\n") + (not data.endswith(b"\n"))
    return n_lines if n_lines == n_expected else sum(1 for _ in lines(data, 0))
