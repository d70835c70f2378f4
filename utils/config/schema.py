"""What a spec says about itself: keys, types, defaults, one line of documentation each; and specs as plain values."""

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from utils.config.build import MISSING_VALUE, expected
from utils.factory import Factory


@dataclass(frozen=True)
class Key:
    """One key of a schema, for `--help`."""

    name: str
    type_text: str
    default: Any
    doc: str


def keys_of(spec_type: type, prefix: str = "") -> Iterator[Key]:
    """Every key of a spec, those of nested dataclasses as `outer.inner`, or `outer.NAME.inner` where there are many."""
    hints = typing.get_type_hints(spec_type)
    from_docstring = _documented(spec_type)
    for f in fields(spec_type):
        if not f.init:
            continue
        doc = str(f.metadata.get("doc", from_docstring.get(f.name, "")))
        default = _default(f)
        nested = _nested(hints[f.name])
        yield Key(f"{prefix}{f.name}", expected(hints[f.name]), default, doc)
        if nested is not None and not hasattr(nested, "from_config"):
            many = ".NAME" if get_origin(hints[f.name]) is Mapping else ""
            yield from keys_of(nested, f"{prefix}{f.name}{many}.")


def defaults_of(spec_type: type) -> dict[str, Any]:
    """The defaults as plain values; keys that must be given are left out."""
    defaults = {f.name: _default(f) for f in fields(spec_type) if f.init}
    return {name: value for name, value in defaults.items() if value != MISSING_VALUE}


def plain(value: Any) -> Any:
    """`value` as YAML can hold it: dataclasses and factories become mappings, tuples lists, paths text."""
    if isinstance(value, Factory):
        return plain(value.to_config())
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    return str(value) if isinstance(value, Path) else value


def completed(value: Any, built: Any) -> Any:
    """A config value with the defaults of the dataclasses that were built from it."""
    if is_dataclass(built) and isinstance(value, Mapping) and not isinstance(built, Factory | type):
        if hasattr(built, "from_config"):
            return value
        return {
            f.name: completed(value[f.name], getattr(built, f.name))
            if f.name in value
            else plain(getattr(built, f.name))
            for f in fields(built)
            if f.init
        }
    if isinstance(value, list) and isinstance(built, tuple) and len(value) == len(built):
        return [completed(item, inner) for item, inner in zip(value, built, strict=True)]
    return value


def keeps_unresolved(spec_type: type) -> set[str]:
    """Fields with `metadata={"unresolved": "keep"}`: an interpolation that fails inside them stays text."""
    return {f.name for f in fields(spec_type) if f.metadata.get("unresolved") == "keep"}


def _default(f: Any) -> Any:
    if f.default is not MISSING:
        return plain(f.default)
    if f.default_factory is not MISSING:
        return plain(f.default_factory())
    return MISSING_VALUE


def _nested(annotation: Any) -> type | None:
    for inner in (annotation, *get_args(annotation)):
        if isinstance(inner, type) and is_dataclass(inner) and inner is not Factory:
            return inner
    return None


def _documented(spec_type: type) -> dict[str, str]:
    """`name : text` lines of the docstring's Parameters or Attributes section."""
    found: dict[str, str] = {}
    in_section = False
    for line in (spec_type.__doc__ or "").splitlines():
        if line.strip() in ("Parameters", "Attributes"):
            in_section = True
        elif in_section and (match := re.match(r"^\s*([\w, ]+?) : (.+)$", line)):
            found |= {name.strip(): match[2] for name in match[1].split(",")}
    return found
