"""A user's file with `model(idim)`: loaded, called, and blamed where it fails."""

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.errors import ConfigError, CrossfoldError
from utils.factory import Factory

FUNCTION, TRAINING = "model", "torch_train"
WHERE = "model_file"
# Where MLaaS4HEP has its layer, by the names that files import it under.
_THEIR_MODULES = ("MLaaS4HEP.jarray.pytorch", "jarray.pytorch")


@dataclass(frozen=True)
class ModelFile:
    """The file, as it is named. What stands in it is executed when it is first asked for.

    Parameters
    ----------
    path : of the file.
    """

    path: Path

    @classmethod
    def of(cls, value: Any) -> "ModelFile":
        """ConfigError unless there is such a file."""
        if not isinstance(value, str) or not value:
            raise ConfigError(
                "no file with model(idim) is named", where=WHERE, remedy="Set model_file=model.py, the path of yours."
            )
        factory = Factory.from_config(f"{value}:{FUNCTION}", WHERE)
        return cls(Path(factory.target.rpartition(":")[0]))

    @property
    def module_name(self) -> str:
        """By which pickles call the file's classes."""
        return self._function().__module__

    def _function(self) -> Callable[..., Any]:
        _prepare(self.path)
        with blamed(f"importing {self.path} ({WHERE})"), _folder_on_path(self.path.parent):
            return Factory(f"{self.path}:{FUNCTION}").load()

    def torch_train(self) -> Callable[..., Any] | None:
        """The file's own function of that name, beside `model`; None without."""
        made_in = sys.modules[self._function().__module__]
        found = getattr(made_in, TRAINING, None)
        return found if callable(found) else None

    def make(self, n_features: int) -> Any:
        """What `model(idim)` gives; a function without arguments is called without.

        Raises
        ------
        ConfigError : there is no `model`, or it wants other arguments. What the file itself raises passes through, with
            a note that says where it came from.
        """
        function = self._function()
        given = self._arguments(function, n_features)
        with (
            blamed(f"calling {FUNCTION}({', '.join(map(str, given))}) of {self.path}"),
            _folder_on_path(self.path.parent),
        ):
            made = function(*given)
        if made is None:
            raise ConfigError(
                f"{FUNCTION} of {self.path} gives nothing", where=WHERE, remedy="End it with: return the_model."
            )
        return made

    def files(self) -> tuple[Path, ...]:
        """The file, and those beside it that it imports, and so on: what a copy of it needs."""
        found = {self.path.name: self.path}
        waiting = [self.path]
        while waiting:
            for name in _names_in(waiting.pop()):
                neighbour = self.path.parent / f"{name.partition('.')[0]}.py"
                if neighbour.name not in found and neighbour.is_file():
                    found[neighbour.name] = neighbour
                    waiting.append(neighbour)
        return tuple(found.values())

    def _arguments(self, function: Callable[..., Any], n_features: int) -> tuple[int, ...]:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some compiled callables have none to look at
            return (n_features,)
        for given in ((n_features,), ()):
            try:
                signature.bind(*given)
            except TypeError:
                continue
            return given
        raise ConfigError(
            f"{FUNCTION}{signature} of {self.path} cannot be called with the number of features alone",
            where=WHERE,
            remedy=f"Write def {FUNCTION}(idim), or def {FUNCTION}() for a model that need not know it.",
        )


@contextmanager
def blamed(doing: str) -> Iterator[None]:
    """Add to an error of the user's code what we were doing; its own traceback stays."""
    try:
        yield
    except CrossfoldError:
        raise
    except Exception as error:
        error.add_note(f"This came from {doing}.")
        raise


@contextmanager
def _folder_on_path(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _prepare(path: Path) -> None:
    """What must be there before the file is imported: a quiet Keras, and MLaaS4HEP's layer by its name."""
    names = set(_names_in(path))
    tops = {name.partition(".")[0] for name in names}
    if tops & {"keras", "tensorflow"} and importlib.util.find_spec("tensorflow") is not None:
        importlib.import_module("utils.models.keras_network.library")
    for full in _THEIR_MODULES:
        if full in names and full.partition(".")[0] not in sys.modules:
            _stand_in(full)


def _names_in(path: Path) -> Iterator[str]:
    """Modules that a file imports; none where it is no Python, which importing it says, with the line."""
    try:
        tree = ast.parse(path.read_text())
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _stand_in(full: str) -> None:
    """Our layer under the name of theirs, where theirs is not installed."""
    if importlib.util.find_spec(full.partition(".")[0]) is not None:
        return
    networks = importlib.import_module("utils.models.pytorch.networks")
    parts = full.split(".")
    for n in range(1, len(parts) + 1):
        name = ".".join(parts[:n])
        module = ModuleType(name)
        module.__path__ = []
        sys.modules[name] = module
        if n > 1:
            setattr(sys.modules[".".join(parts[: n - 1])], parts[n - 1], module)
    sys.modules[full].JaggedArrayLinear = networks.JaggedArrayLinear  # type: ignore[attr-defined]
