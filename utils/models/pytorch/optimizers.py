"""Optimizers by name, with weight decay where it belongs."""

from typing import Any

import torch
from torch import nn

from utils.errors import ConfigError, nearest_name
from utils.models.neural.plan import NeuralPlan
from utils.models.pytorch.ranger import Ranger

_BY_NAME = {"adam": "Adam", "adamw": "AdamW", "radam": "RAdam", "ranger": "Ranger"}


def make_optimizer(plan: NeuralPlan, network: nn.Module) -> torch.optim.Optimizer:
    """The plan's optimizer for the parameters that are trained.

    Weight decay acts on matrices only: not on biases, on what normalises, and on what the network names in a method
    `no_weight_decay()` (tokens).
    """
    kept_out = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, value in network.named_parameters():
        if value.requires_grad:
            (others if value.ndim < 2 or name in kept_out else decayed).append(value)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    name = _BY_NAME.get(plan.optimizer.lower(), plan.optimizer)
    known = {n: kind for n, kind in vars(torch.optim).items() if isinstance(kind, type) and n != "Optimizer"}
    known["Ranger"] = Ranger
    if name not in known:
        raise ConfigError(
            f"torch has no optimizer '{plan.optimizer}'",
            where="model_param.optimizer",
            nearest=nearest_name(plan.optimizer, [*_BY_NAME, *known]),
            remedy="Use adam, adamw, radam, ranger, or the name of a class of torch.optim.",
        )
    try:
        made: torch.optim.Optimizer = known[name](
            [group for group in groups if group["params"]], lr=plan.learning_rate, **plan.optimizer_param
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} refuses its arguments ({error})", where="model_param.optimizer_param") from error
    return made
