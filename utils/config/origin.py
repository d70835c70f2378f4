"""Which file a key of a composed config stands in."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from hydra.types import RunMode

from utils.config.overrides import given_keys


@dataclass(frozen=True)
class Layer:
    """One file of a composed config.

    Parameters
    ----------
    file : its path.
    package : where in the config its keys are mounted; empty for the root.
    keys : its content.
    is_guest : it came in through a config that is mounted elsewhere, such as the features of another stage's config.
    """

    file: Path
    package: str
    keys: Mapping[str, Any]
    is_guest: bool


def layers(loader: Any, config_name: str, overrides: list[str], sources: Iterable[Any]) -> list[Layer]:
    """The files of a config, the last one winning. Empty where Hydra cannot tell."""
    try:
        defaults = loader.compute_defaults_list(config_name, overrides, RunMode.RUN).defaults
    except HydraException:  # a file that only `--config-dir` reaches; without it, messages name the key alone
        return []
    folders = [Path(source["path"]) for source in sources if source["schema"] == "file"]
    parents = {d.config_path: d for d in defaults}
    found = []
    for default in defaults:
        if default.config_path is None or default.config_path.startswith("hydra/"):
            continue
        file = _file(default.config_path, folders)
        if file is None:
            continue
        content = yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 (the loader that makes only text)
        keys = content if isinstance(content, dict) else {}
        found.append(Layer(file, default.package or "", keys, _is_guest(default, parents)))
    return found


def place(key: str, found: list[Layer], overrides: Iterable[str]) -> str | None:
    """The file that sets `key`, or `the command line`."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    for n_parts in range(len(parts), 0, -1):
        path = parts[:n_parts]
        if any(given.split(".")[:n_parts] == path for given in given_keys(overrides)):
            return "the command line"
        for layer in reversed(found):
            prefix = layer.package.split(".") if layer.package else []
            if path[: len(prefix)] == prefix and _has(layer.keys, path[len(prefix) :]):
                return display(layer.file)
    return None


def guest_keys(found: list[Layer]) -> set[str]:
    """Root keys that only guests bring: another stage's keys, not typing errors in this one's."""
    own = {key for layer in found if not layer.is_guest and not layer.package for key in layer.keys}
    return {key for layer in found if layer.is_guest and not layer.package for key in layer.keys} - own


def display(file: Path) -> str:
    """A path as it is best read: relative where it lies below the working directory."""
    relative = os.path.relpath(file)
    return str(file) if relative.startswith(f"..{os.sep}..") else relative


def _file(config_path: str, folders: list[Path]) -> Path | None:
    name = config_path if config_path.endswith(".yaml") else f"{config_path}.yaml"
    return next((Path(os.path.normpath(f / name)) for f in folders if (f / name).is_file()), None)


def _has(keys: Any, path: list[str]) -> bool:
    for part in path:
        if isinstance(keys, list) and part.isdigit() and int(part) < len(keys):
            keys = keys[int(part)]
        elif isinstance(keys, Mapping) and part in keys:
            keys = keys[part]
        else:
            return False
    return bool(path)


def _is_guest(default: Any, parents: Mapping[str, Any]) -> bool:
    parent = parents.get(default.parent)
    seen = set()
    while parent is not None and parent.config_path not in seen:
        if parent.package:
            return True
        seen.add(parent.config_path)
        parent = parents.get(parent.parent)
    return False
