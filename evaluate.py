"""Evaluate the predictions of a run: metrics and figures, logged to the same run."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from utils.config import stage

if TYPE_CHECKING:
    from utils.evaluation.report import Result
    from utils.evaluation.spec import EvaluateSpec


@stage(
    config_path="configs",
    config_name="evaluate",
    spec="utils.evaluation.spec:EvaluateSpec",
    examples=(
        "python evaluate.py run_id=RUN_ID dataset=test",
        "python evaluate.py run_id=RUN_ID dataset=train metric_weights=event figures.style=ATLAS",
    ),
)
def main(spec: "EvaluateSpec") -> "Result":
    """Evaluate the predictions of a run: metrics and figures, logged to the same run.

    It reads what `python predict.py --config-name for_evaluation run_id=…` has logged.
    """
    from utils.evaluation.options import EvaluationOptions
    from utils.evaluation.report import write_report
    from utils.evaluation.tasks import evaluate_table
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
        samples = None
        if spec.dataset == "train" and run.has(OVERTRAINING_TABLE):
            samples = run.download(OVERTRAINING_TABLE, Path(scratch), "Train again.")
        options = EvaluationOptions(spec.label, spec.metric_weights)
        result = evaluate_table(table, run.outputs(), classes, options, event_weight, samples)
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


def report(result: "Result", run_id: str, folder: str | None = None) -> None:
    """Print the numbers, and where the figures are."""
    from utils.evaluation.report import evaluation_figures
    from utils.evaluation.tasks import in_words
    from utils.logs import summary
    from utils.plots.notebook import show

    show(evaluation_figures(result).values())
    for words in in_words(result):
        summary(*words)
    places = {"mlflow ui": f"run {run_id}, Artifacts, plots/{result.options.dataset}/index.html"}
    summary("Look", places if folder is None else {"open": f"{folder}/index.html", **places})


if __name__ == "__main__":
    main()
