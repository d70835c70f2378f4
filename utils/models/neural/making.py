"""A network by its `_target_`, the user's own or one of ours, told of the shape of the data as far as it asks."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils.errors import ConfigError
from utils.factory import Factory


def made(factory: Factory, shape: Mapping[str, Any]) -> Any:
    """What the target gives, called with those of `shape` that it takes by name, and with the config's arguments.

    Raises
    ------
    ConfigError : it wants others; the error shows its signature. What the target itself raises passes through, with a
        note that says where it came from.
    """
    made_by = factory.load()
    try:
        signature = inspect.signature(made_by)
    except (TypeError, ValueError):  # some compiled callables have none to look at
        return factory()
    taken = signature.parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    given = {
        name: value for name, value in shape.items() if (takes_all or name in taken) and name not in factory.params
    }
    _check(factory, made_by, signature, given, shape)
    try:
        return factory(**given)
    except ConfigError:
        raise
    except Exception as error:
        error.add_note(f"This came from making the network {factory.target} with {given}.")
        raise


def _check(
    factory: Factory,
    made_by: Callable[..., Any],
    signature: inspect.Signature,
    given: Mapping[str, Any],
    shape: Mapping[str, Any],
) -> None:
    """That every argument has a value; what the config names and the target does not take is said by the factory."""
    named = {name for name in factory.params if not name.startswith("_")} | set(given)
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    by_place = len(factory.params.get("_args_", ()))
    wanted = [
        parameter.name
        for parameter in list(signature.parameters.values())[by_place:]
        if parameter.default is parameter.empty and parameter.kind not in variadic
    ]
    missing = [name for name in wanted if name not in named]
    if missing:
        raise ConfigError(
            f"'{factory.target}' is {getattr(made_by, '__name__', 'network')}{signature}, and nothing says its "
            f"{' and '.join(missing)}",
            where="model_param.network",
            remedy=f"Set {' '.join(f'model_param.network.{name}=…' for name in missing)}, or take what is known of the "
            f"data, by its name: {', '.join(shape)}.",
        )


def saved_params(folder: Path, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a saved estimator, its network's own file looked for in the folder it was saved to."""
    network = params.get("network") or {}
    if isinstance(network, dict) and ".py:" in str(network.get("_target_", "")):
        network["_target_"] = str(folder / network["_target_"])
    return params
