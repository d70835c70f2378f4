"""What a training run says of itself, and the models it keeps."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from utils.errors import CrossfoldError
from utils.events import hash_text
from utils.logs import add_log_file, get_logger, remove_log_file
from utils.models.crosstrain import TrainedFold, TrainingSet
from utils.models.ensemble import RoutedEnsemble
from utils.models.estimator import Described
from utils.models.spec import TrainSpec
from utils.tracking.environment import ENVIRONMENT, environment_text, git_state, sources_of
from utils.tracking.model_store import ENSEMBLE, log_ensemble
from utils.tracking.recorder import RunRecorder
from utils.tracking.resume import STARTED_TAG
from utils.tracking.store import COMPLETE_TAG, FAST_TAG, connect
from utils.tracking.tracked_run import PREDICTION_CONFIG, PREPROCESS_CONFIG, SKIM_METADATA, TRAIN_CONFIG

logger = get_logger(__name__)

LOG = "logs/train.log"
NETWORK = "network"


def log_origin(
    recorder: RunRecorder, spec: TrainSpec, config: Mapping[str, Any], skim_metadata: Mapping[str, Any]
) -> None:
    """Log configs, data fingerprints, cutflow, code version and environment: all by which the run explains itself."""
    recorder.yaml(dict(config), TRAIN_CONFIG)
    for artifact, path in sources_of(spec).items():
        recorder.text(path.read_text(), artifact)
    recorder.yaml(dict(skim_metadata.get("config", {})), PREPROCESS_CONFIG)
    if config.get("prediction_data"):
        recorder.yaml(dict(config["prediction_data"]), PREDICTION_CONFIG)
    recorder.text(json.dumps(skim_metadata, indent=1), SKIM_METADATA)
    recorder.text(_cutflow_csv(skim_metadata["cutflow"]), "data/cutflow.csv")
    recorder.text(environment_text(), ENVIRONMENT)
    for key, value in git_state().items():
        recorder.tag(key, value)
    _log_dataset(skim_metadata, spec.train_file)


@contextmanager
def run_recorder(run_id: str, resumed: bool = False) -> Iterator[RunRecorder]:
    """Writes to a run. What is logged inside becomes its `logs/train.log`, also when it ends with an error.

    Parameters
    ----------
    run_id : where to write.
    resumed : the run goes on after an interruption: its log grows, and what it has is not logged again.
    """
    recorder = RunRecorder(connect(), run_id, resumed)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "train.log"
        if resumed and LOG in recorder.artifacts("logs"):
            recorder.download(LOG, Path(scratch)).rename(path)
        handler = add_log_file(path)
        try:
            yield recorder
        except BaseException as error:
            with path.open("a") as log:  # the terminal is told by whoever catches it
                log.write(f"training failed: {error}\n")
            # What a user has to mend is another training afterwards.
            if not isinstance(error, CrossfoldError) and STARTED_TAG in recorder.tags() and not is_fast(recorder):
                logger.info("interrupted; it goes on with the same command and resume=%s", run_id)
            raise
        finally:
            remove_log_file(handler)
            recorder.file(path, "logs")


def log_training_set(recorder: RunRecorder, training: TrainingSet, spec: TrainSpec) -> None:
    """Log the parameters, and how many events there are of each fold and class."""
    recorder.params(
        {
            "run_id": recorder.run_id,
            "train_file": spec.train_file,
            "task": spec.task,
            "targets": ",".join(spec.targets),
            "n_splits": spec.n_splits,
            "xtrain_split_feature": spec.xtrain_split_feature,
            "folds": {"by": spec.folds.by},
            "validation": spec.validation,
            "unseen": spec.unseen,
            "weight_name": spec.weight_name,
            "negative_weights": spec.negative_weights,
            "event_weight": spec.event_weight,
            "model": spec.model.target,
            "model_param": spec.model_param,
            "init_from": spec.init_from,
            "freeze": ",".join(spec.freeze),
            "features": ",".join(training.data.feature_names),
        }
    )
    counts = {f"data/events_fold_{fold}": n for fold, n in enumerate(training.fold_counts)}
    names = training.data.skim.metadata["class_names"]
    per_class = np.bincount(training.data.class_N, minlength=len(names))
    counts |= {f"data/events_{name}": int(n) for name, n in zip(names, per_class, strict=True)}
    recorder.metrics(counts)
    if training.weight_report is not None:
        recorder.params({"weights": {**vars(training.weight_report)}})
    if spec.n_splits > 1 and spec.validation == "held_out":
        note = "The fold that a model predicts was also the one it was monitored on; with early stopping its held-out "
        recorder.tag("crossfold.validation", note + "scores are slightly optimistic. validation=next_fold avoids this.")


def log_fold(recorder: RunRecorder, fold: TrainedFold, areas: Mapping[str, float]) -> None:
    """Log a trained fold: its size, its areas, its best iteration, and the factor of its weights."""
    recorder.flush()
    values = {
        f"fold_{fold.fold}/n_train": fold.train.n_events,
        f"fold_{fold.fold}/n_valid": fold.valid.n_events,
        f"fold_{fold.fold}/n_held_out": len(fold.held_out_rows),
        f"fold_{fold.fold}/weight_factor": fold.weight_factor,
        f"fold_{fold.fold}/seconds": fold.seconds,
        **areas,
    }
    if isinstance(fold.estimator, Described):
        said = fold.estimator.description()
        recorder.params(said.params)
        values |= {f"fold_{fold.fold}/{name}": value for name, value in said.numbers.items()}
        for name, text in said.texts.items():
            recorder.text(text, f"{NETWORK}/{name}")
    if fold.estimator.n_iterations is not None:
        values[f"fold_{fold.fold}/n_iterations"] = fold.estimator.n_iterations
    recorder.metrics(values)


def log_models(recorder: RunRecorder, ensemble: RoutedEnsemble) -> None:
    """Log the routed ensemble; its models are there already, each by itself (see `FoldStore.keep`)."""
    log_ensemble(ensemble, ENSEMBLE, recorder)


def mark_complete(recorder: RunRecorder) -> None:
    """The training's last word: from now on the run can be used."""
    recorder.flush()
    recorder.tag(COMPLETE_TAG, "train")


def mark_fast(recorder: RunRecorder) -> None:
    """Say that this run only tries whether everything works: no later stage takes it for a result."""
    recorder.tag(FAST_TAG, "true")


def is_fast(recorder: RunRecorder) -> bool:
    """Whether the run only tries whether everything works."""
    return FAST_TAG in recorder.tags()


def _cutflow_csv(cutflow: list[Mapping[str, Any]]) -> str:
    columns = ["sample", "process", "step", "n_events", "sum_w", "sqrt_sum_w2"]
    lines = [",".join(str(step[column]) for column in columns) for step in cutflow]
    return "\n".join([",".join(columns), *lines]) + "\n"


def _log_dataset(metadata: Mapping[str, Any], train_file: str) -> None:
    fingerprints = json.dumps([file["fingerprint"] for file in metadata["inputs"]], sort_keys=True)
    source = CodeDatasetSource(
        tags={"train_file": train_file, "inputs": ", ".join(f["path"] for f in metadata["inputs"])[:400]}
    )
    dataset = MetaDataset(  # type: ignore[abstract]
        source, name=Path(train_file).stem, digest=f"{hash_text(fingerprints):016x}"
    )
    mlflow.log_input(dataset, context="training")
