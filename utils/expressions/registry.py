"""What a function of the language is, and how its implementation is found."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


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


def lazy(module: str, name: str) -> Callable[..., Any]:
    """The function `name` of a sibling module, imported when first called: flat analyses pay for neither awkward nor
    vector."""

    def call(*values: Any, **keywords: Any) -> Any:
        return getattr(import_module(f"utils.expressions.{module}"), name)(*values, **keywords)

    return call


def spelled(numpy: str = "", math: str = "", awkward: str = "", bare: str = "") -> frozenset[str]:
    """The spellings of a function, from its space-separated names in each namespace."""
    dotted = {
        f"{space}.{n}" for space, names in (("np", numpy), ("math", math), ("ak", awkward)) for n in names.split()
    }
    return frozenset(dotted | set(bare.split()))
