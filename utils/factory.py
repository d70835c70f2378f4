"""A `_target_` of a config: what to create, with which arguments, imported only when it is asked for.

A target is a dotted path (`sklearn.ensemble.HistGradientBoostingClassifier`) or a name in a file of the user's own
(`my/steps.py:LogTransform`). Arguments may contain further targets; they are created first.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from utils.errors import ConfigError, nearest_name

# Hydra's own keywords, which configs may carry. Everything is plain and recursive here, so these two add nothing.
_IGNORED = ("_convert_", "_recursive_")

# Modules made of users' files; their names mean nothing to another process.
_USER_MODULE = "crossfold_user_"

_EXTRAS = {
    "torch": "pip install -r requirements-nn.txt",
    "tensorflow": "pip install -r requirements-nn.txt",
    "keras": "pip install -r requirements-nn.txt",
    "xgboost": "pip install xgboost-cpu",
}


@dataclass(frozen=True)
class Factory:
    """Creates a fresh object at every call.

    Parameters
    ----------
    target : dotted path of a class or a function, or `path/to/file.py:Name`.
    params : its arguments, plain values; a nested mapping with `_target_` is created first.
    """

    target: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(cls, value: Any, where: str, search: Iterable[Path] = ()) -> Self:
        """A mapping with `_target_`, or the target alone; `search` are the folders that a file may be relative to.

        What can be told without importing is checked at once: the file exists, the top-level package is installed.
        """
        config = {"_target_": value} if isinstance(value, str) else value
        if not isinstance(config, Mapping) or "_target_" not in config:
            raise ConfigError(
                f"a mapping with _target_ is needed, not {value!r}",
                where=where,
                remedy="Write {_target_: package.module.Name, argument: value}.",
            )
        folders = tuple(search)
        return cls(
            _located(str(config["_target_"]), where, folders),
            {str(k): _located_below(v, where, folders) for k, v in config.items() if k not in ("_target_", *_IGNORED)},
        )

    def __call__(self, **extra: Any) -> Any:
        """Create the object; `extra` arguments are passed on as they are, and win over those of the config.

        Raises
        ------
        ConfigError : the target cannot be imported, or does not take one of the arguments.
        """
        return _create(self.target, self.params, extra)

    def load(self) -> Callable[..., Any]:
        """The class or function itself."""
        return _load(self.target)

    def to_config(self) -> dict[str, Any]:
        """The mapping that gives this factory again."""
        return {"_target_": self.target, **self.params}

    def __hash__(self) -> int:
        return hash((self.target, json.dumps(self.params, sort_keys=True, default=repr)))


def user_file(kind: type) -> Path | None:
    """The user's file that a class was loaded from by a `_target_`; None for classes of installed modules."""
    if not kind.__module__.startswith(_USER_MODULE):
        return None
    return Path(str(sys.modules[kind.__module__].__file__))


def restore_user_module(name: str, path: Path) -> None:
    """Let a copy of a user's file stand for the module `name`, by which a pickle of its objects calls it."""
    if name not in sys.modules:
        sys.modules[name] = _module_of_file(path, str(path))


def files_of_targets(config: Any) -> tuple[Path, ...]:
    """The users' files that the `_target_`s of a config name, wherever they stand in it."""
    found: dict[Path, None] = {}
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list | tuple) else ():
        found |= dict.fromkeys(files_of_targets(value))
    target = config.get("_target_") if isinstance(config, Mapping) else None
    if isinstance(target, str) and _is_file_target(target):
        found[Path(target.rpartition(":")[0])] = None
    return tuple(found)


def _is_file_target(target: str) -> bool:
    return ".py:" in target


def _located_below(value: Any, where: str, search: tuple[Path, ...]) -> Any:
    if isinstance(value, Mapping):
        located = {key: _located_below(item, where, search) for key, item in value.items()}
        if "_target_" in located:
            located["_target_"] = _located(str(located["_target_"]), where, search)
        return located
    if isinstance(value, list | tuple):
        return [_located_below(item, where, search) for item in value]
    return value


