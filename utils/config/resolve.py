"""Plain values out of OmegaConf, interpolations resolved."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.errors import ConfigError, nearest_name


def to_plain(config: Any, *, resolve: bool) -> dict[str, Any]:
    """A config as dictionaries, lists and values."""
    plain: dict[str, Any] = _whole_keys(OmegaConf.to_container(config, resolve=resolve))
    return plain


def resolved(config: DictConfig, key: Any, *, lenient: bool = False) -> Any:
    """The value of one key with its interpolations resolved.

    Parameters
    ----------
    lenient : an interpolation that cannot be resolved stays text: for another stage's config, only carried along.
    """
    try:
        value = config[key]
        plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        if not lenient:
            raise _interpolation_error(error, str(key), config) from error
        plain = _leaf_by_leaf(config[key]) if OmegaConf.is_config(config[key]) else _raw(config, key)
    return _whole_keys(plain)


def _leaf_by_leaf(node: Any) -> Any:
    if isinstance(node, ListConfig):
        return [_leaf(node, i) for i in range(len(node))]
    return {key: _leaf(node, key) for key in node}


def _leaf(node: Any, key: Any) -> Any:
    if OmegaConf.is_missing(node, key):
        return "???"
    try:
        value = node[key]
    except OmegaConfBaseException:
        return _raw(node, key)
    return _leaf_by_leaf(value) if OmegaConf.is_config(value) else value


def _raw(node: Any, key: Any) -> Any:
    unresolved: Any = OmegaConf.to_container(node, resolve=False)
    return unresolved[key]


def _interpolation_error(error: OmegaConfBaseException, key: str, config: DictConfig) -> ConfigError:
    message = str(error).splitlines()[0]
    if found := re.search(r"Interpolation key '(.+?)' not found", message):
        name = found[1]
        return ConfigError(
            f"'{key}' refers to ${{{name}}}, which does not exist",
            where=key,
            nearest=nearest_name(name, [str(k) for k in config]),
            remedy="Define it, or correct the reference.",
        )
    if found := re.search(r"Missing mandatory value: (\S+)", message):
        return ConfigError(f"'{key}' needs '{found[1]}', which has no value", where=key, remedy=f"Add {found[1]}=…")
    return ConfigError(f"'{key}' cannot be resolved ({message})", where=key)


def _whole_keys(value: Any) -> Any:
    """Join `'0'` to `0`: an override of `classes.0.name` can only spell the key as text."""
    if isinstance(value, list):
        return [_whole_keys(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    joined: dict[Any, Any] = {}
    for key, item in value.items():
        own = int(key) if isinstance(key, str) and key.isdigit() and int(key) in value else key
        joined[own] = _merged(joined.get(own), _whole_keys(item))
    return joined


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _merged(old.get(key), item) for key, item in new.items()}}
    return new
