"""Which MLflow store, experiment and run: by argument, by environment, or MLflow's own SQLite default."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from utils.errors import RunError, nearest_name
from utils.logs import get_logger

logger = get_logger(__name__)

COMPLETE_TAG = "crossfold.complete"  # set when a training has logged its last artifact
FAST_TAG = "crossfold.fast_dev_run"
PROCESS_TAG = "crossfold.process"  # host, process and its start, of the training while it is under way


def connect(tracking_uri: str | None = None) -> MlflowClient:
    """The client of a store. None: MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the working directory."""
    if tracking_uri is not None:
        mlflow.set_tracking_uri(tracking_uri)
    return MlflowClient()


@contextmanager
def training_run(
    experiment_name: str | None, run_name: str | None, tracking_uri: str | None = None, resume: str | None = None
) -> Iterator[Run]:
    """The run to train in: that of `mlflow run` where there is one, else a new one. An error marks it as failed.

    Parameters
    ----------
    resume : ID of an interrupted training to go on with instead; RunError unless it can be.
    """
    client = connect(tracking_uri)
    adopted = os.environ.get("MLFLOW_RUN_ID")
    if resume is not None:
        experiment_id = _check_interrupted(client, resume, adopted)
        if adopted is None:
            mlflow.set_experiment(experiment_id=experiment_id)
    elif adopted is None and experiment_name is not None:
        _set_experiment(experiment_name)
    with mlflow.start_run(run_id=resume, run_name=run_name if adopted is None and resume is None else None) as run:
        if (adopted is not None or resume is not None) and run_name is not None:
            mlflow.set_tag("mlflow.runName", run_name)
        mlflow.set_tag(PROCESS_TAG, _process(os.getpid()))
        try:
            yield run
        finally:
            mlflow.set_tag(PROCESS_TAG, "ended")


def _check_interrupted(client: MlflowClient, run_id: str, adopted: str | None) -> str:
    """RunError unless the run is a training that was interrupted, and that nobody has gone on with; its experiment."""
    run = _existing_run(client, run_id)
    if adopted not in (None, run_id):
        raise RunError(
            f"mlflow run has made the run '{adopted}', and '{run_id}' is to be gone on with",
            where="resume",
            remedy=f"Name it to mlflow as well (mlflow run . --run-id {run_id} …), or use python train.py resume=….",
        )
    if PROCESS_TAG not in run.data.tags:
        raise RunError(f"run '{run_id}' is no training", where="resume", remedy="Name one, or leave resume out.")
    if COMPLETE_TAG in run.data.tags:
        raise RunError(
            f"the training of run '{run_id}' is complete",
            where="resume",
            remedy=f"To train on from its models: init_from={run_id} (networks), without resume.",
        )
    if FAST_TAG in run.data.tags:
        raise RunError(
            f"run '{run_id}' was a fast_dev_run, which keeps nothing to go on from",
            where="resume",
            remedy="Train without resume and fast_dev_run.",
        )
    host, _, number = run.data.tags.get(PROCESS_TAG, "").partition(" ")
    pid = number.partition(" ")[0]
    if pid.isdigit() and int(pid) != os.getpid() and _process(int(pid)) == f"{host} {number}":
        raise RunError(
            f"run '{run_id}' is still being trained, by process {pid} here",
            where="resume",
            remedy="Wait for it, or end it first.",
        )
    return str(run.info.experiment_id)


def _process(pid: int) -> str:
    """A process by which it can be known later: host, number, and when it was started (as far as Linux tells)."""
    started = "-" if pid == os.getpid() else "gone"
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = "gone" if state[0] == "Z" else state[19]
    return f"{socket.gethostname()} {pid} {started}"


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
    run = _existing_run(client, run_id)
    if experiment_id is not None and str(experiment_id) != str(run.info.experiment_id):
        raise RunError(
            f"run '{run_id}' belongs to experiment {run.info.experiment_id}, not {experiment_id}",
            where="experiment_id",
            remedy="Leave experiment_id out: the run ID is enough.",
        )
    if FAST_TAG in run.data.tags:
        raise RunError(
            f"run '{run_id}' was a fast_dev_run: its models have seen a batch each",
            where="run_id",
            remedy="Train without fast_dev_run.",
        )
    if COMPLETE_TAG not in run.data.tags:
        raise RunError(
            f"the training of run '{run_id}' did not finish (MLflow says {run.info.status})",
            where="run_id",
            remedy="Wait for it, or go on with it: the same command as before with resume=RUN_ID. Its log is among "
            "the run's artifacts.",
        )
    return run


def _existing_run(client: MlflowClient, run_id: str) -> Run:
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
