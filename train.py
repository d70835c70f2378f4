"""Cross-train N models on a skim, as one MLflow run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.config import stage

if TYPE_CHECKING:
    from utils.models.spec import TrainSpec
    from utils.plots.description import Figure


@dataclass(frozen=True)
class TrainResult:
    """The run, its metrics, and its figures for a notebook."""

    run_id: str
    experiment_id: str
    metrics: Mapping[str, float]
    figures: "tuple[Figure, ...]"


@stage(
    config_path="configs/train",
    config_name="train",
    spec="utils.models.spec:TrainSpec",
    examples=(
        "mlflow run . -P year=2018 --env-manager local",
        "python train.py analysis=hep_tutorial year=2012 n_splits=3 model_param.num_iterations=300",
        "python train.py year=2018 model=sklearn_histgb",
    ),
)
def main(spec: "TrainSpec", config: Mapping[str, Any]) -> TrainResult:
    """Cross-train N models on a skim, as one MLflow run.

    Model i never trains on fold i, and is the one that predicts it.
    """
    from utils.evaluation.training import Curves, HeldOut, write_training_figures
    from utils.loading import SkimData
    from utils.logs import duration, get_logger
    from utils.models.crosstrain import cross_train, event_weights, open_training_set
    from utils.models.ensemble import RoutedEnsemble
    from utils.readers.skim import SkimFile
    from utils.tracking.store import training_run
    from utils.tracking.tracked_run import OVERTRAINING_TABLE, TRAINING_PLOTS
    from utils.tracking.training_log import (
        log_fold,
        log_models,
        log_origin,
        log_training_set,
        mark_complete,
        run_recorder,
    )

    logger = get_logger("train")
    with (
        tempfile.TemporaryDirectory() as scratch,
        training_run(spec.experiment_name, spec.run_name, spec.tracking_uri) as run,
        run_recorder(run.info.run_id) as recorder,
        SkimFile(spec.train_file) as skim,
    ):
        log_origin(recorder, config, skim.metadata, spec.train_file)
        user_steps: dict[str, Any] = {step.target: step.load() for step in spec.steps}
        data = SkimData.open(skim, spec.cont_features, spec.cat_features, user_steps)
        training = open_training_set(data, spec)
        log_training_set(recorder, training, spec)
        logger.info("%s: %s events, folds %s", spec.train_file, f"{skim.n_rows:,}", training.fold_counts)

        curves = Curves(recorder.curve_point)
        held_out = HeldOut(training, event_weights(skim, spec.event_weight))
        folds = []
        for fold in cross_train(training, spec, lambda: spec.model(params=spec.model_param), curves.monitor_of):
            areas = held_out.add(fold)
            log_fold(recorder, fold, areas)
            logger.info(
                "fold %d: %s training events, %s, AUC %.4f",
                fold.fold, f"{fold.train.n_events:,}", duration(fold.seconds), areas[f"fold_{fold.fold}/roc_auc_macro"],
            )  # fmt: skip
            folds.append(fold)

        metrics = held_out.areas()
        recorder.metrics(metrics)
        figures = write_training_figures(Path(scratch) / "plots", curves, data.feature_names, folds)
        recorder.folder(Path(scratch) / "plots", TRAINING_PLOTS)
        held_out.write_samples(Path(scratch) / Path(OVERTRAINING_TABLE).name)
        recorder.file(Path(scratch) / Path(OVERTRAINING_TABLE).name, str(Path(OVERTRAINING_TABLE).parent))
        models = tuple(fold.estimator for fold in folds)
        names = tuple(skim.metadata["class_names"])
        log_models(RoutedEnsemble(models, spec.fold_rule, data.pipe, data.cat_features, names, spec.unseen))
        mark_complete(recorder)
    result = TrainResult(run.info.run_id, run.info.experiment_id, metrics, tuple(figures))
    report(result)
    return result


def report(result: TrainResult) -> None:
    """Print the areas, and last of all the IDs that the next commands need."""
    from utils.logs import summary
    from utils.plots.notebook import show

    show(result.figures)
    macro = {name: value for name, value in result.metrics.items() if name.endswith("macro")}
    summary("Held-out areas (macro, one vs all)", {name: f"{value:.4f}" for name, value in macro.items()})
    summary("Next", {"predict": f"python predict.py run_id={result.run_id}", "look": "mlflow ui"})
    summary("Run", {"experiment_id": result.experiment_id, "run_id": result.run_id})


if __name__ == "__main__":
    main()
