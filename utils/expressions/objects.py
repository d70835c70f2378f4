"""What happens among the objects of one event: reductions, positions, orders and pairs of jagged branches.

Every function keeps the events and their order: nothing here looks across events, so results do not depend on how
events are chunked. Imported only where something is jagged.
"""

from typing import Any

import awkward as ak
import numpy as np

from utils.expressions.text import Problem
from utils.expressions.values import is_conditions, is_flat, leaf_dtype, may_miss, settle


def _jagged(value: Any, function: str, elementwise: str) -> Any:
    if is_flat(value):
        raise Problem(
            f"'{function}' works on the objects of each event, and this has one value per event",
            remedy=f"Use {elementwise}." if elementwise else None,
        )
    return value


def total(x: Any) -> Any:
    """Sum over objects; (N, objects) to (N,); 0 without objects, NaN if any object is."""
    return settle(ak.sum(_jagged(x, "sum", "+ for the sum of several branches"), axis=-1))


def mean(x: Any) -> Any:
    """Mean over objects as float64; NaN without objects."""
    values = ak.values_astype(_jagged(x, "mean", "(a + b) / 2"), np.float64)
    return settle(ak.sum(values, axis=-1) / ak.num(values, axis=-1))


def greatest(x: Any, default: float = np.nan) -> Any:
    """Greatest object; NaN objects count as absent."""
    return _filled(ak.max(_jagged(x, "max", "maximum(a, b) for the greater of two branches"), axis=-1), x, default)


def least(x: Any, default: float = np.nan) -> Any:
    """Least object; NaN objects count as absent."""
    return _filled(ak.min(_jagged(x, "min", "minimum(a, b) for the lesser of two branches"), axis=-1), x, default)


def _filled(reduced: Any, x: Any, default: float) -> Any:
    dtype = _holding(leaf_dtype(x), default)
    return settle(ak.fill_none(ak.values_astype(reduced, dtype), np.asarray(default, dtype=dtype)[()], axis=None))


def _holding(dtype: np.dtype[Any] | None, default: float) -> np.dtype[Any]:
    """The narrowest sensible type for values of `dtype` and the default: from types and the default alone, never from
    the values."""
    if dtype is None:
        raise Problem("text has no greatest, least or nth value")
    if dtype.kind in "biu" and isinstance(default, int) and not isinstance(default, bool):
        return np.promote_types(dtype, np.min_scalar_type(default))
    return np.result_type(dtype, default)


def any_object(x: Any) -> Any:
    """Whether any object fulfils the condition."""
    return settle(ak.any(_condition(_jagged(x, "any", "| between conditions"), "any"), axis=-1))


def all_objects(x: Any) -> Any:
    """Whether every object fulfils the condition."""
    return settle(ak.all(_condition(_jagged(x, "all", "& between conditions"), "all"), axis=-1))


def _condition(x: Any, function: str) -> Any:
    if not is_conditions(x):
        raise Problem(f"'{function}' takes a condition", remedy=f"Write {function}(x > 0), for example.")
    return x


def count(x: Any) -> Any:
    """Number of objects, int64."""
    if is_conditions(_jagged(x, "count", "")):
        raise Problem(
            "'count' counts objects, whether they fulfil a condition or not",
            remedy="Write sum(condition), or count(x[condition]).",
        )
    return settle(ak.num(x, axis=x.ndim - 1))


def argmax(x: Any, keepdims: bool = False) -> Any:
    """Position of the greatest object; missing without objects."""
    return settle(ak.argmax(_jagged(x, "argmax", ""), axis=-1, keepdims=keepdims))


def argmin(x: Any, keepdims: bool = False) -> Any:
    """Position of the least object; missing without objects."""
    return settle(ak.argmin(_jagged(x, "argmin", ""), axis=-1, keepdims=keepdims))


def nth(x: Any, n: Any, default: float = np.nan) -> Any:
    """Object n of each event: (N, objects) to (N,); `n` is one number or one per event, and `default` stands where
    there is none."""
    _jagged(x, "nth", "")
    if x.ndim != 2 or may_miss(x.layout) or leaf_dtype(x) is None:
        raise Problem("'nth' takes one list of numbers per event")
    if not is_flat(n):
        raise Problem("'nth' takes one position per event", remedy="Write x[positions] for several.")
    position = n if isinstance(n, int | np.ndarray) else ak.to_numpy(ak.fill_none(n, np.iinfo(np.int64).max))
    if np.asarray(position).dtype.kind not in "iu":
        raise Problem("'nth' takes a whole number as position")
    sizes = ak.to_numpy(ak.num(x, axis=1)).astype(np.int64)
    content = ak.to_numpy(ak.flatten(x, axis=1))
    dtype = _holding(content.dtype, default)
    position = np.where(np.asarray(position) < 0, position + sizes, position).astype(np.int64)
    exists = (position >= 0) & (position < sizes)
    values = np.full(len(sizes), default, dtype=dtype)
    values[exists] = content[(np.cumsum(sizes) - sizes)[exists] + position[exists]]
    return values


