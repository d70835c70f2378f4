"""LightGBM's parameters, completed by what follows from the data: objective, number of classes, metrics."""

from collections.abc import Mapping
from typing import Any

import lightgbm

from utils.errors import ConfigError, nearest_name
from utils.outputs import Outputs

_MULTICLASS = ("multiclass", "softmax", "multiclassova", "multiclass_ova", "ova", "ovr")
_BINARY = ("binary", "cross_entropy", "xentropy")
# With the names that LightGBM takes for the same; each is also the name of its metric.
_REGRESSION = (
    *("regression", "regression_l2", "l2", "mean_squared_error", "mse"),
    *("l2_root", "root_mean_squared_error", "rmse"),
    *("regression_l1", "l1", "mean_absolute_error", "mae"),
    *("huber", "fair", "poisson", "quantile", "mape", "mean_absolute_percentage_error", "gamma", "tweedie"),
)


def complete_params(params: Mapping[str, Any], outputs: Outputs) -> dict[str, Any]:
    """The parameters under LightGBM's main names, with what follows from the data.

    Parameters
    ----------
    params : under any of LightGBM's names.
    outputs : what the model tells: K classes, or T targets.

    Raises
    ------
    ConfigError : an unknown parameter, or an objective that does not give these outputs.
    """
    complete = _main_names(params)
    complete.setdefault("verbosity", -1)
    complete["feature_pre_filter"] = False  # the bins are shared with models that may split finer
    if outputs.task == "regression":
        _complete_regression(complete)
    else:
        _complete_classification(complete, outputs.n)
    return complete


def _complete_classification(complete: dict[str, Any], n_classes: int) -> None:
    complete.setdefault("objective", "binary" if n_classes == 2 else "multiclass")
    if complete["objective"] in _MULTICLASS:
        given = complete.setdefault("num_class", n_classes)
        if given != n_classes:
            raise ConfigError(
                f"num_class is {given}, but the skim has {n_classes} classes",
                where="model_param.num_class",
                remedy="Leave it out: it follows from the data.",
            )
    elif n_classes > 2 or complete["objective"] not in _BINARY:
        raise ConfigError(
            f"objective '{complete['objective']}' gives no probabilities of {n_classes} classes",
            where="model_param.objective",
            nearest=nearest_name(str(complete["objective"]), _MULTICLASS if n_classes > 2 else _BINARY),
            remedy="Leave it out: it follows from the data.",
        )
    if "metric" in complete:
        complete["metric"] = _metrics_of_classes(complete["metric"], complete["objective"] in _MULTICLASS)


def _complete_regression(complete: dict[str, Any]) -> None:
    objective = str(complete.setdefault("objective", "regression"))
    if objective not in _REGRESSION:
        raise ConfigError(
            f"objective '{objective}' gives no values of a target",
            where="model_param.objective",
            nearest=nearest_name(objective, _REGRESSION),
            remedy="Leave it out for the squared error, or use regression_l1, huber, quantile, …",
        )
    if "metric" in complete:
        complete["metric"] = _metrics_of_targets(complete["metric"], objective)


def _main_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without aliases. LightGBM itself would ignore a name that it does not know."""
    aliases = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    main_name = {alias: name for name, others in aliases.items() for alias in (name, *others)}
    for key in params:
        if key not in main_name:
            raise ConfigError(
                f"LightGBM has no parameter '{key}'",
                where=f"model_param.{key}",
                nearest=nearest_name(key, main_name),
                remedy="Mend or remove it.",
            )
    return {main_name[key]: value for key, value in params.items()}


def _metrics_of_classes(metrics: Any, is_multiclass: bool) -> Any:
    """`multi_logloss` and `binary_logloss` are one loss under two names; LightGBM refuses the other objective's."""
    if isinstance(metrics, list | tuple):
        return [_metrics_of_classes(metric, is_multiclass) for metric in metrics]
    kind, _, loss = str(metrics).partition("_")
    if kind in ("multi", "binary") and loss in ("logloss", "error"):
        return f"multi_{loss}" if is_multiclass else f"binary_{loss}"
    return metrics


def _metrics_of_targets(metrics: Any, objective: str) -> list[str]:
    """The loss and the error of classes stand for those of targets: the objective's own, and the absolute error."""
    names = [str(metric) for metric in (metrics if isinstance(metrics, list | tuple) else [metrics])]
    own = {"logloss": objective, "error": "l1"}
    same = {f"{kind}_{loss}": name for kind in ("multi", "binary") for loss, name in own.items()}
    return list(dict.fromkeys(same.get(name, name) for name in names))
