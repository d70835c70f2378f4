"""Every number of the evaluation of an autoencoder, computed once. Shapes: N events, K classes of the skim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.evaluation.options import EvaluationOptions
from utils.evaluation.tables import LossTable
from utils.metrics import Histogram, RocCurve, evaluation_weights, histogram, roc, thin_roc
from utils.metrics.checks import AnyArray, FloatArray, is_positive
from utils.metrics.regression import weighted_quantiles
from utils.plots.classes import ClassInfo, unique_names

_BINS = 60


@dataclass(frozen=True, eq=False)
class AnomalyResult:
    """Metrics and everything the figures are drawn from; see `EvaluationResult`.

    Attributes
    ----------
    shares : of each class's events per bin of the loss; None where there are none, or no usable weights.
    roc : of each class above 0 against class 0, by the loss.
    """

    options: EvaluationOptions
    classes: tuple[ClassInfo, ...]
    metrics: dict[str, float]
    errors: dict[str, float]
    shares: tuple[Histogram | None, ...]
    roc: tuple[RocCurve, ...]
    n_events: tuple[int, ...]
    n_unscored: int
    notes: tuple[str, ...]


def evaluate_losses(
    table: LossTable, classes: Sequence[ClassInfo], options: EvaluationOptions | None = None
) -> AnomalyResult:
    """Distribution of the loss by class, and its ROC curves of the classes above 0 against class 0.

    Parameters
    ----------
    table : losses and classes of the dataset.
    classes : names and colours of the K classes of the skim.
    options : dataset and weights.
    """
    options = options or EvaluationOptions()
    classes = tuple(classes)
    target_N = table.target_N.astype(np.int64)
    weight_N = evaluation_weights(options.metric_weights, target_N, table.event_weight_N, len(classes))
    curves = [_against_first(table.loss_N, target_N, weight_N, k) for k in range(1, len(classes))]
    names = unique_names(classes)
    metrics = named_losses(names, table.loss_N, target_N, weight_N)
    areas = dict(zip(names[1:], curves, strict=True))
    metrics |= {f"roc_auc_{name}": curve.auc for name, curve in areas.items()}
    of_class = [target_N == k for k in range(len(classes))]
    edges = _logarithmic(table.loss_N)
    return AnomalyResult(
        options=options,
        classes=classes,
        metrics={f"{options.dataset}/{name}": value for name, value in metrics.items()},
        errors={f"{options.dataset}/roc_auc_{name}": curve.auc_error for name, curve in areas.items()},
        shares=tuple(_share(table.loss_N[mask], weight_N[mask], edges) for mask in of_class),
        roc=tuple(thin_roc(curve, options.max_curve_points) for curve in curves),
        n_events=tuple(int(np.count_nonzero(mask)) for mask in of_class),
        n_unscored=0,
        notes=tuple(
            f"{name} against {names[0]} is undefined: {curve.reason}." for name, curve in areas.items() if curve.reason
        ),
    )


def named_losses(names: Sequence[str], loss_N: AnyArray, target_N: AnyArray, weight_N: AnyArray) -> dict[str, float]:
    """`loss_mean`, and `loss_median_{class}` where there are several; NaN for weights that sum to zero or less."""
    total = float(np.sum(weight_N))
    usable = is_positive(total, float(np.sum(np.square(weight_N))))
    metrics = {"loss_mean": float(np.sum(weight_N * loss_N)) / total if usable else float("nan")}
    for k, name in enumerate(names if len(names) > 1 else ()):
        inside = target_N == k
        metrics[f"loss_median_{name}"] = weighted_quantiles(loss_N[inside], weight_N[inside], [0.5])[0]
    return metrics


def _against_first(loss_N: AnyArray, target_N: AnyArray, weight_N: FloatArray, k: int) -> RocCurve:
    both = (target_N == 0) | (target_N == k)
    return roc(loss_N[both], target_N[both] == k, weight_N[both])


def _logarithmic(loss_N: AnyArray) -> FloatArray:
    """Edges of bins of equal width in the logarithm, over the range of 99.8% of the losses."""
    positive = loss_N[loss_N > 0].astype(np.float64)
    if positive.size == 0:
        return np.geomspace(0.1, 10, _BINS + 1)
    low, high = np.quantile(positive, [0.001, 0.999])
    return np.geomspace(low, high, _BINS + 1) if high > low else np.geomspace(low / 2, low * 2, _BINS + 1)


def _share(loss_N: AnyArray, weight_N: FloatArray, edges: FloatArray) -> Histogram | None:
    """What lies beyond the edges is counted in the first and the last bin."""
    filled = histogram(np.clip(loss_N.astype(np.float64), edges[0], edges[-1]), weight_N, edges)
    total = filled.total
    if not is_positive(total, float(np.sum(filled.errors**2))):
        return None
    return Histogram(filled.values / total, filled.errors / total, edges, 0.0, 0.0, filled.n_events)
