"""Evaluate the predictions of a run: metrics and figures, logged to the same run."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from utils.config import stage

if TYPE_CHECKING:
    from utils.evaluation.evaluate import EvaluationResult
    from utils.evaluation.spec import EvaluateSpec
    from utils.evaluation.tables import FoldScores


@stage(
    config_path="configs",
    config_name="evaluate",
    spec="utils.evaluation.spec:EvaluateSpec",
    examples=(
        "python evaluate.py run_id=RUN_ID dataset=test",
        "python evaluate.py run_id=RUN_ID dataset=train metric_weights=event figures.style=ATLAS",
    ),
)
def main(spec: "EvaluateSpec") -> "EvaluationResult":
    """Evaluate the predictions of a run: metrics and figures, logged to the same run.

    It reads what `python predict.py --config-name for_evaluation run_id=…` has logged.
    """
    from utils.evaluation.evaluate import evaluate_predictions
    from utils.evaluation.options import EvaluationOptions
    from utils.evaluation.predictions import read_overtraining, read_predictions
    from utils.evaluation.report import write_report
    from utils.plots.classes import classes_from_config, default_classes
    from utils.tracking.tracked_run import OVERTRAINING_TABLE, PLOTS, TrackedRun

    run = TrackedRun.open(spec.run_id, spec.experiment_id, spec.tracking_uri)
    train_config = run.config()
    class_names = run.skim_metadata()["class_names"]
    info = spec.class_to_info or train_config.get("class_to_info")
    classes = classes_from_config(info) if info else default_classes(class_names)
    weighted = spec.metric_weights in ("event", "both")
    event_weight = spec.event_weight or (train_config.get("event_weight") if weighted else None)
    with tempfile.TemporaryDirectory() as scratch:
        table = run.download_prediction(spec.dataset, Path(scratch))
        predictions = read_predictions(table, len(class_names), event_weight)
        folds: tuple[FoldScores, ...] = ()
        if spec.dataset == "train" and run.has(OVERTRAINING_TABLE):
            folds = read_overtraining(run.download(OVERTRAINING_TABLE, Path(scratch), "Train again."), len(class_names))
        options = EvaluationOptions(spec.label, spec.metric_weights)
        result = evaluate_predictions(predictions, classes, options, folds)
        folder = Path(scratch) / "plots"
        write_report(
            result, folder, spec.figures, {"Run": run.run_id}, train_config.get("experiment_name") or "Evaluation"
        )
        run.recorder.metrics(result.metrics)
        run.recorder.folder(folder, f"{PLOTS}/{spec.label}")
        if spec.output_path is not None:
            shutil.copytree(folder, spec.output_path, dirs_exist_ok=True)
    report(result, run.run_id, spec.output_path)
    return result


def report(result: "EvaluationResult", run_id: str, folder: str | None = None) -> None:
    """Print the areas of every class, and where the figures are."""
    from utils.evaluation.report import evaluation_figures
    from utils.logs import summary
    from utils.plots.notebook import show

    show(evaluation_figures(result).values())
    dataset = result.options.dataset
    rows = [
        [info.name, result.n_events[k], f"{result.roc[k].auc:.4f} ± {result.roc[k].auc_error:.4f}",
         f"{result.pr[k].average_precision:.4f}"]
        for k, info in enumerate(result.classes)
    ]  # fmt: skip
    summary(f"Evaluation of {dataset}", rows, ["class", "events", "ROC area", "average precision"])
    summary(
        "Macro area", {f"weights: {result.options.metric_weights}": f"{result.metrics[f'{dataset}/roc_auc_macro']:.4f}"}
    )
    places = {"mlflow ui": f"run {run_id}, Artifacts, plots/{dataset}/index.html"}
    summary("Look", places if folder is None else {"open": f"{folder}/index.html", **places})


if __name__ == "__main__":
    main()
