"""The evaluation that a run's task asks for, and what the terminal says of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.evaluation.anomaly import AnomalyResult, evaluate_losses
from utils.evaluation.evaluate import EvaluationResult, evaluate_predictions
from utils.evaluation.options import EvaluationOptions
from utils.evaluation.predictions import read_losses, read_overtraining, read_predictions, read_values
from utils.evaluation.report import Result, loss_table, target_table
from utils.evaluation.values import RegressionResult, evaluate_values
from utils.outputs import Outputs
from utils.plots.classes import ClassInfo


def evaluate_table(
    table: Path,
    outputs: Outputs,
    classes: Sequence[ClassInfo],
    options: EvaluationOptions,
    event_weight: str | None,
    samples: Path | None = None,
) -> Result:
    """Read a prediction and evaluate it.

    Parameters
    ----------
    table : as predict.py writes it for evaluation.
    outputs : what the run's models tell.
    classes : of the skim that was trained on.
    options : dataset and weights.
    event_weight : column of the signed event weight; None where there is none.
    samples : what the training kept against overtraining; None leaves the comparison out.
    """
    if outputs.task == "regression":
        return evaluate_values(read_values(table, outputs, event_weight), outputs.names, options)
    if outputs.task == "autoencoder":
        return evaluate_losses(read_losses(table, outputs, event_weight), classes, options)
    folds = () if samples is None else read_overtraining(samples, outputs.n)
    return evaluate_predictions(read_predictions(table, outputs.n, event_weight), classes, options, folds)


def in_words(result: Result) -> list[tuple[Any, ...]]:
    """The tables that the terminal shows: title, rows, and a header where there is one."""
    title = f"Evaluation of {result.options.dataset}"
    if isinstance(result, RegressionResult | AnomalyResult):
        table = target_table(result) if isinstance(result, RegressionResult) else loss_table(result)
        return [(title, [list(row) for row in table.rows], list(table.header))]
    return _areas(result, title)


def _areas(result: EvaluationResult, title: str) -> list[tuple[Any, ...]]:
    rows = [
        [info.name, result.n_events[k], f"{result.roc[k].auc:.4f} ± {result.roc[k].auc_error:.4f}",
         f"{result.pr[k].average_precision:.4f}"]
        for k, info in enumerate(result.classes)
    ]  # fmt: skip
    macro = result.metrics[f"{result.options.dataset}/roc_auc_macro"]
    return [
        (title, rows, ["class", "events", "ROC area", "average precision"]),
        ("Macro area", {f"weights: {result.options.metric_weights}": f"{macro:.4f}"}),
    ]
