"""Which keys of a config are referred to by an interpolation (`${key}`) in it.

A user's helper variable (`common_cut: …` used as `${common_cut}`) is no key of a schema, and no typing error either:
that it is used is what tells them apart.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# The path of an interpolation: not a resolver call (`${oc.env:HOME}`), leading dots for a relative one.
_REFERENCE = re.compile(r"\$\{\s*(\.*)([^\s${}:.\[\]][^\s${}:]*)\s*(?=[}$])")


def referenced_keys(config: Mapping[Any, Any]) -> set[str]:
    """Dotted paths, from the root, of everything that the (unresolved) values of `config` refer to."""
    return set(_references(config, ()))


def is_referenced(key: str, references: set[str]) -> bool:
    """Whether `key`, or something inside it, is referred to."""
    return any(ref == key or ref.startswith(f"{key}.") for ref in references)


def _references(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _references(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _references(item, (*path, str(i)))
    elif isinstance(value, str) and "${" in value:
        for dots, name in _REFERENCE.findall(value):
            base = path[: len(path) - len(dots)] if dots else ()
            yield ".".join((*base, _dotted(name)))


def _dotted(name: str) -> str:
    return re.sub(r"\[([^\]]*)\]", r".\1", name).rstrip(".")
