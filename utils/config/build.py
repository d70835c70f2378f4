"""From plain mappings to specs: frozen dataclasses whose annotations say what a config may contain.

A field's annotation is its schema: `str`, `int`, `float`, `bool`, `Path`, `Literal`, `X | None`, `tuple[X, ...]`,
`Mapping[K, X]`, another dataclass, a :class:`~utils.factory.Factory`, or `Any` for what is passed on as it is. A
dataclass that accepts a shorthand defines `from_config(cls, value, where)`; it must take a mapping of its own fields as
well where a recorded config is to be read again.
"""

import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from utils.config.scalars import SCALARS, literal, scalar
from utils.errors import ConfigError, CrossfoldError, nearest_name
from utils.factory import Factory

S = TypeVar("S")

# What Hydra and OmegaConf users write for "must be given".
MISSING_VALUE = "???"


def build_spec(
    spec_type: type[S],
    config: Mapping[str, Any],
    *,
    where: str = "",
    search: Sequence[Path] = (),
    extra: Collection[str] = (),
) -> S:
    """Build a spec from a mapping, converting by its annotations.

    Parameters
    ----------
    spec_type : a dataclass.
    config : its keys; those that are left out keep the dataclass's defaults.
    where : dotted path of this mapping in the whole config, for messages.
    search : folders that the file of a `_target_` may be relative to, besides the working directory.
    extra : names beyond the fields to suggest for an unknown key, such as those of config groups.

    Raises
    ------
    ConfigError : unknown key, missing value, wrong type, or what the spec's own checks refuse. `where` is the key.
    """
    known = {f.name: f for f in fields(spec_type) if f.init}  # type: ignore[arg-type]
    for key in config:
        if key not in known:
            raise unknown_key(str(key), spec_type, where, extra)
    missing = [
        name
        for name, f in known.items()
        if config.get(name, MISSING) == MISSING_VALUE
        or (name not in config and f.default is MISSING and f.default_factory is MISSING)
    ]
    if missing:
        raise missing_keys([_join(where, name) for name in missing])
    hints = typing.get_type_hints(spec_type)
    values = {name: convert(value, hints[name], _join(where, name), search) for name, value in config.items()}
    try:
        return spec_type(**values)
    except CrossfoldError as error:
        raise _below(error, where, known) from error


def missing_keys(keys: Sequence[str]) -> ConfigError:
    """The error for values that must be given and were not."""
    verb = "has no value" if len(keys) == 1 else "have no value"
    names = ", ".join(f"'{key}'" for key in keys)
    example = " ".join(f"{key}=…" for key in keys)
    return ConfigError(f"{names} {verb}", where=keys[0], remedy=f"Add it to the config or to the command: {example}")


def unknown_key(key: str, spec_type: type, where: str = "", extra: Collection[str] = ()) -> ConfigError:
    """The error for a key that the schema lacks, with the nearest one: here first, then anywhere in the schema."""
    here = [f.name for f in fields(spec_type) if f.init]
    nearest = nearest_name(key, [*here, *extra])
    if nearest is None:
        below = [f"{name}.{inner}" for name, inner in _nested_keys(spec_type)]
        nearest = next((name for name in below if name.rpartition(".")[2] == key), None)
    remedy = None if nearest else f"Known keys: {', '.join(here)}."
    full = _join(where, key)
    return ConfigError(f"unknown key '{full}'", where=full, nearest=nearest and _join(where, nearest), remedy=remedy)


def convert(value: Any, annotation: Any, where: str, search: Sequence[Path] = ()) -> Any:
    """`value` as `annotation` wants it, or a ConfigError that says what was expected and what it got.

    Null stands for an empty list or mapping: that is what `cat_features:` with nothing behind it means.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in (Any, object):
        return value
    if origin in (Union, types.UnionType):
        return _union(value, args, where, search)
    if annotation is types.NoneType:
        return _none(value, where)
    if origin is Literal:
        return literal(value, args, where)
    if annotation is Factory:
        return value if isinstance(value, Factory) else Factory.from_config(value, where, search)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _dataclass(value, annotation, where, search)
    if annotation is tuple or origin in (tuple, list, Sequence):
        return _sequence(value, annotation, where, search)
    if annotation is dict or origin in (dict, Mapping):
        return _mapping(value, args or (Any, Any), where, search)
    if annotation in SCALARS:
        return scalar(value, annotation, where)
    raise AssertionError(f"a spec cannot have a field of type {annotation}")


def expected(annotation: Any) -> str:
    """What an annotation wants, in words: `an integer`, `none | blosc:lz4`, `a list of text`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in SCALARS:
        return SCALARS[annotation]
    if origin in (Union, types.UnionType):
        return " or ".join(expected(arg) for arg in args)
    if origin is Literal:
        return " | ".join("true" if arg is True else "false" if arg is False else str(arg) for arg in args)
    if origin in (tuple, list, Sequence) or annotation is tuple:
        inner = [arg for arg in args if arg is not Ellipsis]
        if len(inner) > 1:
            return f"a list of {len(inner)} values"
        return f"a list of {_plural(expected(inner[0]))}" if inner and inner[0] is not Any else "a list"
    if annotation is types.NoneType:
        return "null"
    if annotation in (Any, object):
        return "anything"
    if annotation is Factory:
        return "a mapping with _target_"
    return "a mapping"


