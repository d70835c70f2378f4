"""Which MLflow store, experiment and run: by argument, by environment, or MLflow's own SQLite default."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from utils.errors import RunError, nearest_name
from utils.logs import get_logger

logger = get_logger(__name__)

COMPLETE_TAG = "crossfold.complete"  # set when a training has logged its last artifact


def connect(tracking_uri: str | None = None) -> MlflowClient:
    """The client of a store. None: MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the working directory."""
    if tracking_uri is not None:
        mlflow.set_tracking_uri(tracking_uri)
    return MlflowClient()


@contextmanager
def training_run(experiment_name: str | None, run_name: str | None, tracking_uri: str | None = None) -> Iterator[Run]:
    """The run to train in: that of `mlflow run` where there is one, else a new one. An error marks it as failed."""
    connect(tracking_uri)
    adopted = "MLFLOW_RUN_ID" in os.environ
    if not adopted and experiment_name is not None:
        _set_experiment(experiment_name)
    with mlflow.start_run(run_name=None if adopted else run_name) as run:
        if adopted and run_name is not None:
            mlflow.set_tag("mlflow.runName", run_name)
        yield run


def _set_experiment(name: str) -> None:
    try:
        mlflow.set_experiment(name)
    except MlflowException as error:
        found = MlflowClient().get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "deleted":
            raise
        raise RunError(
            f"experiment '{name}' was deleted",
            where="experiment_name",
            remedy=f"Restore it (mlflow experiments restore --experiment-id {found.experiment_id}), or name another.",
        ) from error


def find_run(client: MlflowClient, run_id: str, experiment_id: str | None = None) -> Run:
    """A finished training run.

    Raises
    ------
    RunError : the run is unknown or deleted, belongs to another experiment, or its training did not finish.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        recent = _recent_runs(client)
        newest = ", ".join(recent[:3])
        hint = f"The newest trainings are {newest}." if recent else "It holds no training: start where mlflow.db is."
        raise RunError(
            f"no run '{run_id}'",
            where=f"the MLflow store {mlflow.get_tracking_uri()}",
            nearest=nearest_name(run_id, recent),
            remedy=f"{hint} Another store: set tracking_uri or MLFLOW_TRACKING_URI.",
        ) from error
    if run.info.lifecycle_stage == "deleted":
        raise RunError(
            f"run '{run_id}' was deleted", where="run_id", remedy=f"Restore it: mlflow runs restore --run-id {run_id}"
        )
    if experiment_id is not None and str(experiment_id) != str(run.info.experiment_id):
        raise RunError(
            f"run '{run_id}' belongs to experiment {run.info.experiment_id}, not {experiment_id}",
            where="experiment_id",
            remedy="Leave experiment_id out: the run ID is enough.",
        )
    if COMPLETE_TAG not in run.data.tags:
        raise RunError(
            f"the training of run '{run_id}' did not finish (MLflow says {run.info.status})",
            where="run_id",
            remedy="Wait for it, or train again: its log is among the run's artifacts.",
        )
    return run


def _recent_runs(client: MlflowClient) -> list[str]:
    """Finished trainings, the newest first."""
    try:
        experiments = [
            experiment.experiment_id for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)
        ]
        runs = client.search_runs(
            experiments,
            filter_string=f"tags.`{COMPLETE_TAG}` = 'train'",
            max_results=100,
            order_by=["attributes.start_time DESC"],
        )
    except MlflowException:
        return []
    return [run.info.run_id for run in runs]
