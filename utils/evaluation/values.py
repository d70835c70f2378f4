"""Every number of the evaluation of a regression, computed once. Shapes: N events, T targets."""

from dataclasses import dataclass

import numpy as np

from utils.errors import ConfigError
from utils.evaluation.options import EvaluationOptions
from utils.evaluation.tables import ValueTable
from utils.metrics import (
    Histogram,
    Plane,
    Residuals,
    ResponseProfile,
    residual_histogram,
    residuals,
    response_profile,
    value_plane,
)
from utils.metrics.checks import FloatArray
from utils.plots.classes import file_name

Metric = tuple[float, float | None]


@dataclass(frozen=True, eq=False)
class TargetResult:
    """One target: its numbers, of all events and of each fold's, and what its figures are drawn from."""

    name: str
    residuals: Residuals
    per_fold: dict[int, Residuals]
    density: Histogram
    profile: ResponseProfile
    plane: Plane


@dataclass(frozen=True, eq=False)
class RegressionResult:
    """Metrics and everything the figures are drawn from; see `EvaluationResult`."""

    options: EvaluationOptions
    metrics: dict[str, float]
    errors: dict[str, float]
    targets: tuple[TargetResult, ...]
    n_events: tuple[int, ...]
    n_unscored: int
    notes: tuple[str, ...]


def evaluate_values(
    table: ValueTable, targets: tuple[str, ...], options: EvaluationOptions | None = None
) -> RegressionResult:
    """Residuals, response and the plane of predicted and true values of every target.

    Parameters
    ----------
    table : predicted and true values of the dataset.
    targets : T names.
    options : dataset and weights. There are no classes to balance: `class` is `none` here, and `both` is `event`.
    """
    options = options or EvaluationOptions()
    weight_N = value_weights(options.metric_weights, table.event_weight_N)
    results = tuple(_one_target(table, t, name, weight_N) for t, name in enumerate(targets))
    named: dict[str, Metric] = {}
    for result in results:
        named |= named_residuals(result.name, result.residuals)
        for fold, found in result.per_fold.items():
            named |= {f"{name}_fold_{fold}": value for name, value in named_residuals(result.name, found).items()}
    notes = [f"The numbers of {r.name} are undefined: {r.residuals.reason}." for r in results if r.residuals.reason]
    if weight_N is not None and np.any(weight_N < 0):
        notes.append(f"{int(np.count_nonzero(weight_N < 0)):,} events have negative weights; sums are used signed.")
    return RegressionResult(
        options=options,
        metrics={f"{options.dataset}/{name}": value for name, (value, _) in named.items()},
        errors={f"{options.dataset}/{name}": error for name, (_, error) in named.items() if error is not None},
        targets=results,
        n_events=(table.n_events,),
        n_unscored=0,
        notes=tuple(notes),
    )


def value_weights(scheme: str, event_weight_N: FloatArray | None) -> FloatArray | None:
    """(N,) weights of a regression's metrics by the config key `metric_weights`; None for ones."""
    if scheme in ("class", "none"):
        return None
    if event_weight_N is None:
        raise ConfigError(
            f"metric_weights: {scheme} needs event weights, and the predictions have none",
            where="metric_weights",
            remedy="Add the weight branch to misc_features, or choose none.",
        )
    return event_weight_N


def named_residuals(target: str, found: Residuals) -> dict[str, Metric]:
    """`mse_{target}`, `mae_{target}`, `bias_{target}`, `resolution_{target}`, each with its standard deviation."""
    name = file_name(target)
    return {
        f"mse_{name}": (found.mse, found.mse_error),
        f"mae_{name}": (found.mae, found.mae_error),
        f"bias_{name}": (found.bias, found.bias_error),
        f"resolution_{name}": (found.resolution, None),
    }


def _one_target(table: ValueTable, t: int, name: str, weight_N: FloatArray | None) -> TargetResult:
    predicted_N, true_N = table.predicted_NT[:, t], table.true_NT[:, t]
    per_fold = {}
    for fold in np.unique(table.fold_N):
        of_fold = table.fold_N == fold
        weights = None if weight_N is None else weight_N[of_fold]
        per_fold[int(fold)] = residuals(predicted_N[of_fold], true_N[of_fold], weights)
    return TargetResult(
        name,
        residuals(predicted_N, true_N, weight_N),
        per_fold,
        residual_histogram(predicted_N, true_N, weight_N),
        response_profile(predicted_N, true_N, weight_N),
        value_plane(predicted_N, true_N, weight_N),
    )
