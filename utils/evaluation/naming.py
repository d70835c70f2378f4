"""Flat metrics by the names they are tracked under, and what a reader must know about them."""

from collections.abc import Sequence

import numpy as np

from utils.evaluation.options import EvaluationOptions
from utils.evaluation.tables import ScoreTable
from utils.metrics import Accuracy, ConfusionMatrix, PrCurve, RocCurve
from utils.metrics.distributions import FoldComparison
from utils.plots.classes import ClassInfo, unique_names

Metric = tuple[float, float | None]


def named_metrics(
    classes: Sequence[ClassInfo],
    roc: Sequence[RocCurve],
    pr: Sequence[PrCurve],
    right: Accuracy,
    matrices: Sequence[ConfusionMatrix],
    comparisons: Sequence[FoldComparison],
) -> dict[str, Metric]:
    """Value and, where there is one, standard deviation of each metric, without the dataset in front.

    `roc_auc_{class}`, `roc_auc_macro` (mean of the classes that have an area), `pr_average_prec_{class}`, `accuracy`,
    `cm_{true}{pred}_{true|pred}` (`cm_{true}_{pred}_…` above ten classes, where `cm_111` could be two cells), and
    `ks_{class}_fold_{i}`, `ks_p_{class}_fold_{i}`, the same with `ks_rest` for the events of other classes.
    """
    names = unique_names(classes)
    metrics: dict[str, Metric] = {}
    for name, curve in zip(names, roc, strict=True):
        metrics[f"roc_auc_{name}"] = (curve.auc, curve.auc_error)
    areas = [curve.auc for curve in roc if np.isfinite(curve.auc)]
    metrics["roc_auc_macro"] = (float(np.mean(areas)) if areas else float("nan"), None)
    for name, pr_curve in zip(names, pr, strict=True):
        metrics[f"pr_average_prec_{name}"] = (pr_curve.average_precision, pr_curve.average_precision_error)
    metrics["accuracy"] = (right.value, right.error)
    between = "_" if len(names) > 10 else ""
    for matrix in matrices:
        for (i, j), value in np.ndenumerate(matrix.values):
            metrics[f"cm_{i}{between}{j}_{matrix.normalise}"] = (float(value), float(matrix.errors[i, j]))
    for comparison in comparisons:
        end = f"{names[comparison.class_index]}_fold_{comparison.fold}"
        for start, ks in (("ks", comparison.class_ks), ("ks_rest", comparison.rest_ks)):
            metrics[f"{start}_{end}"] = (ks.statistic, None)
            metrics[f"{start}_p_{end}"] = (ks.p_value, None)
    return metrics


def undefined_notes(
    classes: Sequence[ClassInfo], roc: Sequence[RocCurve], by_prediction: ConfusionMatrix
) -> tuple[str, ...]:
    """Which metrics are NaN, and why."""
    notes = [
        f"{info.name} against all others is undefined: {curve.reason}."
        for info, curve in zip(classes, roc, strict=True)
        if curve.reason is not None
    ]
    if 0 < len(notes) < len(classes):
        notes.append(f"roc_auc_macro is the mean of the {len(classes) - len(notes)} classes that have an area.")
    for k, reason in by_prediction.reasons.items():
        notes.append(f"The purity of category {classes[k].name} is undefined: {reason}.")
    return tuple(notes)


def weight_notes(n_unscored: int, table: ScoreTable, options: EvaluationOptions) -> tuple[str, ...]:
    """How many events are left out, and how many have negative weights that count."""
    notes = []
    if n_unscored:
        notes.append(f"{n_unscored:,} of {table.n_events + n_unscored:,} events have no score and are left out.")
    if table.event_weight_N is not None and options.metric_weights in ("event", "both"):
        n_negative = int(np.count_nonzero(table.event_weight_N < 0))
        if n_negative:
            notes.append(
                f"{n_negative:,} events ({100 * n_negative / table.n_events:.1f}%) have negative weights; their sums "
                "are used signed, so that efficiencies may leave 0 … 1."
            )
    return tuple(notes)
