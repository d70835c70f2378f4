"""Before the first step: weights of an earlier training, what is not trained, and whether the network fits the data."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import ConfigError, RunError, nearest_name
from utils.factory import Factory
from utils.models.neural.freezing import frozen
from utils.models.neural.making import made


def make_network(factory: Factory, shape: Mapping[str, Any]) -> nn.Module:
    """The network, told of the shape of the data as far as it takes `n_features`, `n_outputs` and `categories`."""
    network = made(factory, shape)
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"'{factory.target}' gives a {type(network).__name__}, not a torch.nn.Module",
            where="model_param.network",
            remedy="Name a class that derives from it, or a function that returns one.",
        )
    return network


def takes_mask(network: nn.Module) -> bool:
    """Whether the network wants to know what is padding."""
    return "mask" in inspect.signature(network.forward).parameters


def check_outputs(network: nn.Module, n_features: int, n_outputs: int) -> None:
    """Let the network see two events of zeros; ConfigError unless (2, n_outputs) comes out.

    Also gives their shapes to layers that wait for a first batch.
    """
    features_BF = torch.zeros(2, n_features)
    options = {"mask": torch.zeros(2, n_features, dtype=torch.bool)} if takes_mask(network) else {}
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            outputs = network(features_BF, **options)
    except Exception as error:
        error.add_note(f"This came from the network {type(network).__name__} with {tuple(features_BF.shape)} features.")
        raise
    finally:
        network.train(was_training)
    found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if found != (2, n_outputs):
        raise ConfigError(
            f"the network gives {found} for two events, not (2, {n_outputs})",
            where="model_param.network",
            remedy=f"Let its last layer have n_outputs = {n_outputs} outputs, without a final activation.",
        )


def freeze(network: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude parameters from the training, see `frozen`."""
    names = {name: value for name, value in network.named_parameters() if value.requires_grad}
    for name in frozen(list(names), patterns, "parameter", "."):
        names[name].requires_grad_(False)


def train_mode(network: nn.Module) -> None:
    """Training mode, but for parts all of whose parameters are frozen: their running statistics stay, too."""
    network.train()
    for part in network.modules():
        own = list(part.parameters())
        if own and not any(value.requires_grad for value in own):
            part.eval()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Copy weights into the network; ConfigError, naming the first layer that differs, unless all fit."""
    own = network.state_dict()
    remedy = "Use the network and the features of that training, or leave init_from out."
    for name, value in own.items():
        if name not in weights:
            raise ConfigError(
                f"'{name}' of the network is not among the weights to start from",
                where=where,
                nearest=nearest_name(name, weights),
                remedy=remedy,
            )
        if weights[name].shape != value.shape:
            raise ConfigError(
                f"'{name}' of the network is {tuple(value.shape)}, and {tuple(weights[name].shape)} in the weights to "
                "start from",
                where=where,
                remedy=remedy,
            )
    for name in weights:
        if name not in own:
            raise ConfigError(
                f"the network has no '{name}', which is among the weights to start from",
                where=where,
                nearest=nearest_name(name, own),
                remedy=remedy,
            )
    network.load_state_dict(dict(weights))


def read_tensors(path: Path, what: str) -> Any:
    """What torch has written to a file, without executing any of it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"there are no {what}", where=str(path), remedy="Train again.") from error
    except Exception as error:  # torch raises whatever the unpickler or the archive did
        raise RunError(
            f"the {what} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})",
            where=str(path),
            remedy="Remove its folder: the one before it, or a new training, takes its place.",
        ) from error