def _plural(words: str) -> str:
    return words.removeprefix("an ").removeprefix("a ") + (
        "s" if words in ("an integer", "a number", "a path", "a mapping") else ""
    )


def wrong_type(value: Any, annotation: Any, where: str) -> ConfigError:
    """The error for a value that an annotation does not accept."""
    return ConfigError(f"'{where}' must be {expected(annotation)}, not {_shown(value)}", where=where)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _none(value: Any, where: str) -> None:
    if value is not None:
        raise wrong_type(value, types.NoneType, where)


def _union(value: Any, args: tuple[Any, ...], where: str, search: Sequence[Path]) -> Any:
    if value is None and types.NoneType in args:
        return None
    exact = [arg for arg in args if isinstance(arg, type) and type(value) is arg]
    # Text is what nearly everything else can be read from, so it comes last.
    rest = sorted((arg for arg in args if arg is not types.NoneType), key=lambda arg: arg is str)
    errors = []
    for arg in [*exact, *rest]:
        try:
            return convert(value, arg, where, search)
        except ConfigError as error:
            errors.append(error)
    if len(rest) == 1:
        raise errors[0]
    # An error from further inside tells more than "none of these": the shape was right, a value was not.
    inside = [error for error in errors if error.where != where]
    raise inside[0] if inside else wrong_type(value, Union[args], where)  # noqa: UP007 (built at run time)


def _dataclass(value: Any, annotation: type, where: str, search: Sequence[Path]) -> Any:
    if isinstance(value, annotation):
        return value
    from_config = getattr(annotation, "from_config", None)
    if from_config is not None:
        return from_config(value, where)
    if not isinstance(value, Mapping):
        raise wrong_type(value, annotation, where)
    return build_spec(annotation, value, where=where, search=search)


def _sequence(value: Any, annotation: Any, where: str, search: Sequence[Path]) -> Any:
    make = list if get_origin(annotation) is list else tuple
    args = get_args(annotation) or (Any, Ellipsis)
    if value is None:
        value = ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise wrong_type(value, annotation, where)
    if get_origin(annotation) is tuple and Ellipsis not in args:
        if len(value) != len(args):
            raise wrong_type(value, annotation, where)
        wanted: Sequence[Any] = args
    else:
        wanted = [args[0]] * len(value)
    return make(
        convert(item, arg, f"{where}[{i}]", search) for i, (item, arg) in enumerate(zip(value, wanted, strict=True))
    )


def _mapping(value: Any, args: tuple[Any, ...], where: str, search: Sequence[Path]) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong_type(value, dict, where)
    of_key, of_value = args
    converted = {}
    for key, item in value.items():
        inside = _join(where, str(key))
        if item == MISSING_VALUE and of_value is not Any:
            raise missing_keys([inside])
        converted[convert(key, of_key, inside)] = convert(item, of_value, inside, search)
    return converted


def _nested_keys(spec_type: type) -> list[tuple[str, str]]:
    """(field, key) for every key one level down, in fields that are dataclasses."""
    hints = typing.get_type_hints(spec_type)
    nested = []
    for f in fields(spec_type):
        for inner in (hints[f.name], *get_args(hints[f.name])):
            if isinstance(inner, type) and is_dataclass(inner):
                nested += [(f.name, g.name) for g in fields(inner) if g.init]
    return nested


def _below(error: CrossfoldError, where: str, known: Collection[str]) -> CrossfoldError:
    """An error of a spec's own checks, which know their keys but not where in the config they stand."""
    inside = error.where is not None and error.where.partition(".")[0].partition("[")[0] in known
    if not where or (error.where is not None and not inside):
        return error
    return moved(error, _join(where, error.where) if error.where else where)


def moved(error: CrossfoldError, where: str) -> CrossfoldError:
    """The same error with another `where`."""
    if type(error).__init__ is not CrossfoldError.__init__:
        return error
    return type(error)(error.what, where=where, nearest=error.nearest, remedy=error.remedy)
