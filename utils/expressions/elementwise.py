"""The elementwise functions: NumPy's own, on flat and jagged values alike."""

from collections.abc import Callable
from typing import Any

import numpy as np

from utils.expressions.registry import Function, lazy, spelled
from utils.expressions.values import integer_operands, is_conditions, is_flat, is_plain, power

GROUP = "Elementwise"


def _integers(*values: Any) -> tuple[Any, ...]:
    """The values, integers as int64 (so that a default of -10 fits beside an unsigned branch) and conditions as they
    are."""
    return values if all(is_conditions(value) for value in values) else integer_operands(*values)


def _clip(value: Any, low: Any, high: Any) -> Any:
    value, low, high = _integers(value, low, high)
    return np.minimum(np.maximum(value, low), high)


def minimum(x: Any, y: Any) -> Any:
    """The lesser of two; NaN if either is."""
    return np.minimum(*_integers(x, y))


def maximum(x: Any, y: Any) -> Any:
    """The greater of two; NaN if either is."""
    return np.maximum(*_integers(x, y))


def _square(x: Any) -> Any:
    return np.square(*integer_operands(x))


def _round(value: Any, decimals: int = 0) -> Any:
    if is_flat(value):
        return np.round(value, decimals)
    return np.rint(value * 10.0**decimals) / 10.0**decimals


def _where(condition: Any, value: Any, other: Any) -> Any:
    value, other = _integers(value, other)
    if all(is_plain(v) for v in (condition, value, other)):
        return np.where(condition, value, other)
    return lazy("objects", "where")(condition, value, other)


_UFUNCS = {  # name: (synonyms in np., in math., description)
    "abs": ("abs absolute fabs", "fabs", "absolute value"),
    "sqrt": ("sqrt", "sqrt", "square root; NaN below 0"),
    "cbrt": ("cbrt", "cbrt", "cube root"),
    "square": ("square", "", "square"),
    "exp": ("exp", "exp", "exponential"),
    "expm1": ("expm1", "expm1", "exp(x) - 1, exact near 0"),
    "log": ("log", "log", "natural logarithm; -inf at 0, NaN below"),
    "log2": ("log2", "log2", "logarithm to base 2"),
    "log10": ("log10", "log10", "logarithm to base 10"),
    "log1p": ("log1p", "log1p", "log(1 + x), exact near 0"),
    "sin": ("sin", "sin", "sine of an angle in radians"),
    "cos": ("cos", "cos", "cosine"),
    "tan": ("tan", "tan", "tangent"),
    "arcsin": ("arcsin asin", "asin", "inverse sine"),
    "arccos": ("arccos acos", "acos", "inverse cosine"),
    "arctan": ("arctan atan", "atan", "inverse tangent"),
    "sinh": ("sinh", "sinh", "hyperbolic sine"),
    "cosh": ("cosh", "cosh", "hyperbolic cosine"),
    "tanh": ("tanh", "tanh", "hyperbolic tangent"),
    "arcsinh": ("arcsinh asinh", "asinh", "inverse hyperbolic sine"),
    "arccosh": ("arccosh acosh", "acosh", "inverse hyperbolic cosine"),
    "arctanh": ("arctanh atanh", "atanh", "inverse hyperbolic tangent"),
    "floor": ("floor", "floor", "greatest whole number not above x"),
    "ceil": ("ceil", "ceil", "least whole number not below x"),
    "trunc": ("trunc", "trunc", "x without its decimals"),
    "rint": ("rint", "", "nearest whole number; halves go to the even one"),
    "sign": ("sign", "", "-1, 0 or 1"),
    "isnan": ("isnan", "isnan", "whether x is NaN"),
    "isinf": ("isinf", "isinf", "whether x is infinite"),
    "isfinite": ("isfinite", "isfinite", "whether x is neither NaN nor infinite"),
    "deg2rad": ("deg2rad radians", "radians", "degrees to radians"),
    "rad2deg": ("rad2deg degrees", "degrees", "radians to degrees"),
    "logical_not": ("logical_not", "", "the same as ~x for conditions"),
}
_UFUNCS2 = {
    "arctan2": ("arctan2 atan2", "atan2", "y, x", "angle of the point (x, y), between -pi and pi"),
    "hypot": ("hypot", "hypot", "x, y", "sqrt(x**2 + y**2)"),
    "minimum": ("minimum", "", "x, y", "the lesser of two; NaN if either is"),
    "maximum": ("maximum", "", "x, y", "the greater of two; NaN if either is"),
    "fmin": ("fmin", "", "x, y", "the lesser of two; a NaN counts as missing"),
    "fmax": ("fmax", "", "x, y", "the greater of two; a NaN counts as missing"),
    "fmod": ("fmod", "fmod", "x, y", "remainder with the sign of x (% has that of y)"),
    "copysign": ("copysign", "copysign", "x, y", "x with the sign of y"),
    "logical_and": ("logical_and", "", "a, b", "the same as a & b for conditions"),
    "logical_or": ("logical_or", "", "a, b", "the same as a | b for conditions"),
    "logical_xor": ("logical_xor", "", "a, b", "the same as a ^ b for conditions"),
}
_SAFE: dict[str, Callable[..., Any]] = {"minimum": minimum, "maximum": maximum, "square": _square}
_TREE_DRAW = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "abs": "fabs",
}  # without a prefix


def elementwise() -> list[Function]:
    """The rows of the table."""
    rows = [(name, "x", 1, *row) for name, row in _UFUNCS.items()]
    rows += [(name, signature, 2, n, m, text) for name, (n, m, signature, text) in _UFUNCS2.items()]
    found = []
    for name, signature, arity, numpy_names, math_names, description in rows:
        spellings = spelled(numpy_names, math_names, bare=_TREE_DRAW.get(name, ""))
        apply = _SAFE.get(name) or getattr(np, name)
        found.append(Function(name, signature, description, GROUP, apply, (arity, arity), spellings=spellings))
    return [
        *found,
        Function("power", "x, y", "x ** y", GROUP, power, (2, 2), spellings=spelled("power", "pow", bare="pow")),
        Function(
            "round", "x, decimals=0", "x rounded; halves go to the even one", GROUP, _round, (1, 2),
            frozenset({"decimals"}), spelled("round around", awkward="round"),
        ),
        Function(
            "clip", "x, low, high", "x, no lower than low and no higher than high; NaN stays NaN", GROUP, _clip, (3, 3),
            spellings=spelled("clip"),
        ),
        Function(
            "where", "condition, x, other", "x where the condition holds, else other", GROUP, _where, (3, 3),
            spellings=spelled("where", awkward="where"),
        ),
    ]  # fmt: skip
