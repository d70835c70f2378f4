"""The functions an expression may call: one table, which allows, suggests in errors, and makes the documentation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from utils.expressions.elementwise import elementwise
from utils.expressions.registry import Function, lazy, spelled
from utils.expressions.text import Problem

NAMESPACES: Mapping[str, str] = {"np": "np", "numpy": "np", "math": "math", "ak": "ak", "awkward": "ak"}
CONSTANTS: Mapping[str, float] = {"pi": np.pi, "e": np.e, "nan": np.nan, "inf": np.inf}

OBJECTS = "Objects of an event"
_FOUR_VECTORS = "Four-vectors"


def _extreme(over_objects: str, of_several: str) -> Callable[..., Any]:
    """``max``/``min``: over the objects of each event with one argument, elementwise with several."""
    reduce, combine = lazy("objects", over_objects), lazy("elementwise", of_several)

    def call(first: Any, *others: Any, **keywords: Any) -> Any:
        if not others:
            return reduce(first, **keywords)
        if keywords:
            raise Problem("'default' is for one jagged argument, whose events may be without objects")
        for other in others:
            first = combine(first, other)
        return first

    return call


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


# name, signature, description, implementation, spellings in np. and ak., keyword arguments, arity
_Row = tuple[str, str, str, Callable[..., Any] | str, str, str, str, tuple[int, int | None]]
# fmt: off
_ON_OBJECTS: list[_Row] = [
    ("sum", "x", "sum over the objects of each event; of a condition, how many fulfil it; 0 without objects",
     "total", "sum", "sum", "", (1, 1)),
    ("mean", "x", "mean over the objects of each event; NaN without objects", "mean", "mean", "mean", "", (1, 1)),
    ("max", "x, default=nan", "greatest object, NaN left out; default without objects. max(a, b) is maximum(a, b)",
     _extreme("greatest", "maximum"), "max amax", "max", "default", (1, None)),
    ("min", "x, default=nan", "least object, NaN left out; default without objects. min(a, b) is minimum(a, b)",
     _extreme("least", "minimum"), "min amin", "min", "default", (1, None)),
    ("any", "condition", "whether any object fulfils it; False without objects",
     "any_object", "any", "any", "", (1, 1)),
    ("all", "condition", "whether every object fulfils it; True without objects",
     "all_objects", "all", "all", "", (1, 1)),
    ("count", "x", "number of objects; sum(x > 30) is how many fulfil a condition",
     "count", "", "count num", "", (1, 1)),
    ("argmax", "x, keepdims=False", "position of the greatest object; missing without objects",
     "argmax", "argmax", "argmax", "keepdims", (1, 1)),
    ("argmin", "x, keepdims=False", "position of the least object; missing without objects",
     "argmin", "argmin", "argmin", "keepdims", (1, 1)),
    ("nth", "x, n, default=nan", "object n, counted from 0 (negative: from the end); default where there are fewer",
     "nth", "", "", "default", (2, 2)),
    ("firsts", "x", "first object of each event; missing without objects", "firsts", "", "firsts", "", (1, 1)),
    ("fill_none", "x, value", "x with a value for what is missing", "fill_none", "", "fill_none", "", (2, 2)),
    ("is_none", "x", "whether the value is missing", "is_none", "", "is_none", "", (1, 1)),
    ("sort", "x, ascending=True", "objects in the order of their values",
     "sort", "sort", "sort", "ascending", (1, 1)),
    ("argsort", "x, ascending=True", "positions in the order of the values, for x[argsort(y)]",
     "argsort", "argsort", "argsort", "ascending", (1, 1)),
    ("sort_by", "x, key", "x in ascending order of key: sort_by(Jet_eta, -Jet_pt) begins with the leading jet",
     "sort_by", "", "", "", (2, 2)),
    ("concatenate", "x, y, …", "the objects of several collections as one",
     "concatenate", "", "concatenate", "", (1, None)),
    ("pair_first", "x", "x of the first object of every pair of objects", "pair_first", "", "", "", (1, 1)),
    ("pair_second", "x", "x of the second object of the same pairs", "pair_second", "", "", "", (1, 1)),
    ("cross_first", "x, y", "x of every pair of an object of x's collection and one of y's",
     "cross_first", "", "", "", (2, 2)),
    ("cross_second", "x, y", "y of the same pairs", "cross_second", "", "", "", (2, 2)),
]
_ON_VECTORS: list[tuple[str, str, str, Callable[..., Any] | str]] = [
    ("pt", "px, py", "transverse momentum", _pt),
    ("phi", "px, py", "azimuth, between -pi and pi", _phi),
    ("eta", "px, py, pz", "pseudorapidity; ±inf along the beam", "eta"),
    ("mass", "px, py, pz, E", "invariant mass; negative for a space-like vector", "mass"),
    ("px", "pt, phi", "x component", _px),
    ("py", "pt, phi", "y component", _py),
    ("pz", "pt, eta", "z component", _pz),
    ("energy", "pt, eta, phi, m", "energy", "energy"),
    ("delta_phi", "phi1, phi2", "phi1 - phi2, brought to [-pi, pi)", _delta_phi),
    ("delta_r", "eta1, phi1, eta2, phi2", "distance in eta and phi", "delta_r"),
    ("invariant_mass", "pt1, eta1, phi1, m1, pt2, eta2, phi2, m2", "mass of two objects together", "invariant_mass"),
    ("invariant_mass_xyz", "px1, py1, pz1, E1, px2, py2, pz2, E2",
     "mass of two objects together", "invariant_mass_xyz"),
]
# fmt: on


def _found(module: str, apply: Callable[..., Any] | str) -> Callable[..., Any]:
    return lazy(module, apply) if isinstance(apply, str) else apply


def _on_objects() -> list[Function]:
    return [
        Function(
            name, signature, text, OBJECTS, _found("objects", apply), arity, frozenset(words.split()),
            spelled(numpy_names, awkward=awkward_names),
        )
        for name, signature, text, apply, numpy_names, awkward_names, words, arity in _ON_OBJECTS
    ]  # fmt: skip


def _on_vectors() -> list[Function]:
    found = []
    for name, signature, text, apply in _ON_VECTORS:
        n = signature.count(",") + 1
        found.append(Function(name, signature, text, _FOUR_VECTORS, _found("fourvectors", apply), (n, n)))
    return found


FUNCTIONS: Mapping[str, Function] = {f.name: f for f in [*elementwise(), *_on_objects(), *_on_vectors()]}
SPELLINGS: Mapping[str, str] = {name: name for name in FUNCTIONS} | {
    s: f.name for f in FUNCTIONS.values() for s in f.spellings
}


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