def _located(target: str, where: str, search: tuple[Path, ...]) -> str:
    """The target, a file made absolute unless it is found from the working directory."""
    if _is_file_target(target):
        path, _, name = target.rpartition(":")
        if Path(path).is_file():
            return target
        for folder in search:
            if (folder / path).is_file():
                return f"{(folder / path).resolve()}:{name}"
        searched = ", ".join(str(folder) for folder in (Path.cwd(), *search))
        raise ConfigError(f"no file '{path}'", where=where, remedy=f"It was looked for in {searched}.")
    package = target.split(".", maxsplit=1)[0]
    if "." not in target or importlib.util.find_spec(package) is None:
        raise _not_importable(target, package, where)
    return target


def _not_importable(target: str, module: str, where: str | None = None) -> ConfigError:
    if "." not in target:
        return ConfigError(
            f"'{target}' is neither a dotted path nor a file's name", where=where, remedy="Write package.module.Name."
        )
    package, _, _ = module.partition(".")
    remedy = f"Install it: {_EXTRAS[package]}" if package in _EXTRAS else "Install it, or correct the path."
    return ConfigError(f"_target_ '{target}' needs '{module}', which is not installed", where=where, remedy=remedy)


def _create(target: str, params: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Any:
    partial = bool(params.get("_partial_", False))
    positional = [_created_below(item) for item in params.get("_args_", ())]
    named = {
        key: _created_below(value)
        for key, value in params.items()
        if key not in ("_args_", "_partial_", "_target_", *_IGNORED)
    } | dict(extra or {})
    function = _load(target)
    _check_arguments(target, function, named)
    if not partial:
        return function(*positional, **named)
    return lambda *args, **kwargs: function(*positional, *args, **{**named, **kwargs})


def _created_below(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return _create(str(value["_target_"]), value)
        return {key: _created_below(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_created_below(item) for item in value]
    return value


def _check_arguments(target: str, function: Callable[..., Any], named: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some compiled callables have no signature to look at
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in named:
        if name not in known:
            raise ConfigError(
                f"'{target}' takes no argument '{name}'",
                where=name,
                nearest=nearest_name(name, known),
                remedy=f"It takes {', '.join(known) or 'none'}.",
            )


def _load(target: str) -> Callable[..., Any]:
    if _is_file_target(target):
        path, _, name = target.rpartition(":")
        return _attribute(_module_of_file(Path(path), target), name, target)
    parts = target.split(".")
    for n_module in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:n_module])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Only "this very path does not exist" lets the search go on; a module that misses another is broken.
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise _not_importable(target, error.name or module_name) from error
            if n_module == 1:
                raise _not_importable(target, error.name) from error
            continue
        return _attribute(module, ".".join(parts[n_module:]), target)
    raise _not_importable(target, parts[0])


def _attribute(module: ModuleType, name: str, target: str) -> Callable[..., Any]:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            candidates = [c for c in dir(found) if not c.startswith("_")]
            if isinstance(found, ModuleType) and hasattr(found, "__path__"):
                candidates += [info.name for info in pkgutil.iter_modules(found.__path__)]
            raise ConfigError(
                f"no '{part}' in '{getattr(found, '__name__', module.__name__)}', for _target_ '{target}'",
                nearest=nearest_name(part, candidates),
            )
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"_target_ '{target}' is a {type(found).__name__}, not a class or a function")
    return found  # type: ignore[no-any-return]


def _module_of_file(path: Path, target: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"no file '{path}', for _target_ '{target}'")
    resolved = path.resolve()
    # By its content as well: in a notebook, a file that was edited is another module.
    digest = hashlib.sha256(f"{resolved}\n".encode() + resolved.read_bytes()).hexdigest()[:8]
    name = f"{_USER_MODULE}{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickles look a class's module up there
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise _not_importable(f"{path}:", error.name or "?") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module
