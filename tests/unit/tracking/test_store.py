"""Which run is meant, and which runs are refused."""

import os
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from utils.errors import RunError
from utils.tracking.store import COMPLETE_TAG, FAST_TAG, PROCESS_TAG, _process, connect, find_run, training_run
from utils.tracking.tracked_run import TrackedRun


def new_experiment(client: MlflowClient, name: str) -> str:
    return str(client.create_experiment(name, artifact_location=str(Path.cwd() / "artifacts")))


def new_run(client: MlflowClient, experiment: str, complete: bool = True) -> str:
    run_id = str(client.create_run(experiment).info.run_id)
    if complete:
        client.set_tag(run_id, COMPLETE_TAG, "train")
        client.set_terminated(run_id)
    return run_id


def test_a_finished_training_is_found(client: MlflowClient) -> None:
    experiment = new_experiment(client, "found")
    run_id = new_run(client, experiment)
    assert find_run(client, run_id).info.run_id == run_id
    assert find_run(client, run_id, experiment).info.experiment_id == experiment
    assert find_run(client, run_id, int(experiment)).info.run_id == run_id  # type: ignore[arg-type] (as YAML gives it)


def test_an_unknown_run_shows_the_nearest_and_the_newest(client: MlflowClient) -> None:
    experiment = new_experiment(client, "unknown")
    runs = [new_run(client, experiment) for _ in range(5)]
    mistyped = runs[-1][:-1] + ("0" if runs[-1][-1] != "0" else "1")
    with pytest.raises(RunError) as raised:
        find_run(client, mistyped)
    text = str(raised.value)
    assert f"no run '{mistyped}', in the MLflow store sqlite:///" in text
    assert f"did you mean '{runs[-1]}'" in text
    assert raised.value.nearest == runs[-1]
    for run_id in runs[2:]:
        assert run_id in text
    assert runs[0] not in text
    assert "MLFLOW_TRACKING_URI" in text


def test_the_newest_are_trainings_that_can_be_used(client: MlflowClient) -> None:
    experiment = new_experiment(client, "usable")
    usable = new_run(client, experiment)
    died = [new_run(client, experiment, complete=False) for _ in range(4)]
    with pytest.raises(RunError) as raised:
        find_run(client, "0" * 32)
    assert usable in str(raised.value)
    assert not any(run_id in str(raised.value) for run_id in died)


@pytest.mark.parametrize("name", ["", "latest", "../..", "0" * 32, "a'b"])
def test_what_is_no_run_id_is_an_error(client: MlflowClient, name: str) -> None:
    with pytest.raises(RunError, match="no run '"):
        find_run(client, name)


def test_a_deleted_run_can_be_restored(client: MlflowClient) -> None:
    run_id = new_run(client, new_experiment(client, "deleted"))
    client.delete_run(run_id)
    with pytest.raises(RunError, match=f"run '{run_id}' was deleted.*mlflow runs restore --run-id {run_id}"):
        find_run(client, run_id)
    client.restore_run(run_id)
    assert find_run(client, run_id).info.run_id == run_id


@pytest.mark.parametrize("status", [None, "FAILED", "KILLED", "FINISHED"])
def test_a_training_that_did_not_finish_is_refused(client: MlflowClient, status: str | None) -> None:
    """Whatever MLflow says of it: a run of another kind is FINISHED as well."""
    run_id = new_run(client, new_experiment(client, f"died {status}"), complete=False)
    if status is not None:
        client.set_terminated(run_id, status)
    with pytest.raises(
        RunError, match=f"the training of run '{run_id}' did not finish .MLflow says {status or 'RUNNING'}"
    ):
        TrackedRun.open(run_id)


def interrupted(client: MlflowClient, experiment: str, process: str = "elsewhere 1 1") -> str:
    run_id = new_run(client, experiment, complete=False)
    client.set_tag(run_id, PROCESS_TAG, process)
    return run_id


def test_an_interrupted_training_is_gone_on_with(client: MlflowClient) -> None:
    run_id = interrupted(client, new_experiment(client, "interrupted"))
    with training_run("another", "renamed", resume=run_id) as run:
        assert run.info.run_id == run_id
        assert client.get_run(run_id).info.status == "RUNNING"
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "renamed"
    assert client.get_experiment_by_name("another") is None


