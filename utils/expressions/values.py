"""The values of an expression: what is flat, what is a condition, and arithmetic on integers that neither wraps nor
hangs."""

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from utils.expressions.text import Problem

_LARGEST = 2**63 - 1


def is_plain(value: Any) -> bool:
    """Whether the value is NumPy's or a constant: no awkward array is in play."""
    return isinstance(value, np.ndarray | np.generic | bool | int | float)


def is_flat(value: Any) -> bool:
    """Whether there is one value per event (or one for all): shape (N,) or a scalar, missing values included."""
    return is_plain(value) or value.ndim <= 1


def leaf_dtype(value: Any) -> np.dtype[Any] | None:
    """The type of the numbers in a value; None for Python scalars, which take the type of what they meet, and for
    text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    if isinstance(value, bool | int | float):
        return None
    layout = value.layout
    while not layout.is_numpy:
        if layout.parameter("__array__") in ("string", "bytestring") or not hasattr(layout, "content"):
            return np.dtype(np.float64) if layout.is_unknown else None
        layout = layout.content
    dtype: np.dtype[Any] = layout.dtype
    return dtype


def is_text(value: Any) -> bool:
    """Whether the value is text per event or object; of a column of Python objects nothing is known."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "SUT"
    return not isinstance(value, np.generic | bool | int | float) and leaf_dtype(value) is None


def is_conditions(value: Any) -> bool:
    """Whether the value is True/False per event or object."""
    return isinstance(value, bool) or leaf_dtype(value) == np.bool_


def integer_operands(*values: Any) -> tuple[Any, ...]:
    """The operands of an arithmetic operation; where all are integers or conditions, as int64.

    Counters are often stored in unsigned or narrow types, and NumPy's ``njets - 1`` would wrap to 4294967295 and
    ``nbits * 1000`` overflow; NumPy's ``(a > 1) + (b > 1)`` would be a logical or. uint64 is left alone: an event
    number may need all its bits.
    """
    dtypes = [leaf_dtype(value) for value in values]
    if any(isinstance(value, float) for value in values) or any(d is not None and d.kind not in "biu" for d in dtypes):
        return values
    return tuple(_as_int64(value, dtype) for value, dtype in zip(values, dtypes, strict=True))


def _as_int64(value: Any, dtype: np.dtype[Any] | None) -> Any:
    if dtype is None or dtype.itemsize == 8:
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.astype(np.int64)
    return _awkward().values_astype(value, np.int64)


def power(base: Any, exponent: Any) -> Any:
    """``base ** exponent``; integers to a negative or varying power give float64, where NumPy raises or depends on
    the values."""
    base, exponent = integer_operands(base, exponent)
    dtypes = leaf_dtype(base), leaf_dtype(exponent)
    whole = [
        dtype.kind in "biu" if dtype is not None else isinstance(value, int)
        for value, dtype in zip((base, exponent), dtypes, strict=True)
    ]
    if all(whole) and not (isinstance(exponent, int) and exponent >= 0):
        base = np.power(base, 1.0) if dtypes[0] is not None else float(base)
    return np.power(base, exponent)


def fold(symbol: str, left: Any, right: Any) -> bool | int | float:
    """An arithmetic operation on two constants, by NumPy's rules for what Python refuses (division by zero) or never
    finishes (``9**9**9``)."""
    if symbol == "**":
        if isinstance(left, int) and isinstance(right, int) and right >= 0 and left.bit_length() * right <= 63:
            return bounded(left**right)
        with np.errstate(all="ignore"):
            return float(np.power(np.float64(left), np.float64(right)))
    operation = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
        "//": operator.floordiv,
        "%": operator.mod,
    }[symbol]
    try:
        return bounded(operation(left, right))
    except (ZeroDivisionError, OverflowError):
        with np.errstate(all="ignore"):
            return float(operation(np.float64(left), np.float64(right)))


def bounded(number: bool | int | float) -> bool | int | float:
    """A constant; an integer that no 64 bits hold becomes a float."""
    if isinstance(number, int) and abs(number) > _LARGEST:
        return float(number) if abs(number) < int(sys.float_info.max) else math.copysign(math.inf, number)
    return number


def compare_text(comparison: Callable[[Any, Any], Any], column: Any, text: str) -> Any:
    """A text column (NumPy str, bytes or object, or Awkward strings) against one text: conditions of the column's
    shape."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "S":
            return comparison(column, text.encode())
        if column.dtype.kind in "OUT":
            return np.asarray(comparison(column, text), dtype=np.bool_)
    elif not isinstance(column, np.generic | bool | int | float) and leaf_dtype(column) is None:
        return comparison(column, text)
    raise Problem(
        f"this compares numbers with the text '{text}'", remedy="Leave the quotes away to compare with a number."
    )


def settle(value: Any) -> Any:
    """A value in the form the nodes work on: flat numbers as NumPy, fixed-size lists as jagged ones, everything else
    as it is.

    Fixed-size lists would broadcast by NumPy's rules, against their last axis; events are the first.
    """
    if isinstance(value, np.ndarray):
        if value.ndim <= 1:
            return value
        value = _awkward().from_numpy(value, regulararray=True)
    if isinstance(value, np.generic | bool | int | float | str):
        return value
    if value.ndim > 1:
        return _awkward().from_regular(value, axis=None)
    layout = value.layout
    if layout.is_numpy or (layout.is_indexed and not layout.is_option and layout.content.is_numpy):
        return _awkward().to_numpy(value)
    return value


def fill_missing(value: Any) -> Any:
    """A finished value without missing entries: NaN in numbers (whole numbers become float64), False in conditions.

    The type follows from the type alone, never from whether this chunk happens to miss a value.
    """
    if is_plain(value):
        return value
    dtype = leaf_dtype(value)
    if dtype is None or not may_miss(value.layout):
        return settle(value)
    ak = _awkward()
    if dtype.kind in "iu":
        value = ak.values_astype(value, np.float64)
    return settle(
        ak.fill_none(value, False if dtype.kind == "b" else np.asarray(np.nan, dtype=leaf_dtype(value))[()], axis=None)
    )


def may_miss(layout: Any) -> bool:
    """Whether the layout's type allows missing values at any depth."""
    while True:
        if layout.is_option:
            return True
        if not hasattr(layout, "content"):
            return False
        layout = layout.content


def _awkward() -> Any:
    import awkward  # not at the top: flat inputs must not pay for it

    return awkward
