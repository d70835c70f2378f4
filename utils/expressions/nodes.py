"""The parsed form of an expression: small frozen nodes that evaluate themselves on columns.

A tree holds names and numbers only, so it can be pickled to worker processes and compared. Values that pass between
nodes are Python scalars (constants), flat NumPy arrays of shape (N,), or Awkward arrays: jagged (N, objects), or flat
with missing values.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from utils.errors import CrossfoldError
from utils.expressions.functions import FUNCTIONS
from utils.expressions.text import Problem
from utils.expressions.values import (
    compare_text,
    integer_operands,
    is_conditions,
    is_flat,
    is_plain,
    is_text,
    leaf_dtype,
    power,
)

Value: TypeAlias = (
    Any  # a Python scalar, a flat ndarray, or an ak.Array: NumPy's and Awkward's operators take all three
)

ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": power,
}
CONDITIONS: Mapping[str, Callable[[Any, Any], Any]] = {"&": operator.and_, "|": operator.or_, "^": operator.xor}
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Columns(Protocol):
    """Where a tree finds its branches."""

    def column(self, name: str) -> Value:
        """The branch of that name, in the form the nodes work on."""


class Node(Protocol):
    """A part of an expression."""

    def evaluate(self, columns: Columns) -> Value:
        """The node's value on these columns."""


@contextmanager
def located(at: int) -> Iterator[None]:
    """Turn what NumPy and Awkward say about a user's values into a Problem at this place of the text."""
    try:
        yield
    except Problem as problem:
        if problem.at is None:
            problem.at = at
        raise
    except CrossfoldError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "broadcast" in lines[0]:
            raise Problem(
                "branches with different numbers of objects per event cannot be combined",
                remedy="Use branches of the same collection; cross_first and cross_second combine two.",
                at=at,
            ) from error
        raise Problem(f"this cannot be computed ({lines[0]})", at=at) from error


@dataclass(frozen=True)
class Literal:
    """A constant; a string only as one side of a comparison."""

    value: bool | int | float | str

    def evaluate(self, columns: Columns) -> Value:
        return self.value


@dataclass(frozen=True)
class Branch:
    """A column by its name."""

    name: str

    def evaluate(self, columns: Columns) -> Value:
        return columns.column(self.name)


@dataclass(frozen=True)
class Unary:
    """``-x``, ``+x`` or ``~x``."""

    symbol: str
    operand: Node
    at: int = field(compare=False)

    def evaluate(self, columns: Columns) -> Value:
        value = self.operand.evaluate(columns)
        with located(self.at):
            if self.symbol == "~":
                if (dtype := leaf_dtype(value)) is not None and dtype.kind == "f":
                    raise Problem("'~' negates a condition, not a number", remedy="Write - for the negative.")
                return np.invert(value)
            (value,) = integer_operands(value)
            return -value if self.symbol == "-" else +value


@dataclass(frozen=True)
class Binary:
    """Arithmetic on two numbers, or ``& | ^`` on two conditions."""

    symbol: str
    left: Node
    right: Node
    at: int = field(compare=False)

    def evaluate(self, columns: Columns) -> Value:
        left, right = self.left.evaluate(columns), self.right.evaluate(columns)
        with located(self.at):
            if self.symbol in CONDITIONS:
                return self._combine(left, right)
            if self.symbol == "*" and is_conditions(left) and is_conditions(right):
                # The product of two conditions is a condition: the cuts of TTree::Draw are written so.
                return left & right
            if self.symbol != "/":  # true division gives float64 from integers anyway
                left, right = integer_operands(left, right)
            return ARITHMETIC[self.symbol](left, right)

    def _combine(self, left: Value, right: Value) -> Value:
        if self.symbol == "^" and not (is_conditions(left) and is_conditions(right)):
            raise Problem("'^' is 'exactly one of two conditions'", remedy="Write ** for a power.")
        try:
            return CONDITIONS[self.symbol](left, right)
        except TypeError as error:
            raise Problem(
                f"'{self.symbol}' joins conditions, not numbers", remedy="Make each side a condition, such as (x > 0)."
            ) from error


@dataclass(frozen=True)
class Compare:
    """One comparison; its value is a condition, and False where a side is NaN (``!=``: True), as in NumPy."""

    symbol: str
    left: Node
    right: Node
    at: int = field(compare=False)

    def evaluate(self, columns: Columns) -> Value:
        left, right = self.left.evaluate(columns), self.right.evaluate(columns)
        with located(self.at):
            if isinstance(left, str):
                left, right = right, left  # only == and != come here, and both are symmetric
            if isinstance(right, str):
                return compare_text(COMPARISONS[self.symbol], left, right)
            if is_text(left) != is_text(right):
                raise Problem("this compares text with numbers", remedy="Put the text to compare with in quotes.")
            if not (is_plain(left) and is_plain(right)):
                left, right = integer_operands(left, right)  # awkward compares no uint8 with 300
            return COMPARISONS[self.symbol](left, right)


@dataclass(frozen=True)
class Call:
    """A function of the registry."""

    function: str
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, bool | int | float], ...]
    at: int = field(compare=False)

    def evaluate(self, columns: Columns) -> Value:
        values = [argument.evaluate(columns) for argument in self.arguments]
        with located(self.at):
            return FUNCTIONS[self.function].apply(*values, **dict(self.keywords))


@dataclass(frozen=True)
class Pick:
    """``x[mask]`` or ``x[positions]``: objects of each event."""

    operand: Node
    selector: Node
    at: int = field(compare=False)

    def evaluate(self, columns: Columns) -> Value:
        value, selector = self.operand.evaluate(columns), self.selector.evaluate(columns)
        with located(self.at):
            if is_flat(value):
                raise Problem(
                    "[…] selects objects within events, and this branch has one value per event",
                    remedy="Select events with the cut, or set values aside with where(condition, value, other).",
                )
            from utils.expressions import objects  # awkward, only where something is jagged

            return objects.pick(value, selector)


@dataclass(frozen=True)
class Range:
    """``x[:, i]`` or ``x[:, first:last]``: objects of each event by their position."""

    operand: Node
    index: int | tuple[int | None, int | None, int | None]
    at: int = field(compare=False)

    def evaluate(self, columns: Columns) -> Value:
        value = self.operand.evaluate(columns)
        with located(self.at):
            if is_flat(value):
                raise Problem("[:, …] selects objects within events, and this branch has one value per event")
            from utils.expressions import objects

            return objects.at_position(value, self.index)
