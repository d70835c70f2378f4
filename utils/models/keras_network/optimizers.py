"""Optimizers by name, with weight decay where it belongs."""

from typing import Any

from utils.errors import ConfigError, nearest_name
from utils.models.keras_network.library import keras
from utils.models.neural.plan import NeuralPlan

_NO_CHOICE = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap")
_ELSEWHERE = ("radam", "ranger")


def make_optimizer(plan: NeuralPlan, network: Any) -> Any:
    """The plan's optimizer, not built yet. A compiled network has its own, which is left as it is.

    Weight decay acts on matrices only: not on biases, on what normalises, and on what the network names in a method
    `no_weight_decay()` (tokens).
    """
    if network.compiled:
        return network.optimizer
    found = {
        name: kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer) and name not in _NO_CHOICE
    }
    known = {name.lower(): kind for name, kind in found.items()}
    kind = known.get(plan.optimizer.lower())
    if kind is None:
        in_torch = plan.optimizer.lower() in _ELSEWHERE
        raise ConfigError(
            f"Keras has no optimizer '{plan.optimizer}'" + (", torch has" if in_torch else ""),
            where="model_param.optimizer",
            nearest=None if in_torch else nearest_name(plan.optimizer.lower(), list(known)),
            remedy="Use model=torch_mlp, or an optimizer of Keras such as adamw."
            if in_torch
            else f"Use one of {', '.join(sorted(known))}.",
        )
    options = {"global_clipnorm": plan.clip_grad_norm, **plan.optimizer_param}
    options.setdefault("weight_decay", plan.weight_decay)
    try:
        made = kind(learning_rate=plan.learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{kind.__name__} refuses its arguments ({error})",
            where="model_param.optimizer_param",
            remedy="Mend them, or leave them out.",
        ) from error
    made.exclude_from_weight_decay(var_list=_without_decay(network))
    return keras.optimizers.LossScaleOptimizer(made) if plan.precision == "fp16" else made


def _without_decay(network: Any) -> list[Any]:
    kept_out = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()
    paths = [variable.path for variable in network.trainable_variables]
    for name in kept_out - set(paths):
        raise ConfigError(
            f"no_weight_decay() of the network names '{name}', which is no variable of it",
            where="model_param.network",
            nearest=nearest_name(name, paths),
            remedy="Return paths of variables, such as 'dense/kernel'.",
        )
    return [v for v in network.trainable_variables if len(v.shape) < 2 or v.path in kept_out]
