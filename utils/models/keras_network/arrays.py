"""Variables of networks and optimizers in files: arrays and names, nothing that is executed."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, RunError

Arrays = list[NDArray[Any]]


def values_of(variables: Sequence[Any]) -> Arrays:
    """Copies of what they hold now."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
    """The inverse of `values_of`."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def write_arrays(path: Path, groups: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Lists of arrays by name."""
    content = {f"{group}.{i:05d}": value for group, values in groups.items() for i, value in enumerate(values)}
    with path.open("wb") as file:
        np.savez(file, **content)  # type: ignore[arg-type]


def read_arrays(path: Path, what: str) -> dict[str, Arrays]:
    """What `write_arrays` wrote; RunError where it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Arrays] = {}
            for name in sorted(file.files):
                found.setdefault(name.rpartition(".")[0], []).append(file[name])
            return found
    except FileNotFoundError as error:
        raise RunError(f"there are no {what}", where=str(path), remedy="Train again.") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(
            f"the {what} cannot be read ({type(error).__name__}: {error})",
            where=str(path),
            remedy="Remove its folder: the one before it, or a new training, takes its place.",
        ) from error


def check_same_variables(own: Sequence[Any], names: Sequence[str], values: Arrays) -> None:
    """ConfigError, naming the first that differs, unless the values are those of the same variables."""
    for i in range(max(len(own), len(names))):
        mine = f"'{own[i].path}' of {tuple(own[i].shape)}" if i < len(own) else "nothing"
        theirs = f"'{names[i]}' of {values[i].shape}" if i < len(names) else "nothing"
        if mine != theirs:
            raise ConfigError(
                f"the network has {mine} where the weights to start from have {theirs}",
                where="init_from",
                remedy="Use the network and the features of that training, or leave init_from out.",
            )
