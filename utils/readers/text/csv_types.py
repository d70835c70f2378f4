"""The type of a CSV column: a function of all its values, in whatever blocks they come.

Each block adds facts (there was an integer, a fraction, a text), and the type follows from all of them at the end. So
no type depends on where the borders of the blocks are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from utils.readers.text.blocks import memory_of

# What stands for "no value", beside nothing and spaces: the ways in which programs write it.
NULLS = [
    "nan",
    "NaN",
    "NAN",
    "-nan",
    "-NaN",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "null",
    "NULL",
    "None",
    *map(" ".__mul__, range(17)),
]
# Integers above this are not all representable in a double.
MAX_EXACT = 2**53
_MAX_INT64 = 2.0**63
_INTEGER = r"^\s*[+-]?[0-9]+\s*$"
# What is read as a number, NaN and infinity among them.
NUMBER = r"(?i)^\s*[+-]?([0-9]+\.?[0-9]*(e[+-]?[0-9]+)?|\.[0-9]+(e[+-]?[0-9]+)?|nan|inf|infinity)\s*$"
_IS_NUMBER = re.compile(NUMBER)


@dataclass
class ColumnFacts:
    """What is known of a column's values so far.

    Parameters
    ----------
    low, high : of its integers.
    has_uint : integers beyond int64 that fit into uint64.
    has_huge : integers that fit into neither.
    n_bytes : memory that the values take [bytes].
    """

    has_null: bool = False
    has_int: bool = False
    has_uint: bool = False
    has_huge: bool = False
    has_float: bool = False
    has_bool: bool = False
    has_text: bool = False
    low: int = 0
    high: int = 0
    n_bytes: int = 0

    def learn(self, values: pa.ChunkedArray, again: Callable[[pa.DataType], pa.ChunkedArray]) -> None:
        """Add the facts of a block.

        Parameters
        ----------
        values : as pyarrow infers them from the block alone.
        again : the same values, read with a given type; raises pa.ArrowInvalid where they do not fit.
        """
        kind = values.type
        self.n_bytes += memory_of(values)
        self.has_null |= values.null_count > 0
        if values.null_count == len(values):
            return
        if pa.types.is_integer(kind):
            self._learn_integers(values)
        elif pa.types.is_floating(kind):
            self._learn_floats(values, again)
        elif pa.types.is_boolean(kind):
            self.has_bool = True
        else:  # text, and what pyarrow takes for dates and times
            self.has_text = True

    def _learn_integers(self, values: pa.ChunkedArray) -> None:
        ends = pc.min_max(values).as_py()
        self.low = min(ends["min"], self.low) if self.has_int else ends["min"]
        self.high = max(ends["max"], self.high) if self.has_int else ends["max"]
        self.has_int = True

    def _learn_floats(self, values: pa.ChunkedArray, again: Callable[[pa.DataType], pa.ChunkedArray]) -> None:
        if self.has_float:
            return
        ends = pc.min_max(values).as_py()
        # pyarrow takes integers beyond int64 for floating point numbers, which would round an event's number.
        if not _MAX_INT64 <= max(ends["max"], -ends["min"]) < float("inf"):
            self.has_float = True
            return
        try:
            again(pa.uint64())
            self.has_uint = True
        except pa.ArrowInvalid:
            texts = again(pa.string())
            present = texts.filter(pc.invert(pc.is_in(texts, pa.array(NULLS))))
            if pc.all(pc.match_substring_regex(present, _INTEGER)).as_py():
                self.has_huge = True
            else:
                self.has_float = True

    @property
    def kind(self) -> pa.DataType:
        """The type that holds all values; text where there is no other, NaN for missing integers."""
        kind = self._without_nulls
        return pa.float64() if self.has_null and pa.types.is_integer(kind) else kind

    @property
    def lacks_bools(self) -> bool:
        """A bool has no value that stands for none."""
        return self.has_null and pa.types.is_boolean(self._without_nulls)

    @property
    def is_inexact(self) -> bool:
        """Whether integers become floating point numbers, and are too large for that."""
        is_exact = not self.has_uint and self.low >= -MAX_EXACT and self.high <= MAX_EXACT
        return self.has_null and pa.types.is_integer(self._without_nulls) and not is_exact

    @property
    def expected(self) -> pa.DataType | None:
        """The type to try on the next block, which is quicker than to infer it and loses no fact that matters."""
        kind = self._without_nulls
        if pa.types.is_string(kind):
            return None if self.has_huge else kind  # fractions would make huge integers floating point numbers
        if self.has_float or self.has_bool or (self.has_int and not self.has_uint):
            return kind
        return None

    @property
    def _without_nulls(self) -> pa.DataType:
        is_number = self.has_int or self.has_uint or self.has_huge or self.has_float
        if self.has_text or (self.has_bool and is_number):
            return pa.string()
        if self.has_bool:
            return pa.bool_()
        if self.has_float or not is_number:
            return pa.float64()
        if self.has_huge or (self.has_uint and self.low < 0):
            return pa.string()
        return pa.uint64() if self.has_uint else pa.int64()


def is_number(text: str) -> bool:
    """Whether a field is read as a number, NaN and infinity among them."""
    return _IS_NUMBER.match(text) is not None
