"""What is written to a run can be read from it, through the client alone."""

import logging
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from utils.errors import RunError
from utils.logs import captured_log, get_logger
from utils.tracking import recorder as recorder_module
from utils.tracking.recorder import RunRecorder
from utils.tracking.resume import STARTED_TAG
from utils.tracking.store import COMPLETE_TAG
from utils.tracking.tracked_run import PREDICTION_CONFIG, TRAIN_CONFIG, TrackedRun
from utils.tracking.training_log import mark_complete, run_recorder


@pytest.fixture
def run(client: MlflowClient, tmp_path: Path) -> TrackedRun:
    experiment = client.create_experiment(tmp_path.name, artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    mark_complete(RunRecorder(client, run_id))
    return TrackedRun.open(run_id)


def test_texts_and_yaml_come_back(run: TrackedRun) -> None:
    config = {"n_splits": 2, "path": "a/b", "list": [1, None, "é"], "year": "2018"}
    run.recorder.yaml(config, TRAIN_CONFIG)
    run.recorder.text("alone", "note.txt")
    assert run.config() == config
    assert run.text("note.txt") == "alone"
    assert run.has(TRAIN_CONFIG)
    assert not run.has("config/other.yaml")
    assert run.config(PREDICTION_CONFIG) == {}


def test_a_missing_artifact_is_an_error_with_the_nearest(run: TrackedRun, tmp_path: Path) -> None:
    run.recorder.text("x", "config/train.yaml")
    with pytest.raises(RunError, match="has no 'config/trian.yaml'; did you mean 'config/train.yaml'.*Do this"):
        run.download("config/trian.yaml", tmp_path, "Do this.")


def test_a_dataset_that_was_not_predicted_is_an_error_with_the_nearest(run: TrackedRun, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match="has no prediction of dataset 'test'.*predict.py --config-name for_evaluation"
    ) as raised:
        run.download_prediction("test", tmp_path)
    assert raised.value.nearest is None
    for name in ("train.csv", "test.parquet", "ww_pred.root"):
        run.recorder.text(name, f"pred/{name}")
    with pytest.raises(RunError, match="no prediction of dataset 'tset'.*did you mean 'test'"):
        run.download_prediction("tset", tmp_path)
    with pytest.raises(RunError, match="no prediction of dataset 'ww_pred'"):
        run.download_prediction("ww_pred", tmp_path)
    assert run.download_prediction("test", tmp_path).read_text() == "test.parquet"
    assert run.download_prediction("train", tmp_path).read_text() == "train.csv"


def test_parameters_are_flat_and_never_too_long(run: TrackedRun, client: MlflowClient) -> None:
    many = {f"p{i}": i for i in range(150)}
    run.recorder.params({"folds": {"by": "modulo"}, "none": None, "empty": {}, "long": "x" * 10_000, **many})
    params = client.get_run(run.run_id).data.params
    assert params["folds.by"] == "modulo"
    assert params["none"] == "None"
    assert params["empty"] == "{}"
    assert set(params["long"]) == {"x"}
    assert {name: int(params[name]) for name in many} == many


def test_a_parameter_that_the_run_has_already_stays(run: TrackedRun, client: MlflowClient) -> None:
    client.log_param(run.run_id, "model", "xgboost")  # as `mlflow run -P model=xgboost` does before the stage starts
    run.recorder.params({"model": "utils.models.sklearn.SklearnEstimator", "n_splits": 2})
    assert client.get_run(run.run_id).data.params == {"model": "xgboost", "n_splits": "2"}


def test_of_several_formats_the_last_prediction_counts(run: TrackedRun, tmp_path: Path) -> None:
    for name in ("test.csv", "test.parquet"):
        (tmp_path / name).write_text(name)
        run.log_prediction(tmp_path / name, "test")
        assert run.download_prediction("test", tmp_path / "down").read_text() == name
    run.log_prediction(tmp_path / "test.csv", "test")
    assert run.download_prediction("test", tmp_path / "down").read_text() == "test.csv"


def test_artifacts_that_are_gone_are_not_blamed_on_the_training(run: TrackedRun, tmp_path: Path) -> None:
    run.recorder.text("{}", "data/skim.json")
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="artifacts of run .* cannot be reached") as raised:
        run.skim_metadata()
    assert str(tmp_path / "artifacts") in str(raised.value.where)


def test_curves_are_stepped_and_sent_in_batches(
    run: TrackedRun, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_SIZE", 7)
    recorder = run.recorder
    for step in range(1, 11):
        recorder.curve_point(step, {"train_0-loss": 1 / step, "valid_0-loss": 2 / step})
    recorder.curve_point(1, {f"many-{i}": i for i in range(20)})
    recorder.flush()
    recorder.flush()
    assert {client.get_metric_history(run.run_id, f"many-{i}")[0].value for i in range(20)} == set(range(20))
    for name, top in (("train_0-loss", 1), ("valid_0-loss", 2)):
        history = client.get_metric_history(run.run_id, name)
        assert {point.step: point.value for point in history} == {step: top / step for step in range(1, 11)}
        assert len(history) == 10


def test_metrics_may_be_undefined(run: TrackedRun, client: MlflowClient) -> None:
    run.recorder.metrics({"test/roc_auc_macro": 0.75, "test/roc_auc_a": float("nan"), "n": np.int64(3)})
    metrics = client.get_run(run.run_id).data.metrics
    assert metrics["test/roc_auc_macro"] == 0.75
    assert np.isnan(metrics["test/roc_auc_a"])
    assert metrics["n"] == 3


def test_the_log_goes_with_the_run_also_when_it_fails(run: TrackedRun, client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError, match="by nothing"), run_recorder(run.run_id):
        get_logger("train").info("started with %d events", 7)
        raise ZeroDivisionError("by nothing")
    text = run.text("logs/train.log")
    assert "started with 7 events" in text
    assert "training failed: by nothing" in text
    assert not any(isinstance(handler, logging.FileHandler) for handler in get_logger().handlers)


def test_an_interrupted_training_says_how_it_goes_on(run: TrackedRun) -> None:
    for begun in (False, True):
        if begun:
            run.recorder.tag(STARTED_TAG, "digest")
        with captured_log() as log, pytest.raises(KeyboardInterrupt), run_recorder(run.run_id):
            raise KeyboardInterrupt
        assert any(f"resume={run.run_id}" in message for message in log) == begun
    with captured_log() as log, pytest.raises(RunError), run_recorder(run.run_id):
        raise RunError("something to mend")
    assert log == []


def test_the_log_of_a_resumed_run_grows(run: TrackedRun) -> None:
    for word in ("first", "second"):
        with run_recorder(run.run_id, resumed=word == "second"):
            get_logger("train").info("%s", word)
    text = run.text("logs/train.log")
    assert text.index("first") < text.index("second")


def test_complete_is_the_last_word(run: TrackedRun, client: MlflowClient) -> None:
    recorder = run.recorder
    recorder.curve_point(1, {"late": 1.0})
    mark_complete(recorder)
    found = client.get_run(run.run_id).data
    assert found.metrics["late"] == 1.0
    assert found.tags[COMPLETE_TAG] == "train"