def firsts(x: Any) -> Any:
    """First object of each event; missing without objects."""
    return settle(ak.firsts(_jagged(x, "firsts", ""), axis=1))


def fill_none(x: Any, value: Any) -> Any:
    """x with `value` where it is missing."""
    if not isinstance(value, bool | int | float):
        raise Problem("'fill_none' takes one number as its second argument")
    if isinstance(x, np.ndarray):
        return x
    dtype = _holding(leaf_dtype(x), value)
    return settle(ak.fill_none(ak.values_astype(x, dtype), np.asarray(value, dtype=dtype)[()], axis=None))


def is_none(x: Any) -> Any:
    """Whether the value is missing."""
    return settle(ak.is_none(x, axis=x.ndim - 1)) if isinstance(x, ak.Array) else np.zeros(np.shape(x), dtype=np.bool_)


def where(condition: Any, value: Any, other: Any) -> Any:
    """``where`` with at least one jagged argument; flat ones are the same for all objects of an event."""
    given = [condition, value, other]
    varying = [i for i, x in enumerate(given) if not isinstance(x, np.generic | bool | int | float)]
    for i, x in zip(varying, ak.broadcast_arrays(*(given[i] for i in varying)), strict=True):
        given[i] = x
    chosen = ak.where(*given)
    types = [x if isinstance(x, bool | int | float) else leaf_dtype(x) for x in (value, other)]
    if any(isinstance(t, np.dtype) for t in types) and None not in types:
        chosen = ak.values_astype(chosen, np.result_type(*types))  # as NumPy: a constant takes the branch's type
    return settle(chosen)


def sort(x: Any, ascending: bool = True) -> Any:
    """Objects in the order of their values."""
    return ak.sort(_jagged(x, "sort", ""), axis=-1, ascending=bool(ascending))


def argsort(x: Any, ascending: bool = True) -> Any:
    """Positions of the objects in the order of their values; equal ones keep theirs."""
    return ak.argsort(_jagged(x, "argsort", ""), axis=-1, ascending=bool(ascending), stable=True)


def sort_by(x: Any, key: Any) -> Any:
    """The objects of x in ascending order of `key`."""
    return pick(_jagged(x, "sort_by", ""), argsort(_jagged(key, "sort_by", "")), aligned=key)


def concatenate(*collections: Any) -> Any:
    """The objects of several collections as one list per event."""
    return ak.concatenate([_jagged(x, "concatenate", "") for x in collections], axis=1)


def pair_first(x: Any) -> Any:
    """x of the first of every pair (i, j) with i < j."""
    return ak.combinations(_jagged(x, "pair_first", ""), 2, axis=1)["0"]


def pair_second(x: Any) -> Any:
    """x of the second of every pair (i, j) with i < j."""
    return ak.combinations(_jagged(x, "pair_second", ""), 2, axis=1)["1"]


def cross_first(x: Any, y: Any) -> Any:
    """x of every pair of an object of x and one of y."""
    return ak.cartesian([_jagged(x, "cross_first", ""), _jagged(y, "cross_first", "")], axis=1)["0"]


def cross_second(x: Any, y: Any) -> Any:
    """y of every pair of an object of x and one of y."""
    return ak.cartesian([_jagged(x, "cross_second", ""), _jagged(y, "cross_second", "")], axis=1)["1"]


def pick(x: Any, selector: Any, aligned: Any = None) -> Any:
    """The objects that a jagged condition selects, or those at jagged positions; the events stay."""
    if is_flat(selector):
        raise Problem(
            "[…] takes one condition or position per object, and this is one per event",
            remedy="Write nth(x, position, default=…) for one object per event, or x[:, 0].",
        )
    dtype = leaf_dtype(selector)
    if dtype is None or dtype.kind not in "biu":
        raise Problem("[…] takes a condition or whole numbers")
    partner = selector if dtype.kind == "b" else aligned
    if partner is not None and not ak.all(ak.num(x, axis=1) == ak.num(partner, axis=1), axis=None):
        # awkward itself accepts some masks of the wrong length
        raise Problem(
            "the two have different numbers of objects per event", remedy="Use branches of the same collection."
        )
    return settle(x[selector])


def at_position(x: Any, index: int | tuple[int | None, int | None, int | None]) -> Any:
    """``x[:, i]`` or ``x[:, first:last:step]``."""
    if isinstance(index, tuple):
        return settle(x[:, slice(*index)])
    try:
        return settle(x[:, index])
    except IndexError as error:
        raise Problem(
            f"some events have no object {index}", remedy=f"Write nth(x, {index}, default=…), which says what they get."
        ) from error