def test_what_cannot_be_gone_on_with_is_refused_and_left_as_it_is(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = new_experiment(client, "refused")
    complete, fast = interrupted(client, experiment), interrupted(client, experiment)
    client.set_tag(complete, COMPLETE_TAG, "train")
    client.set_terminated(complete)
    client.set_tag(fast, FAST_TAG, "true")
    for run_id, said in (
        (complete, f"the training of run '{complete}' is complete.*init_from={complete}"),
        (fast, "was a fast_dev_run"),
        (new_run(client, experiment, complete=False), "is no training"),
        ("0" * 32, "no run '000"),
    ):
        with pytest.raises(RunError, match=said), training_run(None, None, resume=run_id):
            pass
    assert client.get_run(complete).info.status == "FINISHED"
    adopted = new_run(client, experiment, complete=False)
    monkeypatch.setenv("MLFLOW_RUN_ID", adopted)
    run_id = interrupted(client, experiment)
    with pytest.raises(RunError, match=f"--run-id {run_id}"), training_run(None, None, resume=run_id):
        pass


def test_a_training_that_is_under_way_is_not_gone_on_with(client: MlflowClient) -> None:
    experiment = new_experiment(client, "under way")
    with training_run("under way", None) as run:
        mine = client.get_run(run.info.run_id).data.tags[PROCESS_TAG]
    assert client.get_run(run.info.run_id).data.tags[PROCESS_TAG] == "ended"
    # As if another process of this machine were at it: this one's parent, which lives as long.
    parent = _process(os.getppid())
    assert mine == _process(os.getpid())
    assert mine != parent
    refused = pytest.raises(RunError, match=f"still being trained, by process {os.getppid()}")
    with refused, training_run(None, None, resume=interrupted(client, experiment, parent)):
        pass
    number = parent.rpartition(" ")[0]
    with training_run(None, None, resume=interrupted(client, experiment, f"{number} 0")):  # the number was given anew
        pass


def test_a_fast_dev_run_is_no_training_to_predict_with(client: MlflowClient) -> None:
    run_id = new_run(client, new_experiment(client, "fast"), complete=False)
    client.set_tag(run_id, FAST_TAG, "true")
    with pytest.raises(RunError, match="was a fast_dev_run.*Train without fast_dev_run"):
        TrackedRun.open(run_id)


def test_another_experiment_than_the_runs_is_an_error(client: MlflowClient) -> None:
    mine, other = new_experiment(client, "mine"), new_experiment(client, "other")
    run_id = new_run(client, mine)
    with pytest.raises(RunError, match=f"belongs to experiment {mine}, not {other}.*the run ID is enough") as raised:
        find_run(client, run_id, other)
    assert raised.value.where == "experiment_id"


def test_a_training_makes_a_run_in_its_experiment(client: MlflowClient) -> None:
    with training_run("made", "first try") as run:
        assert mlflow.active_run().info.run_id == run.info.run_id
    found = client.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first try"
    assert client.get_experiment(found.info.experiment_id).name == "made"


def test_a_training_that_fails_says_so(client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), training_run("failed", None) as run:
        raise ZeroDivisionError
    assert client.get_run(run.info.run_id).info.status == "FAILED"


def test_under_mlflow_run_its_run_is_adopted(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = new_experiment(client, "of mlflow run")
    run_id = new_run(client, experiment, complete=False)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    with training_run("of the config", "named") as run:
        assert run.info.run_id == run_id
        assert run.info.experiment_id == experiment
    assert client.get_run(run_id).info.run_name == "named"
    assert client.get_experiment_by_name("of the config") is None


def test_a_deleted_experiment_is_an_error_with_the_remedy(client: MlflowClient) -> None:
    experiment = new_experiment(client, "gone")
    client.delete_experiment(experiment)
    refused = pytest.raises(RunError, match="experiment 'gone' was deleted.*mlflow experiments restore")
    with refused, training_run("gone", None):
        pass


def test_the_store_of_the_config_wins_over_that_of_the_environment(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    mlflow.set_tracking_uri("sqlite:///elsewhere.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert new_run(connect(database), "0")
    assert mlflow.get_tracking_uri() == database
