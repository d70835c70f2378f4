"""Optimizers by name, with weight decay where it belongs."""

from typing import Any

import torch
from torch import nn

from utils.errors import ConfigError, nearest_name
from utils.models.neural.plan import NeuralPlan
from utils.models.pytorch.ranger import Ranger

_BY_NAME = {"adam": "Adam", "adamw": "AdamW", "radam": "RAdam", "ranger": "Ranger", "sgd": "SGD"}
# One kernel for all weights, and the only ones that need no look at the gradients from the host with a scaled loss.
_FUSED = ("Adam", "AdamW", "SGD")
_NEED_MORE = {"LBFGS": "asks for the loss several times a step", "SparseAdam": "is for sparse gradients only"}


def make_optimizer(plan: NeuralPlan, network: nn.Module) -> torch.optim.Optimizer:
    """The plan's optimizer for the parameters that are trained.

    Weight decay acts on matrices only: not on biases, on what normalises, and on what the network names in a method
    `no_weight_decay()` (tokens).
    """
    name = _BY_NAME.get(plan.optimizer.lower(), plan.optimizer)
    known = {n: kind for n, kind in vars(torch.optim).items() if isinstance(kind, type) and n != "Optimizer"}
    known["Ranger"] = Ranger
    if name not in known or name in _NEED_MORE:
        why = f"{name} {_NEED_MORE[name]}" if name in _NEED_MORE else f"torch has no optimizer '{plan.optimizer}'"
        raise ConfigError(
            why,
            where="model_param.optimizer",
            nearest=None if name in _NEED_MORE else nearest_name(plan.optimizer, [*_BY_NAME, *known]),
            remedy="Use adam, adamw, radam, ranger, sgd, or the name of another class of torch.optim.",
        )
    options = dict(plan.optimizer_param)
    if name in _FUSED and not {"fused", "foreach", "differentiable"} & set(options):
        options["fused"] = all(value.is_floating_point() for value in network.parameters())
    try:
        made: torch.optim.Optimizer = known[name](parameter_groups(plan, network), lr=plan.learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} refuses its arguments ({error})",
            where="model_param.optimizer_param",
            remedy="Mend them, or leave them out.",
        ) from error
    return made


def parameter_groups(plan: NeuralPlan, network: nn.Module) -> list[dict[str, Any]]:
    """The parameters that are trained: those with weight decay, and those without."""
    kept_out = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()
    names = dict(network.named_parameters())
    for name in kept_out - set(names):
        raise ConfigError(
            f"no_weight_decay() of the network names '{name}', which is no parameter of it",
            where="model_param.network",
            nearest=nearest_name(name, names),
            remedy="Return names as named_parameters() gives them.",
        )
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, value in names.items():
        if value.requires_grad:
            (others if value.ndim < 2 or name in kept_out else decayed).append(value)
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
