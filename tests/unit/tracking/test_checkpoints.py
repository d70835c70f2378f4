"""Checkpoints as artifacts: only whole ones count, old ones go, and the curves are there before them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from utils.logs import captured_log
from utils.tracking.checkpoints import RunCheckpoints
from utils.tracking.recorder import RunRecorder


@pytest.fixture
def recorder(client: MlflowClient, tmp_path: Path) -> RunRecorder:
    experiment = client.create_experiment(tmp_path.name, artifact_location=str(tmp_path / "artifacts"))
    return RunRecorder(client, client.create_run(experiment).info.run_id)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def writes(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "state.txt").write_text(text)
        (folder / "deep" / "more.txt").write_text(text * 2)

    return write


def kept(recorder: RunRecorder, fold: int = 0) -> list[str]:
    return sorted(Path(path).name for path in recorder.artifacts(f"checkpoints/fold_{fold}"))


def test_the_last_two_stay_and_the_last_is_given(recorder: RunRecorder, scratch: Path) -> None:
    checkpoints = RunCheckpoints(recorder, 0, scratch)
    assert checkpoints.latest() is None
    for epoch in (9, 10, 11):
        checkpoints.save(epoch, writes(str(epoch)))
    RunCheckpoints(recorder, 1, scratch).save(3, writes("other"))
    assert kept(recorder) == ["epoch_00010", "epoch_00010.json", "epoch_00011", "epoch_00011.json"]
    found = RunCheckpoints(recorder, 0, scratch).latest()
    assert found is not None
    assert (found / "state.txt").read_text() == "11"
    assert (found / "deep" / "more.txt").read_text() == "1111"
    checkpoints.clear()
    checkpoints.clear()
    assert kept(recorder) == []
    assert kept(recorder, 1) == ["epoch_00003", "epoch_00003.json"]


def test_what_is_not_whole_does_not_count(recorder: RunRecorder, scratch: Path, tmp_path: Path) -> None:
    checkpoints = RunCheckpoints(recorder, 0, scratch)
    for epoch in (1, 2):
        checkpoints.save(epoch, writes(str(epoch)))
    recorder.text("half", "checkpoints/fold_0/epoch_00003/state.txt")  # killed while the third was on its way
    found = checkpoints.latest()
    assert found is not None
    assert (found / "state.txt").read_text() == "2"
    (damaged,) = (tmp_path / "artifacts").rglob("epoch_00002/state.txt")
    damaged.write_text("3")
    with captured_log() as log:
        found = checkpoints.latest()
    assert found is not None
    assert (found / "state.txt").read_text() == "1"
    assert any("epoch_00002 is damaged" in message for message in log)
    checkpoints.save(3, writes("3"))
    assert kept(recorder) == ["epoch_00002", "epoch_00002.json", "epoch_00003", "epoch_00003.json"]
    found = checkpoints.latest()
    assert found is not None
    assert sorted(path.name for path in found.iterdir()) == ["deep", "state.txt"]


def test_where_the_store_is_slow_some_are_left_out(
    recorder: RunRecorder, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("utils.tracking.checkpoints.time.monotonic", lambda: now[0])
    checkpoints = RunCheckpoints(recorder, 0, scratch)

    def slow(folder: Path) -> None:
        now[0] += 2.0
        writes("slow")(folder)

    for epoch in range(1, 21):
        now[0] += 3.0
        recorder.curve_point(epoch, {"train_0-loss": 1.0})
        checkpoints.save(epoch, slow)
    assert kept(recorder) == ["epoch_00013", "epoch_00013.json", "epoch_00019", "epoch_00019.json"]
    logged = recorder._client.get_metric_history(recorder.run_id, "train_0-loss")
    assert [p.step for p in logged] == list(range(1, 20)), "curves never end before the checkpoint"


def test_a_failing_write_leaves_what_was_there(recorder: RunRecorder, scratch: Path) -> None:
    checkpoints = RunCheckpoints(recorder, 0, scratch)
    checkpoints.save(1, writes("1"))

    def fails(folder: Path) -> None:
        (folder / "state.txt").write_text("2")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(2, fails)
    assert kept(recorder) == ["epoch_00001", "epoch_00001.json"]
    assert list(scratch.iterdir()) == []


def test_curves_up_to_a_checkpoint_are_in_the_run_with_it(recorder: RunRecorder, scratch: Path) -> None:
    client = recorder._client
    recorder.curve_point(1, {"train_0-loss": 2.0})
    assert client.get_metric_history(recorder.run_id, "train_0-loss") == []
    RunCheckpoints(recorder, 0, scratch).save(1, writes("1"))
    recorder.curve_point(2, {"train_0-loss": 1.0})
    assert [p.step for p in client.get_metric_history(recorder.run_id, "train_0-loss")] == [1]

    again = RunRecorder(client, recorder.run_id, resumed=True)
    assert again.logged_curves() == [(1, {"train_0-loss": 2.0})]
    for step, value in ((1, 2.0), (2, 1.0), (3, 0.5)):
        again.curve_point(step, {"train_0-loss": value})
    again.metrics({"n": 1.0})
    again.flush()
    RunRecorder(client, recorder.run_id, resumed=True).metrics({"n": 1.0, "m": 2.0})
    history = client.get_metric_history(recorder.run_id, "train_0-loss")
    assert [(p.step, p.value) for p in history] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert len(client.get_metric_history(recorder.run_id, "n")) == 1
    assert len(client.get_metric_history(recorder.run_id, "m")) == 1
