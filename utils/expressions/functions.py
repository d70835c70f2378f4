"""The functions an expression may call: one table, from which the parser allows, the errors suggest and the documentation is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from utils.expressions.text import Problem
from utils.expressions.values import is_flat, power

NAMESPACES: Mapping[str, str] = {"np": "np", "numpy": "np", "math": "math", "ak": "ak", "awkward": "ak"}
CONSTANTS: Mapping[str, float] = {"pi": np.pi, "e": np.e, "nan": np.nan, "inf": np.inf}


@dataclass(frozen=True)
class Function:
    """One function of the language.

    Parameters
    ----------
    name : how it is called without a prefix.
    signature : its arguments, as the documentation shows them.
    description : what it gives, in one sentence.
    group : the documentation's heading for it.
    apply : takes values (scalars, flat NumPy, jagged Awkward) and gives one.
    arity : least and greatest number of positional arguments (None: any number).
    keywords : the keyword arguments it takes; their values are constants.
    spellings : dotted names and synonyms that mean the same, such as ``np.abs`` or ``math.fabs``.
    """

    name: str
    signature: str
    description: str
    group: str
    apply: Callable[..., Any]
    arity: tuple[int, int | None]
    keywords: frozenset[str] = frozenset()
    spellings: frozenset[str] = frozenset()


def _lazy(module: str, name: str) -> Callable[..., Any]:
    """The function `name` of a sibling module, imported when first called: flat analyses pay for neither awkward nor vector."""

    def call(*values: Any, **keywords: Any) -> Any:
        return getattr(import_module(f"utils.expressions.{module}"), name)(*values, **keywords)

    return call


def _clip(value: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(value, low), high)


def _round(value: Any, decimals: int = 0) -> Any:
    if is_flat(value):
        return np.round(value, decimals)
    return np.rint(value * 10.0**decimals) / 10.0**decimals


def _where(condition: Any, value: Any, other: Any) -> Any:
    if all(isinstance(v, np.ndarray | np.generic | bool | int | float) for v in (condition, value, other)):
        return np.where(condition, value, other)
    return _lazy("objects", "where")(condition, value, other)


def _delta_phi(phi1: Any, phi2: Any) -> Any:
    difference = _float64(phi1) - _float64(phi2)
    return (difference + np.pi) % (2 * np.pi) - np.pi


def _pt(px: Any, py: Any) -> Any:
    return np.hypot(px, py)


def _phi(px: Any, py: Any) -> Any:
    return np.arctan2(py, px)


def _px(pt: Any, phi: Any) -> Any:
    return pt * np.cos(phi)


def _py(pt: Any, phi: Any) -> Any:
    return pt * np.sin(phi)


def _pz(pt: Any, eta: Any) -> Any:
    return pt * np.sinh(eta)


def _float64(value: Any) -> Any:
    return np.multiply(value, np.float64(1.0))


def _extreme(objects_name: str, ufunc: Callable[..., Any]) -> Callable[..., Any]:
    """``max``/``min``: over the objects of each event with one argument, elementwise with several."""

    def call(first: Any, *others: Any, **keywords: Any) -> Any:
        if not others:
            return _lazy("objects", objects_name)(first, **keywords)
        if keywords:
            raise Problem("'default' is for one jagged argument, whose events may be without objects")
        for other in others:
            first = ufunc(first, other)
        return first

    return call


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
_GREEK = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "abs": "fabs"}  # as TTree::Draw writes them


def _ufuncs() -> list[Function]:
    found = []
    for name, (numpy_names, math_names, description) in _UFUNCS.items():
        found.append(Function(name, "x", description, "Elementwise", getattr(np, name), (1, 1), spellings=_spell(name, numpy_names, math_names)))
    for name, (numpy_names, math_names, signature, description) in _UFUNCS2.items():
        found.append(
            Function(name, signature, description, "Elementwise", getattr(np, name), (2, 2), spellings=_spell(name, numpy_names, math_names))
        )
    return found


def _spell(name: str, numpy_names: str = "", math_names: str = "", awkward_names: str = "") -> frozenset[str]:
    dotted = {f"{space}.{n}" for space, names in (("np", numpy_names), ("math", math_names), ("ak", awkward_names)) for n in names.split()}
    return frozenset(dotted | ({_GREEK[name]} if name in _GREEK else set()))


def _more() -> list[Function]:
    group = "Elementwise"
    return [
        Function("power", "x, y", "x ** y", group, power, (2, 2), spellings=frozenset({"np.power", "math.pow", "pow"})),
        Function("round", "x, decimals=0", "x rounded; halves go to the even one", group, _round, (1, 2), frozenset({"decimals"}), _spell("round", "round around", "", "round")),
        Function("clip", "x, low, high", "x, no lower than low and no higher than high; NaN stays NaN", group, _clip, (3, 3), spellings=_spell("clip", "clip")),
        Function("where", "condition, x, other", "x where the condition holds, else other", group, _where, (3, 3), spellings=_spell("where", "where", "", "where")),
    ]


def _reductions() -> list[Function]:
    def make(name: str, signature: str, description: str, apply: Callable[..., Any], numpy: str, awkward: str, keywords: str = "", arity: tuple[int, int | None] = (1, 1)) -> Function:
        return Function(name, signature, description, "Objects of an event", apply, arity, frozenset(keywords.split()), _spell(name, numpy, "", awkward))

    return [
        make("sum", "x", "sum over the objects of each event; of a condition, how many fulfil it; 0 without objects", _lazy("objects", "total"), "sum", "sum"),
        make("mean", "x", "mean over the objects of each event; NaN without objects", _lazy("objects", "mean"), "mean", "mean"),
        make("max", "x, default=nan", "greatest of the objects, NaN objects left out; default without objects. max(a, b) is maximum(a, b)", _extreme("greatest", np.maximum), "max amax", "max", "default", (1, None)),
        make("min", "x, default=nan", "least of the objects, NaN objects left out; default without objects. min(a, b) is minimum(a, b)", _extreme("least", np.minimum), "min amin", "min", "default", (1, None)),
        make("any", "condition", "whether any object fulfils it; False without objects", _lazy("objects", "any_object"), "any", "any"),
        make("all", "condition", "whether every object fulfils it; True without objects", _lazy("objects", "all_objects"), "all", "all"),
        make("count", "x", "number of objects of each event; write sum(x > 30) for how many fulfil a condition", _lazy("objects", "count"), "", "count num"),
        make("argmax", "x, keepdims=False", "position of the greatest object; missing without objects", _lazy("objects", "argmax"), "argmax", "argmax", "keepdims"),
        make("argmin", "x, keepdims=False", "position of the least object; missing without objects", _lazy("objects", "argmin"), "argmin", "argmin", "keepdims"),
        make("nth", "x, n, default=nan", "object n of each event, counted from 0, from the end if negative; default where there are fewer", _lazy("objects", "nth"), "", "", "default", (2, 2)),
        make("firsts", "x", "first object of each event; missing without objects", _lazy("objects", "firsts"), "", "firsts"),
        make("fill_none", "x, value", "x with a value for what is missing", _lazy("objects", "fill_none"), "", "fill_none", "", (2, 2)),
        make("is_none", "x", "whether the value is missing", _lazy("objects", "is_none"), "", "is_none"),
        make("sort", "x, ascending=True", "objects in the order of their values", _lazy("objects", "sort"), "sort", "sort", "ascending"),
        make("argsort", "x, ascending=True", "positions of the objects in the order of their values, for x[argsort(y)]", _lazy("objects", "argsort"), "argsort", "argsort", "ascending"),
        make("sort_by", "x, key", "x in ascending order of key: sort_by(Jet_eta, -Jet_pt) begins with the leading jet", _lazy("objects", "sort_by"), "", "", "", (2, 2)),
        make("concatenate", "x, y, …", "the objects of several collections as one", _lazy("objects", "concatenate"), "", "", "", (2, None)),
        make("pair_first", "x", "x of the first object of every pair of objects of an event", _lazy("objects", "pair_first"), "", ""),
        make("pair_second", "x", "x of the second object of the same pairs", _lazy("objects", "pair_second"), "", ""),
        make("cross_first", "x, y", "x of every pair of an object of x's collection and one of y's", _lazy("objects", "cross_first"), "", "", "", (2, 2)),
        make("cross_second", "x, y", "y of the same pairs", _lazy("objects", "cross_second"), "", "", "", (2, 2)),
    ]


def _four_vectors() -> list[Function]:
    def make(name: str, signature: str, description: str, apply: Callable[..., Any]) -> Function:
        n = signature.count(",") + 1
        return Function(name, signature, description, "Four-vectors", apply, (n, n))

    def vector(name: str) -> Callable[..., Any]:
        return _lazy("fourvectors", name)

    return [
        make("pt", "px, py", "transverse momentum", _pt),
        make("phi", "px, py", "azimuth, between -pi and pi", _phi),
        make("eta", "px, py, pz", "pseudorapidity; ±inf along the beam", vector("eta")),
        make("mass", "px, py, pz, E", "invariant mass; negative for a space-like vector", vector("mass")),
        make("px", "pt, phi", "x component", _px),
        make("py", "pt, phi", "y component", _py),
        make("pz", "pt, eta", "z component", _pz),
        make("energy", "pt, eta, phi, m", "energy", vector("energy")),
        make("delta_phi", "phi1, phi2", "phi1 - phi2, brought to [-pi, pi)", _delta_phi),
        make("delta_r", "eta1, phi1, eta2, phi2", "distance in eta and phi", vector("delta_r")),
        make("invariant_mass", "pt1, eta1, phi1, m1, pt2, eta2, phi2, m2", "mass of two objects together", vector("invariant_mass")),
        make("invariant_mass_xyz", "px1, py1, pz1, E1, px2, py2, pz2, E2", "mass of two objects together", vector("invariant_mass_xyz")),
    ]


FUNCTIONS: Mapping[str, Function] = {f.name: f for f in [*_ufuncs(), *_more(), *_reductions(), *_four_vectors()]}
SPELLINGS: Mapping[str, str] = {name: name for name in FUNCTIONS} | {s: f.name for f in FUNCTIONS.values() for s in f.spellings}


def describe_functions() -> str:
    """The table of functions as Markdown, one section per group."""
    lines: list[str] = []
    for group in dict.fromkeys(function.group for function in FUNCTIONS.values()):
        lines += [f"### {group}", "", "| function | gives | also |", "| --- | --- | --- |"]
        for function in FUNCTIONS.values():
            if function.group == group:
                also = ", ".join(f"`{spelling}`" for spelling in sorted(function.spellings))
                lines.append(f"| `{function.name}({function.signature})` | {function.description} | {also} |")
        lines.append("")
    return "\n".join(lines)
