"""Every number of an evaluation, computed once. Shapes: N events, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import DataError
from utils.evaluation.naming import named_metrics, undefined_notes, weight_notes
from utils.evaluation.options import EvaluationOptions
from utils.evaluation.tables import FoldScores, ScoreTable
from utils.metrics import (
    Accuracy,
    ConfusionMatrix,
    PrCurve,
    RocCurve,
    accuracy,
    confusion,
    evaluation_weights,
    pr_from_scan,
    roc_from_scan,
    scan_scores,
    thin_pr,
    thin_roc,
)
from utils.metrics.checks import FloatArray, IntArray
from utils.metrics.distributions import CategoryScores, FoldComparison, category_scores, compare_fold
from utils.plots.classes import ClassInfo


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Metrics and everything the figures are drawn from.

    Attributes
    ----------
    metrics : by their names in the tracking store; NaN where a class has no events or no usable weights.
    errors : one standard deviation of the metrics that have one, by the same names.
    notes : what a reader must know: undefined metrics and why, events without a score, negative weights.
    n_events : scored events per class; `n_unscored` in addition.
    weight_sums : Σw per class of the weights that were used.
    """

    options: EvaluationOptions
    classes: tuple[ClassInfo, ...]
    metrics: dict[str, float]
    errors: dict[str, float]
    roc: tuple[RocCurve, ...]
    pr: tuple[PrCurve, ...]
    confusion_true: ConfusionMatrix
    confusion_pred: ConfusionMatrix
    accuracy: Accuracy
    categories: tuple[CategoryScores, ...]
    comparisons: tuple[FoldComparison, ...]
    n_events: tuple[int, ...]
    n_unscored: int
    weight_sums: tuple[float, ...]
    notes: tuple[str, ...]


def evaluate_predictions(
    predictions: ScoreTable,
    classes: Sequence[ClassInfo],
    options: EvaluationOptions | None = None,
    folds: Sequence[FoldScores] = (),
) -> EvaluationResult:
    """Curves, areas, confusion matrices, score densities and the comparison of training with held-out events.

    Small samples are normal: a class without events gives NaN metrics and a note, not an error.

    Parameters
    ----------
    predictions : scores and truth of the dataset; unscored events are counted and left out.
    classes : names, colours and bins of the K classes, in the order of the scores.
    options : dataset, weights, thinning.
    folds : scores of each model on its training events and on the fold it never saw; none skips the comparison.
    """
    options = options or EvaluationOptions()
    classes = tuple(classes)
    if predictions.n_classes != len(classes):
        raise DataError(
            f"{predictions.n_classes} scores per event but {len(classes)} classes",
            where="class_to_info",
            remedy="Name every class of the model once.",
        )
    table = predictions.valid()
    target_N = table.target_N.astype(np.int64)
    weight_N = evaluation_weights(options.metric_weights, target_N, table.event_weight_N, len(classes))
    pred_N = np.argmax(table.scores_NK, axis=1)
    curves = [_curves(table, k, target_N, weight_N, options.max_curve_points) for k in range(len(classes))]
    top_score_N = np.max(table.scores_NK, axis=1)
    bin_sizes_K = [info.bin_size for info in classes]
    roc, pr = tuple(roc for roc, _ in curves), tuple(pr for _, pr in curves)
    matrices = (
        confusion(target_N, pred_N, len(classes), weight_N, "true"),
        confusion(target_N, pred_N, len(classes), weight_N, "pred"),
    )
    right = accuracy(target_N, pred_N, weight_N)
    comparisons = tuple(c for fold in folds for c in _compare(fold, len(classes), options.metric_weights))
    named = named_metrics(classes, roc, pr, right, matrices, comparisons)
    return EvaluationResult(
        options=options,
        classes=classes,
        metrics={f"{options.dataset}/{name}": value for name, (value, _) in named.items()},
        errors={f"{options.dataset}/{name}": error for name, (_, error) in named.items() if error is not None},
        roc=roc,
        pr=pr,
        confusion_true=matrices[0],
        confusion_pred=matrices[1],
        accuracy=right,
        categories=tuple(
            category_scores(k, top_score_N, pred_N, target_N, weight_N, bin_sizes_K) for k in range(len(classes))
        ),
        comparisons=comparisons,
        n_events=tuple(int(n) for n in np.bincount(target_N, minlength=len(classes))),
        n_unscored=predictions.n_events - table.n_events,
        weight_sums=tuple(float(s) for s in np.bincount(target_N, weights=weight_N, minlength=len(classes))),
        notes=(
            *weight_notes(predictions.n_events - table.n_events, table, options),
            *undefined_notes(classes, roc, matrices[1]),
        ),
    )


def _curves(
    table: ScoreTable, k: int, target_N: IntArray, weight_N: FloatArray, max_points: int
) -> tuple[RocCurve, PrCurve]:
    # Sorted once for both; the full curves are dropped right away, as ten million points per class would not fit.
    scan = scan_scores(table.scores_NK[:, k], target_N == k, weight_N)
    return thin_roc(roc_from_scan(scan), max_points), thin_pr(pr_from_scan(scan), max_points)


def _compare(fold: FoldScores, n_classes: int, scheme: str) -> list[FoldComparison]:
    train, held_out = fold.train.valid(), fold.held_out.valid()
    samples = []
    for table in (train, held_out):
        target_N = table.target_N.astype(np.int64)
        samples.append((table, target_N, evaluation_weights(scheme, target_N, table.event_weight_N, n_classes)))
    (train, train_target, train_weight), (held_out, held_target, held_weight) = samples
    return [
        compare_fold(
            k,
            fold.fold,
            (train.scores_NK[:, k], train_target, train_weight),
            (held_out.scores_NK[:, k], held_target, held_weight),
        )
        for k in range(n_classes)
    ]
