"""Cross-train N models on a skim, as one MLflow run."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.config import stage

if TYPE_CHECKING:
    from utils.models.estimator import Estimator
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
        "python train.py year=2018 model=torch_mlp",
        "python train.py year=2018 model=torch_mlp resume=RUN_ID",
        "python train.py --config-name mlaas4hep files=files.txt labels=labels.txt model_file=model.py",
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
    from utils.preprocessing.reuse import skims_at_hand
    from utils.readers.skim import SkimFile
    from utils.tracking.fold_store import FoldStore
    from utils.tracking.resume import check_unchanged, has_started, mark_started
    from utils.tracking.store import training_run
    from utils.tracking.tracked_run import OVERTRAINING_TABLE, TRAINING_PLOTS
    from utils.tracking.training_log import (
        log_fold,
        log_models,
        log_origin,
        log_training_set,
        mark_complete,
        mark_fast,
        run_recorder,
    )
    from utils.tracking.warm_start import initial_models

    logger = get_logger("train")
    make = partial(spec.model, params=spec.model_param)
    make()  # what is not installed, or misspelt, is said before there is a run
    if spec.training_data is not None:
        skims_at_hand(spec.training_data, config["training_data"])
    with (
        tempfile.TemporaryDirectory() as scratch,
        training_run(spec.experiment_name, spec.run_name, spec.tracking_uri, spec.resume) as run,
        run_recorder(run.info.run_id, resumed=spec.resume is not None) as recorder,
        SkimFile(spec.train_file) as skim,
    ):
        if spec.fast_dev_run:
            mark_fast(recorder)
        goes_on = has_started(recorder)
        if not goes_on:
            log_origin(recorder, spec, config, skim.metadata)
        user_steps: dict[str, Any] = {step.target: step.load() for step in spec.steps}
        data = SkimData.open(skim, spec.cont_features, spec.cat_features, user_steps, spec.task, spec.targets)
        training = open_training_set(data, spec)
        if goes_on:
            check_unchanged(recorder, spec, config, training, Path(scratch))
        log_training_set(recorder, training, spec)
        mark_started(recorder, training)
        logger.info("run %s%s", run.info.run_id, ", which goes on" if goes_on else "")
        logger.info("%s: %s events, folds %s", spec.train_file, f"{skim.n_rows:,}", training.fold_counts)

        def ensemble_of(*models: "Estimator") -> RoutedEnsemble:
            names = tuple(skim.metadata["class_names"])
            return RoutedEnsemble(
                models, spec.fold_rule, data.pipe, data.cat_features, names, spec.unseen, spec.task, spec.targets
            )

        store = FoldStore(recorder, spec, Path(scratch), initial_models(spec, training, Path(scratch)))
        curves = Curves(recorder.curve_point)
        curves.restore(recorder.logged_curves() if goes_on else ())
        held_out = HeldOut(training, event_weights(skim, spec.event_weight))
        folds = []
        for fold in cross_train(training, spec, make, curves.monitor_of, store.context, store.finished):
            areas = held_out.add(fold)
            folds.append(fold)
            if fold.restored:
                continue
            log_fold(recorder, fold, areas)
            store.keep(fold.fold, ensemble_of(fold.estimator).only(0))
            logger.info(
                "fold %d: %s training events, %s, %s",
                fold.fold, f"{fold.train.n_events:,}", duration(fold.seconds),
                held_out.headline(areas, f"fold_{fold.fold}"),
            )  # fmt: skip

        metrics = held_out.areas()
        recorder.metrics(metrics)
        figures = write_training_figures(Path(scratch) / "plots", curves, data.feature_names, folds)
        recorder.folder(Path(scratch) / "plots", TRAINING_PLOTS)
        samples = Path(scratch) / Path(OVERTRAINING_TABLE).name
        if held_out.write_samples(samples):
            recorder.file(samples, str(Path(OVERTRAINING_TABLE).parent))
        log_models(recorder, ensemble_of(*(fold.estimator for fold in folds)))
        if not spec.fast_dev_run:
            mark_complete(recorder)
    result = TrainResult(run.info.run_id, run.info.experiment_id, metrics, tuple(figures))
    report(result, spec.fast_dev_run)
    return result


def report(result: TrainResult, fast_dev_run: bool = False) -> None:
    """Print the areas, and last of all the IDs that the next commands need."""
    from utils.logs import summary
    from utils.plots.notebook import show

    show(result.figures)
    macro = {name: value for name, value in result.metrics.items() if name.endswith("macro")}
    if macro:
        summary("Held-out areas (macro, one vs all)", {name: f"{value:.4f}" for name, value in macro.items()})
    else:
        summary("Held-out events", {name: f"{value:.5g}" for name, value in result.metrics.items()})
    if fast_dev_run:
        summary(
            "Fast dev run", [["Everything works. Its models have seen a batch each, and no later stage takes them."]]
        )
    else:
        summary("Next", {"predict": f"python predict.py run_id={result.run_id}", "look": "mlflow ui"})
    summary("Run", {"experiment_id": result.experiment_id, "run_id": result.run_id})


if __name__ == "__main__":
    main()
