"""Values of a key that stand for a file of keys: `executor=htcondor_cern` is `executors/htcondor_cern.yaml`.

Such a file is put below the config: what the config or the command line says wins.
"""

import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.config import origin
from utils.errors import ConfigError, nearest_name

SHIPPED = Path(__file__).parents[2] / "configs"


def with_templates(
    spec_type: type, config: DictConfig, folders: tuple[Path, ...]
) -> tuple[DictConfig, list[origin.Layer]]:
    """The config with the files that its values name below it, and these files.

    Parameters
    ----------
    spec_type : says which keys have such files, by `templates` of :func:`utils.keys.key`.
    config : composed, not resolved.
    folders : to look in, before those that we ship; each has a subfolder per kind.

    Raises
    ------
    ConfigError : a value that is neither one of the key's own nor a file's name.
    """
    layers = []
    hints = typing.get_type_hints(spec_type)
    for f in fields(spec_type):
        kind = f.metadata.get("templates")
        if kind is None or f.name not in config:
            continue
        value = _selected(config, f.name)
        if not isinstance(value, str) or value in (*get_args(hints[f.name]), "???"):
            continue
        own = [str(choice) for choice in get_args(hints[f.name])]
        file = _file(value, f.name, own, [folder / kind for folder in (*folders, SHIPPED)])
        rest = OmegaConf.masked_copy(config, [str(key) for key in config if key != f.name])
        config = typing.cast("DictConfig", OmegaConf.unsafe_merge(OmegaConf.load(file), rest))
        content = yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 (the loader that makes only text)
        layers.append(origin.Layer(file, "", content, False))
    return config, layers


def _selected(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:  # what cannot be resolved is reported when all is
        return None


def _file(value: str, key: str, own: list[str], folders: list[Path]) -> Path:
    if value.endswith(".yaml") and Path(value).is_file():
        return Path(value)
    found = next((folder / f"{value}.yaml" for folder in folders if (folder / f"{value}.yaml").is_file()), None)
    if found is not None:
        return found
    names = [*own, *_names(folders)]
    raise ConfigError(
        f"'{value}' is no {key}", where=key, nearest=nearest_name(value, names), remedy=f"Use {', '.join(names)}."
    )


def _names(folders: list[Path]) -> Iterator[str]:
    yield from dict.fromkeys(path.stem for folder in folders for path in sorted(folder.glob("*.yaml")))
